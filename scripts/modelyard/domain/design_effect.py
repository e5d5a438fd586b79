"""How many predictions count as one, because the rows of a request are alike."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from modelyard.domain.counting import Arm

MEASURES = PAIRS, UNLIKE, TENTHS, DISTANCE = ("pairs", "unlike", "tenths", "distance")

DOUBT = 0.5  # of a request whose rows are one, added to what an arm shows
LIKENESS = 5.0  # requests' worth of what stable shows, until the canary shows its own


def pair_measures(histogram: Sequence[float]) -> dict[str, float]:
    """How the ordered pairs of different rows differ, from the rows of each bin.

    - `pairs`: n (n - 1), all pairs.
    - `unlike`: those in two different bins.
    - `tenths`: those in two different tenths of the grid; of up to ten bins each is its own.
    - `distance`: the sum of their squared distances, in bins.

    Args:
        histogram: Rows by bin, shape (bins,); whole numbers stay whole, so nothing is rounded.
    """
    seen = [(place, count) for place, count in enumerate(histogram) if count]
    rows = sum(count for _, count in seen)
    places = sum(count * place for place, count in seen)
    squares = sum(count * place * place for place, count in seen)
    tenths: dict[int, float] = {}
    for place, count in seen:
        tenth = place * 10 // len(histogram)
        tenths[tenth] = tenths.get(tenth, 0) + count
    return {
        PAIRS: rows * (rows - 1),
        UNLIKE: rows * rows - sum(count * count for _, count in seen),
        TENTHS: rows * rows - sum(count * count for count in tenths.values()),
        DISTANCE: 2 * (rows * squares - places * places),
    }


def design_effects(canary: Arm, stable: Arm | None) -> tuple[float, ...] | None:
    """By what to divide the rows each sample adds, because they came together; 1 if independent.

    1 + (m - 1) rho (Kish 1965, Survey Sampling; Donner and Klar 2000, Design and Analysis of
    Cluster Randomization Trials), with m = sum of squared rows a request / rows, and rho the
    intraclass correlation of predictions. So it is from 1 to m. Each is the greater one of both
    arms, because each bets with the counts of the other.

    m is counted, and of the interval alone, so that one great request puts no doubt on the rows
    before and after it. rho is estimated, from all that was counted until the interval's end. So
    what the rows of an interval counted as never changes, and a peak of evidence stays.

    Args:
        canary: What it did.
        stable: Likewise, at the same samples; None for a first release.

    Returns:
        Shape (samples,). Where an arm does not count pairs its m is the mean rows a request, and
        rho is the other's; 1 where neither shows any. None where not even m is known.
    """
    arms = [side for side in (stable, canary) if side is not None]
    if not all(_sizes_are_known(side) for side in arms):
        return None
    sizes = zip(*(_rows_a_request(side) for side in arms), strict=True)
    shown = zip(*(zip(side.predictions, side.pairs, strict=True) for side in arms), strict=True)
    return tuple(
        1 + (max(size) - 1) * _correlation(so_far)
        for size, so_far in zip(sizes, shown, strict=True)
    )


def _sizes_are_known(side: Arm) -> bool:
    asked = _counts_pairs(side.pairs[-1]) or side.answered[-1] > side.errors[-1]
    return asked and sum(side.predictions[-1]) > 0


def _counts_pairs(pairs: Mapping[str, float]) -> bool:
    return all(measure in pairs for measure in MEASURES)


def _rows_a_request(side: Arm) -> Iterator[float]:
    """By interval, as a row meets them; 1 where none came.

    Never less than the mean, also while only some of an arm's servers count pairs.
    """
    series = zip(
        _added(sum(histogram) for histogram in side.predictions),
        _added(answered - bad for answered, bad in zip(side.answered, side.errors, strict=True)),
        _added(pairs.get(PAIRS, 0.0) for pairs in side.pairs),
        strict=True,
    )
    for rows, requests, pairs in series:
        yield max(1.0, rows / max(requests, 1.0), 1 + pairs / rows) if rows else 1.0


def _added(totals: Iterable[float]) -> Iterator[float]:
    return (after - before for before, after in itertools.pairwise(itertools.chain((0.0,), totals)))


def _correlation(arms: Iterable[tuple[Sequence[float], Mapping[str, float]]]) -> float:
    """The greatest of the arms that show one, each drawn to what was known before it.

    At first that is that all is one. The more requests, the less; so little data is never taken as
    independence, and a young canary is not thought to differ from stable, whose requests are of the
    same users. Rows that come alone, or are all in one bin, show nothing.

    Args:
        arms: Stable first; rows by bin and pairs by measure until now.
    """
    known, weight, shown = 1.0, DOUBT, []
    for histogram, pairs in arms:
        seen = _correlation_seen(histogram, pairs)
        if seen is not None:
            rows = sum(histogram)
            requests = rows * rows / (rows + pairs[PAIRS])
            known = (requests * seen + weight * known) / (requests + weight)
            weight = LIKENESS
            shown.append(known)
    return max(shown, default=1.0)


def _correlation_seen(histogram: Sequence[float], within: Mapping[str, float]) -> float | None:
    """How much less the rows of one request differ than those of two, 0 to 1; None if none differ.

    1 - (mean difference within) / (mean difference between), without bias because the pairs between
    requests are all pairs but those within. Being in different bins sees copies, whatever the order
    of classes; in different tenths, requests that are spread over more or less of the grid; squared
    distance, rows that are merely near each other, whose fine bins differ.
    """
    if not _counts_pairs(within) or not within[PAIRS]:
        return None
    whole = pair_measures(histogram)
    if whole[PAIRS] <= within[PAIRS]:
        return None
    parts = []
    for measure in (UNLIKE, TENTHS, DISTANCE):
        apart = (whole[measure] - within[measure]) / (whole[PAIRS] - within[PAIRS])
        if apart > 0:
            parts.append(1 - within[measure] / within[PAIRS] / apart)
    return min(1.0, max(0.0, *parts)) if parts else None
