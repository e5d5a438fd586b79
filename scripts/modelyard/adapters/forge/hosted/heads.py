"""The Git half of a pull request of the tool: its commit, pushed with a lease."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from modelyard.adapters.forge.hosted.mapping import named_with_id, person_in_trailer
from modelyard.adapters.git.names import message_of
from modelyard.adapters.git.objects import LogEntry
from modelyard.adapters.git.process import Rejected
from modelyard.adapters.git.remote_refs import Overtaken, RemoteRefs, WaitedInVain
from modelyard.adapters.git.repository import Git
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import REQUESTED_BY, Change, Purpose, parse_branch
from modelyard.errors import CannotAnswer, Conflict, Refused
from modelyard.ports import Clock

_BRANCHES = "refs/heads/"
_MOST_NAMES = 9
"""How many names a rollback tries whose own is occupied."""


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Writes the heads of the tool's branches, and reads those of pull requests.

    Args:
        git: The checkout.
        remote: The forge's repository.
        main: The main branch's name.
        bot: The author of the tool's commits.
        clock: Dates them.
    """

    git: Git
    remote: RemoteRefs
    main: str
    bot: str
    clock: Clock

    def main_head(self) -> str:
        """Return the commit of the main branch, its objects fetched."""
        return self.remote.branch_tip(self.main)

    def tip(self, branch: str) -> str | None:
        """Return the commit of a branch; None if there is no such branch."""
        ref = f"{_BRANCHES}{branch}"
        return self.remote.read_refs(ref).get(ref)

    def tree_of(self, change: Change) -> str:
        """Return the tree that the main branch would have.

        Raises:
            Refused: It has it already.
        """
        main = self.main_head()
        tree = self.git.write_tree(main, change.documents)
        if tree == self.git.tree_hash(main):
            raise Refused(
                f"nothing to change: {self.main} holds all that {change.branch} would write"
            )
        return tree

    def holds(self, head: str, change: Change, requester: Person | None) -> bool:
        """Whether a head has what the change would write, and says who asked for it."""
        self.remote.ensure_commits([head])
        asked = self.requesters(head)
        is_named = requester is None or requester in asked
        return is_named and self.git.holds_change(self.main_head(), head, change.documents)

    def push(self, change: Change, tree: str, requester: Person | None) -> tuple[str, str]:
        """Push a commit with the change; returns the branch and the commit.

        A rollback whose branch cannot be written takes another name: it must always get out.

        Raises:
            Conflict: Another writer was faster.
            Rejected: The forge moves the branch for nobody.
        """
        asked = {REQUESTED_BY: named_with_id(requester)} if requester else {}
        commit = self.git.commit_tree(
            tree,
            parents=[self.main_head()],
            message=message_of(change.title, {**change.trailers, **asked}),
            author=self.bot,
            at=self.clock.now(),
        )
        self.remote.here.add(commit)
        refused: Rejected | None = None
        for branch in _names(change):
            try:
                self.remote.push_refs({f"{_BRANCHES}{branch}": (self.tip(branch), commit)})
            except Rejected as error:
                refused = refused or error
            else:
                return branch, commit
        raise refused or AssertionError

    def delete(self, branch: str, head: str) -> None:
        """Delete the branch of a pull request that has ended; if that fails, it does no harm.

        Raises:
            Overtaken: Facts that waited for a push are not written; others wrote first.
            WaitedInVain: The same, as the remote does not answer or would not have it.
        """
        try:
            self.remote.push_refs({f"{_BRANCHES}{branch}": (head, None)})
        except (Overtaken, WaitedInVain):  # a rollback without its facts would be undone again
            raise
        except (CannotAnswer, Conflict):  # the forge may have deleted it at the merge
            return

    def log(self, head: str) -> tuple[LogEntry, ...]:
        """Return the commits that a head has and the main branch has not."""
        self.remote.ensure_commits([head])
        return self.git.log(f"{self.main_head()}..{head}")

    def trailers(self, head: str) -> Mapping[str, str]:
        """Return what a head says in trailers; nothing if the forge has it no more."""
        try:
            self.remote.ensure_commits([head])
        except (CannotAnswer, Conflict):
            return {}
        return self.git.log(head, limit=1)[0].trailers

    def requesters(self, head: str) -> tuple[Person, ...]:
        """Return who asked for the change, as its commits say."""
        found = (
            person_in_trailer(line)
            for entry in self.log(head)
            for line in entry.trailers.get(REQUESTED_BY, "").splitlines()
        )
        return tuple(dict.fromkeys(found))


def _names(change: Change) -> Iterator[str]:
    yield change.branch
    branch = parse_branch(change.branch)
    if change.purpose is Purpose.ROLLBACK and branch is not None:
        yield from (str(replace(branch, number=number)) for number in range(2, _MOST_NAMES))
