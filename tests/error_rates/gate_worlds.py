"""What the rows of the gate's cases may look like: clusters, labels, and two models' scores.

A world is drawn for the cluster of each row. With `worse` False both models are equal; else the
challenger is worse, by the same in the mean of every draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import ndtri
from scipy.stats import t as student

World = tuple[Any, Any, Any]
"""Labels, the champion's predictions and the challenger's."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case of the gate.

    Args:
        name: What is special about it.
        metric: The gate's metric.
        world: Draws a world for the cluster of each row; with `worse` False the models are equal.
        margin: The true difference; None to find it by a million rows.
        sizes: The kind of cluster sizes, see `clusters_of`.
        clusters: Their number; with sizes `rows` every row is one.
        rows: The number of rows.
        classes: The levels of a label with several.
    """

    name: str
    metric: str
    world: Callable[..., World]
    margin: float | None = None
    sizes: str = "rows"
    clusters: int = 0
    rows: int = 2000
    classes: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """The name with the rows and clusters."""
        if self.sizes == "rows":
            return f"{self.name}; {self.rows:,} rows"
        return f"{self.name}; {self.rows:,} rows in {self.clusters} {self.sizes} clusters"


def clusters_of(case: Case, random: Generator) -> np.ndarray:
    """The cluster of each row."""
    if case.sizes == "rows":
        return np.arange(case.rows)
    count = case.clusters
    weights = {
        "even": lambda: np.ones(count),
        "day-like": lambda: np.exp(0.3 * random.normal(size=count)),
        "lognormal": lambda: np.exp(random.normal(size=count)),
        "Pareto": lambda: random.pareto(1.1, size=count) + 1,
        "Zipf": lambda: 1 / np.arange(1, count + 1),
        "all but one small": lambda: np.append(np.full(count - 1, 0.6 / (count - 1)), 0.4),
        "half in one": lambda: np.append(np.full(count - 1, 0.5 / (count - 1)), 0.5),
    }[case.sizes]()
    sizes = np.maximum(1, np.round(weights / weights.sum() * case.rows).astype(int))
    return np.repeat(np.arange(count), sizes)


def shared_noise(clusters: np.ndarray, random: Generator, shared: float) -> np.ndarray:
    """Normal noise of variance 1, of which a part is shared within a cluster."""
    alone = random.normal(size=clusters.size)
    if not shared or clusters[-1] + 1 == clusters.size:
        return alone
    together = random.normal(size=clusters[-1] + 1)[clusters]
    return math.sqrt(shared) * together + math.sqrt(1 - shared) * alone


def two_class_scores(
    clusters: np.ndarray,
    random: Generator,
    *,
    before: float,
    after: float,
    positives: float,
    places: int | None = None,
    shared: float = 0.0,
    worse: bool = True,
) -> World:
    """Binormal scores of these AUCs; positives everywhere, or in so many clusters alone."""
    chance = np.full(clusters.size, positives)
    if places is not None:
        count = clusters[-1] + 1
        chosen = np.isin(clusters, random.choice(count, places, replace=False))
        chance = np.where(chosen, positives * count / places, 0.0)
    labels = random.random(clusters.size) < chance
    labels[random.integers(clusters.size)] |= not labels.any()
    common = shared_noise(clusters, random, shared)
    scores = [
        labels * math.sqrt(2) * ndtri(auc)
        + math.sqrt(0.6) * common
        + math.sqrt(0.4) * shared_noise(clusters, random, shared)
        for auc in (before, after if worse else before)
    ]
    return labels.astype(int), *scores


def days_of_errors(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Absolute errors greater by .1, with noise of each row and of each cluster."""
    champion = 10 + np.abs(random.normal(size=clusters.size))
    gain = 0.5 * random.normal(size=clusters[-1] + 1)[clusters]
    noise = 0.5 * random.normal(size=clusters.size)
    return np.zeros(clusters.size), champion, champion + 0.1 * worse + gain + noise


def heavy_errors(
    clusters: np.ndarray, random: Generator, *, degrees: float, worse: bool = True
) -> World:
    """Errors with the tails of Student's t, greater by .1 of the challenger."""
    champion, other = student.rvs(degrees, size=(2, clusters.size), random_state=random)
    return np.zeros(clusters.size), champion, np.abs(other) + 0.1 * worse


def scaled_errors(
    clusters: np.ndarray, random: Generator, *, draw: Callable[..., Any], worse: bool = True
) -> World:
    """Errors 1.1 times the champion's, which every row then adds to, and noise of both models."""
    errors = draw(random, clusters.size)
    first, second = 0.1 * random.normal(size=(2, clusters.size))
    return np.zeros(clusters.size), errors + first, (1.1 if worse else 1) * errors + second


def bad_days(
    clusters: np.ndarray, random: Generator, *, share: float, loss: float, worse: bool = True
) -> World:
    """Equal classes, but in a share of the clusters a part of the rows is wrong."""
    bad = (random.random(clusters[-1] + 1) < share)[clusters] & worse
    wrong = bad & (random.random(clusters.size) < loss)
    return np.zeros(clusters.size, dtype=int), np.zeros(clusters.size), wrong.astype(float)


def harm_by_days(
    clusters: np.ndarray, random: Generator, *, spread: float, worse: bool = True
) -> World:
    """Absolute errors greater by .1 in the mean, by a lognormal factor of each cluster."""
    champion = 10 + np.abs(random.normal(size=clusters.size))
    size = np.exp(spread * random.normal(size=clusters[-1] + 1) - spread**2 / 2)[clusters]
    noise = 0.1 * random.normal(size=clusters.size)
    return np.zeros(clusters.size), champion, champion + 0.1 * worse * size + noise


def noisy_chances(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Probabilities with noise in their log odds, more of it in the challenger's."""
    odds = -1.2 + 1.2 * shared_noise(clusters, random, 0.1)
    labels = random.random(clusters.size) < logistic(odds)
    before, after = (
        logistic(odds + size * shared_noise(clusters, random, 0.1))
        for size in (0.5, 0.8 if worse else 0.5)
    )
    return labels.astype(int), before, after


def raised_chances(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Chances too high by .05, where the champion's are true; nearly the same if not worse."""
    chance = 0.9 * logistic(-1.2 + 1.2 * shared_noise(clusters, random, 0.1))
    labels = random.random(clusters.size) < chance
    noise = 0.001 * random.normal(size=clusters.size)
    return labels.astype(int), chance, np.clip(chance + 0.05 * worse + noise, 0, 1)


def one_sure_tenth(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Chances that are too high by .2, but only those of the upper tenth."""
    chance = 0.8 * random.random(clusters.size)
    labels = random.random(clusters.size) < chance
    return labels.astype(int), chance, chance + np.where((chance > 0.72) & worse, 0.2, 0.0)


def sure_tenth(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Chances that tell a tenth of positives apart; the challenger's are too low for them."""
    labels = random.random(clusters.size) < 0.1
    said = np.where(labels, random.beta(30, 10, clusters.size), random.beta(2, 40, clusters.size))
    champion = np.where(said > 0.35, 0.98, 0.01) + 0.001 * said
    other = champion + 0.001 * random.random(clusters.size)
    return labels.astype(int), champion, said if worse else other


def rare_certainty(
    clusters: np.ndarray, random: Generator, *, share: float, worse: bool = True
) -> World:
    """Nearly the champion's probabilities, but certain and wrong in a small share of the rows."""
    odds = -1.2 + 1.2 * random.normal(size=clusters.size)
    labels = random.random(clusters.size) < logistic(odds)
    challenger = logistic(odds + 0.02 * random.normal(size=clusters.size))
    harmed = (random.random(clusters.size) < share) & worse
    return labels.astype(int), logistic(odds), np.where(harmed, 1 - labels, challenger)


def rare_outliers(
    clusters: np.ndarray, random: Generator, *, share: float, worse: bool = True
) -> World:
    """Nearly the champion's errors, but ten times as large in a small share of the rows."""
    champion = random.normal(size=clusters.size)
    challenger = champion + 0.02 * random.normal(size=clusters.size)
    harmed = (random.random(clusters.size) < share) & worse
    outliers = 10 * random.normal(size=clusters.size)
    return np.zeros(clusters.size), champion, np.where(harmed, outliers, challenger)


def zero_inflated(
    clusters: np.ndarray, random: Generator, *, share: float, worse: bool = True
) -> World:
    """Both are right on most rows, and on a share of them the challenger errs by 1 more."""
    active = random.random(clusters.size) < share
    first, second = 10 + np.abs(random.normal(size=(2, clusters.size)))
    return np.zeros(clusters.size), active * first, active * (second + worse)


def lognormal_values(
    clusters: np.ndarray, random: Generator, *, spread: float, worse: bool = True
) -> World:
    """Values of very different size, which both miss by a part of them, the challenger by more."""
    values = random.lognormal(sigma=spread, size=clusters.size)
    first, second = 1 + 0.2 * random.normal(size=(2, clusters.size)) * [[1], [1.1 if worse else 1]]
    return values, values * first, values * second


def tied(
    clusters: np.ndarray, random: Generator, *, of: Callable[..., World], step: float, **known: bool
) -> World:
    """Scores of another world, rounded to few levels."""
    labels, *scores = of(clusters, random, **known)
    before, after = (np.round(each / step) * step for each in scores)
    return labels, before, after


def repeated(
    clusters: np.ndarray, random: Generator, *, of: Callable[..., World], **known: bool
) -> World:
    """One row of another world for each cluster, there again for each retry."""
    labels, before, after = of(np.arange(clusters[-1] + 1), random, **known)
    return labels[clusters], before[clusters], after[clusters]


def tenants_of_two_kinds(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Binormal scores where each cluster has a share of positives of its own."""
    chance = random.beta(0.5, 2.0, size=clusters[-1] + 1)[clusters]
    labels = random.random(clusters.size) < chance
    common = shared_noise(clusters, random, 0.2)
    before, after = (
        1.2 * labels + 0.8 * common + size * shared_noise(clusters, random, 0.2)
        for size in (0.6, 0.75 if worse else 0.6)
    )
    return labels.astype(int), before, after


def rare_mistakes(
    clusters: np.ndarray, random: Generator, *, share: float, worse: bool = True
) -> World:
    """Classes of which both miss a share, each its own, and the challenger twice as many."""
    wrong = random.random((2, clusters.size)) < [[share], [(2 if worse else 1) * share]]
    return np.zeros(clusters.size, dtype=int), *wrong.astype(float)


def growing_harm(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Absolute errors greater by .1 in the mean, by nothing at first and by .2 in the end."""
    champion = 10 + np.abs(random.normal(size=clusters.size))
    gain = 0.3 * random.normal(size=clusters[-1] + 1)[clusters]
    harm = 0.2 * clusters / clusters[-1]
    return np.zeros(clusters.size), champion, champion + worse * harm + gain


def weekend_harm(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Absolute errors greater by .35, on two days of seven."""
    champion = 10 + np.abs(random.normal(size=clusters.size))
    gain = 0.2 * random.normal(size=clusters[-1] + 1)[clusters]
    noise = 0.5 * random.normal(size=clusters.size)
    return (
        np.zeros(clusters.size),
        champion,
        champion + 0.35 * worse * (clusters % 7 > 4) + gain + noise,
    )


def few_days_of_gains(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Errors greater by .2 on most days and smaller by 4.8 on 1 day in 50: .1 in the mean."""
    champion = 10 + np.abs(random.normal(size=clusters.size))
    is_gain = (random.random(clusters[-1] + 1) < 0.02)[clusters]
    moved = np.where(is_gain, -4.8, 0.2) if worse else 0.0
    return (
        np.zeros(clusters.size),
        champion,
        champion + moved + 0.1 * random.normal(size=clusters.size),
    )


def noisy_classes(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Probabilities of four classes, with noise in their logits, more of it in the challenger's."""
    logits = random.normal(size=(clusters.size, 4)) + np.array([1.5, 0.5, 0.0, -1.5])
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    scores = []
    for size in (0.5, 0.7 if worse else 0.5):
        shared = 0.3 * random.normal(size=(clusters[-1] + 1, 4))[clusters]
        odds = np.exp(logits + size * (0.9 * random.normal(size=logits.shape) + shared))
        scores.append(odds / odds.sum(axis=1, keepdims=True))
    return labels, *scores


def logistic(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))
