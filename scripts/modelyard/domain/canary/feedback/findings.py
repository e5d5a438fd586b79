"""What the judge finds in labels that arrived later: whether the canary loses more than stable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelyard.domain.canary.error_rate import against_within
from modelyard.domain.canary.request_metrics import Finding, Series, format_share, most_of_a_look
from modelyard.domain.drift.quality import loss_cut
from modelyard.domain.specs.column_values import Floats

# Losses are rounded to parts of a power of two: sums and differences of these are exact, so that
# no look loses more than all of its requests.
_PARTS = 2.0**20


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
class LabelledRow:
    """One labelled row of a release.

    Args:
        look: A delivery of labels, and the hour of the row's prediction.
        release: The release that predicted.
        request: The id of its request.
        loss: The row's loss.
    """

    look: tuple[int, str]
    release: str
    request: str
    loss: float


def live_loss(
    rows: Sequence[LabelledRow], *, canary: str, stable: str, metric: str, reference: Floats
) -> LiveLoss | None:
    """The losses of both releases by look; None if neither has one that could grow.

    The loss of a request is the mean of its labelled rows: requests are the units. A look is an
    hour of predictions in one delivery, in the order of deliveries, because a later one may bring
    labels of earlier hours.

    Args:
        rows: The labelled rows; those of other releases are left out.
        canary: The canary's identity.
        stable: Stable's.
        metric: The metric.
        reference: Stable's losses on held-out rows, of which a high quantile is the cut.
    """
    cut = loss_cut(reference)
    if cut is None:
        return None
    found: dict[tuple[tuple[int, str], str, str], list[float]] = {}
    for row in rows:
        share = min(max(row.loss / cut, 0.0), 1.0) if math.isfinite(row.loss) else 1.0
        found.setdefault((row.look, row.release, row.request), []).append(share)
    places = {look: place for place, look in enumerate(sorted({look for look, *_ in found}))}
    sums = {release: np.zeros((2, len(places))) for release in (canary, stable)}
    for (look, release, _), shares in found.items():
        if release in sums:
            mean = round(sum(shares) / len(shares) * _PARTS) / _PARTS
            sums[release][:, places[look]] += (1.0, mean)
    series = {
        release: Series(totals=totals.tolist(), hits=hits.tolist())
        for release, (totals, hits) in ((name, both.cumsum(axis=1)) for name, both in sums.items())
    }
    return LiveLoss(metric=metric, cut=cut, canary=series[canary], stable=series[stable])


def feedback_finding(found: LiveLoss | None, *, margin: float, alpha: float) -> Finding:
    """The finding on labelled requests.

    The null hypothesis is that the canary's mean loss exceeds stable's by at most the margin, both
    in parts of the cut. Losses between 0 and 1 take the place of hits: the factors of the test are
    convex in a loss, so their means are at most those of hits with the same mean. Labels arrive
    when they do, so a pass does not wait for them.
    """
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
