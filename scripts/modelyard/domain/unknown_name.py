"""The one answer to the name of something that there is not: what there is, and what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from modelyard.errors import CannotAnswer, join_first

MOST_LISTED = 20
"""Known names that the answer lists; a repository may have a thousand models."""


def unknown_name(
    what: str, name: str, known: Iterable[str], *, where: str, hint: str | None = None
) -> CannotAnswer:
    """Return the error that there is nothing of this name.

    Args:
        what: What is missing, such as `valid models/wine/model.yaml`.
        name: The name that was asked for.
        known: The names that there are, in the order to list them.
        where: Where it was looked for, such as `the main branch`.
        hint: The next command if no known name is close.
    """
    names = list(dict.fromkeys(known))
    close = get_close_matches(name, names, n=1)
    shown = join_first(names, MOST_LISTED) or "none"
    return CannotAnswer(
        f"{where} has no {what}; it has {shown}",
        hint=f"did you mean {close[0]}?" if close else hint,
    )
