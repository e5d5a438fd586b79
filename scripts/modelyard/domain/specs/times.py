"""Times: the one parser of ISO 8601 text, and the clock that a model's days belong to."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from modelyard.errors import CannotAnswer

DEFAULT_ZONE = "UTC"

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)"
"""The pattern of a time that people give as an end: to the minute, with its offset."""

_OF_THE_MACHINE = frozenset({"localtime", "posixrules"})  # another zone on another machine

# `:60` as seconds. No clock of Python or numpy has it: as `:59` it would be another moment, and as
# `:00` of the next minute, for a leap second, one of another day.
_SECOND_60 = re.compile(r"[T\s](?:\d\d:\d\d:|\d{4})60(?=$|[.,Z+-])")


class SecondSixtyError(ValueError):
    """A time has a second 60, as a leap second has."""


def is_zone(name: str) -> bool:
    """Whether the name is a time zone of the IANA database, such as `Europe/Rome`."""
    try:
        find_zone(name)
    except CannotAnswer:
        return False
    return True


@lru_cache(maxsize=64)
def find_zone(name: str) -> tzinfo:
    """The time zone of an IANA name; `CannotAnswer` if there is none."""
    if name == DEFAULT_ZONE:
        return UTC
    with suppress(OSError, ValueError, KeyError):  # also for a folder's name, or a path
        if name not in _OF_THE_MACHINE:
            return ZoneInfo(name)
    raise CannotAnswer(
        f"there is no time zone {name!r}", hint="use a name of the IANA database: Europe/Rome"
    )


def parse_time(text: str, zone: tzinfo) -> datetime:
    """The time of an ISO 8601 text on the clock of a zone, without a zone.

    - A time with an offset is moved to the zone's clock; one without is on that clock already.
    - A date is its midnight. A second 60 is refused, also that of a leap second.
    - Digits beyond microseconds are cut off.

    Raises:
        SecondSixtyError: It has a second 60.
        ValueError: The text is no time, or not of the years 1 to 9999.
    """
    plain = text.strip().upper()  # RFC 3339 allows `t` and `z`
    if "60" in plain[13:] and _SECOND_60.search(plain) is not None:
        raise SecondSixtyError("with a second 60: write second 59, or the minute after it")
    return clock_time(datetime.fromisoformat(plain), zone)


def parse_moment(text: str) -> datetime:
    """The time in UTC of a text such as `2027-01-04T08:00Z` or `2027-01-04T08:00+01:00`.

    Without an offset, one reader's 08:00 would be another's 09:00.

    Raises:
        ValueError: The text is no time, has no offset, or is not of the years 1 to 9999.
    """
    if re.fullmatch(MOMENT, text, re.ASCII) is None:
        raise ValueError(f"{text!r} is no time with an offset, such as 2027-01-04T08:00Z")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text} is not of the years 1 to 9999") from error


def clock_time(moment: date | datetime, zone: tzinfo) -> datetime:
    """A date or a time on the clock of a zone, without a zone; see `parse_time`."""
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time())
    if moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(zone).replace(tzinfo=None)
    except OverflowError as error:
        raise ValueError(f"{moment} is not of the years 1 to 9999") from error


def format_span(seconds: float) -> str:
    """A duration in seconds, for people, in its two largest units."""
    whole = round(seconds)
    # Negative if a clock was set back between two events.
    if abs(whole) < _MINUTE:
        return f"{seconds:.1f} s"
    if abs(whole) < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if abs(whole) < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
