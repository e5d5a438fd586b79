"""What people did with commits of the main branch, as a forge knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from modelyard.adapters.forge.hosted.dialect import Dialect
from modelyard.adapters.forge.hosted.heads import Heads
from modelyard.adapters.forge.hosted.mapping import person_in_trailer
from modelyard.adapters.git.objects import LogEntry
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import PULL, REQUESTED_BY


@dataclass(frozen=True, kw_only=True)
class HostedDeeds:
    """`makers.Deeds` of a forge with accounts.

    Args:
        dialect: The forge's own words.
        heads: Git.
    """

    dialect: Dialect
    heads: Heads

    def __call__(self, commit: LogEntry) -> Mapping[Person, str]:
        """Return what people did with a commit; `wrote`, `merged` or `asked for`."""
        did = "merged" if PULL in commit.trailers else "wrote"
        people = self.dialect.people_of_commit(commit.sha)
        found = dict.fromkeys(sorted(people, key=str), did)
        for line in commit.trailers.get(REQUESTED_BY, "").splitlines():
            found.setdefault(self._account(line), "asked for")
        brought = self.dialect.merge_of(commit.sha)
        # A squash, a rebase or a person's merge may have dropped the trailers of the head, and a
        # message that a person typed may name others.
        for head in brought.heads:
            for line in self.heads.trailers(head).get(REQUESTED_BY, "").splitlines():
                found.setdefault(self._account(line), "asked for")
        for person in brought.people:
            found.setdefault(person, "proposed or merged")
        return found

    def _account(self, line: str) -> Person:
        person = person_in_trailer(line)
        if person.id.isdecimal():
            return person
        # A trailer of the time before this forge, or a login without its id.
        return self.dialect.person(person.login) or person
