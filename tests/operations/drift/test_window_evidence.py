"""A window is read in parts, and what it shows is what all of its rows at once show."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from modelyard.adapters.store import evidently_page
from modelyard.adapters.tables import table_parts
from modelyard.adapters.tables.frames import with_labels
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.domain.drift.causes import find as causes
from modelyard.domain.drift.detection import check_in_season, count_window
from modelyard.domain.drift.feed_faults import find_duplicates
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.drift.row_keys import known_share, row_keys
from modelyard.domain.drift.second_look import chosen_rows
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract, Target, Task
from modelyard.operations.drift import quality
from modelyard.operations.drift.feed import read_feed
from modelyard.operations.drift.page import some_rows
from modelyard.operations.drift.quality import few_a_day
from modelyard.operations.drift.window_evidence import SeenWindows, check_windows, see_windows
from modelyard.operations.drift.window_rows import WindowData, open_windows
from modelyard.operations.training.data_root import DataRoot
from operations.training_job import model_of

COLUMNS = (
    Column(name="at", type="timestamp"),
    Column(name="temp", type="number", nullable=True, minimum=-1000),
    Column(name="wind", type="number", nullable=True),
    Column(name="trips", type="integer", nullable=True),
    Column(name="place", type="category", nullable=True),
    Column(name="is_on", type="boolean", nullable=True),
)
PLAIN = model_of(
    DataContract(columns=COLUMNS, timestamp="at"), Target(column="temp"), Task.REGRESSION
)
MODEL = replace(PLAIN, drift=replace(PLAIN.drift, least_rows=100))
DAY_ONE, WEEK, WEEKS, ROWS = np.datetime64("2026-01-05", "us"), 7 * 86_400_000_000, 12, 400
UNTIL = dt.date(2026, 1, 5) + dt.timedelta(days=7 * (WEEKS + 4))


def rows_of(seed: int, first: int, weeks: int) -> pd.DataFrame:
    """Rows of some weeks, some of which are coarse enough to come twice."""
    random, count = np.random.default_rng(seed), ROWS * weeks
    place = random.choice(
        np.array(["a", "b", "c", None], dtype=object), count, p=[0.5, 0.3, 0.1, 0.1]
    )
    temp = random.normal(14, 6, count).round(1)
    temp[random.random(count) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "at": DAY_ONE + WEEK * first + np.arange(count) * (WEEK * weeks) // count,
            "temp": temp,
            "wind": random.gamma(2.0, 1.6, count),
            "trips": random.poisson(40, count),
            "place": place,
            "is_on": random.random(count) < 0.3,
        }
    )


def trained():
    """The profile of twelve weeks."""
    frame = rows_of(0, 0, WEEKS)
    table = {str(name): frame[name].to_numpy() for name in frame}
    blocks = np.repeat(np.arange(WEEKS), ROWS)
    return build_profile(table, COLUMNS, blocks, times=table["at"])


PROFILE = trained()
CHANGES = {
    "none": lambda rows: rows,
    "a unit": lambda rows: rows.assign(temp=rows["temp"] * 1.8 + 32),
    "a swap": lambda rows: rows.assign(temp=rows["wind"], wind=rows["temp"]),
    "a sentinel": lambda rows: rows.assign(wind=rows["wind"].where(rows["trips"] > 35, -999)),
    "a shard": lambda rows: rows[rows["place"] != "b"].reset_index(drop=True),
    "rows twice": lambda rows: pd.concat([rows, rows[::3]], ignore_index=True),
    "nulls": lambda rows: rows.assign(trips=rows["trips"].astype("Int64").where(rows["is_on"])),
    "no relation": lambda rows: rows.assign(is_on=rows["is_on"].where(rows["trips"] > 30)),
    "few rows": lambda rows: rows[:50],
    "no rows": lambda rows: rows[:0],
    "a misfit": lambda rows: rows.assign(temp=rows["temp"].where(rows["trips"] > 30, -5000.0)),
}


def feed_of(changes: list[str]) -> pd.DataFrame:
    """The rows of a feed of four weeks, each with its change; a repeated week has new times."""
    weeks = []
    for number, change in enumerate(changes):
        week = rows_of(number + 1, WEEKS + number, 1)
        if change == "repeated" and weeks:
            week = weeks[0].assign(at=weeks[0]["at"] + np.timedelta64(WEEK * number, "us"))
        weeks.append(CHANGES.get(change, lambda rows: rows)(week))
    return pd.concat(weeks, ignore_index=True)


def see(folder: Path, part_rows: int) -> tuple[object, ...]:
    """What the feed in a folder shows, read in parts of so many rows."""
    root = DataRoot(base=str(folder), root=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_parts, "PART_ROWS", part_rows)
        patch.setattr(chosen_rows, "MOST_ROWS", 150)
        patch.setattr(causes, "_READ", 90)
        feed = read_feed(MODEL, "*.*", root)
        with open_windows(MODEL, feed, root, until=UNTIL, of=4) as (opened, _):
            seen = see_windows(MODEL, opened, PROFILE)
            checked = check_windows(opened, PROFILE, MODEL.drift.least_rows)
    assert [each.data for each in checked] == [without_causes(each.data) for each in seen.windows]
    return seen.windows, seen.duplicates, seen.causes, vars_of(seen)


def without_causes(data: WindowData) -> WindowData:
    """What the contract alone says of a window."""
    broken = [replace(each, cause="") for each in data.breaches if each.rule != "cause"]
    return replace(data, breaches=tuple(broken))


def vars_of(seen: SeenWindows) -> tuple[int, float, float]:
    return seen.again.rows, seen.again.share, seen.again.usual


@given(
    changes=st.lists(st.sampled_from([*CHANGES, "repeated"]), min_size=4, max_size=4),
    kind=st.sampled_from(["parquet", "parquet", "csv"]),
    cuts=st.lists(st.integers(0, 1600), max_size=3),
    order=st.none() | st.integers(0, 9),
    group=st.integers(20, 2000),
    part_rows=st.integers(7, 500),
)
@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_the_size_of_a_part_changes_nothing(
    tmp_path_factory, changes, kind, cuts, order, group, part_rows
):
    folder, frame = tmp_path_factory.mktemp("feed"), feed_of(changes)
    if order is not None:
        frame = frame.sample(frac=1, random_state=order)
    ends = [0, *sorted(min(cut, len(frame)) for cut in cuts), len(frame)]
    for number, (first, end) in enumerate(pairwise(ends)):
        path = folder / f"{number}.{kind}"
        if kind == "csv":
            frame[first:end].to_csv(path, index=False)
        else:
            frame[first:end].to_parquet(path, index=False, row_group_size=group)
    assert see(folder, part_rows) == see(folder, 10_000)


@pytest.mark.parametrize(
    "change", ["none", "a unit", "a swap", "a sentinel", "a shard", "rows twice"]
)
def test_a_window_in_parts_shows_what_its_rows_show_in_memory(tmp_path, change):
    frame = feed_of(["none", "nulls", "none", change])
    frame.to_parquet(tmp_path / "a.parquet", index=False, row_group_size=333)
    windows, duplicates, found, again = see(tmp_path, 64)
    first = DAY_ONE + WEEK * np.arange(WEEKS, WEEKS + 5)
    tables = []
    for since, until in pairwise(first):
        own = frame[(frame["at"] >= since) & (frame["at"] < until)]
        tables.append(
            {
                name: own[name].to_numpy(dtype=float, na_value=np.nan)
                if name in {"temp", "wind", "trips"}
                else own[name].to_numpy()
                for name in own
            }
        )
    for window, table in zip(windows, tables, strict=True):
        counts = count_window(PROFILE, table)
        assert window.checks == check_in_season(PROFILE, counts, window.data.days, least_rows=100)
    keys = row_keys(tables[-1], COLUMNS, times=tables[-1]["at"])
    assert list(duplicates) == list(find_duplicates(PROFILE, keys))
    plain = [np.sort(row_keys(table, COLUMNS)) for table in tables]
    shares = [known_share(plain[-1], each) for each in plain[:-1]]
    assert again[:2] == (len(keys), max(shares))
    assert bool(found) == (change not in {"none", "rows twice"})
    assert bool(duplicates) == (change == "rows twice")


def test_rows_that_come_again_are_counted_and_only_in_the_last_window(tmp_path):
    feed_of(["none", "none", "none", "repeated"]).to_parquet(tmp_path / "a.parquet", index=False)
    assert see(tmp_path, 50)[-1] == (ROWS, 1.0, 0.0)


def test_a_row_that_breaks_the_contract_is_named_with_its_place_in_each_window(tmp_path):
    frame = feed_of(["none"] * 4)
    trips = frame["trips"].astype(float)
    trips[[3, 3 * ROWS + 5]] = 0.5
    frame.assign(trips=trips).to_parquet(tmp_path / "a.parquet", index=False)
    windows = see(tmp_path, 100)[0]
    found = [breach.found for each in windows for breach in each.data.breaches]
    assert found == ["the number 0.5 (a.parquet, row 4)",
                     f"the number 0.5 (a.parquet, row {3 * ROWS + 6})"]  # fmt: skip
    assert [each.checks is None for each in windows] == [True, False, False, True]


@pytest.mark.parametrize("name", ["Place", "other"])
def test_of_a_file_with_broken_names_the_names_are_said_and_nothing_is_compared(tmp_path, name):
    frame = feed_of(["none"] * 4)
    frame[:ROWS].to_parquet(tmp_path / "a.parquet", index=False)
    broken = frame[ROWS:].rename(columns={"place": name})
    broken.to_parquet(tmp_path / "b.parquet", index=False)
    windows = see(tmp_path, 100)[0]
    assert [each.data.rows for each in windows] == [ROWS] * 4
    rules = [[breach.rule for breach in each.data.breaches] for each in windows]
    assert rules == [[], ["missing"], ["missing"], ["missing"]]
    assert [each.checks is None for each in windows] == [False, True, True, True]


def test_the_report_shows_the_rows_that_a_sample_of_one_frame_has(tmp_path):
    frame = feed_of(["none"] * 4)
    frame.to_parquet(tmp_path / "a.parquet", index=False, row_group_size=300)
    root, names = DataRoot(base=str(tmp_path), root=tmp_path), ["temp", "trips", "place", "is_on"]
    feed = read_feed(MODEL, "*.parquet", root)
    with (
        pytest.MonkeyPatch.context() as patch,
        open_windows(MODEL, feed, root, until=UNTIL, of=4) as (opened, _),
    ):
        patch.setattr(table_parts, "PART_ROWS", 64)
        patch.setattr(evidently_page, "SAMPLE", 200)
        shown = some_rows(opened, rows=len(frame), names=names)
    expected = frame[names].sample(200, random_state=0).reset_index(drop=True)
    pd.testing.assert_frame_equal(shown.reset_index(drop=True), expected, check_dtype=False)


def test_texts_of_every_kind_of_arrow_show_the_same_however_a_window_is_cut(tmp_path):
    frame, seen = feed_of(["none"] * 4), []
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place = table.schema.get_field_index("place")
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        folder = tmp_path / str(kind)
        folder.mkdir()
        changed = table.set_column(place, "place", table.column(place).cast(kind))
        parquet.write_table(changed, folder / "a.parquet", row_group_size=333)
        seen += [see(folder, 64), see(folder, 10_000)]
    assert all(each == seen[0] for each in seen)


def test_a_file_is_opened_once_for_a_reading_however_many_groups_it_has(tmp_path, monkeypatch):
    """Each opening reads what the file says of all of its groups."""
    rows_of(1, WEEKS, 4).to_parquet(tmp_path / "a.parquet", index=False, row_group_size=20)
    opened, real = [], table_parts.open_parts

    def count(*words, **more):
        opened.append(words)
        return real(*words, **more)

    monkeypatch.setattr(table_parts, "open_parts", count)
    table = TableFile(tmp_path / "a.parquet", uri="a.parquet", data=MODEL.data)
    span = (Interval(since=UNTIL - dt.timedelta(days=7), until=UNTIL),)
    assert sum(len(frame) for frame, _ in table.coded_parts(["temp"], span)) == ROWS
    before = len(opened)
    assert sum(len(frame) for frame, _ in table.coded_parts(["temp"], span)) == ROWS
    assert len(opened) - before == 1


def test_nulls_of_other_days_do_not_change_the_types_of_the_rows_that_are_scored(tmp_path):
    frame = feed_of(["none"] * 4)
    own = frame["at"] >= DAY_ONE + WEEK * (WEEKS + 3)
    frame = frame.assign(
        trips=frame["trips"].astype("Int64").where(own),
        is_on=frame["is_on"].astype(object).where(own, None),
    ).sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "a.parquet", index=False)
    table = TableFile(tmp_path / "a.parquet", uri="a.parquet", data=MODEL.data)
    span = Interval(since=UNTIL - dt.timedelta(days=7), until=UNTIL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_parts, "PART_ROWS", 64)
        found = pd.concat(few_a_day(table, MODEL, span), ignore_index=True)
    pd.testing.assert_frame_equal(found, with_labels(table.rows_within((span,)), MODEL)[0])
    assert [str(found[name].dtype) for name in ("trips", "is_on")] == ["int64", "bool"]


@pytest.mark.parametrize("part_rows", [7, 64, 5000])
def test_as_many_labelled_rows_of_a_day_are_scored_however_they_are_read(tmp_path, part_rows):
    frame = feed_of(["none", "nulls", "none", "no relation"])
    frame.to_parquet(tmp_path / "a.parquet", index=False, row_group_size=300)
    table = TableFile(tmp_path / "a.parquet", uri="a.parquet", data=MODEL.data)
    span = Interval(since=UNTIL - dt.timedelta(days=20), until=UNTIL)
    labelled = with_labels(table.rows_within((span,)), MODEL)[0]
    days = labelled["at"].dt.date
    place = labelled.groupby(days).cumcount()
    step = days.map(days.value_counts()).map(lambda rows: -(-rows // 20))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_parts, "PART_ROWS", part_rows)
        patch.setattr(quality, "ROWS_A_DAY", 20)
        found = pd.concat(few_a_day(table, MODEL, span), ignore_index=True)
    expected = labelled[place % step == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
