"""Who pushed to a branch, from Gitea's feed of everything that happens in a repository."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
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
        commits: Those that it brought, as far as the feed lists them: it has the newest five.
    """

    actor: Person | None
    head: str | None
    commits: frozenset[str]


@dataclass(kw_only=True)
class PushFeed:
    """The pushes of a repository, read as far back as somebody had to know.

    Every fact that is written is a push, too, so the whole feed of a busy yard takes hundreds of
    requests. What was read is kept; then only what is new is asked for. A reading that fails keeps
    nothing: with a gap in what is kept, somebody who pushed would be missed for ever.

    Args:
        api: The API.
        place: The path of the repository.
    """

    api: ForgeApi
    place: str
    _by_branch: dict[str, dict[int, Push]] = field(default_factory=lambda: defaultdict(dict))
    _entries: set[int] = field(default_factory=set)
    _newest: datetime | None = None
    _is_whole: bool = False

    def read(self, branch: str, *, is_enough: Callable[[Sequence[Push]], bool]) -> tuple[Push, ...]:
        """Return the pushes to a branch, newest first, until these are enough or all there are."""
        ref = f"refs/heads/{branch}"
        if self._newest is not None:
            self._read_until(self._is_joined(self._newest))
            if self._is_whole or is_enough(_newest_first(self._by_branch.get(ref, {}))):
                return _newest_first(self._by_branch.get(ref, {}))
        found: dict[int, Push] = {}

        def is_found(row: Json) -> bool:
            if not _is_push(row) or row["ref_name"] != ref:
                return False
            found[row["id"]] = _push_of(row)
            return is_enough(_newest_first(found))

        # From the newest on, as pages move while others push.
        self._read_until(is_found)
        return _newest_first(self._by_branch.get(ref, {}))

    def _is_joined(self, newest: datetime) -> Callable[[Json], bool]:
        """Whether an entry, with all that are newer, leaves no gap to those that are kept."""
        is_met = False

        def is_joined(row: Json) -> bool:
            nonlocal is_met
            is_met = is_met or row["id"] in self._entries
            at = time_of(row.get("created"))
            return is_met and at is not None and at < newest - _OVERLAP

        return is_joined

    def _read_until(self, is_last: Callable[[Json], bool]) -> None:
        """Keep the entries from the newest to the last one, once all of them are read."""
        rows: list[Json] = []
        is_whole = True
        for row in self.api.pages(f"{self.place}/activities/feeds"):
            rows.append(row)
            if is_last(row):
                is_whole = False
                break
        pushes = [(row["ref_name"], row["id"], _push_of(row)) for row in rows if _is_push(row)]
        times = [at for row in rows if (at := time_of(row.get("created"))) is not None]
        for ref, number, push in pushes:
            self._by_branch[ref][number] = push
        self._entries |= {row["id"] for row in rows}
        self._newest = max(times, default=self._newest)
        self._is_whole = self._is_whole or is_whole


def brought(pushes: Sequence[Push], head: str, commits: Collection[str]) -> bool:
    """Whether the pushes of a head and of all these commits are among them; never of none."""
    there = frozenset[str]().union(*(push.commits for push in pushes))
    return bool(commits) and there >= {head, *commits}


def _is_push(row: Json) -> bool:
    return bool(row["op_type"] == _PUSHED)


def _newest_first(pushes: Mapping[int, Push]) -> tuple[Push, ...]:
    return tuple(pushes[number] for number in sorted(pushes, reverse=True))


def _push_of(row: Json) -> Push:
    actor = person_of(row.get("act_user"))
    # Those below 1 are programs.
    is_program = actor is None or int(actor.id) < 1
    try:
        # Its text holds messages of commits as well.
        content = json.loads(row.get("content") or "{}")
        head = content["HeadCommit"]["Sha1"]
        listed = frozenset(str(each["Sha1"]) for each in content["Commits"] or ())
    except (ValueError, LookupError, TypeError):
        head, listed = None, frozenset[str]()
    return Push(
        actor=None if is_program else actor,
        head=head if isinstance(head, str) else None,
        commits=listed,
    )
