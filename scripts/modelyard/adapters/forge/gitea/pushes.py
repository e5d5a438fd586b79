"""Who pushed to a branch, from Gitea's feed of everything that happens in a repository."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from modelyard.adapters.forge.hosted.api import ForgeApi
from modelyard.adapters.forge.hosted.dialect import Json, person_of
from modelyard.adapters.forge.hosted.mapping import time_of
from modelyard.domain.people import Person

_PUSHED = "commit_repo"
_OVERLAP = timedelta(minutes=1)
"""Gitea dates entries to the second and may write them a moment later."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """A push to a branch.

    Args:
        actor: Who pushed; None for a program, which pushes for anybody.
        head: The commit that it left.
        commits: Those that it brought; empty if the feed does not list all of them.
    """

    actor: Person | None
    head: str | None
    commits: frozenset[str]


@dataclass(kw_only=True)
class PushFeed:
    """The pushes of a repository, read as far back as somebody had to know.

    Every fact that is written is a push, too, so the whole feed of a busy yard takes hundreds of
    requests. What was read is kept; then only what is new is asked for.

    Args:
        api: The API.
        place: The path of the repository.
    """

    api: ForgeApi
    place: str
    _by_branch: dict[str, dict[int, Push]] = field(default_factory=lambda: defaultdict(dict))
    _older: Iterator[Json] | None = None
    _newest: datetime | None = None

    def read(self, branch: str, *, is_enough: Callable[[Sequence[Push]], bool]) -> tuple[Push, ...]:
        """Return the pushes to a branch, newest first, until these are enough or all there are."""
        self._read_new()
        while not is_enough(found := self._pushes(branch)):
            row = next(self._older, None) if self._older else None
            if row is None:
                return found
            self._keep(row)
        return found

    def _read_new(self) -> None:
        rows, before = self._rows(), self._newest
        if before is None:
            self._older = rows
            if (first := next(rows, None)) is not None:
                self._keep(first)
            return
        for row in rows:
            at = self._keep(row)
            if at is not None and at < before - _OVERLAP:
                return

    def _rows(self) -> Iterator[Json]:
        return self.api.pages(f"{self.place}/activities/feeds")

    def _keep(self, row: Json) -> datetime | None:
        """Keep an entry if it is a push; returns its time."""
        at = time_of(row.get("created"))
        if at is not None:
            self._newest = max(at, self._newest or at)
        if row["op_type"] == _PUSHED:
            self._by_branch[row["ref_name"]][row["id"]] = _push_of(row)
        return at

    def _pushes(self, branch: str) -> tuple[Push, ...]:
        kept = self._by_branch.get(f"refs/heads/{branch}", {})
        return tuple(kept[number] for number in sorted(kept, reverse=True))


def brought(pushes: Sequence[Push], head: str, commits: Collection[str]) -> bool:
    """Whether the pushes of a head and of all these commits are among them; never of none."""
    there = frozenset[str]().union(*(push.commits for push in pushes))
    return bool(commits) and there >= {head, *commits}


def _push_of(row: Json) -> Push:
    actor = person_of(row.get("act_user"))
    # Those below 1 are programs.
    is_program = actor is None or int(actor.id) < 1
    try:
        # Its text holds messages of commits as well.
        content = json.loads(row.get("content") or "{}")
        head = content["HeadCommit"]["Sha1"]
        listed = frozenset(str(each["Sha1"]) for each in content["Commits"] or ())
        is_whole = len(listed) == content["Len"]
    except (ValueError, LookupError, TypeError):
        head, listed, is_whole = None, frozenset[str](), False
    return Push(
        actor=None if is_program else actor,
        head=head if isinstance(head, str) else None,
        commits=listed if is_whole else frozenset(),
    )
