from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.drift import row_keys as row_keys_module
from modelyard.domain.drift.feed_faults import (
    Delivery,
    RowsAgain,
    WindowRows,
    describe_small_blocks,
    find_delivery_faults,
    find_duplicates,
    find_gaps,
    find_repeats,
    find_volume_faults,
    last_day,
)
from modelyard.domain.drift.profile import Profile
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.drift.row_keys import repeated_share, row_keys
from modelyard.domain.specs.contract import Column, describe_breach
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DriftPolicy
from modelyard.domain.specs.version import DataFile

TODAY = date(2026, 7, 1)
COLUMNS = (
    Column(name="x", type="number"),
    Column(name="y", type="number"),
    Column(name="place", type="category"),
)


def again(windows) -> RowsAgain:
    found = RowsAgain()
    for keys in reversed(windows):
        found.add(keys.copy())
    return found


def delivery(days, *, ends=(), late_days=None) -> Delivery:
    return Delivery(
        timestamp="day",
        rows={TODAY - timedelta(days=ago): 10 for ago in days},
        ends=ends,
        today=TODAY,
        late_days=late_days,
        window_days=7,
    )


def profile(block_rows=(), repeated=None) -> Profile:
    return Profile(rows=1, blocks=1, columns=(), block_rows=tuple(block_rows), repeated=repeated)


def rules(found) -> list[str]:
    return [each.rule for each in found]


@pytest.mark.parametrize(
    ("newest", "late_days", "found"),
    [(7, None, []), (8, None, ["late"]), (8, 8, []), (9, 8, ["late"]), (900, 0, [])],
)
def test_a_feed_is_late_after_a_window_or_the_days_of_the_policy(newest, late_days, found):
    assert rules(find_delivery_faults(delivery([newest], late_days=late_days))) == found


@pytest.mark.parametrize(
    ("step", "allowed"),
    [(1, 8), (7, 14), (14, 28), (30, 52)],  # more than a week apart they may be half as late again
)
def test_the_usual_time_between_two_files_is_added_to_a_window(step, allowed):
    ends = [TODAY - timedelta(days=10 + n * step) for n in range(3)]
    assert rules(find_delivery_faults(delivery([allowed], ends=ends))) == []
    assert rules(find_delivery_faults(delivery([allowed + 1], ends=ends))) == ["late"]


def test_files_of_a_month_that_come_on_the_tenth_are_never_late_and_a_missing_one_is():
    late = [day for day in days_of_2026() if monthly_faults(day, published=10)]
    assert late == []
    lost = [day for day in days_of_2026() if monthly_faults(day, published=10, until=7)]
    assert lost[0] == date(2026, 8, 23)  # the file of July was due on 10 August


def days_of_2026() -> list[date]:
    return [date(2026, 1, 1) + timedelta(days=n) for n in range(365)]


def monthly_faults(today: date, *, published: int, until: int = 99) -> list[str]:
    """The faults on a day of 2026, if each month's file comes in the next; `until` is the last."""
    firsts = [date(2025 + n // 12, n % 12 + 1, 1) for n in range(24)]
    known = [
        first - timedelta(days=1)
        for number, first in enumerate(firsts)
        if first + timedelta(days=published - 1) <= today and number - 12 < until
    ]
    feed = replace(delivery([]), rows=dict.fromkeys(known, 10), ends=known, today=today)
    return rules(find_delivery_faults(feed))


EASTER = {date(2026, 4, 3), date(2026, 4, 6), date(2025, 4, 18), date(2025, 4, 21)}


@pytest.mark.parametrize(("history", "nights"), [(100, 7), (500, 0)])
def test_easter_is_a_gap_of_a_week_until_it_is_known_from_the_year_before(history, nights):
    found = 0
    for night in range(40):
        end = date(2026, 4, 4) + timedelta(days=night)
        begin = date(2026, 4, 4) - timedelta(days=history)
        known = (begin + timedelta(days=n) for n in range((end - begin).days))
        days = [day for day in known if day.weekday() < 5 and day not in EASTER]
        feed = replace(delivery([]), rows=dict.fromkeys(days, 10))
        until = days[-1] + timedelta(days=1)
        windows = [
            Interval(since=until - timedelta(days=n + 7), until=until - timedelta(days=n))
            for n in (21, 14, 7, 0)
        ]
        found += bool(rules(find_gaps(feed, windows)))
    assert found <= nights
    assert bool(found) == bool(nights)


def test_tomorrow_is_another_clock_and_the_day_after_it_is_of_the_future():
    assert rules(find_delivery_faults(delivery([-1]))) == []
    found = delivery([-2, 0])
    assert [describe_breach(each) for each in find_delivery_faults(found)] == [
        "column day (future): expected no row after today, found days up to 2026-07-03 (10 rows)"
    ]
    assert last_day(found.rows, TODAY) == TODAY
    assert last_day([], TODAY) is None


def spans() -> list[Interval]:
    return [
        Interval(since=TODAY - timedelta(days=ago + 7), until=TODAY - timedelta(days=ago))
        for ago in (21, 14, 7, 0)
    ]


@pytest.mark.parametrize(
    ("days", "gaps"),
    [
        (range(1, 200), []),
        ([ago for ago in range(1, 200) if ago != 4], ["gap"]),
        ([ago for ago in range(1, 200) if ago not in (6, 7, 8)], ["gap"]),  # first days of a window
        ([ago for ago in range(1, 200) if ago != 9], []),  # no year is known
        ([ago for ago in range(1, 500) if ago != 9], ["gap"]),
        ([ago for ago in range(1, 500) if ago not in (27, 28)], ["gap"]),
        ([ago for ago in range(1, 500) if ago not in (9, 390)], []),  # as a year ago
        ([ago for ago in range(1, 200) if ago % 7 > 1], []),  # five days a week
        ([ago for ago in range(1, 500) if ago % 7 > 1 and ago != 9], ["gap"]),
        ([ago for ago in range(1, 200) if ago % 7 > 1 and ago != 4], []),  # one day midweek
        ([ago for ago in range(1, 20) if ago != 4], []),  # too little is known before
        ([ago for ago in range(1, 36) if ago != 4], []),
        ([ago for ago in range(1, 37) if ago != 4], ["gap"]),  # four weeks are known
        (range(1, 8), []),
    ],
)
def test_more_days_without_rows_than_ever_before_are_a_gap(days, gaps):
    assert rules(find_gaps(delivery(days), spans())) == gaps


def of_week(rows: int) -> WindowRows:
    return WindowRows(days=spans()[-1], rows=rows)


@pytest.mark.parametrize(
    ("rows", "found"),
    [(700, []), (500, []), (490, ["volume"]), (350, ["volume"]), (990, []), (1400, ["volume"])],
)
def test_far_fewer_or_more_rows_than_in_training_are_a_fault(rows, found):
    known = profile([700, 690, 710, 700, 705, 695, 700, 700])
    assert rules(find_volume_faults(known, [of_week(rows)])) == found


def test_what_the_training_weeks_vary_by_is_no_fault():
    known = profile([400, 700, 1100, 600, 900, 700, 650, 800])
    assert rules(find_volume_faults(known, [of_week(360)])) == []
    assert rules(find_volume_faults(known, [of_week(250)])) == ["volume"]


def test_a_volume_that_stays_off_says_when_it_is_a_new_level_and_then_is_one():
    known, first = profile([700] * 20), date(2026, 3, 2)
    weeks = [
        WindowRows(
            days=Interval(
                since=first + timedelta(days=7 * n), until=first + timedelta(days=7 * n + 7)
            ),
            rows=700 if n < 9 else 300,
        )
        for n in range(14)
    ]
    said = []
    for end in range(10, 15):
        faults = find_volume_faults(known, weeks[end - 4 : end], weeks[end - 9 : end - 4])
        said += [fault.found.rpartition(" about ")[2] for fault in faults]
    # The fifth such week, which ends on this day, is a fault no more.
    assert said == [str(weeks[13].days.until)] * 4


def test_without_enough_blocks_volume_is_not_tested():
    assert rules(find_volume_faults(profile([700] * 7), [of_week(1)])) == []
    assert rules(find_volume_faults(profile(), [of_week(1)])) == []


def test_rows_that_come_twice_are_a_fault_beyond_what_training_has():
    keys = np.arange(100, dtype=np.uint64)
    both = np.concatenate([keys, keys[:10]])
    assert repeated_share(both) == pytest.approx(20 / 110)
    assert rules(find_duplicates(profile(repeated=0.0), both)) == ["duplicate"]
    assert rules(find_duplicates(profile(repeated=0.15), both)) == []
    assert rules(find_duplicates(profile(), both)) == []


def with_twins(rows: int, share: float) -> np.ndarray:
    """Keys of which about this share are there twice."""
    twins = round(rows * share / 2)
    keys = np.arange(rows - twins, dtype=np.uint64)
    return np.concatenate([keys, keys[:twins]])


@pytest.mark.parametrize(
    ("blocks", "share", "said"),
    [
        ((0.0,) * 50 + (0.33, 0.33), 0.33, []),
        ((0.0,) * 50 + (0.33, 0.33), 0.43, ["duplicate"]),
        ((0.0,) * 52, 0.07, ["duplicate"]),
        ((0.3,) * 52, 0.33, []),
        ((0.3,) * 52, 0.37, ["duplicate"]),
        # A week of training that was delivered twice hides no other.
        ((0.0,) * 51 + (1.0,), 1.0, ["duplicate"]),
        # Rows of six flags agree nearly always.
        ((0.97,) * 52, 0.98, []),
    ],
)
def test_rows_that_come_twice_are_compared_with_the_blocks_of_training(blocks, share, said):
    known = replace(profile([1000] * 52, repeated=0.01), repeated_of_blocks=blocks)
    assert rules(find_duplicates(known, with_twins(1000, share))) == said


def shop(rows: int, seed: int = 1):
    """Rows of a week by the hour, with six coarse numbers and two finer columns after them."""
    random = np.random.default_rng(seed)
    columns = {f"n{n}": random.integers(0, 2, rows).astype(float) for n in range(6)}
    columns["price"] = random.integers(0, 1000, rows).astype(float)
    columns["place"] = random.choice([f"p{n}" for n in range(50)], rows).astype(object)
    hours = random.integers(0, 168, rows)
    return columns, np.datetime64("2026-06-01T00", "h") + hours * np.timedelta64(1, "h")


SHOP = (
    *(Column(name=f"n{n}", type="integer") for n in range(6)),
    Column(name="price", type="number"),
    Column(name="place", type="category"),
)


@pytest.mark.parametrize("columns", [SHOP, SHOP[:7], (*SHOP[:6], SHOP[7])])
def test_rows_that_agree_in_their_first_numbers_are_not_the_same_row(columns):
    known, times = shop(1000)
    built = build_profile(known, columns, np.zeros(1000, dtype=np.int64), times=times)
    assert built.repeated is not None
    assert built.repeated < 0.05
    more, later = shop(3000, seed=2)
    keys = row_keys(more, columns, times=later)
    assert rules(find_duplicates(built, keys)) == []
    assert rules(find_duplicates(built, np.concatenate([keys, keys[:300]]))) == ["duplicate"]


@pytest.mark.parametrize("growth", [1, 2, 4])
def test_rows_that_agree_by_chance_may_grow_with_the_volume(growth):
    coarse = SHOP[:6]
    known, times = shop(2000)
    built = build_profile(known, coarse, np.zeros(2000, dtype=np.int64), times=times)
    assert built.repeated is not None
    assert 0.1 < built.repeated < 0.25
    more, later = shop(2000 * growth, seed=2)
    keys = row_keys(more, coarse, times=later)
    assert rules(find_duplicates(built, keys)) == []
    if growth == 1:
        assert rules(find_duplicates(built, np.concatenate([keys, keys]))) == ["duplicate"]


def table(seed: int, rows: int = 500, *, coarse: bool = False):
    random = np.random.default_rng(seed)
    return {
        "x": random.normal(size=rows) if not coarse else random.integers(0, 2, rows) * 1.0,
        "y": np.where(random.random(rows) < 0.1, np.nan, random.integers(0, 3, rows)),
        "place": random.choice(np.array(["a", "b", None], dtype=object), rows),
    }


def test_rows_of_an_earlier_window_with_new_times_are_a_fault():
    windows = [row_keys(table(seed), COLUMNS) for seed in (1, 2, 3)]
    for last, found in ((4, []), (2, ["repeated"])):
        assert rules(find_repeats([], again([*windows, row_keys(table(last), COLUMNS)]))) == found


def test_rows_that_are_equal_by_chance_are_no_fault():
    windows = [row_keys(table(seed, coarse=True), COLUMNS) for seed in (1, 2, 3, 4)]
    assert rules(find_repeats([], again(windows))) == []
    assert build_profile(table(1, coarse=True), COLUMNS, np.zeros(500, dtype=np.int64),
                         times=np.full(500, "2026-01-01", dtype="datetime64[us]")
                         ).repeated == pytest.approx(1.0)  # fmt: skip


def test_rows_that_recur_are_no_fault_after_windows_without_rows():
    # A car park has a name and a size: each row of a window is in the window before.
    coarse = [row_keys(table(seed, coarse=True), COLUMNS) for seed in (1, 2)]
    assert (
        rules(find_repeats([], again([coarse[0], coarse[0][:0], coarse[0][:0], coarse[1]]))) == []
    )
    fine = [row_keys(table(seed), COLUMNS) for seed in (1, 2)]
    windows = [fine[0], fine[0][:0], fine[1], fine[0]]
    assert rules(find_repeats([], again(windows))) == ["repeated"]


def test_a_file_with_the_content_of_another_is_a_fault():
    pins = [DataFile(uri=uri, sha256=digit * 64) for uri, digit in (("a", "1"), ("b", "1"))]
    keys = row_keys(table(1), COLUMNS)
    [fault] = find_repeats(pins, again([keys]))
    assert describe_breach(fault) == (
        "rows (repeated): expected files with different content, found b with that of a"
    )


def test_a_key_tells_rows_apart_by_value_and_time_and_takes_nulls_for_equal():
    first, times = table(1), np.arange(500).astype("datetime64[h]")
    assert np.array_equal(row_keys(first, COLUMNS), row_keys(dict(first), COLUMNS))
    assert repeated_share(row_keys(first, COLUMNS)) == 0.0
    moved = row_keys(first, COLUMNS, times=times + np.timedelta64(1, "h"))
    assert not np.isin(moved, row_keys(first, COLUMNS, times=times)).any()
    same = {"x": np.array([0.0, -0.0, np.nan, np.nan])}
    keys = row_keys(same, COLUMNS[:1])
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[0] != keys[2]


def test_a_feed_that_can_never_be_judged_is_named_when_the_profile_is_built():
    policy = DriftPolicy(least_rows=500)
    assert describe_small_blocks(profile([600] * 9), policy) is None
    assert describe_small_blocks(profile(), policy) is None
    assert describe_small_blocks(profile([336] * 9), policy) == (
        "7 days of the training data have about 336 rows, but a window needs 500 "
        "(drift.least_rows), so a feed like it is never judged: lower drift.least_rows, or raise "
        "drift.window_days"
    )


def test_a_profile_of_an_earlier_version_is_read_and_watches_no_rows():
    document = build_profile(table(1), COLUMNS, np.arange(500) // 50).to_document()
    assert Profile.from_document(document).block_rows == (50,) * 10
    for name in ("block_rows", "repeated"):
        del document[name]
    old = Profile.from_document(document)
    assert (old.block_rows, old.repeated) == ((), None)


@given(
    counts=st.lists(st.integers(1, 5), max_size=12),
    size=st.integers(1, 8),
)
def test_rows_that_are_there_twice_are_counted_wherever_their_keys_are_cut(counts, size):
    keys = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    repeated = sum(count for count in counts if count > 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_keys_module, "_SLICE", size)
        assert repeated_share(keys[::-1]) == (repeated / len(keys) if counts else 0.0)
