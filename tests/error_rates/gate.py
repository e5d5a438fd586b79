"""The gate's error rates: how often a challenger that is worse by exactly the margin passes.

Each case draws the rows, the clusters and both models' predictions anew in each run. The margin is
the true difference, so every pass is a false one. Equal models show what the gate still decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator
from scipy.special import ndtri
from scipy.stats import t as student

from error_rates.rates import Rate
from modelyard.domain.gate.paired import non_inferiority, paired_difference, superiority
from modelyard.domain.gate.slices import slice_verdicts
from modelyard.domain.specs.model import GatePolicy, Slice
from modelyard.domain.verdict import Outcome

ALPHA = 0.05
RUNS, QUICK_RUNS = 400, 60
SLICE_MARGIN = 0.02536
"""What noise of 1 in the log odds costs in Brier score beyond noise of .5, in 20,000,000 rows."""

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
    """

    name: str
    metric: str
    world: Callable[..., World]
    margin: float | None = None
    sizes: str = "rows"
    clusters: int = 0
    rows: int = 2000

    @property
    def title(self) -> str:
        """The name with the rows and clusters."""
        if self.sizes == "rows":
            return f"{self.name}; {self.rows:,} rows"
        return f"{self.name}; {self.rows:,} rows in {self.clusters} {self.sizes} clusters"


def rates(*, quick: bool) -> Iterator[Rate]:
    """The rate of each case."""
    for case in QUICK_CASES if quick else CASES:
        found = _rate(case, QUICK_RUNS if quick else RUNS, seed=1)
        # Of many cases some exceed two errors by chance: such a one is drawn again, more often.
        yield found if found.is_kept else _rate(case, 5 * found.runs, seed=2)
    yield constants(60 if quick else 1000)
    yield from slices(20 if quick else 400)


def constants(runs: int) -> Rate:
    """How often a constant is better than the best constant."""
    random, hits = np.random.default_rng(4), 0
    for _ in range(runs):
        labels = random.random(int(random.integers(100, 2000))) < 0.3
        best = np.full(labels.size, labels.mean())
        found = paired_difference(
            "log_loss", labels, best, best * (1 + 2e-16), np.arange(labels.size)
        )
        hits += superiority(found, alpha=ALPHA).passed
    return Rate(case="a constant against the best one", what="pass", hits=hits, runs=runs, most=0.0)


def slices(runs: int) -> Iterator[Rate]:
    """How often slices are failed or passed wrongly: 40 in 100 days of 200 rows, by Brier score."""
    random, clusters, places = np.random.default_rng(5), np.repeat(np.arange(100), 200), 40
    of_row = np.arange(clusters.size) % places
    names = {"by place": np.char.add("place = ", of_row.astype(str))}
    failed, alone, passed = 0, 0, 0
    for _ in range(runs):
        odds = random.normal(size=clusters.size)
        labels = (random.random(clusters.size) < _chance(odds)).astype(int)
        noise = [_noise(clusters, random, 0.1) for _ in range(3)]
        before, equal = (_chance(odds + 0.5 * each) for each in noise[:2])
        first = _chance(odds + noise[2])[of_row == 0]
        worse = equal.copy()
        worse[of_row == 0] = first
        for challenger, margin in ((equal, 0.0), (worse, SLICE_MARGIN)):
            policy = GatePolicy(
                metric="brier", margin=0, slices=(Slice(by="place", margin=margin),)
            )
            found = slice_verdicts(
                policy, labels, (before, challenger), clusters, names, classes=()
            )
            if margin:
                passed += sum(each.verdict.passed for each in found if each.name == "place = 0")
                continue
            failed += any(each.verdict.outcome is Outcome.FAIL for each in found)
            alone += any(each.verdict.numbers["upper"] < 0 for each in found)
    yield Rate(
        case="40 slices, equal models, margin 0",
        what="a slice fails",
        hits=failed,
        runs=runs,
        most=ALPHA,
        beside=(("if all clusters counted alike", f"{alone / runs:.0%} without Holm"),),
    )
    yield Rate(
        case="one slice of 40 is worse by the margin",
        what="it passes",
        hits=passed,
        runs=runs,
        most=ALPHA,
    )


def _rate(case: Case, runs: int, *, seed: int) -> Rate:
    margin = case.margin if case.margin is not None else _true_difference(case)
    random, counts = np.random.default_rng(seed), dict.fromkeys(Outcome, 0)
    as_before, equal = 0, 0
    for _ in range(runs):
        clusters = clusters_of(case, random)
        found = paired_difference(case.metric, *case.world(clusters, random), clusters)
        counts[non_inferiority(found, margin=margin, alpha=ALPHA).outcome] += 1
        before = non_inferiority(found.with_equal_clusters(), margin=margin, alpha=ALPHA)
        as_before += before.passed
        found = paired_difference(case.metric, *case.world(clusters, random, worse=False), clusters)
        equal += non_inferiority(found, margin=margin, alpha=ALPHA).passed
    return Rate(
        case=case.title,
        what="false pass",
        hits=counts[Outcome.PASS],
        runs=runs,
        most=ALPHA,
        beside=(
            ("inconclusive", f"{counts[Outcome.INCONCLUSIVE] / runs:.0%}"),
            ("if all clusters counted alike", f"{as_before / runs:.1%}"),
            ("equal models pass", f"{equal / runs:.0%}"),
        ),
    )


def _true_difference(case: Case) -> float:
    random, clusters = np.random.default_rng(99), np.arange(1_000_000)
    found = paired_difference(case.metric, *case.world(clusters, random), clusters)
    return -found.difference


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
        "all but one small": lambda: np.append(np.full(count - 1, 0.6 / (count - 1)), 0.4),
    }[case.sizes]()
    sizes = np.maximum(1, np.round(weights / weights.sum() * case.rows).astype(int))
    return np.repeat(np.arange(count), sizes)


def _noise(clusters: np.ndarray, random: Generator, shared: float) -> np.ndarray:
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
    common = _noise(clusters, random, shared)
    scores = [
        labels * math.sqrt(2) * ndtri(auc)
        + math.sqrt(0.6) * common
        + math.sqrt(0.4) * _noise(clusters, random, shared)
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
    odds = -1.2 + 1.2 * _noise(clusters, random, 0.1)
    labels = random.random(clusters.size) < _chance(odds)
    before, after = (
        _chance(odds + size * _noise(clusters, random, 0.1))
        for size in (0.5, 0.8 if worse else 0.5)
    )
    return labels.astype(int), before, after


def raised_chances(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Chances too high by .05, where the champion's are true; nearly the same if not worse."""
    chance = 0.9 * _chance(-1.2 + 1.2 * _noise(clusters, random, 0.1))
    labels = random.random(clusters.size) < chance
    noise = 0.001 * random.normal(size=clusters.size)
    return labels.astype(int), chance, np.clip(chance + 0.05 * worse + noise, 0, 1)


def one_sure_tenth(clusters: np.ndarray, random: Generator, *, worse: bool = True) -> World:
    """Chances that are too high by .2, but only those of the upper tenth."""
    chance = 0.8 * random.random(clusters.size)
    labels = random.random(clusters.size) < chance
    return labels.astype(int), chance, chance + np.where((chance > 0.72) & worse, 0.2, 0.0)


def rare_certainty(
    clusters: np.ndarray, random: Generator, *, share: float, worse: bool = True
) -> World:
    """Nearly the champion's probabilities, but certain and wrong in a small share of the rows."""
    odds = -1.2 + 1.2 * random.normal(size=clusters.size)
    labels = random.random(clusters.size) < _chance(odds)
    challenger = _chance(odds + 0.02 * random.normal(size=clusters.size))
    harmed = (random.random(clusters.size) < share) & worse
    return labels.astype(int), _chance(odds), np.where(harmed, 1 - labels, challenger)


def rare_outliers(
    clusters: np.ndarray, random: Generator, *, share: float, worse: bool = True
) -> World:
    """Nearly the champion's errors, but ten times as large in a small share of the rows."""
    champion = random.normal(size=clusters.size)
    challenger = champion + 0.02 * random.normal(size=clusters.size)
    harmed = (random.random(clusters.size) < share) & worse
    outliers = 10 * random.normal(size=clusters.size)
    return np.zeros(clusters.size), champion, np.where(harmed, outliers, challenger)


def _chance(odds: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-odds))


def _everywhere(name: str, metric: str, world: Callable[..., World], **known: Any) -> list[Case]:
    """A case with all kinds of clusters."""
    make = partial(Case, name=name, metric=metric, world=world, **known)
    return [
        *(make(rows=rows) for rows in (500, 2000, 10_000)),
        *(make(sizes="even", clusters=count) for count in (20, 60)),
        make(sizes="day-like", clusters=25),
        *(make(sizes="lognormal", clusters=count) for count in (20, 60)),
        *(make(sizes="Pareto", clusters=count) for count in (20, 60)),
        make(sizes="all but one small", clusters=30, rows=10_000),
    ]


def _rows(name: str, metric: str, world: Callable[..., World], **known: Any) -> list[Case]:
    """A case with independent rows, and with even clusters."""
    return _everywhere(name, metric, world, **known)[:5]


_AUC = partial(two_class_scores, before=0.8, after=0.77, positives=0.22)
_RARE = partial(two_class_scores, before=0.8, after=0.77, positives=0.01)
_SHARP = partial(two_class_scores, before=0.98, after=0.95, positives=0.01)
_SHARPER = partial(two_class_scores, before=0.98, after=0.96, positives=0.001)
_OUTLIERS = partial(rare_outliers, share=0.002)
_CERTAIN = partial(rare_certainty, share=0.001)

_T3 = partial(scaled_errors, draw=lambda random, rows: random.standard_t(3, rows))
_T30 = partial(scaled_errors, draw=lambda random, rows: random.standard_t(30, rows))
_LOGNORMAL = partial(scaled_errors, draw=lambda random, rows: random.lognormal(size=rows))


def _bad_days(name: str, days: int, *, share: float, loss: float) -> Case:
    return Case(
        name=f"accuracy, {name}",
        metric="accuracy",
        world=partial(bad_days, share=share, loss=loss),
        margin=share * loss,
        sizes="even",
        clusters=days,
        rows=200 * days,
    )


CASES = (
    *_everywhere("AUC .80, 22 % positives", "auc", _AUC, margin=0.03),
    *_rows("AUC .80, 1 % positives", "auc", _RARE, margin=0.03),
    *_rows("AUC .98, 1 % positives", "auc", _SHARP, margin=0.03),
    Case(name="AUC .98, .1 % positives", metric="auc", world=_SHARPER, margin=0.02, rows=10_000),
    *(
        Case(
            name=f"AUC .80, 10 % positives in {places} clusters",
            metric="auc",
            world=partial(_AUC, positives=0.1, places=places, shared=0.1),
            margin=0.03,
            sizes="even",
            clusters=30,
        )
        for places in (30, 8, 4, 2)
    ),
    Case(
        name="AUC .80, .9 % positives in 3 clusters",
        metric="auc",
        world=partial(_AUC, positives=0.009, places=3, shared=0.1),
        margin=0.03,
        sizes="even",
        clusters=200,
    ),
    *_everywhere("mean absolute error, days", "mae", days_of_errors, margin=0.1),
    *_rows("mean absolute error, tails of t3", "mae", partial(heavy_errors, degrees=3), margin=0.1),
    *_everywhere("log loss", "log_loss", noisy_chances),
    *_rows("Brier score", "brier", noisy_chances),
    *_rows("calibration", "calibration", raised_chances, margin=0.05**2),
    *_rows("calibration, .2 in a tenth", "calibration", one_sure_tenth, margin=0.1 * 0.2**2)[1:3],
    *_rows("RMSE, harm in .2 % of the rows", "rmse", _OUTLIERS),
    *_rows("log loss, certain and wrong in .1 %", "log_loss", _CERTAIN),
    # 1.1^2 - 1 times the mean square of the errors.
    *_rows("squared error, tails of t3", "mse", _T3, margin=0.21 * 3),
    *_rows("squared error, tails of t30", "mse", _T30, margin=0.21 * 30 / 28),
    *_rows("squared error, lognormal", "mse", _LOGNORMAL, margin=0.21 * math.exp(2)),
    _bad_days("1 day in 25 loses .5", 25, share=1 / 25, loss=0.5),
    _bad_days("1 day in 60 loses .6", 60, share=1 / 60, loss=0.6),
    _bad_days("1 day in 10 loses .2", 30, share=1 / 10, loss=0.2),
    _bad_days("1 day in 10 loses .2", 300, share=1 / 10, loss=0.2),
    *(
        Case(
            name=f"mean absolute error, harm of days of spread {spread:g}",
            metric="mae",
            world=partial(harm_by_days, spread=spread),
            margin=0.1,
            sizes="even",
            clusters=days,
            rows=100 * days,
        )
        for spread, days in ((1, 25), (1, 60), (1.5, 25), (1.5, 60))
    ),
)
"""The published list."""

QUICK_CASES = (
    Case(name="AUC .80, 22 % positives", metric="auc", world=_AUC, margin=0.03),
    Case(name="AUC .98, 1 % positives", metric="auc", world=_SHARP, margin=0.03),
    Case(name="AUC .98, 1 % positives", metric="auc", world=_SHARP, margin=0.03, rows=500),
    Case(
        name="mean absolute error, days",
        metric="mae",
        world=days_of_errors,
        margin=0.1,
        sizes="all but one small",
        clusters=30,
    ),
    Case(name="RMSE, harm in .2 % of the rows", metric="rmse", world=_OUTLIERS, margin=0.0984),
    Case(name="squared error, tails of t3", metric="mse", world=_T3, margin=0.21 * 3),
    _bad_days("1 day in 60 loses .6", 60, share=1 / 60, loss=0.6),
)
"""Cases that a few runs tell something about."""
