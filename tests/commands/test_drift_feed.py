"""Faults of a feed as a whole: `drift` names each, records it, and still compares the rows."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from operations.drift_yard import (
    JUNE,
    NOW,
    Yard,
    drifting_yard,
    rows,
)


def small_yard(folder: Path, *, warm: bool = False) -> Yard:
    """Half a year of rows, with a step of temperature in May if `warm`."""
    yard = drifting_yard(folder)
    if not warm:
        for month in (5, 6):
            since = date(2026, month, 1)
            frame = rows(since, date(2026, month + 1, 1), warm_from=date.max)
            frame.to_parquet(yard.root / f"data/delays/2026-{month:02}.parquet", index=False)
    return yard


@pytest.fixture
def yard(tmp_path) -> Yard:
    return small_yard(tmp_path)


def june(yard: Yard) -> pd.DataFrame:
    return pd.read_parquet(yard.root / JUNE)


def write(yard: Yard, frame: pd.DataFrame, uri: str = JUNE) -> None:
    frame.to_parquet(yard.root / uri, index=False)


def found_rules(yard: Yard, *words: object) -> tuple[int, str, list[str]]:
    """The exit code, the outcome and the broken rules."""
    code, found = yard.answer("drift", "delays", *words)
    assert len(found["incidents"]) == len(found["breaches"])
    return code, found["outcome"], [breach["rule"] for breach in found["breaches"]]


@pytest.mark.long
def test_a_feed_without_a_fault_breaks_no_rule(yard):
    assert found_rules(yard) == (0, "none", [])


def twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame])


def half(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[::2]


def without_a_week(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame["date"] < "2026-06-20") | (frame["date"] >= "2026-06-27")]


def last_week_mostly_lost(frame: pd.DataFrame) -> pd.DataFrame:
    last = frame["date"] >= "2026-06-24"
    return pd.concat([frame[~last], frame[last][::3]])


def one_row_of_2099(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.tail(1).assign(date="2099-01-01")])


def old_rows_with_new_dates(frame: pd.DataFrame) -> pd.DataFrame:
    old, new = frame[frame["date"] < "2026-06-24"], frame[frame["date"] >= "2026-06-24"]
    again = old[old["date"] >= "2026-06-17"].assign(date=new["date"].to_numpy())
    return pd.concat([old, again])


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (twice, ["volume", "duplicate"]),
        (half, ["volume"]),
        (without_a_week, ["gap"]),
        (last_week_mostly_lost, ["volume"]),
        (one_row_of_2099, ["future"]),
        (old_rows_with_new_dates, ["repeated"]),
    ],
)
def test_a_fault_of_the_feed_is_named_and_the_rows_are_compared_all_the_same(yard, change, rules):
    write(yard, change(june(yard)))
    assert found_rules(yard) == (3, "breached", rules)
    assert yard.answer("drift", "delays")[1]["windows"][-1]["usable"]


@pytest.mark.long
def test_a_file_that_comes_again_under_another_name_is_named(yard):
    shutil.copy(yard.root / JUNE, yard.root / "data/delays/2026-06-again.parquet")
    assert found_rules(yard)[2] == ["volume", "duplicate", "repeated"]


@pytest.mark.long
def test_a_feed_is_late_a_window_and_the_time_between_two_files_after_its_newest_day(yard):
    # Files of a month each: 7 and one and a half times 30 days after 30 June.
    yard.clock.at = NOW + timedelta(days=51)
    assert found_rules(yard) == (0, "none", [])
    yard.clock.at = NOW + timedelta(days=52)
    assert found_rules(yard) == (3, "breached", ["late"])
    # Whoever asks about a day of the past knows that it is not the newest one.
    assert yard.answer("drift", "delays", "--until", "2026-06-20")[1]["breaches"] == []


@pytest.mark.long
def test_a_row_of_the_future_does_not_hide_drift(tmp_path):
    yard = small_yard(tmp_path, warm=True)
    write(yard, one_row_of_2099(june(yard)))
    code, found = yard.answer("drift", "delays")
    assert (code, found["outcome"], found["until"]) == (3, "breached", "2026-07-01")
    assert {one["column"] for one in found["confirmed"]} == {"temp"}
    done = yard.run("retrain", "delays")
    assert done.exit_code == 3
    assert "is not retrained: contract of data/delays/*.parquet broken: column date (future)" in (
        done.stderr
    )


@pytest.mark.long
def test_an_incident_of_the_feed_closes_when_the_feed_is_repaired(yard):
    sound = (yard.root / JUNE).read_bytes()
    write(yard, twice(june(yard)))
    assert found_rules(yard)[0] == 3
    assert len(yard.workspace.facts.read_model("delays").incidents) == 2
    (yard.root / JUNE).write_bytes(sound)
    assert found_rules(yard)[0] == 0
    assert yard.workspace.facts.read_model("delays").incidents == ()


@pytest.mark.long
def test_the_text_names_the_fault_and_the_result_of_the_comparison(yard):
    write(yard, one_row_of_2099(june(yard)))
    lines = yard.run("drift", "delays").stdout.splitlines()
    assert lines[-3:] == [
        "column date (future): expected no row after today, found days up to 2099-01-01 (1 row)",
        "delays: drift from what v2 was trained on is not confirmed by 3 of 4 windows before "
        "2026-07-01",
        "delays: an incident is recorded, and nothing is retrained",
    ]


@pytest.mark.long
def test_drift_that_looks_like_a_turned_sign_is_an_incident_and_no_proposal(yard):
    frame = june(yard)
    write(yard, frame.assign(temp=-frame["temp"]))
    code, found = yard.answer("drift", "delays")
    assert (code, found["outcome"]) == (3, "breached")
    assert {one["column"] for one in found["confirmed"]} == {"temp"}
    [breach] = found["breaches"]
    assert (breach["column"], breach["rule"]) == ("temp", "cause")
    assert breach["found"].startswith("looks as if the sign was turned")
    done = yard.run("retrain", "delays")
    assert (done.exit_code, "column temp (cause)" in done.stderr) == (3, True)
    assert yard.services.desk.list(every=True) == ()
