"""How many predictions count as one, because the rows of a request are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def design_effect(canary: Arm, stable: Arm | None) -> float | None:
    """By what to divide counts of rows that came together; 1 for independent rows.

    1 + (m - 1) rho (Kish 1965, Survey Sampling; Donner and Klar 2000, Design and Analysis of
    Cluster Randomization Trials), with m = sum of squared rows a request / rows, and rho the
    intraclass correlation of predictions. So it is from 1 to m. It is the greater one of both arms,
    because each bets with the counts of the other.

    Args:
        canary: What it did.
        stable: Likewise; None for a first release.

    Returns:
        The design effect; that of rows that are all one where a server does not count pairs, with m
        as the mean rows a request. None where not even that is known.
    """
    arms = [side for side in (stable, canary) if side is not None]
    sizes = [_rows_a_request(side) for side in arms]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    return 1 + (max(known) - 1) * _correlation(arms)


def _counts_pairs(side: Arm) -> bool:
    return all(measure in side.pairs for measure in MEASURES)


def _rows_a_request(side: Arm) -> float | None:
    """As a row meets them, which is more than the mean; at least 1."""
    rows = sum(side.predictions[-1])
    if rows and _counts_pairs(side):
        return 1 + side.pairs[PAIRS] / rows
    requests = side.answered[-1] - side.errors[-1]
    return max(1.0, rows / requests) if rows and requests > 0 else None


def _correlation(arms: Sequence[Arm]) -> float:
    """The greatest of the arms, each drawn to what was known before it: at first that all is one.

    The more requests, the less; so little data is never taken as independence, and a young canary
    is not thought to differ from stable, whose requests are of the same users.
    """
    if not all(_counts_pairs(side) for side in arms):
        return 1.0
    known, weight, all_known = 1.0, DOUBT, []
    for side in arms:
        histogram = side.predictions[-1]
        seen = _correlation_seen(pair_measures(histogram), side.pairs)
        if seen is not None:
            rows = sum(histogram)
            requests = rows * rows / (rows + side.pairs[PAIRS])
            known = (requests * seen + weight * known) / (requests + weight)
            weight = LIKENESS
        all_known.append(known)
    return max(all_known)


def _correlation_seen(whole: Mapping[str, float], within: Mapping[str, float]) -> float | None:
    """How much less the rows of one request differ than those of two, 0 to 1; None if none differ.

    1 - (mean difference within) / (mean difference between), without bias because the pairs between
    requests are all pairs but those within. Being in different bins sees copies, whatever the order
    of classes; in different tenths, requests that are spread over more or less of the grid; squared
    distance, rows that are merely near each other, whose fine bins differ.
    """
    if not within[PAIRS] or whole[PAIRS] <= within[PAIRS]:
        return None
    parts = []
    for measure in (UNLIKE, TENTHS, DISTANCE):
        apart = (whole[measure] - within[measure]) / (whole[PAIRS] - within[PAIRS])
        if apart > 0:
            parts.append(1 - within[measure] / within[PAIRS] / apart)
    return min(1.0, max(0.0, *parts)) if parts else None
