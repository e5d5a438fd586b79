"""A part of the payload log: many requests and their answers as one Arrow table, by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


_TOGETHER = 500
"""Payloads that become a table and are freed at once. For ten thousand that takes 50 ms, for which
nobody else gets the lock of the interpreter: no request is answered."""


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


def write_part(
    path: Path, part: list[Payload], schema: pa.Schema, labels: Mapping[str, str]
) -> None:
    """Write a part, as Parquet of this schema, and empty its list; see `part_table`."""
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    tables = []
    while part:
        piece, part[:_TOGETHER] = part[:_TOGETHER], []
        tables.append(part_table(piece, schema, labels))
        del piece
    pq.write_table(
        pa.concat_tables(tables),
        path,
        # Of inputs nobody asks for the least and the greatest, which take a quarter of the time.
        write_statistics=["at", "request"],
        use_dictionary=_repeated_columns(schema),
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


def part_table(part: Sequence[Payload], schema: pa.Schema, labels: Mapping[str, str]) -> pa.Table:
    """The rows of these payloads; what repeats within a part is a dictionary of its type.

    Args:
        part: The payloads; at least one.
        schema: As `part_schema` gives it.
        labels: `model`, `version`, `release` and `digest`.
    """
    import numpy as np  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    rows = np.array([payload.rows for payload in part])
    owner = np.repeat(np.arange(len(part)), rows)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)
    is_read = np.array([payload.inputs is not None for payload in part])[owner]
    is_scored = np.array([payload.scores is not None for payload in part])[owner]

    def by_row(name: str, values: list[Any]) -> pa.Array:
        return pa.array(values, schema.field(name).type).take(pa.array(owner))

    first = pa.repeat(pa.scalar(0, pa.int32()), len(owner))
    columns = {
        "at": by_row("at", [payload.at for payload in part]),
        **{name: pa.DictionaryArray.from_arrays(first, [labels[name]]) for name in _LABELS},
        "request": _texts([p.inputs.identifier if p.inputs else None for p in part], owner),
        "row": pa.array(place, pa.int32(), mask=~is_read),
        "status": by_row("status", [payload.status for payload in part]),
        "error": _texts([payload.error for payload in part], owner),
        "inputs": _spread(_inputs(part, schema.field("inputs").type), is_read),
        "prediction": _spread(_predictions(part, schema.field("prediction").type), is_scored),
    }
    fields = [schema.field(name).with_type(values.type) for name, values in columns.items()]
    return pa.table(columns, schema=pa.schema(fields))


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


def _inputs(part: Sequence[Payload], kind: pa.StructType) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415 - as above

    requests = [payload.inputs for payload in part if payload.inputs is not None]
    arrays = [_joined([each.columns[field.name] for each in requests], field) for field in kind]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _joined(values: Sequence[Values], field: pa.Field) -> pa.Array:
    """The values of one column, of many requests."""
    import numpy as np  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    if not values:
        return pa.array([], field.type)
    if all(isinstance(each, np.ndarray) for each in values):
        return pa.array(np.concatenate(values), field.type, from_pandas=True)
    return pa.concat_arrays([pa.array(each, field.type) for each in values])


def _predictions(part: Sequence[Payload], kind: pa.DataType) -> pa.Array:
    import numpy as np  # noqa: PLC0415 - as above
    import pyarrow as pa  # noqa: PLC0415 - as above

    scores = [payload.scores for payload in part if payload.scores is not None]
    if not scores:
        return pa.array([], kind)
    joined = np.concatenate(scores)
    flat = pa.array(joined.ravel(), pa.float64())
    if joined.ndim == 1:
        return flat
    ends = np.arange(0, joined.size + 1, joined.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), flat)
