"""What the judge finds in labels that arrived later: whether the canary loses more than stable."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.error_rate import against_within
from modelyard.domain.canary.request_metrics import Finding, Series, format_share, most_of_a_look
from modelyard.domain.drift.quality import loss_cut
from modelyard.domain.specs.column_values import Floats

_PARTS = 2.0**28

MOST_RATIO = 2.0
"""Of a class's shares among labels and held-out rows: classes become more and less frequent."""

BEYOND_CHANCE = 4.0
"""Standard errors of a share, as there are many deliveries and classes."""

Codes = NDArray[np.intp]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class LiveLoss:
    """The losses of labelled requests of two releases, at the same looks.

    Args:
        metric: The metric whose row values are the losses.
        cut: A loss from here on counts as 1, and a smaller one by its part of it.
        canary: Requests and their losses, from the first look until each.
        stable: Stable's.
    """

    metric: str
    cut: float
    canary: Series
    stable: Series


@dataclass(frozen=True, kw_only=True)
class UnreadLabels:
    """Labels that arrived, and cannot be read or compared now.

    Args:
        why: The reason.
    """

    why: str


@dataclass(frozen=True, kw_only=True)
class LabelledRows:
    """Labelled rows of two releases: each array has an element for each row.

    Args:
        looks: The number of the row's look, which grows with time.
        requests: The number of its request, from 0 on; those of two releases are two requests.
        is_canary: Whether the canary predicted it, and not stable.
        losses: Its loss.
    """

    looks: Codes
    requests: Codes
    is_canary: Mask
    losses: Floats


def live_loss(rows: LabelledRows, *, metric: str, reference: Floats) -> LiveLoss | None:
    """The losses of both releases by look; None if there is none that could grow.

    Requests are the units. A request's loss is the mean of the rows that the first look labels of
    it: later rows of it are no news, and a request that counted in each look that labels one of its
    rows would be many. A look is an hour of predictions in one delivery, in the order of
    deliveries, because a later one may bring labels of earlier hours.

    Args:
        rows: The labelled rows of both.
        metric: The metric.
        reference: Stable's losses on held-out rows, of which a high quantile is the cut.
    """
    cut = loss_cut(reference)
    if cut is None:
        return None
    requests = int(rows.requests.max(initial=-1)) + 1
    first = np.full(requests, np.iinfo(np.intp).max)
    np.minimum.at(first, rows.requests, rows.looks)
    is_first = rows.looks == first[rows.requests]
    owner, losses = rows.requests[is_first], rows.losses[is_first]
    shares = np.where(np.isfinite(losses), np.clip(losses / cut, 0.0, 1.0), 1.0)
    means = np.bincount(owner, shares, requests) / np.bincount(owner, minlength=requests)
    is_canary = np.zeros(requests, dtype=np.bool_)
    is_canary[rows.requests] = rows.is_canary
    looks, places = np.unique(first, return_inverse=True)

    def series(which: Mask) -> Series:
        hits = np.bincount(places[which], _rounded(means[which]), len(looks))
        totals = np.bincount(places[which], minlength=len(looks)).astype(np.float64)
        return Series(totals=totals.cumsum().tolist(), hits=hits.cumsum().tolist())

    return LiveLoss(metric=metric, cut=cut, canary=series(is_canary), stable=series(~is_canary))


def _rounded(shares: Floats) -> Floats:
    """To parts of a power of two: sums and differences of these are exact.

    Else a look could lose more than all of its requests.
    """
    rounded: Floats = np.rint(shares * _PARTS) / _PARTS
    return rounded


def is_other_mix(labels: NDArray[Any], held_out: NDArray[Any]) -> bool:
    """Whether labels came for some answers alone, such as the late ones: by the classes' shares.

    A version that is better on late rows and worse on the others is then judged by one half of what
    it does. A class has then more than `MOST_RATIO` times its share of the held-out rows, or as
    much less, and that is not chance.
    """
    for level in np.unique(held_out):
        share = float(np.mean(held_out == level))
        chance = BEYOND_CHANCE * math.sqrt(share * (1 - share) / max(len(labels), 1))
        found = float(np.mean(labels == level)) if len(labels) else share
        if not share / MOST_RATIO - chance <= found <= share * MOST_RATIO + chance:
            return True
    return False


def feedback_finding(
    found: LiveLoss | UnreadLabels | None, *, margin: float, alpha: float
) -> Finding:
    """The finding on labelled requests.

    The null hypothesis is that the canary's mean loss exceeds stable's by at most the margin, both
    in parts of the cut. Losses between 0 and 1 take the place of hits: the factors of the test are
    convex in a loss, so their means are at most those of hits with the same mean. Labels arrive
    when they do, so a pass does not wait for them, and not for a file of them that is broken.
    """
    if isinstance(found, UnreadLabels):
        return Finding(text=f"live quality not judged: {found.why}")
    if (
        found is None
        or not found.canary.totals
        or not min(found.canary.totals[-1], found.stable.totals[-1])
    ):
        return Finding(text="live quality not judged: no labels of both releases yet")
    mine, other = found.canary, found.stable
    allowed = most_of_a_look(math.log(1 / alpha)) * np.arange(1, len(mine.totals) + 1)
    evidence = against_within(
        mine.totals, mine.hits, other.totals, other.hits, margin, allowed=allowed
    )
    bad = evidence.ever_rejects(alpha)
    said = (
        f"live {found.metric} {mine.share * found.cut:.3g} of {mine.totals[-1]:.0f} labelled "
        f"requests, stable {other.share * found.cut:.3g} of {other.totals[-1]:.0f}"
    )
    worse = f": worse by more than {margin * found.cut:.2g} ({format_share(margin)} of the cut)"
    return Finding(
        text=f"{said}{worse}" if bad else said,
        bad=bad,
        numbers={
            "labelled_requests": mine.totals[-1],
            "canary_loss": mine.share * found.cut,
            "stable_loss": other.share * found.cut,
            "evidence_quality": evidence.peak,
        },
    )
