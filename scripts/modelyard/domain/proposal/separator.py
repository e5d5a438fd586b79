"""Finds what separates the fields of a table that should have commas."""

from __future__ import annotations

_OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def find_separator(header: str) -> str | None:
    """What separates the fields of a header without a comma, in words; None for one column."""
    found = [words for mark, words in _OTHERS.items() if mark in header]
    return found[0] if found else None


def commas_hint(separator: str) -> str:
    """What a person does about it."""
    return (
        f"its fields are separated by {separator}: save it with commas between fields, and with a "
        "point in numbers"
    )
