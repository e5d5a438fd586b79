"""Scores rows with models: the one place where a model is opened, besides its server.

It runs as a process in the models' runtime. Its order comes in a file and its answers go to files,
in forms that do not depend on a version of a library: Parquet, JSON and plain arrays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.errors import CannotAnswer, Refused, StepCrash, VersionFault, YardError
from modelyard.runtime_measure import Measured, measure_runtime
from modelyard.serving.formats.skops_file import import_skops_early

if TYPE_CHECKING:
    import pandas as pd

    from modelyard.serving.documents import Serving
    from modelyard.serving.predictor import Predictor

RESULT = "result.json"
RAISED = "raised"
"""The kind of a failure that no part of the toolkit raised: the model's own code did."""

PART_ROWS = 2**20
"""Rows that are scored at a time."""

_BUFFER = 2**20  # bytes of a column that are read ahead

_KINDS: Mapping[str, type[YardError]] = {
    kind.__name__: kind for kind in (Refused, VersionFault, StepCrash, CannotAnswer)
}


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """A model to score with.

    Args:
        folder: The artifact.
        digest: Its digest.
        trusted_types: Types that a skops file may name.
        formats: Accepted formats.
    """

    folder: str
    digest: str
    trusted_types: tuple[str, ...]
    formats: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be scored.

    Args:
        lock: SHA-256 of the lock that the models' version pins.
        lock_file: The lock that the runtime was built from.
        models: The models.
        tables: Files of rows, Parquet, or JSON as in requests; each model scores all of them.
        out: The folder that the answers go to.
    """

    lock: str
    lock_file: str
    models: tuple[ModelFile, ...]
    tables: tuple[str, ...]
    out: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why there are no scores.

    Args:
        kind: The name of the error's class, or `raised`.
        message: The message; of what a model raised, its class and first line.
        hint: The error's hint.
    """

    kind: str
    message: str
    hint: str | None = None

    def to_error(self, what: str) -> YardError:
        """The error again; what a model raised is a refusal that says first what it was asked."""
        kind = _KINDS.get(self.kind)
        if kind is None:
            return Refused(f"{what}: {self.message}")
        return kind(self.message, hint=self.hint)


def scores_file(out: Path, model: int, table: int) -> Path:
    """Where the scores of one model for one table are, by their places in the order."""
    return out / f"scores-{model}-{table}.npy"


def run_order(path: Path) -> None:
    """Carry out the order in a file; whatever fails is in the result."""
    document = json.loads(path.read_bytes())
    order = Order(**{**document, "models": tuple(ModelFile(**m) for m in document["models"])})
    try:
        measured = measure_runtime(order.lock, Path(order.lock_file))
    except YardError as error:
        _write(order, None, {"failure": asdict(failure_of(error))})
        return
    failures = {
        f"{number}-{table}": asdict(failure)
        for number, model in enumerate(order.models)
        for table, failure in _score_all(order, number, model).items()
    }
    _write(order, measured, {"failures": failures})


def _write(order: Order, measured: Measured | None, document: dict[str, Any]) -> None:
    known = asdict(measured) if measured else None
    text = json.dumps({**document, "runtime": known})
    (Path(order.out) / RESULT).write_text(text, encoding="utf-8")


def _score_all(order: Order, number: int, model: ModelFile) -> dict[int, Failure]:
    """Score every table with one model; the failures by the table's place."""
    import numpy as np  # noqa: PLC0415 - a pin that is not met is said before anything is imported

    try:
        predictor = _open(model)
    except YardError as error:
        return dict.fromkeys(range(len(order.tables)), failure_of(error))
    failures = {}
    for place, table in enumerate(order.tables):
        try:
            parts = _read(Path(table), predictor.serving)
            scores = np.concatenate([predictor.scores(part) for part in parts])
            np.save(scores_file(Path(order.out), number, place), scores, allow_pickle=False)
        except Exception as error:  # noqa: BLE001 - a model may raise anything
            failures[place] = failure_of(error)
    return failures


def _open(model: ModelFile) -> Predictor:
    if "skops" in model.formats:
        import_skops_early()
    from modelyard.serving.predictor import load_predictor  # noqa: PLC0415 - as above

    return load_predictor(
        Path(model.folder), model.digest, model.trusted_types, formats=model.formats
    )


def _read(table: Path, serving: Serving) -> Iterator[pd.DataFrame]:
    """The rows, in parts where they are very many: no part has its features in memory for long."""
    import pandas as pd  # noqa: PLC0415 - as above

    from modelyard.serving.inputs import frame_of_rows  # noqa: PLC0415 - as above

    if table.suffix == ".json":
        yield frame_of_rows(serving.inputs, json.loads(table.read_bytes()))
        return
    import pyarrow as pa  # noqa: PLC0415 - as above
    from pyarrow import parquet  # noqa: PLC0415 - as above

    # With `pre_buffer` all bytes that were read would stay in memory until the end.
    with parquet.ParquetFile(table, buffer_size=_BUFFER, pre_buffer=False) as file:
        # A model may round sums of other parts differently, so what fits is one part.
        if file.metadata.num_rows <= PART_ROWS:
            yield pd.read_parquet(table)
            return
        # As of all rows: what pandas makes of a column depends on where there are nulls.
        names = file.schema_arrow.empty_table().to_pandas().columns
        types = {name: file.read(columns=[name]).to_pandas()[name].dtype for name in names}
        for batch in file.iter_batches(PART_ROWS):
            part = pa.Table.from_batches([batch]).to_pandas().reset_index(drop=True)
            yield part.astype(types)


def failure_of(error: Exception) -> Failure:
    """What is kept of an error."""
    if isinstance(error, YardError):
        kinds = (name for name, each in _KINDS.items() if isinstance(error, each))
        kind = next(kinds, CannotAnswer.__name__)
        return Failure(kind=kind, message=error.message, hint=error.hint)
    if isinstance(error, OSError | MemoryError):  # the machine's, not the model's
        return Failure(kind=CannotAnswer.__name__, message=str(error) or type(error).__name__)
    line = str(error).partition("\n")[0]
    return Failure(kind=RAISED, message=f"{type(error).__name__}: {line}")
