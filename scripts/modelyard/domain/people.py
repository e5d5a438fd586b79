"""People by their names: when two names are one person's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_MAIL = re.compile(r"<[^<>]*>")
# Control, format (zero-width, direction), private, surrogate: nobody sees them.
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})


def person_key(name: str) -> str:
    """What two spellings of one name share: form, case, blanks, a mail address, invisible marks.

    Names are free text here: `Ann`, `ann `, `ANN <ann@example.org>` and a full-width `Ann` are one
    person, who counts once. It is for comparing, never for showing.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    blanks = "".join(" " if letter.isspace() else letter for letter in folded)
    seen = "".join(c for c in blanks if unicodedata.category(c) not in _INVISIBLE)
    return " ".join(_MAIL.sub(" ", seen).split())


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are one person's."""
    return person_key(one) == person_key(other)


def is_among(name: str, people: Iterable[str]) -> bool:
    """Whether the name is one of these people's."""
    return person_key(name) in set(map(person_key, people))
