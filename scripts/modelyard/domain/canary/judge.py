"""The judge of a release in traffic: one for canary and production, on Kubernetes and locally."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from modelyard.domain.canary.arms import Arm, count_arm, drop_out_of_order
from modelyard.domain.canary.design_effect import design_effects
from modelyard.domain.canary.error_rate import (
    Evidence,
    against_at_least,
    against_at_most,
    against_not_worse,
    against_worse_by,
)
from modelyard.domain.canary.prediction_shift import ExpectedPredictions, shift_evidence
from modelyard.domain.canary.traffic import Sample
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.verdict import Outcome, Verdict

NOTABLE_DESIGN_EFFECT = 2.0  # from this design effect on the reason mentions it


@dataclass(frozen=True, kw_only=True)
class CanaryEvidence:
    """What a canary did in traffic, and what it is compared with.

    Args:
        samples: The servers' counts in the order of time. Requests and rows count from the first
            sample on, so the first one should be from before the traffic started.
        canary: Identity of the judged release in the samples.
        stable: Identity of the release it is compared with; None for a first release.
        expected: The predictions to expect; None if predictions are not judged.
        training_nulls: Share of nulls in the training rows, by input column; nulls of other columns
            are not checked.
    """

    samples: tuple[Sample, ...]
    canary: str
    stable: str | None = None
    expected: ExpectedPredictions | None = None
    training_nulls: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """The result for one metric: bad, or undecided if something is missing, otherwise good."""

    text: str = ""
    bad: bool = False
    missing: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Cause:
    column: str
    kind: str
    training: float
    live: float

    @property
    def text(self) -> str:
        return f"{self.column} {self.kind} {_percent(self.training)} -> {_percent(self.live)}"


def judge_canary(evidence: CanaryEvidence, policy: CanaryPolicy) -> Verdict:
    """The verdict on the canary's traffic so far. It is valid at any time, however often asked.

    - `fail`: at some sample an e-process reached (number of metrics)/alpha against the null that
      the error rate is not worse than stable's (first release: not above `error_limit`), or that
      the predictions are within `distribution_radius` of the expected ones.
    - `pass`: no fail, and the samples together reject the null that the error rate is worse by the
      margin (first release: at or above the limit). The observed distance is within the radius, the
      least predictions and seconds are reached, and the last sample is readable.
    - `inconclusive`: everything else. The reason says what is missing.

    Errors are 5xx among all answers except 4xx, which are the client's errors. Input columns whose
    share of nulls or unseen levels exceeds the training share by more than `input_floor` are listed
    as possible causes, worst first; they decide nothing. Unreadable samples (not finite, negative,
    or not later than the one before) are left out. So is an interval in which a counter fell,
    because servers were restarted or removed.

    Raises:
        ValueError: The policy's numbers are out of range.
    """
    samples = drop_out_of_order(evidence.samples)
    canary = count_arm(samples, evidence.canary, is_new=True)
    stable = None if evidence.stable is None else count_arm(samples, evidence.stable, is_new=False)
    if not canary.answered[-1:] or not canary.answered[-1]:
        return Verdict(outcome=Outcome.INCONCLUSIVE, reason="no request answered yet")
    # Bonferroni: each metric gets its part of alpha, so that all together fail with alpha at most.
    alpha = policy.alpha / (1 if evidence.expected is None else 2)
    findings = [
        _error_rate(canary, stable, policy, alpha),
        *_predictions(canary, stable, evidence.expected, policy, alpha),
        *_minimum_traffic(canary, policy),
        *_freshness(canary, stable),
    ]
    return _verdict(findings, _causes(canary, evidence, policy))


def _verdict(findings: list[_Finding], causes: list[_Cause]) -> Verdict:
    bad = [finding for finding in findings if finding.bad]
    missing = [finding.missing for finding in findings if finding.missing]
    numbers = {name: n for finding in findings for name, n in finding.numbers.items()}
    parts = [finding.text for finding in bad or findings if finding.text]
    # A fail is final whatever is missing.
    if missing and not bad:
        parts.append("missing: " + ", ".join(missing))
    if causes:
        parts.append("inputs unlike the training data: " + ", ".join(c.text for c in causes))
    return Verdict(
        outcome=Outcome.FAIL if bad else Outcome.INCONCLUSIVE if missing else Outcome.PASS,
        reason="; ".join(parts),
        numbers={name: float(n) for name, n in numbers.items() if math.isfinite(n)},
        columns=tuple(dict.fromkeys(cause.column for cause in causes)),
    )


def _error_rate(canary: Arm, stable: Arm | None, policy: CanaryPolicy, alpha: float) -> _Finding:
    if stable is None:
        limit = policy.error_limit
        worse = against_at_most(canary.answered, canary.errors, limit)
        kept = against_at_least(canary.answered, canary.errors, limit)
        rival, claims = "", (f"above the limit of {_percent(limit)}", f"below {_percent(limit)}")
    else:
        margin = policy.margin_error_rate
        counts = (canary.answered, canary.errors, stable.answered, stable.errors)
        worse, kept = against_not_worse(*counts), against_worse_by(*counts, margin)
        rival = f", stable {_share_of_requests(stable)}"
        claims = ("worse than stable", f"not worse by {_percent(margin)}")
    # A rejection is valid at any time, so a peak fails for good. A pass must hold until now.
    bad, known = worse.ever_rejects(alpha), kept.rejects_now(alpha)
    claim = f": {claims[0]}" if bad else f": {claims[1]}" if known else ""
    return _Finding(
        text=f"error rate {_share_of_requests(canary, ' requests')}{rival}{claim}",
        bad=bad,
        missing=None if known else _missing_evidence(claims[1], canary, stable, kept, alpha),
        numbers=_error_numbers(canary, stable, worse, kept, alpha),
    )


def _missing_evidence(
    claim: str, canary: Arm, stable: Arm | None, kept: Evidence, alpha: float
) -> str:
    if stable is not None and not stable.answered[-1]:
        return "requests answered by stable"
    needed, so_far = math.log(1 / alpha), max(kept.now, 0.0)
    unknown = f"evidence that the error rate is {claim} ({so_far:.1f} of {needed:.1f}"
    if not so_far:
        return f"{unknown})"
    # While the rates stay the same, evidence grows in proportion to requests.
    more = math.ceil(canary.answered[-1] * (needed / so_far - 1))
    return f"{unknown}; at this rate about {more} more requests)"


def _error_numbers(
    canary: Arm, stable: Arm | None, worse: Evidence, kept: Evidence, alpha: float
) -> dict[str, float]:
    numbers = {
        "canary_requests": canary.answered[-1],
        "canary_error_rate": canary.errors[-1] / canary.answered[-1],
        "evidence_needed": math.log(1 / alpha),
        "evidence_worse": worse.peak,
        "evidence_not_worse": kept.now,
    }
    if stable is not None and stable.answered[-1]:
        numbers["stable_requests"] = stable.answered[-1]
        numbers["stable_error_rate"] = stable.errors[-1] / stable.answered[-1]
    return numbers


def _predictions(
    canary: Arm,
    stable: Arm | None,
    expected: ExpectedPredictions | None,
    policy: CanaryPolicy,
    alpha: float,
) -> Iterator[_Finding]:
    if expected is None:
        return
    radius, others = policy.distribution_radius, stable.predictions if stable else None
    missing = _missing_predictions(canary, stable, expected)
    effects = design_effects(canary, stable)
    if missing or effects is None:
        yield _Finding(missing=missing or "the number of rows in a request")
        return
    found = shift_evidence(expected, canary.predictions, others, radius, effects)
    effect = found.predictions / found.effective
    bad = found.evidence.ever_rejects(alpha)
    distance = f"differ by {found.distance:.2f} from the expected ones, {radius:g} is allowed"
    is_notable = effect >= NOTABLE_DESIGN_EFFECT
    discount = f" ({effect:.2g} correlated rows count as one)" if is_notable else ""
    yield _Finding(
        text=f"predictions {distance}{discount}",
        bad=bad,
        missing=f"predictions within {radius:g}" if found.distance > radius else None,
        numbers={
            "distance": found.distance,
            "radius": radius,
            "evidence_distance": found.evidence.peak,
            "design_effect": effect,
        },
    )


def _missing_predictions(
    canary: Arm, stable: Arm | None, expected: ExpectedPredictions
) -> str | None:
    for name, side in (("canary", canary), ("stable", stable)):
        if side is None:
            continue
        # After a change of the model's output, older servers count on another grid.
        bins = len(side.predictions[-1])
        if not sum(side.predictions[-1]):
            return f"predictions of {name}, by bin"
        if bins != len(expected.bins):
            return f"predictions of {name} in {len(expected.bins)} bins as expected, not {bins}"
    return None


def _minimum_traffic(canary: Arm, policy: CanaryPolicy) -> Iterator[_Finding]:
    # The tests are valid without a minimum. It gives rare requests time to come.
    rows = policy.least_predictions - canary.rows
    seconds = policy.least_seconds - canary.seconds
    yield _Finding(
        missing=f"{math.ceil(rows)} more predictions" if rows > 0 else None,
        numbers={"canary_predictions": canary.rows},
    )
    yield _Finding(
        missing=f"{math.ceil(seconds)} more seconds" if seconds > 0 else None,
        numbers={"seconds": canary.seconds},
    )


def _freshness(canary: Arm, stable: Arm | None) -> Iterator[_Finding]:
    # A server that cannot be scraped may be the one that fails, so old counts never pass.
    for name, side in (("the canary", canary), ("stable", stable)):
        if side is not None and not side.is_fresh:
            yield _Finding(missing=f"data of {name} in the last sample")


def _causes(canary: Arm, evidence: CanaryEvidence, policy: CanaryPolicy) -> list[_Cause]:
    checks = [
        ("null", column, share, canary.nulls.get(column, 0.0))
        for column, share in evidence.training_nulls.items()
    ]
    checks += [("unseen", column, 0.0, hits) for column, hits in canary.unseen.items()]
    # Bonferroni over the columns, so that a listed cause is seldom chance.
    causes = [
        _Cause(column=column, kind=kind, training=share, live=hits / canary.rows)
        for kind, column, share, hits in checks
        if _exceeds(canary.rows, hits, share + policy.input_floor, policy.alpha / len(checks))
    ]
    return sorted(causes, key=lambda cause: (cause.training - cause.live, cause.column))


def _exceeds(rows: float, hits: float, limit: float, alpha: float) -> bool:
    # Counters are read one after the other, so hits may exceed the rows read a moment earlier.
    return rows > 0 and against_at_most([rows], [min(hits, rows)], limit).rejects_now(alpha)


def _share_of_requests(side: Arm, unit: str = "") -> str:
    if not side.answered[-1]:
        return "without requests"
    share = _percent(side.errors[-1] / side.answered[-1])
    return f"{share} of {side.answered[-1]:.0f}{unit}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
