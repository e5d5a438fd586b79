"""Keeps in a file what is known of merged pull requests: a forge of years has many of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

from modelyard.adapters.garbage import garbage_collector_off
from modelyard.adapters.kept_file import read_kept, write_kept
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import Purpose, parse_branch
from modelyard.domain.promotion.pulls import PullState, PullSummary

logger = logging.getLogger(__name__)

WORTH_WRITING = 50
"""So many new ones make a new file: to read a few again is cheaper than to write all."""

# Another form has another name, and the old file is written anew.
_FORM = "merged-pulls-1"
_NAMES = tuple(each.name for each in fields(PullSummary) if each.name != "body")

_PLAIN = {
    "number": int,
    **dict.fromkeys(("branch", "title", "base", "head", "merged_as"), str),
    **dict.fromkeys(("by_hand", "on_page"), bool),
}
"""What JSON holds as it is; all that is kept was merged."""

_STATES = {str(each): each for each in PullState}


@dataclass(frozen=True, kw_only=True)
class KeptPull:
    """A merged pull request, and the commit of the document that says so."""

    commit: str
    pull: PullSummary


class KeptPulls:
    """Merged pull requests by number; a file that cannot be read is as good as none.

    A document never changes for its commit, so each is taken only for the commit it was read from.
    They are kept without their pages. So rollbacks are not kept, whose pages are notified, nor
    what was closed without a merge, whose page says what was declined.

    Args:
        folder: Where the file is.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{_FORM}.json"
        self._known: dict[int, tuple[str, PullSummary]] | None = None
        self._new = 0

    def find(self, commits: Mapping[int, str]) -> dict[int, PullSummary]:
        """Those of these numbers that are kept for these very commits."""
        if self._known is None:
            self._known = self._read()
        known, found = self._known, dict[int, PullSummary]()
        for number, commit in commits.items():
            kept = known.get(number)
            if kept is not None and kept[0] == commit:
                found[number] = kept[1]
        return found

    def keep(self, pulls: Iterable[KeptPull]) -> None:
        """Keep those of them that may be kept, in the file once there are enough."""
        known = self._known if self._known is not None else self._read()
        self._known = known
        for each in pulls:
            if _may_be_kept(each.pull):
                known[each.pull.number] = each.commit, replace(each.pull, body="")
                self._new += 1
        if self._new >= WORTH_WRITING:
            self._write()
            self._new = 0

    def _read(self) -> dict[int, tuple[str, PullSummary]]:
        try:
            with garbage_collector_off():
                rows = read_kept(self._file) or []
                return {pull.number: (commit, pull) for commit, pull in _pulls(rows)}
        except Exception as error:  # noqa: BLE001 - whatever is in it, the forge has the truth
            logger.info("%s: %s", self._file, error)
            return {}

    def _write(self) -> None:
        rows = [[commit, *_row(pull)] for commit, pull in (self._known or {}).values()]
        write_kept(self._file, rows)


def _may_be_kept(pull: PullSummary) -> bool:
    branch = parse_branch(pull.branch)
    is_rollback = branch is not None and branch.purpose is Purpose.ROLLBACK
    return pull.state is PullState.MERGED and not is_rollback


def _row(pull: PullSummary) -> list[Any]:
    return [_plain(getattr(pull, name)) for name in _NAMES]


def _plain(value: Any) -> Any:
    if isinstance(value, Person):
        return value.login
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _pulls(rows: list[list[Any]]) -> Iterator[tuple[str, PullSummary]]:
    """The commit and the pull request of each row.

    A fleet has tens of thousands: what is done column by column takes a fifth of the time.
    """
    commits, *columns = zip(*rows, strict=True) if rows else ([], *([] for _ in _NAMES))
    values = [_column(name, column) for name, column in zip(_NAMES, columns, strict=True)]
    names = (*_NAMES, "body")
    for commit, row in zip(commits, zip(*values, repeat(""), strict=False), strict=True):
        # Its own way to be made sets one name after the other, and refuses to do so.
        pull = object.__new__(PullSummary)
        vars(pull).update(zip(names, row, strict=True))
        yield commit, pull


def _column(name: str, values: Sequence[Any]) -> Iterable[Any]:
    if name in _PLAIN:
        if other := {*map(type, values)} - {_PLAIN[name]}:
            raise TypeError(f"{name}: expected {_PLAIN[name].__name__}, not {other}")
        return values
    if name == "labels":
        return map(tuple, values)
    known = {value: _parsed(name, value) for value in set(values)}
    return map(known.__getitem__, values)


def _parsed(name: str, value: Any) -> Any:
    if name == "state":
        return _STATES[value]
    if value is None:
        return None
    return datetime.fromisoformat(value) if name.endswith("_at") else Person.named(value)
