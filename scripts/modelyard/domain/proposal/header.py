"""Finds what is wrong with the first line of a table that should have the names of its columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HeaderFault:
    """What is wrong with a header, and what a person does about it.

    Args:
        what: What is wrong.
        hint: What to do.
        row: The row, from 0, that seems to be the header; None if it is the first line.
    """

    what: str
    hint: str
    row: int | None = None


def find_header_fault(
    names: Sequence[str], rows: Sequence[Sequence[str | None]]
) -> HeaderFault | None:
    """The first fault of a header; None if each column has a name of its own.

    One column without a name is right: pandas writes the numbers of rows so.

    Args:
        names: What the first line has.
        rows: The first rows after it.
    """
    unnamed = sum(not name.strip() for name in names)
    if unnamed > 1:
        row = next((number for number, each in enumerate(rows) if _may_be_header(each)), None)
        return HeaderFault(
            what=f"{unnamed} of {len(names)} columns have no name; a title may stand above them",
            hint="the first line must have the name of each column",
            row=row,
        )
    for name in names:
        if names.count(name) > 1:
            return HeaderFault(
                what=f"{names.count(name)} columns are named {name!r}",
                hint="give each column a name of its own, or leave one of them out",
            )
    for name in names:
        if name != name.strip():
            return HeaderFault(
                what=f"the column name {name!r} begins or ends with a blank, as the fields below "
                "it may",
                hint="save the file without blanks beside its commas; in Python: "
                "pandas.read_csv(FILE, skipinitialspace=True).to_csv(NEW, index=False)",
            )
    return None


def _may_be_header(row: Sequence[str | None]) -> bool:
    """Whether each field of a row could be a name of its own, and none is a number."""
    found = [(each or "").strip() for each in row]
    has_letters = all(any(mark.isalpha() for mark in each) for each in found)
    return has_letters and len(set(found)) == len(found)
