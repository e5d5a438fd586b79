"""The gate: whether a challenger may replace the champion, by their scores on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from modelyard.domain.gate.inputs import cluster_codes
from modelyard.domain.gate.paired import (
    baseline_difference,
    non_inferiority,
    paired_difference,
    superiority,
)
from modelyard.domain.gate.slices import SliceVerdict, slice_verdicts
from modelyard.domain.specs.model import Model
from modelyard.domain.verdict import BASELINE, Outcome, Verdict, worst_outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SAID = 4
"""Comparisons in the sentence of a verdict; `SetVerdicts` has all of them."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One model's scores on one held-out set.

    Args:
        digest: Identifies the rows: a digest of their files, days and label rule.
        labels: Shape (n,): 0 or 1, a level, or a number.
        clusters: Shape (n,): each row's cluster.
        scores: Shape (n,) or, for several classes, (n, k).
        slices: The name of each row's slice by the title of the slices, see `slices.slice_names`.
    """

    digest: str
    labels: NDArray[Any]
    clusters: NDArray[Any]
    scores: NDArray[Any]
    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The scores of two models on one held-out set.

    Args:
        name: The held-out set.
        challenger: The challenger's scores.
        champion: The champion's scores, or None for a first version.
        look: How many versions have been judged on this set, this one included.
        max_looks: How many may be judged on it.
        seen_by: Versions that trained on some of its rows.
        must_be_better: Whether the challenger must be better than the champion: a margin of 0.
    """

    name: str
    challenger: Scores
    champion: Scores | None
    look: int
    max_looks: int
    seen_by: tuple[str, ...] = ()
    must_be_better: bool = False


@dataclass(frozen=True, kw_only=True)
class SetVerdicts:
    """The verdict on one held-out set, and the two comparisons behind it.

    Args:
        verdict: The worse one of the two, or why the set cannot be used.
        baseline: Against the best constant; None if the set cannot be used.
        champion: Against the champion; None without one.
        guards: Against the champion in each guard's metric, by metric.
        slices: Against the champion in each slice.
    """

    verdict: Verdict
    baseline: Verdict | None = None
    champion: Verdict | None = None
    guards: Mapping[str, Verdict] = field(default_factory=dict)
    slices: tuple[SliceVerdict, ...] = ()


def gate_verdict(
    model: Model, comparisons: Sequence[Comparison]
) -> tuple[Verdict, tuple[Verdict, ...]]:
    """The verdict over all held-out sets, and the verdict of each; see `overall_verdict`."""
    each = tuple(held_out_verdict(model, comparison) for comparison in comparisons)
    return overall_verdict([comparison.name for comparison in comparisons], each), each


def overall_verdict(names: Sequence[str], each: Sequence[Verdict]) -> Verdict:
    """The verdict over all held-out sets.

    The gate passes only if every set passes at level alpha. This is an intersection-union test,
    which has level alpha without a correction for the number of sets (Berger 1982, Technometrics
    24:295-300). The numbers are those of the first set that has the overall outcome.
    """
    if not each:
        reason = "there is no held-out set to judge on"
        return Verdict(outcome=Outcome.INCONCLUSIVE, reason=reason)
    outcome = worst_outcome(tuple(each))
    decisive = [
        (name, verdict)
        for name, verdict in zip(names, each, strict=True)
        if verdict.outcome is outcome
    ]
    reason = "; ".join(f"{name}: {verdict.reason}" for name, verdict in decisive)
    return Verdict(outcome=outcome, reason=reason, numbers=decisive[0][1].numbers)


def with_contract(verdict: Verdict, contract: Verdict | None) -> Verdict:
    """The gate's verdict: on the held-out sets, and on the requests of the champion's callers."""
    if contract is None or contract.passed:
        return verdict
    # It is told first: nobody needs to look at a metric before the callers are safe.
    reason = f"served contract: {contract.reason}"
    reason = reason if verdict.passed else f"{reason}; {verdict.reason}"
    return replace(verdict, outcome=contract.outcome, reason=reason, columns=contract.columns)


def held_out_verdict(model: Model, comparison: Comparison) -> Verdict:
    """The verdict on one held-out set; see `compare_on_set`."""
    return compare_on_set(model, comparison).verdict


def compare_on_set(
    model: Model, comparison: Comparison, *, counts_information: bool = True
) -> SetVerdicts:
    """Both comparisons on one held-out set, after refusals, and the verdict they give.

    Both are always made: a challenger that is worse than its champion fails, whatever the baseline
    says, and the champion's own figure is in the verdict against it.

    Args:
        model: The model.
        comparison: The scores.
        counts_information: Whether clusters and rows count by what they say. Records without the
            number `degrees` counted all clusters alike.
    """
    if refusal := _refusal(comparison):
        return SetVerdicts(verdict=refusal)
    policy, champion, challenger = model.gate, comparison.champion, comparison.challenger
    # Names of clusters are numbered once for all comparisons.
    clusters = cluster_codes(challenger.clusters, challenger.labels.size)
    challenger = replace(challenger, clusters=clusters)
    labels, scores, classes = challenger.labels, challenger.scores, model.primary.classes
    found = baseline_difference(policy.metric, labels, scores, clusters, classes=classes)
    found = found if counts_information else found.with_equal_clusters()
    baseline = superiority(
        found,
        alpha=policy.alpha,
        least_clusters=policy.least_clusters,
        least_informative=policy.least_informative,
    )
    if champion is None:
        return SetVerdicts(verdict=baseline, baseline=baseline)
    found = paired_difference(
        policy.metric, labels, champion.scores, scores, clusters, classes=classes
    )
    found = found if counts_information else found.with_equal_clusters()
    margin = 0.0 if comparison.must_be_better else policy.margin
    against = non_inferiority(
        found,
        margin=margin,
        alpha=policy.alpha,
        least_clusters=policy.least_clusters,
        least_informative=policy.least_informative,
    )
    # A record that counted all clusters alike is older than guards and slices.
    guards = dict(_guards(model, champion, challenger)) if counts_information else {}
    slices = _slices(model, champion, challenger) if counts_information else ()
    said = [
        replace(each.verdict, reason=f"slice {each.name}{_rows_of(each)}: {each.verdict.reason}")
        for each in slices
        if each.counts
    ]
    guarded = [
        replace(each, reason=f"guard {each.reason}") for each in guards.values()
    ]  # who knows gate.metric alone wonders at another one
    return SetVerdicts(
        verdict=_worse_of(against, *guarded, *said, baseline),
        baseline=baseline,
        champion=against,
        guards=guards,
        slices=slices,
    )


def _rows_of(each: SliceVerdict) -> str:
    rows = each.verdict.numbers.get("rows")
    return f" ({rows:,.0f} rows)" if rows else ""


def _slices(model: Model, champion: Scores, challenger: Scores) -> tuple[SliceVerdict, ...]:
    return slice_verdicts(
        model.gate,
        challenger.labels,
        (champion.scores, challenger.scores),
        challenger.clusters,
        challenger.slices,
        classes=model.primary.classes,
    )


def _guards(model: Model, champion: Scores, challenger: Scores) -> Iterator[tuple[str, Verdict]]:
    """The comparison in each guard's metric; with the others it is an intersection-union test."""
    policy = model.gate
    for guard in policy.guards:
        found = paired_difference(
            guard.metric,
            challenger.labels,
            champion.scores,
            challenger.scores,
            challenger.clusters,
            classes=model.primary.classes,
        )
        yield (
            guard.metric,
            non_inferiority(
                found,
                margin=guard.margin,
                alpha=policy.alpha,
                least_clusters=policy.least_clusters,
                least_informative=policy.least_informative,
            ),
        )


def verdict_of_first_rules(verdicts: SetVerdicts) -> Verdict:
    """The verdict that version 0.1 recorded for the same comparisons.

    It compared with the champion only after a pass against the baseline, whose value it called the
    champion's. It never passed what is refused now.
    """
    baseline, champion = verdicts.baseline, verdicts.champion
    if baseline is None:
        return verdicts.verdict
    if baseline.passed and champion is not None:
        return champion
    numbers = {"champion" if n == BASELINE else n: v for n, v in baseline.numbers.items()}
    return replace(baseline, numbers=numbers)


def _worse_of(*verdicts: Verdict) -> Verdict:
    """The worst of the comparisons; the first one is with the champion in the gate's metric."""
    outcome = worst_outcome(verdicts)
    decisive = [each for each in verdicts if each.outcome is outcome]
    # After a pass the comparison with the champion says more than the one with a constant.
    said = decisive[:1] if outcome is Outcome.PASS else decisive
    reasons = [each.reason for each in said[:_SAID]]
    if len(said) > _SAID:
        reasons.append(f"{len(said) - _SAID} more comparisons: {outcome}")
    return replace(decisive[0], reason="; ".join(reasons))


def _refusal(comparison: Comparison) -> Verdict | None:
    if comparison.seen_by:
        versions = " and ".join(comparison.seen_by)
        reason = f"{versions} trained on rows of {comparison.name}"
        return Verdict(outcome=Outcome.FAIL, reason=reason)
    # Each version judged on a set fits choices to it a little more, which no level accounts for.
    if comparison.look > comparison.max_looks:
        return Verdict(
            outcome=Outcome.INCONCLUSIVE,
            reason=f"{comparison.name} is used up: {comparison.look} versions were judged on it, "
            f"and max_looks is {comparison.max_looks}; a new held-out set is needed",
        )
    champion, challenger = comparison.champion, comparison.challenger
    if champion is not None and champion.digest != challenger.digest:
        reason = "champion and challenger were not scored on the same rows"
        return Verdict(outcome=Outcome.FAIL, reason=reason)
    return None
