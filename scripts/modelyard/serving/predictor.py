"""A loaded model that turns frames of rows into finite scores of the agreed shape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Task
from modelyard.domain.specs.times import DEFAULT_ZONE, clock_time, find_zone, parse_time
from modelyard.errors import CannotAnswer, Refused, VersionFault, join_first
from modelyard.serving.artifact import MODEL, Description, check_artifact
from modelyard.serving.documents import TOLERANCE, Golden, Serving, json_rows, read_serving
from modelyard.serving.formats.answers import (
    Answer,
    MissingColumns,
    find_answer,
    find_skops_answer,
)
from modelyard.serving.formats.skops_file import load_skops
from modelyard.serving.inputs import frame_of_rows
from modelyard.serving.tensor import Values

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Scores = npt.NDArray[np.float64]

_T = TypeVar("_T")

# MLflow's types that can hold each type of the contract.
_TYPES: dict[str, frozenset[str]] = {
    "number": frozenset({"double", "float"}),
    "integer": frozenset({"double", "float", "long", "integer"}),
    "boolean": frozenset({"double", "float", "boolean"}),
    "category": frozenset({"string"}),
    "timestamp": frozenset({"string", "datetime"}),
}
_WITHOUT_NULL = frozenset({"long", "integer", "boolean"})
_DTYPES = {
    "double": "float64",
    "float": "float32",
    "long": "int64",
    "integer": "int32",
    "boolean": "bool",
}
_SCHEMA_ERROR = "INVALID_PARAMETER_VALUE"
_NANOSECONDS = ("1678-01-01", "2261-12-31")
_BINARY_COLUMNS = 2
_SHOWN = 5
_PROBABILITIES = (
    'log a classifier of scikit-learn with pyfunc_predict_fn="predict_proba", or train with an'
    " objective that gives probabilities, such as binary:logistic or multi:softprob"
)


class UnfitColumn(CannotAnswer):
    """A column of a frame holds values that its type in the signature does not."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """One loaded model.

    Args:
        digest: The artifact's digest.
        serving: The contract it serves.
        types: MLflow types by column of the signature, in order.
        answer: What makes scores of a frame of these columns.
    """

    digest: str
    serving: Serving
    types: dict[str, str]
    answer: Answer

    def scores(self, frame: pd.DataFrame) -> Scores:
        """The model's scores for the rows of a frame.

        Binary: shape (rows,), the probability of the positive class (the second column if the
        model gives two). Multiclass: shape (rows, classes), in the order of the output's classes.
        Regression: shape (rows,). Columns get the signature's order and types, and nulls the
        contract's defaults; other columns of the frame are left out.

        Raises:
            MissingColumns: The frame lacks a column.
            MlflowException: MLflow, where it opens the model, says that the frame does not fit.
            UnfitColumn: A column of the frame cannot be read as its type in the signature.
            Refused: The scores have another shape, are not finite or are no probabilities.
        """
        return self.scores_of(self.conform(columns_of(frame)), len(frame))

    def conform(
        self, columns: Mapping[str, Values], nulls: Mapping[str, int] | None = None
    ) -> dict[str, Values]:
        """The columns in the signature's order and types, with the contract's defaults for nulls.

        Args:
            columns: Their values.
            nulls: How many of them are missing, by column; None if nobody has counted. A column
                with none is not searched for them.

        Raises:
            UnfitColumn: A column cannot be read as its type in the signature.
        """
        return _conform(columns, self.serving, self.types, nulls or {})

    def scores_of(self, columns: Mapping[str, Values], rows: int) -> Scores:
        """The model's scores for columns that `conform` has made; see `scores`."""
        import pandas as pd  # noqa: PLC0415 - the model has imported it

        # Copied, which joins columns of one type: models read such a frame in less time.
        answer = _run_model_code(self.answer, pd.DataFrame(columns))
        scores = _shaped(answer, rows=rows, serving=self.serving)
        _refuse_values(scores, self.serving)
        return scores

    def gives_both_classes(self, rows: Sequence[Mapping[str, object]]) -> bool:
        """Whether the model itself gives two probabilities for a row, of which we keep one."""
        import numpy as np  # noqa: PLC0415 - as above
        import pandas as pd  # noqa: PLC0415 - as above

        if self.serving.task is not Task.BINARY:
            return False
        columns = self.conform(columns_of(frame_of_rows(self.serving.inputs, rows)))
        answer = _run_model_code(self.answer, pd.DataFrame(columns, copy=False))
        shape = np.asarray(answer).shape
        return shape == (len(rows), _BINARY_COLUMNS)

    def golden_of(self, rows: pd.DataFrame, *, tolerance: float = TOLERANCE) -> Golden:
        """The rows with the model's present scores, for servers to compare theirs with.

        Args:
            rows: A few rows of real data with the signature's columns that keep the contract.
            tolerance: The greatest absolute difference that a server may show.
        """
        documents = json_rows(rows, [column.name for column in self.serving.inputs])
        scores = self.scores(frame_of_rows(self.serving.inputs, documents))
        return Golden(rows=tuple(documents), scores=tuple(scores.tolist()), tolerance=tolerance)


def load_predictor(
    folder: Path,
    digest: str,
    trusted_types: Collection[str] = (),
    *,
    formats: Collection[str] = ("skops",),
) -> Predictor:
    """The model behind `digest`, checked before it is opened.

    Order of the checks: the bytes, the format, the types the file names, the signature against
    `serving.json`. For the arguments see `artifact.check_artifact`.

    Raises:
        CannotAnswer: A file is missing or cannot be read, or this machine lacks something.
        VersionFault: MLflow cannot load the model.
        Refused: The bytes, the format, a type or the signature is not accepted.
    """
    description = check_artifact(folder, digest, trusted_types, formats)
    serving = read_serving(folder)
    _refuse_signature(folder, serving, description.inputs)
    if description.format == "skops" and description.predict:
        answer = _open_skops(folder, description, description.predict, serving)
    else:
        answer = _open_with_mlflow(folder, serving)
    return Predictor(digest=digest, serving=serving, types=description.inputs, answer=answer)


def _open_skops(folder: Path, description: Description, predict: str, serving: Serving) -> Answer:
    """As MLflow opens it, without MLflow, whose import takes half the time of a server's start."""
    try:
        raw = _run_model_code(load_skops, str(description.file), description.trusted_types)
        return find_skops_answer(
            raw,
            predict,
            columns=description.inputs,
            task=serving.task,
            classes=serving.output.classes,
        )
    except Refused:
        raise
    except Exception as error:  # whatever skops or a class of the model raises
        raise model_fault(f"artifact {folder}: skops cannot load it", error) from error


def _open_with_mlflow(folder: Path, serving: Serving) -> Answer:
    import mlflow.pyfunc  # noqa: PLC0415 - takes seconds: only once all other checks have passed

    try:
        load = mlflow.pyfunc.load_model
        model = _run_model_code(load, str(folder / MODEL), suppress_warnings=True)
    except Exception as error:  # whatever the library of its flavour raises
        raise model_fault(f"artifact {folder}: MLflow cannot load it", error) from error
    return find_answer(model, task=serving.task, classes=serving.output.classes)


def _run_model_code(work: Callable[..., _T], *given: Any, **options: Any) -> _T:
    """What a model's own code gives; what it raises is an `Exception`.

    An exit, or a panic of a library in Rust, is none in Python. It would fail the requests that
    share the call, or end a server with the exit code of something else.
    """
    try:
        return work(*given, **options)
    except Exception:
        raise
    except BaseException as error:
        # Python raises Ctrl-C in the main thread alone, so elsewhere it is the model's.
        is_in_main = threading.current_thread() is threading.main_thread()
        if is_in_main and isinstance(error, KeyboardInterrupt):
            raise
        raise RuntimeError(f"the model raised {type(error).__name__}: {error}") from error


def model_fault(what: str, error: Exception) -> CannotAnswer:
    """The error for an exception of a verified model: the version's fault, or the machine's."""
    cause: BaseException | None = error
    while cause is not None:
        # A full disk, too little memory, or an image that lacks a library.
        if isinstance(cause, OSError | MemoryError | ImportError):
            return CannotAnswer(f"{what}: {str(error) or type(error).__name__}")
        cause = cause.__cause__ or cause.__context__
    return VersionFault(f"{what}: {str(error) or type(error).__name__}")


def is_schema_error(error: Exception) -> bool:
    """Whether it says that a frame does not fit the signature."""
    return isinstance(error, MissingColumns) or getattr(error, "error_code", None) == _SCHEMA_ERROR


def _refuse_signature(folder: Path, serving: Serving, types: dict[str, str]) -> None:
    """Raise if a request that keeps the contract could break the signature."""
    names = tuple(column.name for column in serving.inputs)
    if names != tuple(types):
        raise Refused(
            f"artifact {folder}: the signature asks for {', '.join(types)}; serving.json describes"
            f" {', '.join(names)}"
        )
    faults = [fault for column in serving.inputs if (fault := _type_fault(column, types))]
    if faults:
        raise Refused(
            f"artifact {folder}: {join_first(faults, _SHOWN, between='; ')}",
            hint="use double in the signature for numeric columns that may be null",
        )


def _type_fault(column: Column, types: Mapping[str, str]) -> str:
    """How the signature's type of a column breaks the contract; empty if it does not."""
    kind, can_be_null = types[column.name], column.nullable and column.default is None
    if kind in _TYPES[column.type] and not (can_be_null and kind in _WITHOUT_NULL):
        return ""
    null = "nullable " if can_be_null else ""
    return (
        f"column {column.name} is {kind} in the signature and {null}{column.type} in the contract"
    )


def columns_of(frame: pd.DataFrame) -> dict[str, Values]:
    """The columns of a frame as arrays."""
    import pandas as pd  # noqa: PLC0415 - the frame's maker has imported it

    arrays = {str(name): frame[name].array for name in frame.columns}
    return {
        name: values.to_numpy() if isinstance(values, pd.arrays.NumpyExtensionArray) else values
        for name, values in arrays.items()
    }


def _conform(
    given: Mapping[str, Values],
    serving: Serving,
    types: dict[str, str],
    nulls: Mapping[str, int],
) -> dict[str, Values]:
    columns: dict[str, Values] = {}
    for column in serving.inputs:
        if column.name not in given:
            continue  # the model's own error names all missing columns
        values, kind = given[column.name], types[column.name]
        may_have_nulls = nulls.get(column.name) != 0
        try:
            if column.default is not None and may_have_nulls:
                values = _filled(values, column.default)
            if column.type == "timestamp":
                values = _times(values, serving.timezone, kind=kind)
            columns[column.name] = _cast(values, kind, may_have_nulls=may_have_nulls)
        except (TypeError, ValueError) as error:
            raise UnfitColumn(
                f"model {serving.model}: column {column.name} cannot be read as {kind}: {error}"
            ) from error
    return columns


def _filled(values: Any, default: object) -> Any:
    import numpy as np  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above

    missing = pd.isna(values)
    if not missing.any():
        return values
    filled = np.array(values, dtype=object)
    filled[missing] = default
    return filled


def _cast(values: Any, kind: str, *, may_have_nulls: bool) -> Any:
    """An array of the type's dtype; for few rows arrays are several times faster than series."""
    import numpy as np  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above

    dtype = _DTYPES.get(kind)
    if dtype is not None and values.dtype == dtype:
        return values  # the usual case: numbers of a request
    if dtype is not None:
        is_whole = kind in _WITHOUT_NULL
        return _whole(values, dtype) if is_whole else pd.array(values, copy=False).astype(dtype)
    if kind == "datetime":
        return values
    texts = np.asarray(values, dtype=object)
    return _filled(texts, None) if may_have_nulls else texts


def _whole(values: Any, dtype: str) -> Any:
    """Integers or booleans; numpy alone would turn nulls into true and cut fractions silently."""
    import numpy as np  # noqa: PLC0415 - as above
    import pandas as pd  # noqa: PLC0415 - as above

    if pd.isna(values).any():
        raise ValueError("it has nulls")
    given = np.asarray(values)
    cast = given.astype(dtype)
    if (cast != given).any():
        raise ValueError("it has values that would change")
    return cast


def _times(values: Any, timezone: str | None, *, kind: str) -> Any:
    """Times on the clock of the model's zone, as the signature has them: in ns, or as text."""
    import numpy as np  # noqa: PLC0415 - as above

    if kind == "string" and timezone is None and values.dtype.kind != "M":
        return values  # an artifact of before this rule learned from text as it was sent
    zone = find_zone(timezone or DEFAULT_ZONE)
    if values.dtype.kind != "M":
        moments = [_moment(value, zone) for value in values]
        if kind == "string":
            return np.array([at and at.isoformat() for at in moments], dtype=object)
        values = np.array(moments, dtype="datetime64[us]")
    times = np.asarray(values).astype("datetime64[us]")
    if kind == "string":
        return np.array([at and at.isoformat() for at in times.tolist()], dtype=object)
    # MLflow makes nanoseconds of it, which end in 2262: later times become the latest one.
    first, last = (np.datetime64(day, "us") for day in _NANOSECONDS)
    return np.minimum(np.maximum(times, first), last).astype("datetime64[ns]")


def _moment(value: object, zone: tzinfo) -> datetime | None:
    if isinstance(value, str):
        return parse_time(value, zone)
    # pandas' own null is a datetime too, and not equal to itself.
    return clock_time(value, zone) if isinstance(value, datetime) and value == value else None  # noqa: PLR0124


def _shaped(answer: object, *, rows: int, serving: Serving) -> Scores:
    import numpy as np  # noqa: PLC0415 - as above

    raw = np.asarray(answer)
    if raw.dtype.kind != "f" and (
        serving.task is not Task.REGRESSION or raw.dtype.kind not in "iu"
    ):
        raise Refused(
            f"model {serving.model}: it predicts labels ({raw.dtype}), not scores",
            hint=_PROBABILITIES,
        )
    scores = raw.astype(np.float64)
    expected = (rows, len(serving.output.classes)) if serving.task is Task.MULTICLASS else (rows,)
    if serving.task is Task.BINARY and scores.shape == (rows, _BINARY_COLUMNS):
        scores = scores[:, 1]
    if scores.shape == (rows, 1) and len(expected) == 1:
        scores = scores[:, 0]
    if scores.shape != expected:
        raise Refused(
            f"model {serving.model}: its scores of {rows} rows have the shape {scores.shape},"
            f" expected {expected} for task {serving.task}",
            hint=None if len(expected) == 1 else _PROBABILITIES,
        )
    return scores


def _refuse_values(scores: Scores, serving: Serving) -> None:
    import numpy as np  # noqa: PLC0415 - as above

    finite = np.isfinite(scores)
    if not finite.all():
        strays = int(np.count_nonzero(~finite))
        raise Refused(f"model {serving.model}: {strays} of {scores.size} scores are not finite")
    if serving.task is not Task.REGRESSION and ((scores < 0) | (scores > 1)).any():
        raise Refused(
            f"model {serving.model}: scores from {scores.min():.6g} to {scores.max():.6g} are not"
            " probabilities",
            hint=_PROBABILITIES,
        )
