"""How much information the rows of a comparison carry: degrees of freedom, and rows that differ."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from modelyard.domain.gate.calibration import BINS
from modelyard.domain.gate.inputs import Codes
from modelyard.domain.specs.column_values import Floats

LEAST_ROWS = 20
"""Fewer informative rows decide nothing: their mean is too skewed for Student's t."""

RAREST_HARM = 0.001
"""Where a metric has no worst value, harm in a smaller share of the rows is not looked for."""

NEGLIGIBLE = 0.1
"""Part of the margin up to which all informative rows together count as no difference."""

MOST_SKEWED = 0.15
"""From this skewness towards harm on, Student's t promises too much to pass."""

STAKES = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""Of bets on a mean, as parts of the greatest possible one."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The rows that a difference is a mean over; an AUC has two sides, positives and negatives.

    Args:
        name: `rows`, `positives` or `negatives`.
        gains: By how much the challenger is better on each row, to first order.
        variance: Of their mean, robust to clusters; infinite if they are all of one cluster.
        degrees: Degrees of freedom of the variance.
        sums: The sum of the gains of each cluster.
        sizes: The number of rows of each cluster.
    """

    name: str
    gains: Floats = field(compare=False, repr=False)
    variance: float
    degrees: float
    sums: Floats = field(compare=False, repr=False)
    sizes: Floats = field(compare=False, repr=False)

    @property
    def effective_clusters(self) -> float:
        """How many equal clusters carry as much information about the variance."""
        return self.degrees + 1

    def informative_rows(self, margin: float) -> float:
        """How many equal differences carry as much as the gains of a margin or more.

        Smaller gains cannot add up to a margin, however many they are: harm of a margin would sit
        in rows that these rows do not show. The number is (sum of |gain|)^2 / (sum of gain^2): k
        for k equal ones, .64 n for n normal ones, and little where few rows have most of it.
        """
        gains = self._material(margin)
        squares = float(gains @ gains)
        return float(np.abs(gains).sum()) ** 2 / squares if squares else 0.0

    def is_shown_without(self, margin: float, alpha: float, worst: float) -> bool:
        """Whether the rows decide even if few of them are informative.

        Either bets show it, for or against the challenger. Or the models agree on so many clusters
        that only harm in fewer of them than `RAREST_HARM` could be unseen.

        Args:
            margin: Of the test.
            alpha: Its level.
            worst: The most that a row can lose or win; infinite if nothing limits it.
        """
        if self.is_won(margin, alpha, worst) or self._is_lost(margin, alpha, worst):
            return True
        enough = self.sums.size * RAREST_HARM >= math.log(1 / alpha)
        gains = self._material(margin)
        # With margin 0 unseen harm could outweigh the gains of few rows: only a tie is shown.
        harm = gains[gains < 0] if margin else gains
        return enough and abs(float(harm.sum())) <= NEGLIGIBLE * margin * self.gains.size

    def is_shown_by_pairs(self, margin: float, alpha: float) -> bool:
        """Whether the rows of a mean over pairs decide even if few of them are informative.

        What a share s of the rows adds to a calibration error is at most `BINS` s^2, as it is in
        pairs of them alone; with G clusters a share of log(1/alpha) / G may be unseen.
        """
        unseen = BINS * (math.log(1 / alpha) / self.sums.size) ** 2
        lost = -float(self.gains[self.gains < 0].sum()) / self.gains.size
        return max(unseen, lost) <= NEGLIGIBLE * margin

    def is_won(self, margin: float, alpha: float, worst: float) -> bool:
        """Whether bets show a mean above -margin; they need only the worst loss of a row.

        They bet on the sums of clusters, which are independent; rows need not be.
        """
        if not (worst > margin and math.isfinite(worst)):
            return False
        moved = self.sums + margin * self.sizes
        return _bet(moved, (worst - margin) * self.sizes.max()) >= math.log(1 / alpha)

    def _is_lost(self, margin: float, alpha: float, worst: float) -> bool:
        if not math.isfinite(worst):
            return False
        moved = self.sums + margin * self.sizes
        return _bet(-moved, (worst + margin) * self.sizes.max()) >= math.log(1 / alpha)

    def clusters_without_difference(self, margin: float, alpha: float, worst: float) -> float:
        """How many clusters like these are enough if the models are equal on all of them."""
        many = math.log(1 / alpha) / RAREST_HARM
        if not (margin and worst > margin and math.isfinite(worst)):
            return many
        step = margin * self.sizes.mean() / ((worst - margin) * self.sizes.max())
        bets = math.log(len(STAKES) / alpha) / math.log1p(max(STAKES) * step)
        return min(bets, many)

    def _material(self, margin: float) -> Floats:
        gains: Floats = self.gains[np.abs(self.gains) >= max(margin, math.ulp(0.0))]
        return gains


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What each row adds to a difference.

    Args:
        centred: The centred part of each row.
        weights: The part of the difference that each row would have if all were equal.
        codes: The cluster of each row.
    """

    centred: Floats
    weights: Floats
    codes: Codes

    def harm_skewness(self, lead: float) -> float:
        """The skewness of the difference towards harm, or 0 if nothing lost more than the margin.

        For G clusters it is -g1 / sqrt(G), with g1 the skewness of their sums. The first term by
        which the level of Student's t errs is proportional to it (Hall 1992): heavy losses lower
        the mean and widen its error, so a sample that happens to lack them looks safe. Few clusters
        hide the tails of their rows, so rows count as clusters too, and the larger skewness is
        returned.

        Args:
            lead: The difference and the margin together: how far it is from the null hypothesis.
        """
        found = [0.0]
        for codes in (np.arange(self.codes.size), self.codes):
            sums = np.bincount(codes, self.centred).astype(np.float64)
            if (sums + lead * np.bincount(codes, self.weights) < 0).any():
                found.append(_skewness_of_mean(-sums))
        return max(found)


def _skewness_of_mean(parts: Floats) -> float:
    # In units of the largest part, so that cubes cannot overflow.
    largest = float(np.abs(parts).max())
    if not largest > 0:
        return 0.0
    scaled = parts / largest
    return float((scaled**3).sum() / (scaled @ scaled) ** 1.5)


def _bet(values: Floats, worst: float) -> float:
    """The log capital of bets that the mean of values is above 0, which none is below by more.

    If it is not, the capital's mean is at most 1, so it reaches 1/alpha with probability alpha at
    most, whatever the distribution (Waudby-Smith and Ramdas 2024). All stakes share one capital.
    """
    capitals = [float(np.log1p(stake / worst * values).sum()) for stake in STAKES]
    return float(np.logaddexp.reduce(capitals)) - math.log(len(capitals))


def side_of(name: str, gains: Floats, codes: Codes) -> Side:
    """A side from the gain of each row and its cluster.

    The working model is one variance within clusters and one between them, both estimated from the
    gains. Cluster g of n_g rows then has the variance v_g = n_g s^2 + n_g^2 t^2, and the sum of
    squared centred cluster sums has the moments of a quadratic form. Its mean corrects the
    variance, and twice its squared mean over its variance are the degrees of freedom (Satterthwaite
    1946; Bell and McCaffrey 2002; for clusters of unequal size Carter, Schnepel and Steigerwald
    2017). G equal clusters give G - 1 degrees and the usual factor G/(G-1).
    """
    counts = np.bincount(codes)
    sizes: Floats = counts[counts > 0].astype(np.float64)
    clustered: Floats = np.bincount(codes, gains)[counts > 0].astype(np.float64)
    side = Side(name=name, gains=gains, variance=math.inf, degrees=0.0, sums=clustered, sizes=sizes)
    if sizes.size == 1:
        return side
    weights, variances = sizes / sizes.sum(), _cluster_variances(gains, codes)
    sums = np.bincount(codes, (gains - gains.mean()) / gains.size)
    total, crossed = variances.sum(), weights @ variances
    squared = float(weights @ weights)
    expected = total - 2 * crossed + squared * total
    # The trace of the squared matrix D B D B, D = diag(v), B_gh = [g = h] - w_g - w_h + w.w
    off = squared - 2 * weights
    everywhere = (squared * total) ** 2 - 4 * squared * total * crossed
    everywhere += 2 * total * (weights**2 @ variances) + 2 * crossed**2
    traced = everywhere + variances**2 @ ((1 + off) ** 2 - off**2)
    return replace(
        side,
        variance=float((sums @ sums) * total / expected),
        degrees=float(expected**2 / traced),
    )


def _cluster_variances(gains: Floats, codes: Codes) -> Floats:
    """The variance of each cluster's sum of gains, by the analysis of variance (Searle 1971).

    There are at least two clusters.
    """
    sizes = np.bincount(codes).astype(np.float64)
    present = sizes > 0
    sums = np.bincount(codes, gains - gains.mean())[present]
    sizes, rows, clusters = sizes[present], gains.size, int(present.sum())
    squares = float(((gains - gains.mean()) ** 2).sum())
    if clusters == rows or not squares > 0:
        return sizes
    between = float((sums**2 / sizes).sum())
    within = max(squares - between, 0.0) / (rows - clusters)
    size = (rows - float(sizes @ sizes) / rows) / (clusters - 1)
    shared = max(between / (clusters - 1) - within, 0.0) / size
    found: Floats = sizes * within + sizes**2 * shared
    return found if found.sum() > 0 else sizes
