"""Writes to the local forge: turns pull requests and statuses into commits and pushes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from modelyard.adapters.forge.local.snapshot import (
    BRANCHES,
    PULLS,
    STATUSES,
    ForgeSnapshot,
    StoredPull,
)
from modelyard.adapters.forge.local.statuses import StoredStatuses
from modelyard.adapters.git.names import path_of, safe_line
from modelyard.adapters.git.remote_refs import RemoteRefs, Stale
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import dump_json
from modelyard.domain.promotion.pulls import PullRequest, PullState
from modelyard.errors import Refused
from modelyard.ports import Clock

Updates: TypeAlias = dict[str, tuple[str | None, str | None]]
"""`(old, new)` by ref, as `Git.push` takes them."""

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
        return ForgeSnapshot(self.remote, self.main)

    def push(self, updates: Updates) -> None:
        """Make all of these updates, or none; `Conflict` when another writer was faster."""
        self.remote.push_refs(updates)

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
        """The ref of a branch that may be proposed; `Refused` for main and for no branch's name."""
        if branch == self.main or branch.endswith("/") or _NO_BRANCH.search(branch):
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
