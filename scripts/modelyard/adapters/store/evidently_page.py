"""The page of plots that people read next to a drift verdict; it decides nothing."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SAMPLE = 10_000
"""Rows of each window at most: Evidently's time grows with rows and columns, to hours."""

# Both are distances, so that a high score is drift whatever the column; left to itself Evidently
# changes between p-values and distances with the number of rows.
_METHODS = {True: "jensenshannon", False: "wasserstein"}
_CATEGORICAL = frozenset({"category", "boolean"})


@dataclass(frozen=True, kw_only=True)
class ColumnScore:
    """Evidently's score of one column of the sample.

    Args:
        column: The column.
        method: Its distance, by Evidently's id.
        score: The distance; higher is further apart.
        threshold: Where Evidently draws the line.
        drifted: Whether Evidently would call it drift; not a verdict of modelyard.
    """

    column: str
    method: str
    score: float
    threshold: float
    drifted: bool


@dataclass(frozen=True, kw_only=True)
class PageSummary:
    """What a page shows and leaves out.

    Args:
        path: The HTML file, a few megabytes: evidence to store, not to commit.
        reference_rows: Rows of the reference on the page.
        current_rows: Rows of the current window on the page.
        columns_checked: Columns on the page, in the contract's order.
        left_out: Why each other column of the contract is not on it.
        scores: One for each column on the page that has a finite score.
    """

    path: Path
    reference_rows: int
    current_rows: int
    columns_checked: tuple[str, ...]
    left_out: Mapping[str, str]
    scores: tuple[ColumnScore, ...]


def write_page(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    columns: Sequence[Column],
    path: Path,
    *,
    seed: int = 0,
) -> PageSummary:
    """Write Evidently's drift page of a seeded sample of two windows.

    - Column types come from the contract; Evidently guesses nothing.
    - A column that is missing, empty, of another type or that Evidently fails on is left out and
      named; the others are still shown.
    - No usage data is sent.

    Args:
        reference: The training data.
        current: The window.
        columns: The contract; timestamps are left out.
        path: The HTML file to write; its folder exists.
        seed: Seed of the sample that is taken of a window with more than `SAMPLE` rows.

    Raises:
        CannotAnswer: No column can be shown, or Evidently skipped one without saying so.
    """
    windows = [_sample(frame, seed) for frame in (reference, current)]
    shown, left_out = _cast(windows, columns)
    with _quietly():
        snapshot, failed = _run(shown)
        checked = tuple(_checked(snapshot))
        expected = tuple(name for name in shown if name not in failed)
        if checked != expected:
            raise CannotAnswer(
                f"drift page: {', '.join(expected)} expected, {', '.join(checked)} checked",
                hint="compare the contract's column types with the data",
            )
        snapshot.save_html(str(path))
        scores = tuple(_scores(snapshot))
    return PageSummary(
        path=path,
        reference_rows=len(windows[0]),
        current_rows=len(windows[1]),
        columns_checked=checked,
        left_out={**left_out, **failed},
        scores=scores,
    )


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """One column cast to what Evidently takes: float64, or objects of text and None."""

    categorical: bool
    reference: Any
    current: Any


def sample_places(rows: int, seed: int = 0) -> NDArray[np.int64]:
    """The places of the rows that the page shows of a window."""
    import pandas as pd

    all_rows = pd.DataFrame(index=pd.RangeIndex(rows))
    return _sample(all_rows, seed).index.to_numpy()


def _sample(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    return frame.sample(SAMPLE, random_state=seed) if len(frame) > SAMPLE else frame


def _cast(
    windows: Sequence[pd.DataFrame], columns: Sequence[Column]
) -> tuple[dict[str, _Shown], dict[str, str]]:
    shown, left_out = {}, {}
    for column in columns:
        try:
            reference, current = (_values(column, frame) for frame in windows)
        except _LeftOutError as reason:
            left_out[column.name] = str(reason)
        else:
            categorical = column.type in _CATEGORICAL
            shown[column.name] = _Shown(
                categorical=categorical, reference=reference, current=current
            )
    return shown, left_out


class _LeftOutError(Exception):
    """Why one column is not on the page."""


def _values(column: Column, frame: pd.DataFrame) -> Any:
    from modelyard.domain.specs.column_values import read_column, read_levels

    if column.type == "timestamp":
        raise _LeftOutError("timestamps always move")
    found = list(frame.columns).count(column.name)
    if found != 1:
        raise _LeftOutError("missing" if not found else f"there {found} times")
    values = frame[column.name].to_numpy()
    if column.type == "category":
        levels = read_levels(values)
        _refuse(len(values), levels.nulls, levels.wrong, levels.example)
        return _text(values)
    reading = read_column(column.type, values)
    _refuse(len(values), reading.nulls, reading.wrong, reading.example)
    cast = reading.values  # noqa: PD011 - a reading, not a frame
    return _boolean_names(cast) if column.type == "boolean" else cast


def _refuse(rows: int, nulls: int, wrong: int, example: str) -> None:
    if wrong:
        raise _LeftOutError(f"{wrong} of {rows} values are {example}")
    if nulls == rows:
        raise _LeftOutError("no values")


def _text(values: Any) -> Any:
    import numpy as np

    return np.array([v if isinstance(v, str) else None for v in values.tolist()], dtype=object)


def _boolean_names(values: Any) -> Any:
    import numpy as np

    names = {1.0: "true", 0.0: "false"}
    return np.array([names.get(value) for value in values.tolist()], dtype=object)


def _run(shown: Mapping[str, _Shown]) -> tuple[Any, dict[str, str]]:
    """The report of every column that works, and the failures of the others."""
    if not shown:
        raise CannotAnswer("drift page: no column of the contract has values in both windows")
    try:
        return _report(shown), {}
    # Each column alone then shows which ones Evidently cannot do.
    except Exception:  # noqa: BLE001 - one bad column aborts the whole report with any exception
        failed = {name: reason for name, one in shown.items() if (reason := _failure(name, one))}
    working = {name: one for name, one in shown.items() if name not in failed}
    if not working or not failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise CannotAnswer(f"drift page: nothing to show. {reasons or 'Evidently failed'}")
    return _report(working), failed


def _failure(name: str, column: _Shown) -> str:
    try:
        _report({name: column})
    except Exception as error:  # noqa: BLE001 - as above; it is named on the page's summary
        return f"Evidently failed: {type(error).__name__}: {error}"
    return ""


def _report(shown: Mapping[str, _Shown]) -> Any:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import ValueDrift

    definition = DataDefinition(
        numerical_columns=[name for name, one in shown.items() if not one.categorical],
        categorical_columns=[name for name, one in shown.items() if one.categorical],
    )
    reference, current = (
        Dataset.from_pandas(pd.DataFrame(data), data_definition=definition)
        for data in (
            {name: one.reference for name, one in shown.items()},
            {name: one.current for name, one in shown.items()},
        )
    )
    metrics = [
        ValueDrift(column=name, method=_METHODS[one.categorical]) for name, one in shown.items()
    ]
    return Report(metrics, include_tests=True).run(current, reference)


def _checked(snapshot: Any) -> Iterator[str]:
    for metric in snapshot.dict()["metrics"]:
        yield metric["config"]["column"]


def _scores(snapshot: Any) -> Iterator[ColumnScore]:
    """The scores of a snapshot; only its tests say which side of a threshold is drift."""
    document = snapshot.dict()
    statuses = {
        test["metric_config"]["params"]["column"]: str(test["status"]) for test in document["tests"]
    }
    for metric in document["metrics"]:
        config, score = metric["config"], float(metric["value"])
        if math.isfinite(score):
            yield ColumnScore(
                column=config["column"],
                method=config["method"],
                score=score,
                threshold=float(config["threshold"]),
                drifted=statuses[config["column"]].endswith("FAIL"),
            )


@contextmanager
def _quietly() -> Iterator[None]:
    """No telemetry, and no warnings of libraries about themselves."""
    # Evidently sends usage data unless this is set.
    before = os.environ.get("DO_NOT_TRACK")
    os.environ["DO_NOT_TRACK"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if before is None:
            del os.environ["DO_NOT_TRACK"]
        else:
            os.environ["DO_NOT_TRACK"] = before
