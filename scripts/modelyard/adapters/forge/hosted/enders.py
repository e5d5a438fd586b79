"""Keeps in a file who merged or closed each pull request: to ask costs a request for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from modelyard.adapters.kept_file import read_kept, write_kept
from modelyard.domain.people import Person

SETTLED = timedelta(seconds=5)
"""A forge dates changes to the second: what changed later may change again at that time."""


def is_settled(updated: str) -> bool:
    """Whether whatever changes now gets another time than this one of the forge."""
    return datetime.now(tz=UTC) - datetime.fromisoformat(updated) > SETTLED


@dataclass(kw_only=True)
class KeptEnders:
    """Who merged or closed pull requests of one repository, as of when each was last changed.

    A file that cannot be read is as good as none.

    Args:
        file: The file.
        repository: Address of the forge and name of the repository; of another one nothing is read.
    """

    file: Path
    repository: str
    _has_news: bool = field(default=False)

    def find(self, number: int, updated: str, ask: Callable[[], Person | None]) -> Person | None:
        """Return who ended a pull request that was last changed then; asks if that is not known."""
        known = self._known.get(number)
        if known is not None and known[0] == updated:
            return known[1]
        found = ask()
        if is_settled(updated):
            self._known[number] = (updated, found)
            self._has_news |= found is not None
        return found

    def write(self) -> None:
        """Keep what was asked for since the last time."""
        if self._has_news:
            rows = [
                [number, updated, person.login, person.id]
                for number, (updated, person) in self._known.items()
                # Who is not known today may only not be told of yet.
                if person is not None
            ]
            write_kept(self.file, {"repository": self.repository, "enders": rows})
            self._has_news = False

    @cached_property
    def _known(self) -> dict[int, tuple[str, Person | None]]:
        try:
            return dict(_parse(read_kept(self.file), self.repository))
        except (LookupError, TypeError, ValueError):
            return {}


def _parse(document: Any, repository: str) -> list[tuple[int, tuple[str, Person | None]]]:
    if document is None or document["repository"] != repository:
        return []
    return [
        (int(number), (str(updated), Person(login=str(who[0]), id=str(who[1]))))
        for number, updated, *who in document["enders"]
        if who
    ]
