from __future__ import annotations

from datetime import UTC, date
from zoneinfo import ZoneInfo

import pytest

from modelyard.domain.specs.times import (
    SecondSixtyError,
    clock_time,
    find_zone,
    is_zone,
    parse_time,
)
from modelyard.errors import CannotAnswer

ROME = ZoneInfo("Europe/Rome")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-01", "2026-01-01T00:00:00"),
        ("20260101", "2026-01-01T00:00:00"),
        (" 2026-01-01 10:00 ", "2026-01-01T10:00:00"),
        ("2026-01-01T00:30:00+01:00", "2025-12-31T23:30:00"),
        ("2026-01-01T00:30:00+02:00", "2025-12-31T22:30:00"),
        ("2026-01-01T00:00:00+01:00:30", "2025-12-31T22:59:30"),
        ("2026-01-01t10:00:00.5z", "2026-01-01T10:00:00.500000"),
        ("2026-01-01T10:00:00.1234567Z", "2026-01-01T10:00:00.123456"),
        ("9999-12-31", "9999-12-31T00:00:00"),
        ("0001-01-01", "0001-01-01T00:00:00"),
    ],
)
def test_every_way_to_write_a_time_is_read_by_one_parser(text, moment):
    assert parse_time(text, UTC).isoformat() == moment


@pytest.mark.parametrize(
    "text",
    [
        "2016-12-31T23:59:60Z",
        "2016-12-31 23:59:60",
        "20161231T235960Z",
        "2026-02-03T04:05:60",
        "2017-01-01t05:29:60.5+05:30",
        "2026-02-03T04:05:60,25-01:00",
    ],
)
def test_a_second_60_is_no_other_second_but_refused(text):
    with pytest.raises(SecondSixtyError, match="with a second 60: write second 59, or the minute"):
        parse_time(text, UTC)


@pytest.mark.parametrize("text", ["2016-12-31T23:59:06.60", "2016-12-31T23:59:59.160Z"])
def test_a_fraction_of_60_is_no_second_60(text):
    assert parse_time(text, UTC).second in {6, 59}


@pytest.mark.parametrize(
    "text",
    ["", "noon", "2026-13-01", "2026-01-01T10:60:00", "0001-01-01T00:00:00+01:00", "1767225600"],
)
def test_what_is_no_time_of_the_calendar_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - every reason is Python's own
        parse_time(text, UTC)


def test_a_time_with_an_offset_belongs_to_the_day_of_the_zone_and_others_are_of_it_already():
    assert parse_time("2026-06-30T22:30:00Z", ROME).isoformat() == "2026-07-01T00:30:00"
    assert parse_time("2026-06-30T22:30:00", ROME).isoformat() == "2026-06-30T22:30:00"
    assert clock_time(date(2026, 7, 1), ROME).isoformat() == "2026-07-01T00:00:00"


def test_a_zone_is_a_name_that_means_the_same_on_every_machine():
    assert is_zone("UTC")
    assert is_zone("America/New_York")
    for name in ("", "Rome", "Europe", "localtime", "../../etc/passwd", "/etc/passwd"):
        assert not is_zone(name)
    with pytest.raises(CannotAnswer, match="there is no time zone 'Rome'"):
        find_zone("Rome")
