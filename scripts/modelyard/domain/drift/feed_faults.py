"""Faults of a whole feed: rows that are late, missing, too many, of the future, or there before."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from modelyard.domain.drift.detection import LEAST_BLOCKS
from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.row_keys import Keys, known_share, repeated_share, share_of_runs
from modelyard.domain.specs.contract import ALL_ROWS, Breach, Rule
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DriftPolicy
from modelyard.domain.specs.version import DataFile

_LEAST_CHANGE = 0.35
"""Least change of the rows of a window that counts, as a logarithm: 30 % fewer or 42 % more."""

_BLOCK_FACTOR = 1.25  # as for the floors of drift

_DUPLICATES = 0.05
"""Least share of rows that come twice, beyond what the training data has."""

_MOST_DUPLICATES = 0.9
"""Largest such share that blocks of training may excuse; a feed delivered twice has all rows so."""

_REPEATED = 0.5
"""Least share of rows of a window that an earlier window has too, beyond what is usual."""

LEVEL = 9
"""Windows whose median is the feed's own level: what more than half of them have is no fault."""

_LEAST_LEVEL = 6  # of them, so that a short feed is compared with its training data alone

_HISTORY = 28
"""Days before the windows that must be known to say which gaps are usual."""

_YEAR = 365  # days with all holidays

_WAITS = 1.5  # a file of a month comes some days after the month, and not always on the same day


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The files of a feed as they were delivered.

    Args:
        timestamp: The column with the time of a row.
        rows: The rows of each day, all files together.
        ends: The newest day of each file.
        today: The day on the model's clock.
        late_days: Days without new rows that are late; 0 for never, None to derive it.
        window_days: Length of one window.
    """

    timestamp: str
    rows: Mapping[date, int]
    ends: Collection[date]
    today: date
    late_days: int | None
    window_days: int


@dataclass(frozen=True, kw_only=True)
class WindowRows:
    """The rows of a window.

    Args:
        days: Its days.
        rows: Its rows.
        share: The days that have rows, as a share of those of a usual window, at most 1: a holiday
            makes a week smaller, and `find_gaps` says whether its missing days are a fault.
    """

    days: Interval
    rows: int
    share: float = 1.0

    def bounds(self, usual: float, limit: float) -> tuple[int, int]:
        """The fewest and most rows that are usual."""
        whole = usual * self.share
        return math.floor(whole * math.exp(-limit)), math.ceil(whole * math.exp(limit))

    def is_off(self, usual: float, limit: float) -> bool:
        """Whether it has fewer or more rows than is usual."""
        low, high = self.bounds(usual, limit)
        return not low <= self.rows <= high


def last_day(rows: Collection[date], today: date) -> date | None:
    """The newest day that is not of the future; None if there is none."""
    return max((day for day in rows if not _is_ahead(day, today)), default=None)


def find_delivery_faults(feed: Delivery) -> Iterator[Breach]:
    """Rows of the future, and rows that are late; each only where the feed's newest days count."""
    ahead = {day: n for day, n in feed.rows.items() if _is_ahead(day, feed.today)}
    if ahead:
        found = f"days up to {max(ahead)}"
        yield _fault(feed.timestamp, "future", "no row after today", found, sum(ahead.values()))
    newest, allowed = last_day(feed.rows, feed.today), _days_until_late(feed)
    if newest is not None and allowed and (feed.today - newest).days > allowed:
        why = "drift.late_days"
        if feed.late_days is None:
            why = "a window and the usual time between two files; drift.late_days sets another"
        expected = f"rows of the last {allowed} days ({why})"
        yield _fault(feed.timestamp, "late", expected, f"nothing after {newest}", 0)


def find_gaps(feed: Delivery, spans: Sequence[Interval]) -> Iterator[Breach]:
    """Days without rows, if more come together than ever before.

    Before a year is known, only the last window counts: a holiday that comes for the first time is
    an incident of a week, not of a month.
    """
    until = spans[-1].until
    is_year = (spans[0].since - min(feed.rows, default=until)).days >= _YEAR
    since = spans[0 if is_year else -1].since
    before = sorted(day for day in feed.rows if day < since)
    inside = sorted(day for day in feed.rows if since <= day < until)
    if not inside or not before or (before[-1] - before[0]).days < _HISTORY:
        return
    usual, _ = _longest_gap(before)
    # From the last day before the windows, so that a missing first day counts as well.
    longest, after = _longest_gap([before[-1], *inside])
    if longest > usual:
        expected = f"at most {usual} days in a row without rows"
        yield _fault(feed.timestamp, "gap", expected, f"{longest} days without after {after}", 0)


def count_windows(feed: Delivery, spans: Sequence[Interval]) -> tuple[WindowRows, ...]:
    """The rows of each window that has some and in which the feed does not begin."""
    begins = min(feed.rows, default=date.max)
    counts = [
        (days, [n for day, n in feed.rows.items() if days.since <= day < days.until])
        for days in spans
        if days.since >= begins
    ]
    counts = [(days, rows) for days, rows in counts if rows]
    # The median, so that one row on a Sunday does not make every other week a small one.
    usual = statistics.median_high(len(rows) for _, rows in counts) if counts else 0
    return tuple(
        WindowRows(days=days, rows=sum(rows), share=min(1.0, len(rows) / usual))
        for days, rows in counts
    )


def find_volume_faults(
    profile: Profile, windows: Sequence[WindowRows], earlier: Sequence[WindowRows] = ()
) -> Iterator[Breach]:
    """Windows with far fewer or more rows than a block of the training data.

    If the feed's own last windows are like that too, it is no fault but a new level.

    Args:
        profile: The profile of the training data.
        windows: The windows, oldest first.
        earlier: Windows before these.
    """
    limit = volume_limit(profile)
    if limit is None:
        return
    usual, level = statistics.median(profile.block_rows), _own_level([*earlier, *windows])
    off = [
        each
        for each in windows
        if each.is_off(usual, limit) and (level is None or each.is_off(level, limit))
    ]
    if off:
        days, rows = off[-1].days, off[-1].rows
        low, high = off[-1].bounds(usual, limit)
        found = f"{rows:,} rows from {days.since} to {days.until}"
        if off[-1] is windows[-1]:
            found = f"{found}; if that stays so, it is a new level {_new_level_at(off)}"
        yield _fault(ALL_ROWS, "volume", f"{low:,} to {high:,} rows in a window", found, rows)


def _new_level_at(off: Sequence[WindowRows]) -> str:
    """From when on more than half of the last windows are like these."""
    last = off[-1].days
    more = max(1, LEVEL // 2 + 1 - len(off))
    return f"about {last.until + more * (last.until - last.since)}"


def describe_new_level(profile: Profile, windows: Sequence[WindowRows]) -> str | None:
    """That the feed has far fewer or more rows than in training for long; None if it has not."""
    limit, level = volume_limit(profile), _own_level(windows)
    if limit is None or level is None:
        return None
    usual = statistics.median(profile.block_rows)
    if abs(math.log(level / usual)) <= limit:
        return None
    return (
        f"a window has about {level:,.0f} rows since {windows[0].days.since}, but {usual:,.0f} in "
        f"the training data: the feed has a new level, of which only other changes are faults"
    )


def volume_limit(profile: Profile) -> float | None:
    """The largest usual change of a window's rows, as a logarithm; None if it is not known."""
    rows = [each for each in profile.block_rows if each]
    if len(rows) < LEAST_BLOCKS:
        return None
    usual = statistics.median(rows)
    changes = [abs(math.log(each / usual)) for each in rows]
    return max(_LEAST_CHANGE, _BLOCK_FACTOR * max(changes))


def find_duplicates(profile: Profile, keys: Keys) -> Iterator[Breach]:
    """Rows of a window that are there twice, if the training data has fewer such rows."""
    if profile.repeated is None:
        return
    # Rows that agree by chance become more with the rows of a day.
    usual = statistics.median(profile.block_rows) if profile.block_rows else len(keys)
    growth = max(1.0, len(keys) / max(1, usual))
    share, limit = repeated_share(keys), _most_duplicates(profile, growth)
    if share > limit:
        found, rows = f"{share:.0%} of the rows twice or more", round(share * len(keys))
        expected = f"at most {limit:.0%} of the rows twice"
        yield _fault(ALL_ROWS, "duplicate", expected, found, rows)


def _most_duplicates(profile: Profile, growth: float) -> float:
    """The largest usual share of rows that are there twice.

    Args:
        profile: The profile of the training data.
        growth: Times the rows of a usual block.
    """
    blocks = profile.repeated_of_blocks or (profile.repeated or 0.0,)
    middle = statistics.median(blocks)
    usual, spread = min(1.0, growth * middle), _BLOCK_FACTOR * (max(blocks) - middle)
    # A week that was delivered twice in training must not hide the next one.
    return min(usual + max(_DUPLICATES, spread), max(_MOST_DUPLICATES, usual + _DUPLICATES))


class RowsAgain:
    """Counts rows of the last window that an earlier window has; of two windows keys are kept."""

    def __init__(self) -> None:
        self.rows = 0
        self.share = self.usual = 0.0
        self._last: Keys | None = None
        self._later: Keys | None = None

    def add(self, keys: Keys) -> None:
        """Take a window, the last one first, by the keys of its rows without their times.

        The keys are sorted where they are: a copy would be 8 bytes a row.
        """
        keys.sort()
        if self._last is None:
            self.rows, self._last = len(keys), keys
            # What recurs within a window recurs in the next one, whatever earlier ones show: they
            # may have no rows.
            self.usual = share_of_runs(keys)
            return
        self.share = max(self.share, known_share(self._last, keys))
        if self._later is not None:
            self.usual = max(self.usual, known_share(self._later, keys))
        self._later = keys


def find_repeats(pins: Sequence[DataFile], again: RowsAgain) -> Iterator[Breach]:
    """Files that were delivered before, and rows of the last window that an earlier window has.

    Args:
        pins: The files of the windows.
        again: The rows of the windows.
    """
    first: dict[str, str] = {}
    for pin in pins:
        if (before := first.setdefault(pin.sha256, pin.uri)) != pin.uri:
            expected = "files with different content"
            yield _fault(ALL_ROWS, "repeated", expected, f"{pin.uri} with that of {before}", 0)
            return
    if again.share > again.usual + _REPEATED:
        found = f"{again.share:.0%} of the rows of the last window with new times"
        rows = round(again.share * again.rows)
        yield _fault(ALL_ROWS, "repeated", "rows that were not there before", found, rows)


def describe_small_blocks(profile: Profile, policy: DriftPolicy) -> str | None:
    """That a feed like the training data can never be judged for drift; None if it can."""
    usual = statistics.median(profile.block_rows) if profile.block_rows else policy.least_rows
    if usual >= policy.least_rows:
        return None
    return (
        f"{policy.window_days} days of the training data have about {usual:,.0f} rows, but a "
        f"window needs {policy.least_rows:,} (drift.least_rows), so a feed like it is never "
        f"judged: lower drift.least_rows, or raise drift.window_days"
    )


def _is_ahead(day: date, today: date) -> bool:
    # A day ahead is a clock of another zone.
    return (day - today).days > 1


def _own_level(windows: Sequence[WindowRows]) -> float | None:
    """The usual rows of the feed's own last windows; None with too few of them."""
    if len(windows) < _LEAST_LEVEL:
        return None
    return statistics.median(each.rows / each.share for each in windows)


def _days_until_late(feed: Delivery) -> int:
    if feed.late_days is not None:
        return feed.late_days
    # A feed of a file a month is not late after a week.
    ends = sorted({*feed.ends})
    steps = [(after - before).days for before, after in pairwise(ends)]
    step = statistics.median(steps) if steps else 0
    return feed.window_days + round(step * (_WAITS if step > feed.window_days else 1))


def _longest_gap(days: Sequence[date]) -> tuple[int, date]:
    """The most days without rows between two of the days, and the day before them."""
    gaps = [((after - before).days - 1, before) for before, after in pairwise(days)]
    return max(gaps, key=lambda gap: gap[0], default=(0, days[0]))


def _fault(column: str, rule: Rule, expected: str, found: str, rows: int) -> Breach:
    return Breach(column=column, rule=rule, expected=expected, found=found, rows=rows)
