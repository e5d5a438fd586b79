"""One look at the local forge: what its refs said at one moment, put together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from modelyard.adapters.git.objects import LogEntry, Memory
from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.adapters.specs.json_documents import HINT, Unreadable, parse_json, warn_left_out
from modelyard.domain.promotion.pulls import PullRequest, PullState, Status
from modelyard.errors import CannotAnswer

Statuses: TypeAlias = Mapping[str, Status]

PULLS = "refs/modelyard/pulls/"
STATUSES = "refs/modelyard/statuses/"
BRANCHES = "refs/heads/"

# Most are closed, and read again at every look at every model.
_STORED = Memory(2000)


@dataclass(frozen=True, kw_only=True)
class StoredPull:
    """What a pull request's ref holds; the head and the statuses are read from their own refs.

    Args:
        pull: The pull request, its statuses left out.
        trailers: The change's trailers, for the merge commit.
    """

    pull: PullRequest
    trailers: Mapping[str, str] = field(default_factory=dict)


class ForgeSnapshot:
    """The forge's refs at one moment, and the documents behind those that are asked for.

    Args:
        remote: Where to look.
        main: Name of the main branch.
    """

    def __init__(self, remote: RemoteRefs, main: str) -> None:
        self._remote = remote
        self._main = main
        self.refs = remote.look(f"{BRANCHES}*", f"{PULLS}*", f"{STATUSES}*")

    def main(self) -> str:
        """The main branch's commit, its objects here."""
        return self._main_commit

    @cached_property
    def _main_commit(self) -> str:
        commit = self.tip(self._main)
        if commit is None:
            where = f"{self._remote.remote} has no branch {self._main}"
            raise CannotAnswer(where, hint=f"git push {self._remote.remote} {self._main}")
        self._remote.ensure([commit])
        return commit

    def tip(self, branch: str) -> str | None:
        """The commit of a branch, or None when there is no such branch."""
        return self.refs.get(BRANCHES + branch)

    def numbers(self) -> tuple[int, ...]:
        """The numbers in use, in order."""
        found = (ref.removeprefix(PULLS) for ref in self.refs if ref.startswith(PULLS))
        return tuple(sorted(int(number) for number in found if number.isdecimal()))

    def stored(self, number: int) -> StoredPull:
        """What a pull request's ref holds.

        Raises:
            CannotAnswer: There is no such pull request, or its document cannot be read.
        """
        ref = f"{PULLS}{number}"
        if ref not in self.refs:
            raise CannotAnswer(f"there is no pull request {number}", hint="modelyard pr list --all")
        (document,) = self._remote.documents([self.refs[ref]])
        return _stored(document, ref, self.refs[ref])

    def pull(self, number: int) -> PullRequest:
        """One pull request as it really is; see `pulls` and `stored`."""
        return self._with_statuses([self.real(self.stored(number))])[0]

    def pulls(self) -> tuple[PullRequest, ...]:
        """All pull requests as they really are: real head, real state, the head's statuses.

        Those that cannot be read are left out.
        """
        readable, _ = self._all
        return self._with_statuses([self.real(stored) for stored in readable])

    def hidden(self, branch: str) -> str | None:
        """The ref of a pull request that cannot be read, and may be one of this branch."""
        _, unreadable = self._all
        named = {ref: _branch_in(document) for ref, (_, document) in unreadable.items()}
        return next((ref for ref, about in named.items() if about in {None, branch}), None)

    def unreadable(self) -> tuple[Unreadable, ...]:
        """Why pull requests, and the statuses of open ones, cannot be read; empty if all can."""
        readable, unreadable = self._all
        real = [self.real(stored) for stored in readable]
        said = self._said({pull.head for pull in real if pull.state is PullState.OPEN})
        of_pulls = [error for error, _ in unreadable.values()]
        return (*of_pulls, *(each for each in said.values() if isinstance(each, Unreadable)))

    @cached_property
    def _all(
        self,
    ) -> tuple[tuple[StoredPull, ...], Mapping[str, tuple[Unreadable, bytes | None]]]:
        """What can be read; and by ref what cannot, and why."""
        refs = [f"{PULLS}{number}" for number in self.numbers()]
        documents = self._remote.documents([self.refs[ref] for ref in refs])
        readable: list[StoredPull] = []
        unreadable: dict[str, tuple[Unreadable, bytes | None]] = {}
        for ref, document in zip(refs, documents, strict=True):
            try:
                readable.append(_stored(document, ref, self.refs[ref]))
            except Unreadable as error:
                warn_left_out(error)
                unreadable[ref] = (error, document)
        return tuple(readable), unreadable

    def _with_statuses(self, pulls: Iterable[PullRequest]) -> tuple[PullRequest, ...]:
        real = tuple(pulls)
        statuses = self.statuses({pull.head for pull in real})
        return tuple(replace(pull, statuses=statuses[pull.head]) for pull in real)

    def real(self, stored: StoredPull) -> PullRequest:
        """A pull request with the head its branch really has, without statuses.

        Somebody may have pushed to the branch, which makes them a contributor, or deleted it, which
        closes the pull request.
        """
        pull = stored.pull
        if pull.state is not PullState.OPEN:
            return pull
        head = self.tip(pull.branch)
        if head is None:
            return replace(pull, state=PullState.CLOSED)
        if head == pull.head:
            return pull
        return replace(pull, head=head, contributors=self.contributors(pull, head))

    def contributors(self, pull: PullRequest, head: str) -> tuple[str, ...]:
        """Everybody who is named by a commit between the main branch and `head`."""
        main = self.main()
        self._remote.ensure([head])
        commits = self._remote.git.log(f"{main}..{head}")
        names = {name for commit in commits for name in _names(commit)}
        return tuple(sorted({*names, *pull.contributors} - {pull.author, pull.requester}))

    def statuses(self, commits: Iterable[str]) -> dict[str, Statuses]:
        """The statuses of these commits by context; a commit without any has an empty mapping.

        So has one whose statuses cannot be read: nothing has reported that anybody can rely on.
        """
        return {sha: _or_none(found) for sha, found in self._said(commits).items()}

    def statuses_of(self, commit: str) -> Statuses:
        """The statuses of a commit, for whoever adds one: what cannot be read is not written over.

        Raises:
            Unreadable: A newer modelyard may have said no.
        """
        found = self._said([commit])[commit]
        if isinstance(found, Unreadable):
            raise found
        return found

    def _said(self, commits: Iterable[str]) -> dict[str, Statuses | Unreadable]:
        found: dict[str, Statuses | Unreadable] = {sha: {} for sha in commits}
        refs = [STATUSES + sha for sha in found if STATUSES + sha in self.refs]
        documents = self._remote.documents([self.refs[ref] for ref in refs])
        for ref, told in zip(refs, documents, strict=True):
            try:
                found[ref.removeprefix(STATUSES)] = parse_json(told, dict[str, Status], ref)
            except Unreadable as error:
                found[ref.removeprefix(STATUSES)] = error
        return found

    def open_of(self, branch: str) -> StoredPull | None:
        """The open pull request of a branch, if there is one that can be read."""
        readable, _ = self._all
        for stored in readable:
            if stored.pull.branch == branch and stored.pull.state is PullState.OPEN:
                return stored
        return None


def _stored(document: bytes | None, ref: str, commit: str) -> StoredPull:
    return _STORED.once((ref, commit), lambda: _read(document, ref))


def _read(document: bytes | None, ref: str) -> StoredPull:
    stored: StoredPull = parse_json(document, StoredPull, ref)
    if ref != f"{PULLS}{stored.pull.number}":
        raise Unreadable(f"{ref}: holds pull request {stored.pull.number}", hint=HINT)
    return stored


def _or_none(found: Statuses | Unreadable) -> Statuses:
    if isinstance(found, Unreadable):
        warn_left_out(found)
        return {}
    return found


def _branch_in(document: bytes | None) -> str | None:
    """The branch that a document nobody here can read names, if so much of it can be read."""
    try:
        branch = json.loads(document or b"")["pull"]["branch"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return branch if isinstance(branch, str) else None


def _names(commit: LogEntry) -> set[str]:
    """Who made a commit; co-authors are told in a trailer, as `Name <mail>`."""
    told = [value for key, value in commit.trailers.items() if key.lower() == "co-authored-by"]
    others = [line.partition("<")[0].strip() for value in told for line in value.splitlines()]
    return {commit.author, commit.committer, *others}
