"""A part of the payload log: many requests and their answers as one Arrow table, by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard.domain.specs.contract import ColumnType
from modelyard.domain.specs.model import Task
from modelyard.serving.documents import Serving

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from modelyard.serving.inputs import InferenceRequest
    from modelyard.serving.predictor import Scores
    from modelyard.serving.tensor import Values

    Mask = npt.NDArray[np.bool_]

_TYPES: dict[ColumnType, str] = {
    "number": "double",
    "integer": "int64",
    "category": "string",
    "boolean": "bool",
    "timestamp": "string",
}
_LABELS = ("model", "version", "release", "digest")


@dataclass(frozen=True, kw_only=True)
class Payload:
    """A request and its answer.

    Args:
        at: When it was answered, UTC.
        status: The HTTP status.
        inputs: The request, or None if it could not be read.
        scores: Shape (rows,) or (rows, classes), or None if there are none.
        error: What went wrong, or None.
    """

    at: datetime
    status: int
    inputs: InferenceRequest | None = None
    scores: Scores | None = None
    error: str | None = None

    @property
    def rows(self) -> int:
        """Its number of rows in the log: one for a request that could not be read."""
        return 1 if self.inputs is None else self.inputs.rows


def part_schema(serving: Serving) -> pa.Schema:
    """The Arrow schema of a part.

    `row` and `inputs` are null if the request could not be read; `prediction` is a number, or one
    list of probabilities.
    """
    import pyarrow as pa  # noqa: PLC0415 - only a server with a log needs it

    inputs = [pa.field(c.name, pa.type_for_alias(_TYPES[c.type])) for c in serving.inputs]
    number = pa.float64()
    return pa.schema(
        [
            pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
            *(pa.field(name, pa.string(), nullable=False) for name in _LABELS),
            pa.field("request", pa.string()),
            pa.field("row", pa.int32()),
            pa.field("status", pa.int16(), nullable=False),
            pa.field("error", pa.string()),
            pa.field("inputs", pa.struct(inputs)),
            pa.field("prediction", pa.list_(number) if serving.task is Task.MULTICLASS else number),
        ]
    )


class GrowingPart:
    """The rows of a part, as they come.

    Args:
        schema: As `part_schema` gives it.
        labels: `model`, `version`, `release` and `digest`.
    """

    def __init__(self, schema: pa.Schema, labels: Mapping[str, str]) -> None:
        self.schema, self._labels = schema, labels
        self.rows = 0
        self._heads: list[_Head] = []
        self._inputs: list[pa.Array] = []
        self._predictions: list[pa.Array] = []

    def add(self, piece: Sequence[Payload]) -> None:
        """Add the rows of some payloads, of which nothing is needed any more; all, or none."""
        heads = [_head_of(payload) for payload in piece]
        requests = [payload.inputs for payload in piece if payload.inputs is not None]
        scores = [payload.scores for payload in piece if payload.scores is not None]
        inputs = [_inputs(requests, self.schema.field("inputs").type)] if requests else []
        predictions = [_predictions(scores)] if scores else []
        self._heads += heads
        self._inputs += inputs
        self._predictions += predictions
        self.rows += sum(head.rows for head in heads)

    def table(self) -> pa.Table:
        """The rows until now; what repeats within a part is a dictionary of its type."""
        import numpy as np  # noqa: PLC0415 - as above
        import pyarrow as pa  # noqa: PLC0415 - as above

        at, status, identifiers, errors, rows, is_read, is_scored = zip(*self._heads, strict=True)
        owner = np.repeat(np.arange(len(rows)), rows)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)
        has_inputs, has_scores = np.array(is_read)[owner], np.array(is_scored)[owner]

        def by_row(name: str, values: Sequence[Any]) -> pa.Array:
            return pa.array(values, self.schema.field(name).type).take(pa.array(owner))

        def joined(name: str, pieces: list[pa.Array], has_one: Mask) -> pa.Array:
            none = pa.array([], self.schema.field(name).type)
            return _spread(pa.concat_arrays([none, *pieces]), has_one)

        first = pa.repeat(pa.scalar(0, pa.int32()), len(owner))
        columns = {
            "at": by_row("at", at),
            **{n: pa.DictionaryArray.from_arrays(first, [self._labels[n]]) for n in _LABELS},
            "request": _texts(identifiers, owner),
            "row": pa.array(place, pa.int32(), mask=~has_inputs),
            "status": by_row("status", status),
            "error": _texts(errors, owner),
            "inputs": joined("inputs", self._inputs, has_inputs),
            "prediction": joined("prediction", self._predictions, has_scores),
        }
        fields = [self.schema.field(name).with_type(each.type) for name, each in columns.items()]
        return pa.table(columns, schema=pa.schema(fields))


class _Head(NamedTuple):
    """What is known of a payload beside its values; `at`, `status`, `error` are the payload's."""

    at: datetime
    status: int
    identifier: str | None
    error: str | None
    rows: int
    is_read: bool
    is_scored: bool


def _head_of(payload: Payload) -> _Head:
    inputs = payload.inputs
    return _Head(
        payload.at,
        payload.status,
        None if inputs is None else inputs.identifier,
        payload.error,
        payload.rows,
        inputs is not None,
        payload.scores is not None,
    )


def write_part(path: Path, part: GrowingPart) -> None:
    """Write a part, which has rows, as Parquet of its schema."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    pq.write_table(
        part.table(),
        path,
        # Of inputs nobody asks for the least and the greatest, which take a quarter of the time.
        write_statistics=["at", "request"],
        use_dictionary=_repeated_columns(part.schema),
        # The table's has dictionaries, which are no matter of who reads the part.
        store_schema=False,
    )


def _repeated_columns(schema: pa.Schema) -> list[str]:
    """Columns with a dictionary, as Parquet names them.

    `row` and `prediction` have none: their values hardly repeat, so it would take a fifth of the
    time to write a part, and space.
    """
    inputs = [f"inputs.{field.name}" for field in schema.field("inputs").type]
    return [*inputs, *(name for name in schema.names if name not in {"row", "prediction"})]


def _texts(of_payloads: Sequence[str | None], owner: npt.NDArray[np.intp]) -> pa.Array:
    """The text of each row's payload; Parquet is written from a dictionary in less time."""
    import numpy as np  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    is_null = np.array([text is None for text in of_payloads])
    places = pa.array(owner, pa.int32(), mask=is_null[owner])
    texts = pa.array([text or "" for text in of_payloads], pa.string())
    return pa.DictionaryArray.from_arrays(places, texts)


def _spread(values: pa.Array, has_one: Mask) -> pa.Array:
    """The values in the rows that have one, and null in the others."""
    import numpy as np  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    if has_one.all():
        return values
    return values.take(pa.array(np.cumsum(has_one) - 1, mask=~has_one))


def _inputs(requests: Sequence[InferenceRequest], kind: pa.StructType) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415 - as above

    fields = list(kind)
    given = [request.columns for request in requests]
    # Arrow makes text of a field's name anew each time: not once for each request.
    values = [[columns[name] for columns in given] for name in [field.name for field in fields]]
    arrays = [_joined(each, field.type) for each, field in zip(values, fields, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=fields)


def _joined(values: Sequence[Values], kind: pa.DataType) -> pa.Array:
    """The values of one column, of many requests."""
    import numpy as np  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    if set(map(type, values)) == {np.ndarray}:
        return pa.array(np.concatenate(values), kind, from_pandas=True)
    return pa.concat_arrays([pa.array(each, kind) for each in values])


def _predictions(scores: Sequence[Scores]) -> pa.Array:
    import numpy as np  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    joined = np.concatenate(scores)
    flat = pa.array(joined.ravel(), pa.float64())
    if joined.ndim == 1:
        return flat
    ends = np.arange(0, joined.size + 1, joined.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), flat)
