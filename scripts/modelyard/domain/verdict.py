"""The verdict of a gate or of the judge on its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

BASELINE = "baseline"
"""The number of a verdict that has the baseline's value; a champion's value is `champion`."""

LOOKS_MISSING = "looks_missing"
"""The number of a judge's verdict that says how many more looks with answers it needs, if any."""

NOT_ASKED = "no request answered yet"
"""The reason of a judge's verdict on a release that has had no request."""


class Outcome(StrEnum):
    """The three outcomes; `inconclusive` is never a pass."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An outcome with its reason and its numbers.

    Args:
        outcome: `pass`, `fail` or `inconclusive`.
        reason: One sentence for people, with the metric, the limit and the columns at fault.
        numbers: Finite numbers by name (difference, lower, upper, margin, clusters, rows ...).
        columns: Columns that are possible causes, worst first.
    """

    outcome: Outcome
    reason: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the outcome is `pass`."""
        return self.outcome is Outcome.PASS


def worst_outcome(verdicts: tuple[Verdict, ...]) -> Outcome:
    """The outcome of several verdicts together: `pass` only if all pass, `fail` if any fails."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.FAIL in outcomes:
        return Outcome.FAIL
    if Outcome.INCONCLUSIVE in outcomes or not outcomes:
        return Outcome.INCONCLUSIVE
    return Outcome.PASS
