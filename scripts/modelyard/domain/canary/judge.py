"""The one judge of a release in traffic: canary and production ask it, and local mode too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from modelyard.domain.canary.arms import Arm, count_arm, drop_out_of_order
from modelyard.domain.canary.design_effect import design_effects
from modelyard.domain.canary.error_rate import (
    Evidence,
    TwoArmSample,
    against_at_least,
    against_at_most,
    against_not_worse,
    against_worse_by,
)
from modelyard.domain.canary.prediction_shift import (
    ExpectedPredictions,
    HistogramSample,
    shift_evidence,
)
from modelyard.domain.canary.traffic import Sample
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.verdict import Outcome, Verdict

NOTABLE_DESIGN_EFFECT = 2.0  # a design effect worth a word


@dataclass(frozen=True, kw_only=True)
class CanaryEvidence:
    """What was seen of a canary in traffic, and what it is measured against.

    Args:
        samples: What the servers counted, at growing times. Requests and rows are counted from
            the first sample on, so one from before the traffic started should be among them.
        canary: Identity of the judged release in the samples.
        stable: Identity of the release it is compared with; None for a first release.
        expected: What the canary should predict; None where that is not judged.
        training_nulls: Share of nulls by input column in the training rows; others are not looked
            at.
    """

    samples: tuple[Sample, ...]
    canary: str
    stable: str | None = None
    expected: ExpectedPredictions | None = None
    training_nulls: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """What one metric says: bad, not known yet, or neither, which is good."""

    text: str
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
    """What the traffic so far says of the canary; may be asked at any time and any number of times.

    - `fail`: the error rate is worse than stable's (first release: above `error_limit`), or the
      predictions are further from the promise than `distribution_radius`, by an e-process that
      reached the number of metrics divided by alpha at some sample.
    - `pass`: none of that; an e-process has rejected, and still rejects, that the error rate is
      worse by the margin (first release: at or above the limit); the distance seen is within the
      radius; the least predictions and seconds are there; the last sample was readable.
    - `inconclusive`: everything else. The reason says what is missing.

    Errors are 5xx among all answers but 4xx, which are the client's. Input columns whose share of
    nulls or unseen levels is above the training share by more than `input_floor` are named as the
    cause, worst first, and decide nothing. Samples that cannot be read (not finite, negative, not
    later than the one before) are left out, and so is an interval in which a counter fell, because
    servers were restarted or removed and counts are sums over servers.

    Raises:
        ValueError: The policy's numbers are out of range.
    """
    samples = drop_out_of_order(evidence.samples)
    canary = count_arm(samples, evidence.canary, is_new=True)
    stable = None if evidence.stable is None else count_arm(samples, evidence.stable, is_new=False)
    if not canary.answered[-1:] or not canary.answered[-1]:
        return Verdict(outcome=Outcome.INCONCLUSIVE, reason="no request answered yet")
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
    if missing and not bad:
        parts.append("missing: " + ", ".join(missing))
    if causes:
        parts.append("inputs that left the training data: " + ", ".join(c.text for c in causes))
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
        samples = _two_arms(canary, stable)
        worse, kept = against_not_worse(samples), against_worse_by(samples, margin)
        rival = f", stable {_share_of_requests(stable)}"
        claims = ("worse than stable", f"not worse by {_percent(margin)}")
    bad = worse.ever_rejects(alpha)
    known = kept.rejects_now(alpha)
    claim = f": {claims[0]}" if bad else f": {claims[1]}" if known else ""
    return _Finding(
        text=f"error rate {_share_of_requests(canary)}{rival}{claim}",
        bad=bad,
        missing=None if known else _missing_evidence(claims[1], canary, stable, kept, alpha),
        numbers=_error_numbers(canary, stable, worse, kept, alpha),
    )


def _two_arms(canary: Arm, stable: Arm) -> list[TwoArmSample]:
    series = zip(canary.answered, canary.errors, stable.answered, stable.errors, strict=True)
    return [
        TwoArmSample(canary_total=a, canary_errors=b, stable_total=c, stable_errors=d)
        for a, b, c, d in series
    ]


def _missing_evidence(
    claim: str, canary: Arm, stable: Arm | None, kept: Evidence, alpha: float
) -> str:
    if stable is not None and not stable.answered[-1]:
        return "requests answered by stable"
    needed, so_far = math.log(1 / alpha), max(kept.now, 0.0)
    unknown = f"an error rate known to be {claim}, evidence {so_far:.1f} of {needed:.1f}"
    if not so_far:
        return unknown
    # Evidence grows in proportion to requests while the rates stay as they are.
    more = math.ceil(canary.answered[-1] * (needed / so_far - 1))
    return f"{unknown}, at this rate about {more} more requests"


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
    radius = policy.distribution_radius
    missing, effects = (
        _missing_predictions(canary, stable, expected),
        design_effects(canary, stable),
    )
    if missing or effects is None:
        yield _Finding(text="", missing=missing or "how many rows a request has")
        return
    found = shift_evidence(expected, _histograms(canary, stable), radius, effects)
    effect = found.predictions / found.effective
    bad = found.evidence.ever_rejects(alpha)
    far = f"{found.distance:.2f} from the promised ones, {radius:g} is allowed"
    alike = f" ({effect:.2g} alike rows count as one)" if effect >= NOTABLE_DESIGN_EFFECT else ""
    yield _Finding(
        text=f"predictions {far}{alike}",
        bad=bad,
        missing=f"predictions nearer than {radius:g}" if found.distance > radius else None,
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
        bins = len(side.predictions[-1])
        if not sum(side.predictions[-1]):
            return f"predictions of {name}, by bin"
        if bins != len(expected.bins):
            return f"predictions of {name} in {len(expected.bins)} bins as promised, not {bins}"
    return None


def _histograms(canary: Arm, stable: Arm | None) -> list[HistogramSample]:
    if stable is None:
        return [HistogramSample(canary=mine) for mine in canary.predictions]
    both = zip(canary.predictions, stable.predictions, strict=True)
    return [HistogramSample(canary=mine, stable=other) for mine, other in both]


def _minimum_traffic(canary: Arm, policy: CanaryPolicy) -> Iterator[_Finding]:
    rows = policy.least_predictions - canary.rows
    seconds = policy.least_seconds - canary.seconds
    yield _Finding(
        text="",
        missing=f"{math.ceil(rows)} more predictions" if rows > 0 else None,
        numbers={"canary_predictions": canary.rows},
    )
    yield _Finding(
        text="",
        missing=f"{math.ceil(seconds)} more seconds" if seconds > 0 else None,
        numbers={"seconds": canary.seconds},
    )


def _freshness(canary: Arm, stable: Arm | None) -> Iterator[_Finding]:
    for name, side in (("the canary", canary), ("stable", stable)):
        if side is not None and not side.is_fresh:
            yield _Finding(text="", missing=f"data of {name} in the last sample")


def _causes(canary: Arm, evidence: CanaryEvidence, policy: CanaryPolicy) -> list[_Cause]:
    looks = [
        ("null", column, share, canary.nulls.get(column, 0.0))
        for column, share in evidence.training_nulls.items()
    ]
    looks += [("unseen", column, 0.0, hits) for column, hits in canary.unseen.items()]
    causes = [
        _Cause(column=column, kind=kind, training=share, live=hits / canary.rows)
        for kind, column, share, hits in looks
        if _exceeds(canary.rows, hits, share + policy.input_floor, policy.alpha / len(looks))
    ]
    return sorted(causes, key=lambda cause: (cause.training - cause.live, cause.column))


def _exceeds(rows: float, hits: float, limit: float, alpha: float) -> bool:
    """Whether a share is above its limit; counters read a moment apart may exceed their rows."""
    return rows > 0 and against_at_most([rows], [min(hits, rows)], limit).rejects_now(alpha)


def _share_of_requests(side: Arm) -> str:
    if not side.answered[-1]:
        return "of no requests"
    share = _percent(side.errors[-1] / side.answered[-1])
    return f"{share} of {side.answered[-1]:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
