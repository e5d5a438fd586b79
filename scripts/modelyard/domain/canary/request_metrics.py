"""What the judge finds in shares of requests: errors, refusals and slow answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from modelyard.domain.canary.arms import Arm
from modelyard.domain.canary.error_rate import (
    BASE_RATES,
    WIDE_RATES,
    Evidence,
    against_at_least,
    against_at_most,
    against_not_worse,
    against_within,
    against_worse_by,
    counted_increments,
    ranges_with_both_arms,
    sum_ranges,
)
from modelyard.domain.canary.latency import ALL_REQUESTS, bound_name
from modelyard.domain.specs.model import CanaryPolicy

LEAST_SLOW_SECONDS = 15.0
"""A canary fails by its latency only after so long: slow requests come in bursts."""

LEAST_BAD_LOOKS = 4
"""A canary fails only by what at least so many intervals between samples show. A server that warms
up, or one of many that has a bad minute, is not a bad release."""


WARM_UP_LOOKS = 10
"""The first intervals with answers of both releases, in which a canary may be slow and get faster.
As many are left until a canary that is slow for good must have failed."""

WARM_UP_SECONDS = 300.0
"""From the first of these looks on: sixty looks of the usual 5 seconds. Where requests are few a
look takes long, and ten of them would excuse a slow canary for hours."""

FASTER = 0.85
"""A canary gets faster if the second half of its warm-up has at most this part of the slow requests
beyond stable's that the first half has."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result for one metric: bad, or undecided if something is missing, otherwise good."""

    text: str = ""
    bad: bool = False
    missing: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Series:
    """How many requests one arm had until each sample, and how many of them were hits."""

    totals: Sequence[float]
    hits: Sequence[float]

    @property
    def share(self) -> float:
        """The share of hits; 0 without requests."""
        return self.hits[-1] / self.totals[-1] if self.totals[-1] else 0.0


@dataclass(frozen=True, kw_only=True)
class RequestMetric:
    """A share of requests that the judge compares with stable's, or with a limit.

    Args:
        name: Its name in front of a share, such as `error rate`.
        subject: Its name in a sentence.
        key: Its part in the names of numbers; empty for the error rate.
        canary: The canary's requests.
        stable: Stable's; None for a first release.
        margin: A difference of shares up to which the canary counts as not worse.
        limit: The limit for a first release.
        seconds: If not None, when each sample was taken, in seconds: the canary then fails only
            beyond the margin, and after `LEAST_SLOW_SECONDS` of it, too.
    """

    name: str
    subject: str
    key: str
    canary: Series
    stable: Series | None
    margin: float
    limit: float
    seconds: Sequence[float] | None = None

    def finding(self, alpha: float) -> Finding:
        """The finding at this level."""
        if not self.canary.totals[-1]:
            return Finding(missing=f"{self.subject}: no request answered")
        worse, kept = self.evidence(alpha)
        is_worse, is_kept = self._claims()
        # A rejection is valid at any time, so a peak fails for good. A pass must hold until now.
        bad, known = worse.ever_rejects(alpha), kept.rejects_now(alpha)
        is_warm_up = bad and self._is_warm_up(alpha)
        bad = bad and not is_warm_up
        rival = "" if self.stable is None else f", stable {_share_of_requests(self.stable)}"
        claim = f": {is_worse}" if bad else f": {is_kept}" if known else ""
        if is_warm_up:
            claim = f": {is_worse} at first, and less and less"
        return Finding(
            text=f"{self.name} {_share_of_requests(self.canary, ' requests')}{rival}{claim}",
            bad=bad,
            missing=None if known else self._missing(is_kept, kept, alpha),
            numbers=dict(self._numbers(worse, kept, alpha)),
        )

    def evidence(self, alpha: float) -> tuple[Evidence, Evidence]:
        """Against "not worse" and against "worse by the margin", or above and below the limit."""
        one, needed = (self.canary.totals, self.canary.hits), math.log(1 / alpha)
        most = most_of_a_look(needed)
        if self.stable is None:
            worse = against_at_most(*one, self.limit, most=most)
            return worse, against_at_least(*one, self.limit)
        both = (*one, self.stable.totals, self.stable.hits)
        kept = against_worse_by(*both, self.margin, rates=WIDE_RATES if self.key else BASE_RATES)
        if self.seconds is None:
            return against_not_worse(*both, most=most), kept
        allowed = [needed * seconds / LEAST_SLOW_SECONDS for seconds in self.seconds]
        return against_within(*both, self.margin, allowed=allowed, most=most), kept

    def _is_warm_up(self, alpha: float) -> bool:
        """Whether the canary gets faster in its first looks, and those after them show no harm.

        No test: it only makes a fail rarer, of what all looks together show.
        """
        if self.stable is None or self.seconds is None:
            return False
        arms = (self.canary.totals, self.canary.hits, self.stable.totals, self.stable.hits)
        added = [counted_increments(each) for each in arms]
        ranges = ranges_with_both_arms(added[0], added[2])
        looks = _looks_of_warm_up(ranges, self.seconds)
        if looks < 2:  # noqa: PLR2004 - one look does not get faster
            return False
        first = np.array([sum_ranges(each, ranges)[:looks] for each in added])
        early, late = (
            part[1] / part[0] - part[3] / part[2]
            for part in (half.sum(axis=1) for half in np.array_split(first, 2, axis=1))
        )
        if late > FASTER * early:
            return False
        if len(ranges) <= looks:
            return True
        start = ranges[looks - 1][1]
        after = [each[start:].cumsum() for each in added]
        seconds = [0.0, *self.seconds][start:]
        later = replace(
            self,
            canary=Series(totals=after[0].tolist(), hits=after[1].tolist()),
            stable=Series(totals=after[2].tolist(), hits=after[3].tolist()),
            seconds=[at - seconds[0] for at in seconds[1:]],
        )
        if len(ranges) >= 2 * looks and later.excess > self.margin:
            return False  # it is slow again and again, as one that starts anew every few minutes
        return not later.evidence(alpha)[0].ever_rejects(alpha)

    @property
    def excess(self) -> float:
        """The canary's share of hits, less stable's."""
        return self.canary.share - (self.stable.share if self.stable else 0.0)

    def _claims(self) -> tuple[str, str]:
        if self.stable is None:
            limit = format_share(self.limit)
            return f"above the limit of {limit}", f"below {limit}"
        margin = format_share(self.margin)
        beyond = "" if self.seconds is None else f" by more than {margin}"
        return f"worse than stable{beyond}", f"not worse by {margin}"

    def _missing(self, claim: str, kept: Evidence, alpha: float) -> str:
        if self.stable is not None and not self.stable.totals[-1]:
            return "requests answered by stable"
        needed, so_far = math.log(1 / alpha), max(kept.now, 0.0)
        unknown = f"evidence that {self.subject} is {claim} ({so_far:.1f} of {needed:.1f}"
        if not so_far:
            return f"{unknown})"
        # While the rates stay the same, evidence grows in proportion to requests.
        more = math.ceil(self.canary.totals[-1] * (needed / so_far - 1))
        return f"{unknown}; at this rate about {more} more requests)"

    def _numbers(
        self, worse: Evidence, kept: Evidence, alpha: float
    ) -> Iterator[tuple[str, float]]:
        infix = f"{self.key}_" if self.key else ""
        share = self.key or "error_rate"
        if not self.key:
            yield "canary_requests", self.canary.totals[-1]
        yield f"canary_{share}", self.canary.share
        yield "evidence_needed", math.log(1 / alpha)
        yield f"evidence_{infix}worse", worse.peak
        yield f"evidence_{infix}not_worse", kept.now
        if self.stable is not None and self.stable.totals[-1]:
            if not self.key:
                yield "stable_requests", self.stable.totals[-1]
            yield f"stable_{share}", self.stable.share


def most_of_a_look(needed: float) -> float:
    """The most that one interval may add, so that `LEAST_BAD_LOOKS` of them must show harm."""
    # A little more than a part each: four equal parts may be less than the whole by rounding.
    return 1.001 * needed / LEAST_BAD_LOOKS


def unanswered(
    canary: Arm, stable: Arm | None, policy: CanaryPolicy, *, share: float, alpha: float
) -> Finding | None:
    """Whether the canary answers as many requests as its share brings it; None without stable.

    A router that sends the share p to the canary leaves the canary p of all answers. A request that
    is never answered lowers that. The null hypothesis is that of the canary's requests at most
    `margin_unanswered` stay without an answer.

    Intervals in which the canary answered nothing are left out, and so is the first one with
    answers: a server that starts, or starts again, has no share yet. So are those of which it is
    not known what a release counted, as one of several servers started again: where stable's
    answers are missing, the canary seems to answer more than its share. A canary that answers
    nothing at all never passes.
    """
    if stable is None or not 0 < share < 1:
        return None
    mine, others = (counted_increments(_answers(arm)) for arm in (canary, stable))
    is_known = ~np.isin(np.arange(mine.size), [*(canary.unknown | stable.unknown)])
    counted = np.flatnonzero(mine)[1:]
    counted = counted[is_known[counted]]
    mine, both = mine[counted].cumsum(), (mine + others)[counted].cumsum()
    if not counted.size:
        return None
    kept = share * (1 - policy.margin_unanswered)
    most = most_of_a_look(math.log(1 / alpha))
    found = against_at_least(both, mine, kept / (kept + 1 - share), most=most)
    bad, part = found.ever_rejects(alpha), float(mine[-1] / both[-1])
    lost = max(0.0, 1 - part * (1 - share) / ((1 - part) * share)) if part < 1 else 0.0
    return Finding(
        text=f"it answered {format_share(part)} of all requests and its share is "
        f"{format_share(share)}: about {format_share(lost)} of its requests are never answered"
        if bad
        else "",
        bad=bad,
        numbers={"unanswered": lost, "evidence_unanswered": found.peak},
    )


def _answers(arm: Arm) -> list[float]:
    """Answers of all kinds, until each sample."""
    return [sum(counts) for counts in zip(arm.answered, arm.client_errors, strict=True)]


def error_rate(canary: Arm, stable: Arm | None, policy: CanaryPolicy) -> RequestMetric:
    """Errors: 5xx answers among all but 4xx."""
    return RequestMetric(
        name="error rate",
        subject="the error rate",
        key="",
        canary=Series(totals=canary.answered, hits=canary.errors),
        stable=Series(totals=stable.answered, hits=stable.errors) if stable else None,
        margin=policy.margin_error_rate,
        limit=policy.error_limit,
    )


def refusals(canary: Arm, stable: Arm | None, policy: CanaryPolicy) -> RequestMetric | None:
    """Refusals among answers and refusals; None if a release's servers do not count them."""
    if canary.refusals is None or (stable is not None and stable.refusals is None):
        return None
    return RequestMetric(
        name="refused",
        subject="the share of refused requests",
        key="refused",
        canary=Series(totals=canary.refusals[0], hits=canary.refusals[1]),
        stable=Series(totals=stable.refusals[0], hits=stable.refusals[1])
        if stable is not None and stable.refusals is not None
        else None,
        # A team that chose its margin for little traffic needs the same one here.
        margin=policy.margin_error_rate
        if policy.margin_refusals is None
        else policy.margin_refusals,
        limit=policy.refusal_limit,
    )


def slow_answers(
    canary: Arm,
    stable: Arm | None,
    policy: CanaryPolicy,
    *,
    slow_ms: float,
    times: Sequence[datetime],
) -> RequestMetric | None:
    """Requests slower than the threshold; None if a release's servers do not count by it.

    Args:
        canary: The canary.
        stable: Stable, or None for a first release.
        policy: Has margin and limit.
        slow_ms: The threshold in milliseconds.
        times: When the samples were taken.
    """
    mine = _slow(canary, slow_ms)
    others = _slow(stable, slow_ms) if stable is not None else None
    if mine is None or (stable is not None and others is None):
        return None
    return RequestMetric(
        name=f"slower than {slow_ms:g} ms",
        subject=f"the share of requests slower than {slow_ms:g} ms",
        key="slow",
        canary=mine,
        stable=others,
        margin=policy.margin_slow,
        limit=policy.slow_limit,
        seconds=[(at - times[0]).total_seconds() for at in times],
    )


def format_share(share: float) -> str:
    """A share as a percentage of three digits."""
    return f"{100 * share:.3g} %"


def _looks_of_warm_up(ranges: Sequence[tuple[int, int]], seconds: Sequence[float]) -> int:
    ends = [seconds[end - 1] for _, end in ranges[:WARM_UP_LOOKS]]
    return sum(end - ends[0] <= WARM_UP_SECONDS for end in ends)


def _slow(arm: Arm, slow_ms: float) -> Series | None:
    bound = bound_name(slow_ms / 1000)
    last = arm.within[-1] if arm.within else {}
    if bound not in last or ALL_REQUESTS not in last:
        return None
    totals = [within.get(ALL_REQUESTS, 0.0) for within in arm.within]
    fast = [within.get(bound, 0.0) for within in arm.within]
    return Series(
        totals=totals, hits=[total - part for total, part in zip(totals, fast, strict=True)]
    )


def _share_of_requests(series: Series, unit: str = "") -> str:
    if not series.totals[-1]:
        return "without requests"
    return f"{format_share(series.share)} of {series.totals[-1]:.0f}{unit}"
