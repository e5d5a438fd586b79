"""What the judge finds in shadow answers: rows that the canary answers unlike on held-out rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.arms import Arm
from modelyard.domain.canary.error_rate import against_at_most
from modelyard.domain.canary.request_metrics import Finding, format_share, most_of_a_look
from modelyard.domain.canary.shadow.class_order import class_findings
from modelyard.domain.canary.shadow.pairs import FAILED, is_pair_of, parse_pair
from modelyard.domain.canary.shadow.promise import TAIL, PairPromise
from modelyard.domain.canary.shift.looks import LEAST_TRUSTED, counts_of_trusted, looks_with

STABLE_IN_ORDER = "stable's predictions as on held-out rows"
"""What is missing where stable is what keeps the canary from being judged."""

LEAST_PAIRS = 200
"""Pairs from which a share beyond the limit holds a pass back."""

_FEW_HELD_OUT = "answers of stable that too few held-out rows had"


def shadow_findings(
    stable: Arm,
    promise: PairPromise | None,
    *,
    release: str,
    margin: float,
    alpha: float,
    trusted: NDArray[np.bool_] | None = None,
) -> Iterator[Finding]:
    """The finding on the canary's shadow answers.

    A row is a stray if the canary's answer is not usual beside stable's, or if it failed. The null
    hypothesis is that at most `TAIL` and the margin of the rows are strays. One row of each request
    counts, so that requests are the units. Of classes what is most usual beside each must also stay
    usual, see `class_findings`.

    Args:
        stable: Stable, whose servers count the pairs.
        promise: From held-out rows; None if no rows were scored by both.
        release: The canary's identity.
        margin: Strays that are allowed beyond those on held-out rows.
        alpha: The level.
        trusted: By sample, whether what was counted since the one before is judged: strays of a
            look in which stable was broken are not the canary's. None for all. It may depend on
            stable's answers alone: beside each of these few of the canary's are strays.
    """
    if promise is None:
        yield Finding(text="shadow answers not judged: no held-out rows were scored by both")
        return
    pairs = _Pairs(stable, promise, release)
    if promise.classes:
        # Strays do not show one class for another where both are usual: a half of the level each.
        alpha /= 2
    if pairs.rows[-1]:
        yield _stray_finding(pairs, promise, margin=margin, alpha=alpha, trusted=trusted)
    else:
        yield Finding(text=f"shadow answers not judged: {_why_none(stable, pairs)}")
    yield from class_findings(
        promise.classes,
        stable.shadow,
        pairs.pairs,
        alpha=alpha,
        least_rows=LEAST_PAIRS,
        trusted=trusted,
    )


def excused(found: Finding) -> Finding:
    """The finding, but no harm of the canary, where stable answers unlike on held-out rows."""
    text = f"{found.text}; stable does not predict as on held-out rows, so that is not the canary's"
    return replace(found, text=text, bad=False, missing=STABLE_IN_ORDER)


def _stray_finding(
    pairs: _Pairs,
    promise: PairPromise,
    *,
    margin: float,
    alpha: float,
    trusted: NDArray[np.bool_] | None,
) -> Finding:
    rows, strays = (counts_of_trusted(each, trusted) for each in (pairs.rows, pairs.strays))
    limit = min(1.0, TAIL + margin)
    found = against_at_most(rows, strays, limit, most=most_of_a_look(math.log(1 / alpha)))
    bad, share = found.ever_rejects(alpha), strays[-1] / max(rows[-1], 1)
    if not bad and _are_few(pairs.rows, rows, trusted):
        return excused(Finding(text="shadow answers not judged"))
    is_far = share > limit and rows[-1] >= LEAST_PAIRS
    errors = f", {pairs.failed:.0f} of them by an error" if pairs.failed else ""
    allowed = f"{format_share(limit)} is allowed"
    unknown = f"; {pairs.unknown:.0f} more have {_FEW_HELD_OUT}" if pairs.unknown else ""
    return Finding(
        text=f"{format_share(share)} of {rows[-1]:.0f} shadow answers are unlike those on held-out "
        f"rows{errors}, {allowed}{unknown}{_blind(promise, limit)}",
        bad=bad,
        missing=f"shadow answers of which at most {format_share(limit)} differ" if is_far else None,
        numbers={
            "shadow_answers": rows[-1],
            "shadow_strays": share,
            "shadow_limit": limit,
            "evidence_shadow": found.peak,
        },
    )


def _are_few(
    every: Sequence[float], rows: Sequence[float], trusted: NDArray[np.bool_] | None
) -> bool:
    """Whether so much was left out with looks that are not trusted that the rest shows no pass."""
    if trusted is None or rows[-1] >= every[-1]:
        return False
    part = trusted[looks_with(every)].mean()
    return rows[-1] < LEAST_PAIRS or bool(part < LEAST_TRUSTED)


class _Pairs:
    """The canary's pairs in stable's counts.

    Attributes:
        rows: Those beside whose bin it is known what is usual, until each sample; at least one.
        strays: How many of these are unusual.
        failed: How many failed, until the last sample.
        unknown: Rows on the same grid beside whose bin nothing is known.
        elsewhere: Rows on another grid.
        pairs: Both bins of those on the same grid, by name.
    """

    def __init__(self, stable: Arm, promise: PairPromise, release: str) -> None:
        last = {name: n for name, n in stable.shadow.last.items() if is_pair_of(name, release)}
        parsed = {name: parse_pair(name, release, promise.grid) for name in last}
        pairs = {name: pair for name, pair in parsed.items() if pair is not None}
        strays = {name: promise.is_stray(*pair) for name, pair in pairs.items()}
        known = [name for name, stray in strays.items() if stray is not None]
        unusual = [name for name in known if strays[name]]
        self.pairs = pairs
        self.rows = stable.shadow.sum_of(known) or [0.0]
        self.strays = stable.shadow.sum_of(unusual) or [0.0]
        self.failed = sum(last[name] for name in known if pairs[name][1] == FAILED)
        self.unknown = sum(last[name] for name in pairs) - self.rows[-1]
        self.elsewhere = sum(rows for name, rows in last.items() if name not in pairs)


def _why_none(stable: Arm, pairs: _Pairs) -> str:
    """Why no shadow answer is judged."""
    if pairs.unknown:
        return f"all {pairs.unknown:.0f} have {_FEW_HELD_OUT}"
    if pairs.elsewhere:
        return (
            f"stable's servers counted {pairs.elsewhere:.0f} by another range or other classes"
            " than model.yaml has now"
        )
    lost = sorted((why, count) for why, count in stable.lost.items() if count)
    if lost:
        each = ", ".join(f"{count:.0f} {why}" for why, count in lost)
        return f"stable's servers have counted none, and lost copies: {each}"
    return "stable's servers have counted none"


def _blind(promise: PairPromise, limit: float) -> str:
    """What is said where even the answers of other rows would be usual."""
    if promise.mixed > limit:
        return ""
    return f"; answers of other rows would differ in {format_share(promise.mixed)}: not seen"
