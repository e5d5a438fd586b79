"""Writes to the local forge: turns pull requests and statuses into commits and pushes them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from modelyard.adapters.forge.local.kept_pulls import KeptPulls
from modelyard.adapters.forge.local.room import Updates, make_room, renamed
from modelyard.adapters.forge.local.snapshot import (
    BRANCHES,
    PULLS,
    STATUSES,
    ForgeSnapshot,
    StoredPull,
)
from modelyard.adapters.forge.local.statuses import StoredStatuses
from modelyard.adapters.git.names import path_of, safe_line
from modelyard.adapters.git.process import Rejected
from modelyard.adapters.git.remote_refs import RemoteRefs, Stale
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import dump_json
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import STATE_BRANCH
from modelyard.domain.promotion.pulls import Comment, PullRequest, PullState
from modelyard.errors import Refused
from modelyard.ports import Clock

logger = logging.getLogger(__name__)

# What `git check-ref-format` refuses and a path may hold. Asking git costs a process each time.
_NO_BRANCH = re.compile(r"[\s~^:?*\[]|\.\.|@\{|(^|/)\.|\.($|/)|\.lock($|/)|^-")

# SHA-1 or SHA-256.
_SHA = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")


@dataclass(frozen=True, kw_only=True)
class ForgeWriter:
    """Writes documents into the forge's refs.

    Args:
        git: The checkout.
        remote: The bare repository.
        main: The main branch's name.
        bot: Author of the documents' commits.
        clock: Dates everything.
    """

    git: Git
    remote: RemoteRefs
    main: str
    bot: str
    clock: Clock

    def read_snapshot(self) -> ForgeSnapshot:
        """The forge at this moment."""
        refs = self.remote.read_refs(*ForgeSnapshot.PATTERNS)
        # The same refs, so all that was read of them; a list holds the last snapshot.
        if not self._last or self._last[0].refs is not refs:
            self._last[:] = [ForgeSnapshot(self.remote, self.main, self._kept, refs)]
        return self._last[0]

    @cached_property
    def _last(self) -> list[ForgeSnapshot]:
        return []

    @cached_property
    def _kept(self) -> KeptPulls:
        return KeptPulls(self.git.kept_folder)

    def push(self, updates: Updates, snapshot: ForgeSnapshot) -> None:
        """Make all of these updates, or none; what occupies a new ref's name is moved aside first.

        Raises:
            Conflict: Another writer was faster than this snapshot.
            Rejected: The remote moves a ref for nobody.
        """
        created = [ref for ref, (old, new) in updates.items() if old is None and new is not None]
        self._move_aside(snapshot, created, twins=False)
        try:
            self.remote.push_refs(updates)
        except Rejected:
            if not self._move_aside(snapshot, created, twins=True):
                raise
            self.remote.push_refs(updates)

    def _move_aside(self, snapshot: ForgeSnapshot, created: Iterable[str], *, twins: bool) -> bool:
        """Move what occupies these names; False if nothing does."""
        moves: Updates = {}
        for ref in created:
            moves |= make_room(snapshot.refs, ref, twins=twins)
        if not moves:
            return False
        aside = {ref: moved for ref, moved in renamed(moves).items() if ref.startswith(BRANCHES)}
        for ref, moved in aside.items():
            moves |= self._follow(snapshot, ref.removeprefix(BRANCHES), moved)
        names = ", ".join(ref.removeprefix(BRANCHES) for ref, (_, new) in moves.items() if not new)
        try:
            self.remote.push_refs(moves)
        except Rejected as error:
            why = f"{names} stands where the tool needs a name, and cannot be moved aside"
            raise Rejected(f"{why}: {error.message}", hint="modelyard doctor") from error
        logger.warning("moved aside: %s", names)
        return True

    def _follow(self, snapshot: ForgeSnapshot, branch: str, moved: str) -> Updates:
        """Keep the open pull request of a branch that is moved, and tell its people."""
        stored = snapshot.open_of(branch)
        if stored is None:
            return {}
        new = moved.removeprefix(BRANCHES)
        body = f"`{branch}` stands where the tool needs a name. Its commits are at `{new}` now."
        comment = Comment(author=Person.named(self.bot), body=body, at=self.clock.now())
        pull = snapshot.actual_pull(stored)
        after = replace(pull, branch=new, comments=(*pull.comments, comment))
        return self.pull_update(snapshot, replace(stored, pull=after), "Rename the branch of")

    def push_with_deletion(
        self, updates: Updates, deletion: Updates, snapshot: ForgeSnapshot
    ) -> None:
        """Make all of these updates, without the deletion of a branch if the remote forbids that.

        A branch that is left over is in nobody's way; a merge that cannot be made is.
        """
        try:
            self.push({**updates, **deletion}, snapshot)
        except Rejected:
            if not deletion or not updates:
                raise
            self.push(updates, snapshot)

    def pull_update(self, snapshot: ForgeSnapshot, stored: StoredPull, what: str) -> Updates:
        """Write a pull request's document; the head becomes a parent, so it is never lost."""
        pull = stored.pull
        ref = f"{PULLS}{pull.number}"
        self.remote.ensure_commits([pull.head])
        before = snapshot.refs.get(ref)
        commit = self.remote.write_document(
            dump_json(stored, StoredPull),
            parents=[before, pull.head] if before else [pull.head],
            message=f"{what} pull request {pull.number}",
            author=self.bot,
            at=self.clock.now(),
        )
        return {ref: (before, commit)}

    def statuses_update(
        self, snapshot: ForgeSnapshot, sha: str, statuses: StoredStatuses, what: str
    ) -> Updates:
        """Write the statuses of a commit; the same ones again still make a commit."""
        ref = STATUSES + full_sha(sha)
        before = snapshot.refs.get(ref)
        commit = self.remote.write_document(
            dump_json(statuses, StoredStatuses),
            parents=[before] if before else [],
            message=f"{what} {sha}",
            author=self.bot,
            at=self.clock.now(),
        )
        return {ref: (before, commit)}

    def branch_ref(self, branch: str) -> str:
        """The ref of a branch that may be proposed.

        Raises:
            Refused: It is the main branch, that of the facts, or no branch's name.
        """
        is_ours = branch == STATE_BRANCH or branch.startswith(f"{STATE_BRANCH}/")
        if branch == self.main or is_ours or branch.endswith("/") or _NO_BRANCH.search(branch):
            raise Refused(f"{safe_line(branch)!r} cannot be the branch of a pull request")
        return BRANCHES + path_of(branch)


def full_sha(sha: str) -> str:
    """The commit, if it is given in full: another commit can be made to match a short one."""
    if not _SHA.match(sha):
        raise Refused(f"{safe_line(sha)!r} is not a full commit: give all of its 40 digits")
    return sha


def check_head(pull: PullRequest, sha: str) -> None:
    """Raise `Conflict` when the pull request's head is another commit."""
    if pull.head != full_sha(sha):
        raise Stale(
            f"pull request {pull.number} moved to {pull.head}, {sha} is not its head any more",
            hint=f"modelyard pr show {pull.number}",
        )


def check_open(pull: PullRequest) -> None:
    """Raise `Refused` when the pull request is merged or closed."""
    if pull.state is not PullState.OPEN:
        raise Refused(f"pull request {pull.number} is {pull.state}")
