"""The judge of a release in traffic: one for canary and production, on Kubernetes and locally."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from modelyard.domain.canary.arms import (
    Arm,
    count_arm,
    drop_out_of_order,
    with_every_4xx_refused,
)
from modelyard.domain.canary.counters.table import MOST_COUNTED
from modelyard.domain.canary.error_rate import against_at_most
from modelyard.domain.canary.feedback.findings import LiveLoss, UnreadLabels, feedback_finding
from modelyard.domain.canary.prediction_shift import ExpectedPredictions
from modelyard.domain.canary.predictions import prediction_findings
from modelyard.domain.canary.promises.stable import is_stable_doubtful, trusted_looks
from modelyard.domain.canary.request_metrics import (
    Finding,
    RequestMetric,
    error_rate,
    format_share,
    refusals,
    slow_answers,
    unanswered,
)
from modelyard.domain.canary.segments.findings import SegmentPromise, segment_findings
from modelyard.domain.canary.shadow.findings import STABLE_IN_ORDER, excused, shadow_findings
from modelyard.domain.canary.shadow.pairs import keep_pairs_of
from modelyard.domain.canary.shadow.promise import PairPromise
from modelyard.domain.canary.traffic import Sample
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.verdict import LOOKS_MISSING, NOT_ASKED, Outcome, Verdict

LATEST_LOOKS = 20
"""The last looks that must not fail alone where all looks together pass: late harm is diluted by
those before it. What is promised to fail fails within so many looks."""


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
        slow_ms: Above this a request is slow, see `latency.slow_threshold`; None judges no latency.
        is_first: Without stable: whether the release is the first one, to which the limits of
            refusals and slow requests apply. Another one without stable has all of the traffic.
        share: The share of requests that a router sends to the canary, 0 to 1, the least one it had
            during the samples; None if nothing splits requests exactly.
        segments: What to expect of the segments' predictions; empty if the held-out rows were
            scored before `canary.segments` was declared.
        is_promised: Whether predictions are judged, also if `expected` is out of reach now.
        pairs: What to expect of shadow answers; None if no held-out rows were scored by both.
        feedback: What labels that arrived later say of both releases, or why they say nothing; None
            if there are none.
    """

    samples: tuple[Sample, ...]
    canary: str
    stable: str | None = None
    expected: ExpectedPredictions | None = None
    training_nulls: Mapping[str, float] = field(default_factory=dict)
    slow_ms: float | None = None
    is_first: bool = True
    share: float | None = None
    segments: tuple[SegmentPromise, ...] = ()
    is_promised: bool = False
    pairs: PairPromise | None = None
    feedback: LiveLoss | UnreadLabels | None = None


@dataclass(frozen=True, kw_only=True)
class _Cause:
    column: str
    kind: str
    training: float
    live: float

    @property
    def text(self) -> str:
        return (
            f"{self.column} {self.kind} {format_share(self.training)} -> {format_share(self.live)}"
        )


def judge_canary(evidence: CanaryEvidence, policy: CanaryPolicy) -> Verdict:
    """The verdict on the canary's traffic so far. It is valid at any time, however often asked.

    - `fail`: at some sample an e-process reached (number of metrics)/alpha against the null that
      the error rate is not worse than stable's (first release: not above `error_limit`), the same
      for refusals, that the share of slow requests is not worse by more than its margin, that no
      more requests than `margin_unanswered` stay without an answer, or that the predictions are
      within the radius of the expected ones, or that shadow answers are unlike those on held-out
      rows in no more than `margin_shadow` beyond. At least `LEAST_BAD_LOOKS` intervals between
      samples must show it.
    - `pass`: no fail, and for each share of requests the samples together reject the null that it
      is worse by its margin (first release: at or above the limit). The observed distance is within
      the radius, the least predictions, looks and seconds are reached, and the last sample is
      readable.
    - `inconclusive`: everything else. The reason says what is missing, and which kind of evidence
      could not be judged because it raised something; such a fault hides no fail of another kind.

    Errors are 5xx among all answers except 4xx. 4xx are the client's errors only where stable
    answers alike, so refusals are compared on their own. What a server does not count, as one of
    version 0.1 does not count refusals, is not judged. Input columns whose
    share of nulls or unseen levels exceeds the training share by more than `input_floor` are listed
    as possible causes, worst first; they decide nothing. Unreadable samples (no number, negative,
    beyond `MOST_COUNTED`, or not later than the one before) are left out. So is an interval in
    which a counter fell, because servers were restarted or removed.

    Raises:
        ValueError: The policy's numbers are out of range.
    """
    samples = keep_pairs_of(drop_out_of_order(evidence.samples), evidence.canary)
    verdict = _judge(samples, evidence, policy)
    if verdict.outcome is not Outcome.PASS or len(samples) <= LATEST_LOOKS + 1:
        return verdict
    # Without segments, of which each takes as long for few looks as for many.
    alone = replace(evidence, segments=()), replace(policy, segments=())
    latest = _judge(_without_segments(samples[-LATEST_LOOKS - 1 :]), *alone)
    if latest.outcome is not Outcome.FAIL:
        return verdict
    # No fail: the latest looks change with each sample, so asking often would fail every canary.
    missing = f"missing: {LATEST_LOOKS} looks without harm; in the last ones {latest.reason}"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=f"{verdict.reason}; {missing}")


def _without_segments(samples: Sequence[Sample]) -> list[Sample]:
    """The samples without what is counted by segment, which is nearly all of what is counted."""
    return [
        replace(
            sample,
            counts={name: replace(each, segments={}) for name, each in sample.counts.items()},
        )
        for sample in samples
    ]


def _judge(samples: Sequence[Sample], evidence: CanaryEvidence, policy: CanaryPolicy) -> Verdict:
    """The verdict on these samples, which are in order, as if the first one began the traffic."""
    canary = count_arm(samples, evidence.canary, is_new=True)
    stable = _stable_arm(samples, evidence.stable, canary)
    if not _is_asked(canary):
        return Verdict(outcome=Outcome.INCONCLUSIVE, reason=NOT_ASKED)
    metrics = [*_request_metrics(samples, canary, stable, evidence, policy)]
    share = evidence.share if stable is not None else None
    # Bonferroni: each metric gets its part of alpha, so that all together fail with alpha at most.
    # Also the part of one whose evidence is out of reach: the judge is asked again with it.
    is_promised = evidence.is_promised or evidence.expected is not None
    is_by_segments = bool(evidence.segments or (policy.segments and is_promised))
    is_shadowed = policy.shadow > 0 and stable is not None and is_promised
    is_labelled = policy.margin_quality is not None and stable is not None
    parts = (is_promised, share is not None, is_by_segments, is_shadowed, is_labelled)
    alpha = policy.alpha / (len(metrics) + sum(parts))
    findings = [
        *(found for metric in metrics for found in _apart(metric.subject, _alone(metric, alpha))),
        *_apart("missing answers", _unanswered(canary, stable, policy, share, alpha)),
        *_uncounted(canary, stable),
        *_apart("predictions", _predictions(canary, stable, evidence.expected, policy, alpha)),
        *_apart("segments", _segments(canary, stable, evidence, policy, alpha)),
        *_apart("shadow answers", _shadow(stable, evidence, policy, alpha)),
        *_apart("live quality", _feedback(stable, evidence, policy, alpha)),
        *_minimum_traffic(canary, policy),
        *_freshness(samples, evidence, canary, stable),
    ]
    return _verdict(findings, _causes(canary, evidence, policy))


def _apart(what: str, found: Iterator[Finding]) -> Iterator[Finding]:
    """The findings of one kind of evidence: a fault in it hides no fail of another kind."""
    try:
        yield from found
    except Exception as error:  # noqa: BLE001 - whatever it is, a bad canary must leave traffic
        yield Finding(missing=f"{what}, which raised {type(error).__name__}: {error}")


def _alone(metric: RequestMetric, alpha: float) -> Iterator[Finding]:
    yield metric.finding(alpha)


def _is_asked(canary: Arm) -> bool:
    """Whether it answered or refused a request; with refusals alone it may fail."""
    refused = canary.refusals[1] if canary.refusals else ()
    return any(counts[-1] > 0 for counts in (canary.answered, refused) if counts)


def _verdict(findings: list[Finding], causes: list[_Cause]) -> Verdict:
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
        columns=tuple(
            dict.fromkeys(
                (
                    *(column for finding in findings for column in finding.columns),
                    *(cause.column for cause in causes),
                )
            )
        ),
    )


def _request_metrics(
    samples: Sequence[Sample],
    canary: Arm,
    stable: Arm | None,
    evidence: CanaryEvidence,
    policy: CanaryPolicy,
) -> Iterator[RequestMetric]:
    """The metrics for which both releases have data."""
    yield error_rate(canary, stable, policy)
    if stable is None and not evidence.is_first:
        return
    if (found := refusals(canary, stable, policy)) is not None:
        yield found
    if evidence.slow_ms is not None:
        times = [sample.at for sample in samples]
        slow = slow_answers(canary, stable, policy, slow_ms=evidence.slow_ms, times=times)
        if slow is not None:
            yield slow


def _stable_arm(samples: Sequence[Sample], release: str | None, canary: Arm) -> Arm | None:
    if release is None:
        return None
    stable = count_arm(samples, release, is_new=False)
    if canary.refusals is None or stable.refusals is not None:
        return stable
    # An older server counts all 4xx together: more than it refused, so never the canary's harm.
    most = count_arm(with_every_4xx_refused(samples, release), release, is_new=False)
    return replace(stable, refusals=most.refusals)


def _uncounted(canary: Arm, stable: Arm | None) -> Iterator[Finding]:
    """What one of the releases does not count, as on an older server."""
    # No data is not zero. It is not missing either: an old server will never count them, and the
    # release would wait for ever.
    if stable is not None and (canary.refusals is None) != (stable.refusals is None):
        name = "the canary" if canary.refusals is None else "stable"
        yield Finding(text=f"refusals not judged: the server of {name} does not count them")


def _unanswered(
    canary: Arm, stable: Arm | None, policy: CanaryPolicy, share: float | None, alpha: float
) -> Iterator[Finding]:
    if share is None:
        return
    found = unanswered(canary, stable, policy, share=share, alpha=alpha)
    if found is not None:
        yield found


def _predictions(
    canary: Arm,
    stable: Arm | None,
    expected: ExpectedPredictions | None,
    policy: CanaryPolicy,
    alpha: float,
) -> Iterator[Finding]:
    if expected is not None:
        yield from prediction_findings(
            canary,
            stable,
            expected,
            radius=policy.distribution_radius,
            alpha=alpha,
            least_rows=policy.least_predictions,
        )


def _segments(
    canary: Arm,
    stable: Arm | None,
    evidence: CanaryEvidence,
    policy: CanaryPolicy,
    alpha: float,
) -> Iterator[Finding]:
    if evidence.segments or (policy.segments and evidence.expected is not None):
        yield from segment_findings(
            canary,
            stable,
            evidence.segments,
            columns=policy.segments,
            radius=policy.distribution_radius,
            alpha=alpha,
        )


def _shadow(
    stable: Arm | None, evidence: CanaryEvidence, policy: CanaryPolicy, alpha: float
) -> Iterator[Finding]:
    if policy.shadow > 0 and stable is not None and evidence.expected is not None:
        for found in shadow_findings(
            stable,
            evidence.pairs,
            release=evidence.canary,
            margin=policy.margin_shadow,
            alpha=alpha,
            trusted=trusted_looks(stable, evidence.expected, radius=policy.distribution_radius),
        ):
            is_blamed = found.bad or found.missing not in {None, STABLE_IN_ORDER}
            yield excused(found) if is_blamed and _is_doubtful(stable, evidence, policy) else found


def _is_doubtful(stable: Arm, evidence: CanaryEvidence, policy: CanaryPolicy) -> bool:
    return evidence.expected is not None and is_stable_doubtful(
        stable, evidence.expected, radius=policy.distribution_radius, alpha=policy.alpha
    )


def _feedback(
    stable: Arm | None, evidence: CanaryEvidence, policy: CanaryPolicy, alpha: float
) -> Iterator[Finding]:
    if policy.margin_quality is not None and stable is not None:
        yield feedback_finding(evidence.feedback, margin=policy.margin_quality, alpha=alpha)


def _minimum_traffic(canary: Arm, policy: CanaryPolicy) -> Iterator[Finding]:
    # The tests are valid without a minimum. It gives time to rare requests, and to slow harm.
    rows = policy.least_predictions - canary.rows
    seconds = policy.least_seconds - canary.seconds
    yield Finding(
        missing=f"{math.ceil(rows)} more predictions" if rows > 0 else None,
        numbers={"canary_predictions": canary.rows},
    )
    looks = policy.least_looks - canary.looks
    yield Finding(
        missing=f"{looks} more looks with answers" if looks > 0 else None,
        numbers={"looks": canary.looks, **({LOOKS_MISSING: looks} if looks > 0 else {})},
    )
    yield Finding(
        missing=f"{math.ceil(seconds)} more seconds" if seconds > 0 else None,
        numbers={"seconds": canary.seconds},
    )


def _freshness(
    samples: Sequence[Sample], evidence: CanaryEvidence, canary: Arm, stable: Arm | None
) -> Iterator[Finding]:
    # A server that cannot be scraped may be the one that fails, so old counts never pass.
    last = samples[-1].counts if samples else {}
    for name, release, side in (
        ("the canary", evidence.canary, canary),
        ("stable", evidence.stable, stable),
    ):
        if side is not None and not side.is_fresh:
            unreadable = f": a counter is negative, no number or beyond {MOST_COUNTED:.0f}"
            why = unreadable if release in last else ""
            yield Finding(missing=f"data of {name} in the last sample{why}")


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
