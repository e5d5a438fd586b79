"""The documents of an artifact: `serving.json`, its contract, and `golden.json`, known answers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from modelyard.domain.specs.column_values import Unread
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Model, Output, OutputKind, Task
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import pandas as pd

SERVING = "serving.json"
GOLDEN = "golden.json"
_INFINITE = (float("inf"), float("-inf"))  # JSON has none

TOLERANCE = 1e-6
"""Between machines sums of floats differ by less."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """The properties of the training rows that one request can be compared with.

    Args:
        null: Share of nulls by input column, 0 to 1.
        levels: The levels that occurred, by category input.
        ranges: The least and the greatest value, by number or integer input; none in artifacts that
            are older than this field.
    """

    null: Mapping[str, float]
    levels: Mapping[str, tuple[str, ...]]
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Serving:
    """`serving.json`: the part of a model's contract that one artifact serves.

    Args:
        model: The model's name.
        task: The kind of prediction.
        inputs: The columns of the signature, in order.
        output: The primary output.
        training: Properties of the training rows.
        timezone: The zone on whose clock timestamps are read; None if there are none, or if the
            artifact is older than this rule.
        segments: The columns by whose levels predictions are counted too; see `canary.segments`.
    """

    model: str
    task: Task
    inputs: tuple[Column, ...]
    output: Output
    training: Training
    timezone: str | None = None
    segments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Golden:
    """`golden.json`: rows whose scores are known.

    Args:
        rows: For each row, one JSON value by input column.
        scores: For each row, a number or, for classes, a list of probabilities.
        tolerance: The greatest absolute difference between equal scores.
    """

    rows: tuple[Mapping[str, object], ...]
    scores: tuple[object, ...]
    tolerance: float = TOLERANCE


def _why_no_input(model: Model, name: str) -> str:
    if name == model.target.column:
        return "the target"
    known = any(column.name == name for column in model.data.columns)
    return "known only later" if known else "not in the contract"


def write_serving(
    folder: Path, *, model: Model, inputs: Sequence[str], training: Iterable[pd.DataFrame]
) -> Serving:
    """Write `serving.json` into an artifact.

    Args:
        folder: The artifact; its digest changes.
        model: The model whose columns and primary output are served.
        inputs: The columns of the signature, in order; see `artifact.describe_artifact`.
        training: The training rows in parts, with at least these columns.

    Raises:
        CannotAnswer: The signature names a column that a request does not carry.
    """
    known = {column.name: column for column in model.inputs}
    strangers = [name for name in inputs if name not in known]
    if strangers:
        asked = ", ".join(f"{name} ({_why_no_input(model, name)})" for name in strangers)
        raise CannotAnswer(
            f"model {model.name}: the signature asks for {asked}, which no request carries",
            hint="take it out of the features in the trainer; or, if a request has it, give it to "
            "data.columns of model.yaml with available_at: request",
        )
    columns = tuple(known[name] for name in inputs)
    serving = Serving(
        model=model.name,
        task=model.task,
        inputs=columns,
        output=model.primary,
        training=_training(columns, training),
        timezone=model.data.timezone if any(c.type == "timestamp" for c in columns) else None,
        segments=tuple(name for name in model.canary.segments if name in inputs),
    )
    document = asdict(serving)
    if serving.timezone is None:
        del document["timezone"]
    if not serving.segments:
        del document["segments"]
    _write(folder / SERVING, document)
    return serving


def write_golden(folder: Path, golden: Golden) -> None:
    """Write `golden.json` into an artifact, whose digest changes."""
    _write(folder / GOLDEN, asdict(golden))


def read_serving(folder: Path) -> Serving:
    """The artifact's `serving.json`.

    Raises:
        CannotAnswer: It is missing or malformed.
    """
    path = folder / SERVING
    return parse_serving(_read_bytes(path), name=str(path))


def parse_serving(text: bytes, *, name: str) -> Serving:
    """The `serving.json` of these bytes.

    Raises:
        CannotAnswer: It is malformed; `name` says which one.
    """
    document = _parse(text, name)
    try:
        training = cast("Mapping[str, Mapping[str, object]]", document["training"])
        return Serving(
            model=str(document["model"]),
            task=Task(str(document["task"])),
            inputs=tuple(_column(column) for column in _documents(document["inputs"])),
            output=_output(cast("Mapping[str, object]", document["output"])),
            training=Training(
                null={
                    name: float(cast("float", share)) for name, share in training["null"].items()
                },
                levels={name: _texts(levels) for name, levels in training["levels"].items()},
                ranges={
                    name: (_number(low), _number(high))
                    for name, (low, high) in _pairs(training.get("ranges", {}))
                },
            ),
            timezone=None if document.get("timezone") is None else str(document["timezone"]),
            segments=_texts(document.get("segments", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CannotAnswer(f"{name}: is malformed: {error!r}") from error


def read_golden(folder: Path) -> Golden:
    """The artifact's `golden.json`.

    Raises:
        CannotAnswer: It is missing, empty or malformed.
    """
    path = folder / GOLDEN
    document = _read(path)
    try:
        golden = Golden(
            rows=tuple(dict(row) for row in _documents(document["rows"])),
            scores=tuple(cast("Sequence[object]", document["scores"])),
            tolerance=_number(document["tolerance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CannotAnswer(f"{path}: is malformed: {error!r}") from error
    if not golden.rows or len(golden.rows) != len(golden.scores):
        raise CannotAnswer(
            f"{path}: has {len(golden.rows)} rows and {len(golden.scores)} scores;"
            " expected at least one row, and one score for each"
        )
    return golden


def json_rows(rows: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, object]]:
    """The rows as JSON values: null for missing values, ISO 8601 for times."""
    return [
        {name: json_value(value) for name, value in zip(columns, values, strict=True)}
        for values in rows[list(columns)].itertuples(index=False, name=None)
    ]


def json_value(value: object) -> object:
    """One value of a frame as JSON; what is no number, text or time becomes text."""
    import pandas as pd  # noqa: PLC0415 - as the caller

    if isinstance(value, Unread):
        value = value.value
    if not pd.api.types.is_scalar(value):
        return str(value)
    if pd.isna(value) or value in _INFINITE:  # type: ignore[call-overload]  # one kind of scalar
        return None
    if isinstance(value, datetime):  # pandas' own is one too
        return value.isoformat()
    item = getattr(value, "item", None)
    plain = item() if callable(item) else value
    return plain if isinstance(plain, str | int | float) else str(plain)


def _training(columns: Sequence[Column], parts: Iterable[pd.DataFrame]) -> Training:
    rows, nulls = 0, {column.name: 0 for column in columns}
    levels: dict[str, set[object]] = {c.name: set() for c in columns if c.type == "category"}
    ranges: dict[str, tuple[float, float]] = {}
    for part in parts:
        rows += len(part)
        for column in columns:
            name, known = column.name, part[column.name].dropna()
            nulls[name] += len(part) - len(known)
            if name in levels:
                levels[name].update(known.unique())
            elif column.type in {"number", "integer"} and len(known):
                low, high = ranges.get(name, (math.inf, -math.inf))
                ranges[name] = min(low, float(known.min())), max(high, float(known.max()))
    return Training(
        null={name: count / max(1, rows) for name, count in nulls.items()},
        levels={name: tuple(sorted(map(str, found))) for name, found in levels.items()},
        ranges={name: ends for name, ends in ranges.items() if all(map(math.isfinite, ends))},
    )


def _write(path: Path, document: Mapping[str, object]) -> None:
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def _read(path: Path) -> Mapping[str, object]:
    return _parse(_read_bytes(path), str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotAnswer(f"{path}: cannot be read: {error}") from error


def _parse(text: bytes, name: str) -> Mapping[str, object]:
    try:
        document = json.loads(text.decode())
    except ValueError as error:
        raise CannotAnswer(f"{name}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise CannotAnswer(f"{name}: is not a JSON object")
    return document


def _column(document: Mapping[str, object]) -> Column:
    fields = dict(document)
    levels = fields.pop("levels", None)
    column = Column(**fields, levels=None if levels is None else _texts(levels))  # type: ignore[arg-type]
    if column.type not in {"number", "integer", "category", "boolean", "timestamp"}:
        raise ValueError(f"column {column.name} is of type {column.type}")
    return column


def _output(document: Mapping[str, object]) -> Output:
    fields = dict(document)
    kind = OutputKind(str(fields.pop("kind")))
    classes = _texts(fields.pop("classes", ()))
    return Output(**fields, kind=kind, classes=classes)  # type: ignore[arg-type]


def _documents(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError("a list of objects was expected")
    return value


def _number(value: object) -> float:
    return float(cast("float", value))


def _pairs(value: Mapping[str, object]) -> list[tuple[str, tuple[object, object]]]:
    return [(name, (ends[0], ends[1])) for name, ends in value.items() if isinstance(ends, list)]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(word) for word in cast("Sequence[object]", value))
