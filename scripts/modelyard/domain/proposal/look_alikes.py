"""Texts that look like dates or numbers in a form that no type of the contract reads."""

from __future__ import annotations

import re
from collections.abc import Mapping

LIKE_DATES = "its texts look like dates"

_MOST = 0.9
_NO_VALUE = frozenset(["", "-", "--", ".", "?", "n/a", "na", "nan", "none", "null", "unknown"])
_DAY = re.compile(
    r"(\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2}))"
    r"([ T]\d{1,2}[:.]\d{2}.*)?"
)
_NUMBER = re.compile(
    r"[^\w\s]?\s?[+-]?(\d+|\d{1,3}([,. '\u00a0\u202f]\d{3})+)([.,]\d+)?\s?[^\w\s]?"
)


def describe_look_alike(levels: Mapping[str, int]) -> str:
    """What the texts of a category seem to be, and what to do about it; empty if texts.

    Args:
        levels: Rows by text.
    """
    words = {text: rows for text, rows in levels.items() if text.strip().lower() in _NO_VALUE}
    rest = {text: rows for text, rows in levels.items() if text not in words}
    if all(text.isdigit() for text in rest):
        return ""  # codes, unless there are words for no value between them
    if _share(rest, _DAY) >= _MOST:
        odd = next(text for text in rest if _DAY.fullmatch(text.strip()))
        wanted = "2026-12-31 23:59" if ":" in odd else "2026-12-31"
        return f"{LIKE_DATES}, such as {odd}: write them as {wanted} and try again"
    if _share(rest, _NUMBER) < _MOST:
        return ""
    odd = next((text for text in rest if not _is_plain(text)), "")
    if not odd and not words:
        return ""
    example = f", such as {odd}: write them as 1234.5" if odd else ""
    if words:
        say = f"leave the fields that say {next(iter(words))!r} empty"
        example += f", {say}," if odd else f": {say}"
    return f"its texts look like numbers{example} and try again"


def _share(levels: Mapping[str, int], form: re.Pattern[str]) -> float:
    """The share of rows whose text has this form."""
    rows = sum(levels.values())
    alike = sum(rows for text, rows in levels.items() if form.fullmatch(text.strip()))
    return alike / rows if rows else 0.0


def _is_plain(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text.strip()) is not None
