"""Every comparison behind a gate's verdict, under its name, and which of them decided it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelyard.domain.gate.gate import SetVerdicts
from modelyard.domain.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class NamedComparison:
    """One comparison behind a verdict.

    Args:
        name: What was compared with what, such as `recent, against the baseline`.
        decides: Whether the gate's verdict has its outcome from here.
        verdict: Its own verdict.
    """

    name: str
    decides: bool
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class GateAnswer:
    """A gate's verdict and all that it was made of.

    Args:
        verdict: The verdict.
        comparisons: Every comparison, in the order of the held-out sets.
    """

    verdict: Verdict
    comparisons: tuple[NamedComparison, ...] = ()


def gate_answer(
    verdict: Verdict,
    names: Sequence[str],
    each: Sequence[SetVerdicts],
    *,
    champion: str | None,
    contract: Verdict | None,
) -> GateAnswer:
    """The verdict with its comparisons.

    Args:
        verdict: The gate's verdict.
        names: The held-out sets.
        each: The verdicts on them.
        champion: The version that was compared with; None if there was none.
        contract: The verdict on the requests of the champion's callers, if there is one.
    """
    found: list[NamedComparison] = []
    if contract is not None:
        is_decisive = not contract.passed
        name = f"served contract of {champion}"
        found.append(NamedComparison(name=name, decides=is_decisive, verdict=contract))
    for name, on_set in zip(names, each, strict=True):
        is_decisive = on_set.verdict.outcome is verdict.outcome
        for what, one in _parts(on_set, champion):
            decides = is_decisive and one.outcome is verdict.outcome
            # After a pass the comparison with the champion says more than the one with a constant.
            if one is on_set.baseline and on_set.champion is not None and verdict.passed:
                decides = False
            decides &= all(each.counts for each in on_set.slices if each.verdict is one)
            found.append(NamedComparison(name=f"{name}{what}", decides=decides, verdict=one))
    return GateAnswer(verdict=verdict, comparisons=tuple(found))


def _parts(on_set: SetVerdicts, champion: str | None) -> Iterator[tuple[str, Verdict]]:
    """The comparisons on one held-out set; its own verdict where none is known."""
    if on_set.champion is not None:
        yield f", against the champion {champion}", on_set.champion
    for metric, guard in on_set.guards.items():
        yield f", guard {metric}, against the champion {champion}", guard
    for each in on_set.slices:
        yield f", slice {each.name}, against the champion {champion}", each.verdict
    if on_set.baseline is not None:
        yield ", against the baseline", on_set.baseline
    if on_set.champion is None and on_set.baseline is None:
        yield "", on_set.verdict
