"""Whether a verdict says something that is worth a new fact and a line of the watcher."""

from __future__ import annotations

import re

from modelyard.domain.verdict import Outcome, Verdict

_MISSING = re.compile(r"missing: (?P<what>.*)", re.DOTALL)
_AMOUNT = re.compile(r"\([^)]*\)|[\d.]+")


def is_news(known: Verdict | None, verdict: Verdict) -> bool:
    """Whether people who read the known verdict have something to learn from the new one.

    - Another outcome.
    - The first answered requests: what is missing is known from then on.
    - One kind of evidence less is missing. The amounts change with every request and tell nothing,
      and a kind that comes back is no news, so that each is told once.
    """
    if known is None or verdict.outcome is not known.outcome:
        return True
    if verdict.outcome is not Outcome.INCONCLUSIVE:
        return False
    before, after = _missing_kinds(known), _missing_kinds(verdict)
    return bool(after) and (not before or after < before)


def _missing_kinds(verdict: Verdict) -> frozenset[str]:
    """What the verdict says is missing, without amounts."""
    found = _MISSING.search(verdict.reason)
    if found is None:
        return frozenset()
    return frozenset(each.strip() for each in _AMOUNT.sub("", found["what"]).split(", "))
