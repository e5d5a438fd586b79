"""The days that a version for drift trains on and is judged on: both are of the new regime."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.interval import Interval, count_days, subtract_intervals
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import Refused

TRAINING_SHARE = 2
"""Days of the new regime that train for each day of it that is held out, at least."""

_LEAST_WINDOWS = 2

_LONGEST_WAIT = 4000
"""Days ahead at which a proposal is still expected; nobody waits longer."""


@dataclass(frozen=True, kw_only=True)
class Regime:
    """The days since the data drifted.

    Args:
        since: The first day of the first window that drifted.
        until: The day after the last row.
        clusters_a_day: How many clusters of the held-out set one day with rows adds.
        days: The feed's days with rows; None if every day has rows.
    """

    since: date
    until: date
    clusters_a_day: float = 1.0
    days: frozenset[date] | None = None

    def least_days(self, clusters: int, *, until: date) -> int:
        """The fewest calendar days before `until` that have so many clusters."""
        needed = math.ceil(clusters / max(self.clusters_a_day, 1e-3))
        if self.days is None:
            return needed
        since, first, found = until, min(self.days, default=until), 0
        while found < needed and since > first:
            since -= timedelta(days=1)
            found += self._has_rows(since)
        # A feed has no rows before its first day, so a length that reaches there is never planned.
        return (until - since).days + needed - found

    def _has_rows(self, day: date) -> bool:
        """Whether a day has rows; days to come are like those of the feed's last week."""
        weeks = max(0, (day - self.until).days // 7 + 1)
        return self.days is None or day - timedelta(weeks=weeks) in self.days


@dataclass(frozen=True, kw_only=True)
class RetrainingDays:
    """The days of the next version.

    Args:
        window: The training window, with held-out days inside it.
        excludes: The held-out days inside the window.
        held_out: The days of the new held-out set.
        new: The training days on which the parent did not train.
        regime: The training days that are of the new regime.
    """

    window: Interval
    excludes: tuple[Interval, ...]
    held_out: Interval
    new: tuple[Interval, ...]
    regime: tuple[Interval, ...]


@dataclass(frozen=True, kw_only=True)
class TooFewDays:
    """The new regime has too few days for a version.

    Args:
        reason: How many there are, how many are needed, and when they will be there.
    """

    reason: str


def drifted_windows(
    windows: Sequence[tuple[ColumnCheck, ...] | None],
    confirmed: Collection[ColumnCheck],
    *,
    gap: int,
) -> int:
    """How many of the last windows are of the regime that was confirmed.

    The regime goes back to the first window that drifted in a confirmed column, across at most
    `gap` windows in a row that did not, or had too few rows.

    Args:
        windows: For each window the checks that drifted, oldest first; None for too few rows.
        confirmed: The confirmed drift.
        gap: Windows without drift that a regime may have in a row.
    """
    columns, found, quiet = {one.column for one in confirmed}, 0, 0
    for age, drifted in enumerate(reversed(windows), start=1):
        if any(one.column in columns for one in drifted or ()):
            found, quiet = age, 0
        else:
            quiet += 1
        if quiet > gap:
            break
    return found


def excluded_days(window: Interval | None, sets: Iterable[HeldOut]) -> tuple[Interval, ...]:
    """The held-out days that overlap the window, in order, each once; retired sets give theirs."""
    days = {each.window for each in sets if each.window is not None and not each.retired}
    return tuple(sorted(d for d in days if window is not None and d.overlaps(window)))


def held_out_in_use(parent: ModelVersion, sets: Iterable[HeldOut]) -> tuple[HeldOut, ...]:
    """The parent's held-out sets that are still in use, in the parent's order."""
    known = {each.name: each for each in sets}
    found = (known.get(name) for name in parent.held_out)
    return tuple(each for each in found if each is not None and not each.retired)


def longest_regime(model: Model, regime: Regime) -> int:
    """Days of a regime beyond which its start no longer matters to the next version."""
    least = _least_held_out(model, regime, until=regime.until)
    held_out = max(model.drift.held_out_days, least)
    return (1 + TRAINING_SHARE) * held_out + 2 * model.target.delay_days


def plan_days(
    model: Model, parent: ModelVersion, sets: Collection[HeldOut], regime: Regime
) -> RetrainingDays | TooFewDays:
    """The days that the next version trains on and is judged on.

    - Held out are the last days of the new regime whose labels are known: at most a third of the
      regime and `drift.held_out_days`, at least two windows and the gate's `least_clusters`.
    - Training starts where the parent's training started. It ends early enough that its own labels
      are known before the first held-out day.

    Args:
        model: The model.
        parent: The version that production runs.
        sets: All held-out sets of the model, also retired ones.
        regime: The new regime.

    Raises:
        Refused: The parent has no training days.
    """
    if parent.data.window is None or not parent.data.spans:
        raise Refused(f"{parent.model} {parent.version} has no training window to continue")
    least = _least_held_out(model, regime, until=regime.until)
    # The last third, and not every third day: between two training days a prediction is easier
    # than after them, and the labels of later days would be known too early.
    for length in range(max(least, model.drift.held_out_days), least - 1, -1):
        found = _days_of(model, parent, sets, regime, until=regime.until, length=length)
        if found is not None and count_days(found.regime) >= TRAINING_SHARE * length:
            return found
    return TooFewDays(reason=_say_missing(model, parent, sets, regime, least))


def _least_held_out(model: Model, regime: Regime, *, until: date) -> int:
    """The days with the clusters without which the gate decides nothing; two windows at least."""
    # Many rows of few days show those days alone: the next ones would drift from them again.
    labelled = until - timedelta(days=model.target.delay_days)
    days = regime.least_days(model.gate.least_clusters, until=labelled)
    return max(_LEAST_WINDOWS * model.drift.window_days, days)


def _days_of(
    model: Model,
    parent: ModelVersion,
    sets: Collection[HeldOut],
    regime: Regime,
    *,
    until: date,
    length: int,
) -> RetrainingDays | None:
    """The days if `length` days are held out; None if the parent has seen some of those."""
    # Days within `delay` of the end have no labels yet.
    delay, end = timedelta(days=model.target.delay_days), parent.data.spans[-1].until
    held_out = Interval(since=until - delay - timedelta(days=length), until=until - delay)
    if parent.data.window is None or held_out.since < end + delay:
        return None
    # The delay again: training labels must be known when the held-out days begin.
    longest = Interval(since=parent.data.window.since, until=held_out.since - delay)
    window = _training_window(longest, sets, kept=held_out_in_use(parent, sets), delay=delay)
    excludes = excluded_days(window, sets)
    # Beyond the parent's last day: given-back days before it are of the old regime.
    later = Interval(since=max(regime.since, end), until=max(window.until, regime.since, end))
    spans = subtract_intervals(window, excludes)
    new = tuple(part for span in spans for part in subtract_intervals(span, parent.data.spans))
    return RetrainingDays(
        window=window,
        excludes=excludes,
        held_out=held_out,
        new=new,
        regime=subtract_intervals(later, excludes),
    )


def _say_missing(
    model: Model, parent: ModelVersion, sets: Collection[HeldOut], regime: Regime, least: int
) -> str:
    needed = TRAINING_SHARE * least
    now = _days_of(model, parent, sets, regime, until=regime.until, length=least)
    has = count_days(now.regime) if now else 0
    said = (
        f"of the new regime, since {regime.since}, {has} days could train beside {least} held-out "
        f"ones, of which the gate needs {model.gate.least_clusters} clusters, but {needed} must"
    )
    for wait in range(1, _LONGEST_WAIT):
        until = regime.until + timedelta(days=wait)
        length = _least_held_out(model, regime, until=until)
        then = _days_of(model, parent, sets, regime, until=until, length=length)
        if then is not None and count_days(then.regime) >= TRAINING_SHARE * length:
            return f"{said}: {needed - has} are missing, which will be there on {until}"
    return f"{said}: {needed - has} are missing, because held-out sets keep them out of training"


def _training_window(
    longest: Interval, sets: Collection[HeldOut], *, kept: Iterable[HeldOut], delay: timedelta
) -> Interval:
    """The longest window with labels that are known before each later held-out set begins."""
    # A set amid the training days stands for an earlier regime and may stay. A set that reaches
    # beyond the last training day would profit from labels that were not known at its start. A
    # shorter window can leave another set beyond its end, hence the loop.
    window, judged = longest, [each.window for each in kept if each.window is not None]
    while window.since < window.until:
        end = max((span.until for span in subtract_intervals(window, excluded_days(window, sets))),
                  default=window.since)  # fmt: skip
        early = [days.since for days in judged if days.until > end and days.since < end + delay]
        if not early:
            break
        window = Interval(since=window.since, until=min(early) - delay)
    return window
