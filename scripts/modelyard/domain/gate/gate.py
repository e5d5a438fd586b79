"""The gate: whether a challenger may replace the champion, from scores on the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelyard.domain.gate.paired import (
    baseline_difference,
    non_inferiority,
    paired_difference,
    superiority,
)
from modelyard.domain.specs.model import GatePolicy, Model
from modelyard.domain.verdict import Outcome, Verdict, worst_outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One model's scores on one held-out set.

    Args:
        digest: Digest of the rows' identity: files, days and label rule.
        labels: Shape (n,): 0 or 1, a level, or a number.
        clusters: Shape (n,): the row's cluster.
        scores: Shape (n,) or, for several classes, (n, k).
    """

    digest: str
    labels: NDArray[Any]
    clusters: NDArray[Any]
    scores: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a gate is asked about one held-out set.

    Args:
        name: The held-out set.
        challenger: The challenger's scores.
        champion: The champion's, or None for a first version.
        look: How many versions were judged on this set, this one included.
        max_looks: How many may be.
        seen_by: Versions that trained on some of its days.
    """

    name: str
    challenger: Scores
    champion: Scores | None
    look: int
    max_looks: int
    seen_by: tuple[str, ...] = ()


def gate_verdict(
    model: Model, comparisons: Sequence[Comparison]
) -> tuple[Verdict, tuple[Verdict, ...]]:
    """The verdict over all held-out sets, and each set's own.

    A pass asks every set to pass at level alpha: an intersection-union test, whose level is alpha
    without any correction (Berger 1982, Technometrics 24:295-300). The numbers are those of the
    first set whose own verdict is the one over all.
    """
    each = tuple(held_out_verdict(model, comparison) for comparison in comparisons)
    if not each:
        reason = "no held-out set to judge on"
        return Verdict(outcome=Outcome.INCONCLUSIVE, reason=reason), each
    outcome = worst_outcome(each)
    decisive = [
        (comparison.name, verdict)
        for comparison, verdict in zip(comparisons, each, strict=True)
        if verdict.outcome is outcome
    ]
    said = "; ".join(f"{name}: {verdict.reason}" for name, verdict in decisive)
    return Verdict(outcome=outcome, reason=said, numbers=decisive[0][1].numbers), each


def held_out_verdict(model: Model, comparison: Comparison) -> Verdict:
    """One held-out set's verdict: refusals first, then the trivial baseline, then the champion."""
    if refusal := _refusal(comparison):
        return refusal
    baseline = _against_baseline(model, comparison.challenger)
    if not baseline.passed or comparison.champion is None:
        return baseline
    return _against_champion(model, comparison.challenger, comparison.champion)


def _refusal(comparison: Comparison) -> Verdict | None:
    if comparison.seen_by:
        who = " and ".join(comparison.seen_by)
        return _no(f"{who} trained on days of {comparison.name}")
    if comparison.look > comparison.max_looks:
        return Verdict(
            outcome=Outcome.INCONCLUSIVE,
            reason=f"look {comparison.look} of at most {comparison.max_looks}: "
            f"{comparison.name} is used up, a new held-out set is needed",
        )
    champion, challenger = comparison.champion, comparison.challenger
    if champion is not None and champion.digest != challenger.digest:
        return _no("champion and challenger were not scored on the same rows")
    return None


def _against_baseline(model: Model, challenger: Scores) -> Verdict:
    policy = model.gate
    difference = baseline_difference(
        policy.metric,
        challenger.labels,
        challenger.scores,
        challenger.clusters,
        classes=model.primary.classes,
    )
    return superiority(difference, alpha=policy.alpha, least_clusters=policy.least_clusters)


def _against_champion(model: Model, challenger: Scores, champion: Scores) -> Verdict:
    policy: GatePolicy = model.gate
    difference = paired_difference(
        policy.metric,
        challenger.labels,
        champion.scores,
        challenger.scores,
        challenger.clusters,
        classes=model.primary.classes,
    )
    return non_inferiority(
        difference,
        margin=policy.margin,
        alpha=policy.alpha,
        least_clusters=policy.least_clusters,
    )


def _no(reason: str) -> Verdict:
    return Verdict(outcome=Outcome.FAIL, reason=reason)
