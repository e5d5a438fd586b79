"""People: who is one and the same, by what a forge knows or by their names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

_MAIL = re.compile(r"<[^<>]*>")
# Control, format (zero-width, direction), private, surrogate: nobody sees them.
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person, or a program that acts as one.

    Two are the same if their ids are: a login can be changed, and given to somebody else.

    Args:
        login: The name that is shown.
        id: What stays the same; where a forge has only names, the key of the name.
    """

    login: str = field(compare=False)
    id: str

    @classmethod
    def named(cls, name: str) -> Person:
        """The person of this name, where names are all that is known."""
        return cls(login=name, id=person_key(name))

    def __str__(self) -> str:
        """The login."""
        return self.login


@lru_cache(maxsize=10_000)
def person_key(name: str) -> str:
    """What two spellings of one name share: form, case, blanks, a mail address, invisible marks.

    Names are free text here: `Ann`, `ann `, `ANN <ann@example.org>` and a full-width `Ann` are one
    person, who counts once. It is for comparing, never for showing.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    blanks = "".join(" " if letter.isspace() else letter for letter in folded)
    seen = "".join(c for c in blanks if unicodedata.category(c) not in _INVISIBLE)
    return " ".join(_MAIL.sub(" ", seen).split())


def is_same_person(one: Person | str, other: Person | str) -> bool:
    """Whether two names are one person's."""
    return person_key(str(one)) == person_key(str(other))


def is_among(person: Person | str, names: Iterable[str]) -> bool:
    """Whether the person has one of these names."""
    return person_key(str(person)) in set(map(person_key, names))


def is_team(approver: str) -> bool:
    """Whether an entry of `approvals.approvers` is a team, such as `acme/ml-leads`."""
    return "/" in approver


def may_approve(person: Person, approvers: Collection[str], teams: Collection[str]) -> bool:
    """Whether a list of approvers names the person, or a team of theirs; an empty one all people.

    Args:
        person: The person.
        approvers: Logins, and teams as `org/team`.
        teams: The teams that the person is known to be in.
    """
    if not approvers or is_among(person, (name for name in approvers if not is_team(name))):
        return True
    return any(name in teams for name in approvers if is_team(name))
