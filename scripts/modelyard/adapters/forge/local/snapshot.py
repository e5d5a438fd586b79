"""The local forge at one moment: pull requests and statuses as its refs held them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

from modelyard.adapters.forge.guard import makers_of_release
from modelyard.adapters.forge.local.kept_pulls import KeptPull, KeptPulls
from modelyard.adapters.forge.local.statuses import (
    StatusSubject,
    StoredStatuses,
    parse_statuses,
    statuses_about,
)
from modelyard.adapters.forge.makers import makers_of
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.adapters.specs.json_documents import HINT, Unreadable, parse_json, warn_left_out
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.pulls import PullRequest, PullState, PullSummary
from modelyard.errors import CannotAnswer

PULLS = "refs/modelyard/pulls/"
STATUSES = "refs/modelyard/statuses/"
BRANCHES = "refs/heads/"

_NUMBER = re.compile(r"0|[1-9][0-9]*")

# Most pull requests are closed, and every pass reads all of them for every model.
_STORED = AnswerCache(2000)


@dataclass(frozen=True, kw_only=True)
class StoredPull:
    """What a pull request's ref holds; the head and the statuses are read from their own refs.

    Args:
        pull: The pull request, its statuses left out.
        trailers: The change's trailers, for the merge commit.
    """

    pull: PullRequest
    trailers: Mapping[str, str] = field(default_factory=dict)


class UnreadablePull(Unreadable):
    """A pull request that cannot be read.

    Args:
        error: Why.
        branch: The branch that it is about, if that much of it can be read.
    """

    def __init__(self, error: Unreadable, branch: str | None) -> None:
        super().__init__(error.message, hint=error.hint)
        self.branch = branch

    def may_be_about(self, branch: str) -> bool:
        """Whether it may be the pull request of this branch."""
        return self.branch in {None, branch}


class ForgeSnapshot:
    """The forge's refs at one moment, and the documents behind those that are asked for.

    Args:
        remote: The bare repository.
        main: Name of the main branch.
        kept: What is known of pull requests that are over.
        refs: The refs that match `PATTERNS`.
    """

    # One listing for all, so that heads, documents and statuses are of one moment. A ref named like
    # a folder keeps every ref below it away, so it is read as well.
    PATTERNS: ClassVar = tuple(f"{each}*" for each in (BRANCHES, PULLS, STATUSES)) + tuple(
        each.rstrip("/") for each in (PULLS, STATUSES)
    )

    def __init__(
        self, remote: RemoteRefs, main: str, kept: KeptPulls, refs: Mapping[str, str]
    ) -> None:
        self._remote = remote
        self._main = main
        self._kept = kept
        self.refs = refs

    def main_head(self) -> str:
        """The main branch's commit, its objects fetched."""
        return self._main_commit

    @cached_property
    def _main_commit(self) -> str:
        commit = self.branch_head(self._main)
        if commit is None:
            where = f"{self._remote.remote} has no branch {self._main}"
            raise CannotAnswer(where, hint=f"git push {self._remote.remote} {self._main}")
        self._remote.ensure_commits([commit])
        return commit

    def branch_head(self, branch: str) -> str | None:
        """The commit of a branch, or None when there is no such branch."""
        return self.refs.get(BRANCHES + branch)

    def branches(self) -> list[str]:
        """The names of all branches."""
        return [ref.removeprefix(BRANCHES) for ref in self.refs if ref.startswith(BRANCHES)]

    def free_number(self) -> int:
        """The next number; creating its ref decides which process gets it."""
        number = max(self.pull_numbers(), default=0) + 1
        # Refs below a number's ref would keep it from being created.
        while any(ref.startswith(f"{PULLS}{number}/") for ref in self.refs):
            number += 1
        return number

    def pull_numbers(self) -> tuple[int, ...]:
        """The numbers in use, in order."""
        return tuple(self._commits)

    @cached_property
    def _commits(self) -> dict[int, str]:
        """The commit of each pull request's document by its number, in order."""
        begin, found = len(PULLS), dict[int, str]()
        for ref, sha in self.refs.items():
            # Not 007, which is no number that this forge gives.
            if ref.startswith(PULLS) and _NUMBER.fullmatch(ref, begin):
                found[int(ref[begin:])] = sha
        return {number: found[number] for number in sorted(found)}

    def stored_pull(self, number: int) -> StoredPull:
        """What a pull request's ref holds.

        Raises:
            CannotAnswer: There is no such pull request, or its document cannot be read.
        """
        ref = f"{PULLS}{number}"
        if ref not in self.refs:
            known = self.pull_numbers()
            has = f"1 to {known[-1]}" if known else "none yet"
            raise CannotAnswer(
                f"there is no pull request {number}; {self._remote.remote} has {has}",
                hint="modelyard pr list --all",
            )
        (document,) = self._remote.read_documents([self.refs[ref]])
        return _stored(document, ref, self.refs[ref])

    def read_pull(self, number: int) -> PullRequest:
        """One pull request with its real head and statuses; see `read_pulls` and `stored_pull`."""
        return self.with_statuses([self.actual_pull(self.stored_pull(number))])[0]

    def read_pulls(self) -> tuple[PullRequest, ...]:
        """All pull requests with their real head and state, and the head's statuses.

        Unreadable ones are left out.
        """
        refs = [f"{PULLS}{number}" for number in self.pull_numbers()]
        readable, _ = self._read_all(refs)
        return self.with_statuses([self.actual_pull(stored) for stored in readable])

    def open_pulls(self) -> tuple[PullRequest, ...]:
        """Those that are open; see `read_pulls`."""
        readable, _ = self._not_over
        found = (self.actual_pull(stored) for stored in readable)
        return self.with_statuses([each for each in found if each.state is PullState.OPEN])

    def closed_pulls(self) -> tuple[PullSummary, ...]:
        """The merged and closed ones by number, without what was said of them.

        Those that are kept come without their pages, see `KeptPulls`.
        """
        return self._closed

    @cached_property
    def _closed(self) -> tuple[PullSummary, ...]:
        readable, _ = self._not_over
        found = dict(self._over)
        for pull in map(self.actual_pull, (stored for stored in readable)):
            if pull.state is not PullState.OPEN:
                found[pull.number] = pull.summary()
        return tuple(found[number] for number in sorted(found))

    def unreadable_pull_of(self, branch: str) -> str | None:
        """The ref of an unreadable pull request that may be about this branch."""
        _, unreadable = self._not_over
        return next((ref for ref, each in unreadable.items() if each.may_be_about(branch)), None)

    def unreadable(self) -> tuple[Unreadable, ...]:
        """Why pull requests, and the statuses of open ones, cannot be read; empty if all can."""
        readable, unreadable = self._not_over
        real = [self.actual_pull(stored) for stored in readable]
        found = self._statuses_or_errors(
            {pull.head for pull in real if pull.state is PullState.OPEN}
        )
        of_statuses = (each for each in found.values() if isinstance(each, Unreadable))
        return (*unreadable.values(), *of_statuses)

    @cached_property
    def _over(self) -> dict[int, PullSummary]:
        """The pull requests that are known to be over."""
        return self._kept.find(self._commits)

    @cached_property
    def _not_over(self) -> tuple[tuple[StoredPull, ...], Mapping[str, UnreadablePull]]:
        """The other readable pull requests, and the unreadable ones by ref."""
        known = self._over
        refs = [f"{PULLS}{number}" for number in self.pull_numbers() if number not in known]
        readable, unreadable = self._read_all(refs)
        self._kept.keep(
            KeptPull(commit=self.refs[f"{PULLS}{each.pull.number}"], pull=each.pull.summary())
            for each in readable
        )
        return readable, unreadable

    def _read_all(
        self, refs: Sequence[str]
    ) -> tuple[tuple[StoredPull, ...], Mapping[str, UnreadablePull]]:
        """The readable pull requests, and the unreadable ones by ref."""
        documents = self._remote.read_documents([self.refs[ref] for ref in refs])
        readable: list[StoredPull] = []
        unreadable: dict[str, UnreadablePull] = {}
        for ref, document in zip(refs, documents, strict=True):
            try:
                readable.append(_stored(document, ref, self.refs[ref]))
            except Unreadable as error:
                warn_left_out(error)
                unreadable[ref] = UnreadablePull(error, _branch_in(document))
        return tuple(readable), unreadable

    def with_statuses(self, pulls: Iterable[PullRequest]) -> tuple[PullRequest, ...]:
        """The pull requests with what was said of each, and with who made what it releases.

        A status of another branch is left out. Unreadable statuses count as none: they cannot allow
        a merge.
        """
        real = tuple(pulls)
        found = self._statuses_or_errors({pull.head for pull in real})
        stored = {head: _or_empty(each) for head, each in found.items()}
        return tuple(
            replace(
                pull,
                statuses=statuses_about(stored[pull.head], self.subject_of(pull)),
                version_makers=self._version_makers(pull),
            )
            for pull in real
        )

    def _version_makers(self, pull: PullRequest) -> Mapping[Person, str]:
        # One that is over keeps those who counted when it ended.
        if pull.state is not PullState.OPEN or parse_branch(pull.branch) is None:
            return pull.version_makers
        self._remote.ensure_commits([pull.head])
        return makers_of_release(self._remote.git, pull, self.main_head())

    def subject_of(self, pull: PullRequest) -> StatusSubject:
        """What a status of the pull request is about."""
        # Every pull request of this forge is for the main branch.
        return StatusSubject(head=pull.head, branch=pull.branch, base=self._main)

    def actual_pull(self, stored: StoredPull) -> PullRequest:
        """A pull request with the head its branch has now, without statuses.

        A person who pushed to the branch became a contributor; a deleted branch closes the pull
        request.
        """
        pull = stored.pull
        if pull.state is not PullState.OPEN:
            return pull
        head = self.branch_head(pull.branch)
        # As on GitHub: to delete the branch closes its pull request.
        if head is None:
            return replace(pull, state=PullState.CLOSED)
        if head == pull.head:
            return pull
        return replace(pull, head=head, contributors=self.contributors_of(pull, head))

    def contributors_of(self, pull: PullRequest, head: str) -> tuple[Person, ...]:
        """Everybody whom a commit between the main branch and `head` names."""
        # Only commits that main does not have: others were reviewed with their own pull request.
        main = self.main_head()
        self._remote.ensure_commits([head])
        commits = self._remote.git.log(f"{main}..{head}")
        people = {person for commit in commits for person in makers_of(commit)}
        others = {*people, *pull.contributors} - {pull.author, pull.requester}
        return tuple(sorted(others, key=str))

    def stored_statuses(self, commit: str) -> StoredStatuses:
        """The statuses of a commit, whatever they are about, to add one to them.

        Raises:
            Unreadable: They cannot be read. A newer modelyard may have refused in them, so they
                must not be overwritten.
        """
        found = self._statuses_or_errors([commit])[commit]
        if isinstance(found, Unreadable):
            raise found
        return found

    def _statuses_or_errors(self, commits: Iterable[str]) -> dict[str, StoredStatuses | Unreadable]:
        found: dict[str, StoredStatuses | Unreadable] = dict.fromkeys(commits, ())
        refs = [STATUSES + sha for sha in found if STATUSES + sha in self.refs]
        documents = self._remote.read_documents([self.refs[ref] for ref in refs])
        for ref, document in zip(refs, documents, strict=True):
            try:
                found[ref.removeprefix(STATUSES)] = parse_statuses(document, ref)
            except Unreadable as error:
                found[ref.removeprefix(STATUSES)] = error
        return found

    def open_of(self, branch: str) -> StoredPull | None:
        """The open pull request of a branch, if there is one that can be read."""
        readable, _ = self._not_over
        for stored in readable:
            if stored.pull.branch == branch and stored.pull.state is PullState.OPEN:
                return stored
        return None


def _stored(document: bytes | None, ref: str, commit: str) -> StoredPull:
    return _STORED.get_or_ask((ref, commit), lambda: _parse_pull(document, ref))


def _parse_pull(document: bytes | None, ref: str) -> StoredPull:
    stored: StoredPull = parse_json(document, StoredPull, ref)
    if ref != f"{PULLS}{stored.pull.number}":
        raise Unreadable(f"{ref}: holds pull request {stored.pull.number}", hint=HINT)
    return stored


def _or_empty(found: StoredStatuses | Unreadable) -> StoredStatuses:
    if isinstance(found, Unreadable):
        warn_left_out(found)
        return ()
    return found


def _branch_in(document: bytes | None) -> str | None:
    """The branch in an unreadable document, if that much of it can be read."""
    try:
        branch = json.loads(document or b"")["pull"]["branch"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return branch if isinstance(branch, str) else None
