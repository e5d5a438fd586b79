"""What the second look finds in a window, and which of it is confirmed by several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelyard.domain.drift.second_look.chosen_rows import ChosenRows
from modelyard.domain.drift.second_look.habits import (
    Habit,
    Kind,
    effect_of,
    measure_habits,
)
from modelyard.domain.specs.column_values import Floats

_ROWS = (0.5, 2.0)  # of a usual block: distinct values grow slower than rows


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A habit that a window does not keep.

    Args:
        kind: What is measured.
        columns: The columns.
        effect: How far the window is from the training data.
        floor: The least effect that counts.
        detail: What was found, for people.
    """

    kind: Kind
    columns: tuple[str, ...]
    effect: float
    floor: float
    detail: str


def look_again(
    habits: Sequence[Habit], chosen: ChosenRows, *, usual_rows: float
) -> tuple[Finding, ...]:
    """The habits that a window does not keep, the largest effect in units of its floor first.

    Args:
        habits: Of the training data.
        chosen: The rows of the window that are looked at.
        usual_rows: The rows of a usual block. A window of less than half or more than twice as many
            is not looked at for its values.
    """
    found = measure_habits(chosen.numbers, chosen.times)
    is_usual = _ROWS[0] * usual_rows <= chosen.of <= _ROWS[1] * usual_rows
    findings = []
    for habit in habits:
        now = found.get((habit.kind, habit.columns))
        if now is None or (habit.kind == "distinct values" and not is_usual):
            continue
        effect = effect_of(habit.kind, np.array(habit.usual), now)
        if effect >= habit.floor:
            findings.append(_finding(habit, now, effect))
    return tuple(sorted(findings, key=lambda one: (-one.effect / one.floor, one.columns)))


def confirm_findings(
    windows: Sequence[tuple[Finding, ...]], *, needed: int, of: int
) -> tuple[Finding, ...]:
    """The findings of the latest window that at least `needed` of the last `of` windows have."""
    recent = [{(each.kind, each.columns) for each in window} for window in windows[-of:]]
    return tuple(
        each
        for each in (windows[-1] if windows else ())
        if sum((each.kind, each.columns) in window for window in recent) >= needed
    )


def _finding(habit: Habit, now: Floats, effect: float) -> Finding:
    if habit.kind in {"hour", "weekday"}:
        most = int(np.argmax(np.abs(np.array(habit.usual) - now)))
        detail = f"{habit.kind} {most}: {habit.usual[most]:.2%} -> {now[most]:.2%} of the rows"
    else:
        detail = f"{habit.kind} {habit.usual[0]:.3g} -> {float(now[0]):.3g}"
    return Finding(
        kind=habit.kind,
        columns=habit.columns,
        effect=effect,
        floor=habit.floor,
        detail=detail,
    )
