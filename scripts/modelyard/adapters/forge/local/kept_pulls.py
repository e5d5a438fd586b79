"""Keeps in a file what is known of merged pull requests: a forge of years has many of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

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

_KINDS = tuple((place, _PLAIN[name]) for place, name in enumerate(_NAMES) if name in _PLAIN)
_PEOPLE = tuple(place for place, name in enumerate(_NAMES) if name in {"author", "closed_by"})
_TIMES = tuple(place for place, name in enumerate(_NAMES) if name.endswith("_at"))
_STATES = {str(each): each for each in PullState}
_STATE, _LABELS = _NAMES.index("state"), _NAMES.index("labels")


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
        self._known: dict[int, KeptPull] | None = None
        self._new = 0

    def find(self, commits: Mapping[int, str]) -> dict[int, PullSummary]:
        """Those of these numbers that are kept for these very commits."""
        if self._known is None:
            self._known = self._read()
        known = self._known
        return {
            number: known[number].pull
            for number, commit in commits.items()
            if number in known and known[number].commit == commit
        }

    def keep(self, pulls: Iterable[KeptPull]) -> None:
        """Keep those of them that may be kept, in the file once there are enough."""
        known = self._known if self._known is not None else self._read()
        self._known = known
        for each in pulls:
            if _may_be_kept(each.pull):
                known[each.pull.number] = replace(each, pull=replace(each.pull, body=""))
                self._new += 1
        if self._new >= WORTH_WRITING:
            self._write()
            self._new = 0

    def _read(self) -> dict[int, KeptPull]:
        rows = read_kept(self._file) or []
        try:
            pulls = [KeptPull(commit=row[0], pull=_pull(row[1:])) for row in rows]
            return {each.pull.number: each for each in pulls}
        except Exception as error:  # noqa: BLE001 - whatever is in it, the forge has the truth
            logger.info("%s: %s", self._file, error)
            return {}

    def _write(self) -> None:
        rows = [[each.commit, *_row(each.pull)] for each in (self._known or {}).values()]
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


def _pull(row: list[Any]) -> PullSummary:
    # A fleet has tens of thousands: every step counts, and few people made them.
    for place in _PEOPLE:
        row[place] = _person(row[place])
    for place in _TIMES:
        row[place] = None if row[place] is None else datetime.fromisoformat(row[place])
    row[_STATE], row[_LABELS] = _STATES[row[_STATE]], tuple(row[_LABELS])
    for place, kind in _KINDS:
        if type(row[place]) is not kind:
            raise TypeError(f"{_NAMES[place]}: expected {kind.__name__}")
    return PullSummary(body="", **dict(zip(_NAMES, row, strict=True)))


@lru_cache(maxsize=10_000)
def _person(login: str | None) -> Person | None:
    return None if login is None else Person.named(login)
