"""The main branch and its pull requests, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from modelyard.domain.people import Person
from modelyard.domain.promotion.change import Purpose
from modelyard.domain.promotion.pulls import (
    CHECKS,
    PullRequest,
    PullState,
    Review,
    Status,
    StatusState,
)
from modelyard.domain.promotion.world import PastRelease, Proposal
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from unit.domain.promotion.examples import BOT, START, branch, digest_of, release


@dataclass(frozen=True, kw_only=True)
class Documents:
    """What a branch would change."""

    record: Record | None = None
    release: Release | None = None


@dataclass(kw_only=True)
class SimulatedForge:
    """What the main branch says, what it said, and what is proposed."""

    now: datetime = START
    records: dict[str, Record] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)
    past: dict[str, tuple[PastRelease, ...]] = field(default_factory=dict)
    pulls: dict[int, PullRequest] = field(default_factory=dict)
    documents: dict[str, Documents] = field(default_factory=dict)

    @property
    def open_pulls(self) -> list[PullRequest]:
        return [each for each in self.pulls.values() if each.state is PullState.OPEN]

    @property
    def closed_pulls(self) -> list[PullRequest]:
        return [each for each in self.pulls.values() if each.state is not PullState.OPEN]

    def pull_of(self, purpose: Purpose, subject: str) -> PullRequest:
        """The newest pull request of a branch."""
        wanted = branch(purpose, subject)
        return [each for each in self.pulls.values() if each.branch == wanted][-1]

    def propose(
        self, on: str, documents: Documents, labels: tuple[str, ...], requester: str | None = None
    ) -> int | None:
        """Open or update the branch's pull request; None where there is nothing to change."""
        pull = next((each for each in self.open_pulls if each.branch == on), None)
        if pull is None and self._says(documents):
            return None
        if pull is None:
            pull = PullRequest(
                number=len(self.pulls) + 1,
                branch=on,
                title=on,
                body="",
                author=Person.named(BOT),
                base="",
                head="",
                state=PullState.OPEN,
                opened_at=self.now,
            )
        if self.documents.get(pull.head) != documents:
            head = f"{len(self.documents):010d}".ljust(40, "a")
            self.documents[head] = documents
            pull = replace(pull, head=head, statuses={})
        asked = Person.named(requester) if requester else pull.requester
        self.pulls[pull.number] = replace(pull, labels=labels, requester=asked)
        return pull.number

    def proposal(self, pull: PullRequest) -> Proposal:
        """What an open pull request holds."""
        held = self.documents[pull.head]
        return Proposal(record=held.record, release=held.release, is_current=True)

    def propose_release(
        self, where: str, version: str, *, attempt: int = 1, requester: str | None = None
    ) -> int | None:
        pin = release(where, version, attempt=attempt, artifact=digest_of(self.records[version]))
        labels = (version, where)
        on = branch(Purpose.PROMOTE, where)
        return self.propose(on, Documents(release=pin), labels, requester)

    def _says(self, documents: Documents) -> bool:
        pinned, made = documents.release, documents.record
        return (pinned is None or self.releases.get(pinned.environment) == pinned) and (
            made is None or made.version in self.records
        )

    def merge(self, number: int, *, sha: str, by: str) -> bool:
        """Apply the documents if the head still is `sha`; True if it was."""
        pull = self.pulls[number]
        if pull.state is not PullState.OPEN or pull.head != sha:
            return False
        documents = self.documents[sha]
        if documents.record is not None:
            self.records[documents.record.version] = documents.record
        if documents.release is not None:
            self.name(documents.release, commit=sha)
        self._end(number, PullState.MERGED, by)
        return True

    def name(self, pinned: Release, *, commit: str = "") -> None:
        """Let the main branch name a release."""
        if self.releases.get(pinned.environment) != pinned:
            before = self.past.get(pinned.environment, ())
            named = PastRelease(release=pinned, commit=commit)
            self.past[pinned.environment] = (named, *before)
            self.releases[pinned.environment] = pinned

    def close(self, number: int, *, by: str) -> None:
        if self.pulls[number].state is PullState.OPEN:
            self._end(number, PullState.CLOSED, by)

    def _end(self, number: int, state: PullState, by: str) -> None:
        pull = self.pulls[number]
        self.pulls[number] = replace(
            pull, state=state, closed_at=self.now, closed_by=Person.named(by) if by else None
        )

    def say(self, number: int, sha: str, status: Status) -> None:
        pull = self.pulls[number]
        if pull.head == sha:
            statuses = {**pull.statuses, status.context: status}
            self.pulls[number] = replace(pull, statuses=statuses)

    def check(self, *, state: StatusState = StatusState.SUCCESS) -> None:
        """Continuous integration answers for every open head it has not answered for."""
        for pull in self.open_pulls:
            if CHECKS not in pull.statuses:
                status = Status(context=CHECKS, state=state, description="so said the checks")
                self.say(pull.number, pull.head, status)

    def review(self, number: int, by: str, *, approved: bool = True) -> None:
        pull = self.pulls[number]
        said = Review(author=Person.named(by), approved=approved, sha=pull.head, at=self.now)
        self.pulls[number] = replace(pull, reviews=(*pull.reviews, said))
