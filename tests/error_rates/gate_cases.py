"""The published list of the gate's cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from error_rates import gate_worlds as worlds
from error_rates.gate_worlds import Case, World


def _everywhere(name: str, metric: str, world: Callable[..., World], **known: Any) -> list[Case]:
    """A case with all kinds of clusters."""
    make = partial(Case, name=name, metric=metric, world=world, **known)
    return [
        *(make(rows=rows) for rows in (500, 2000, 10_000)),
        *(make(sizes="even", clusters=count) for count in (20, 60)),
        make(sizes="day-like", clusters=25),
        *(make(sizes="lognormal", clusters=count) for count in (20, 60)),
        *(make(sizes="Pareto", clusters=count) for count in (20, 60)),
        make(sizes="Zipf", clusters=60),
        make(sizes="all but one small", clusters=30, rows=10_000),
        make(sizes="half in one", clusters=60, rows=10_000),
    ]


def _sizes(name: str, metric: str, world: Callable[..., World], **known: Any) -> list[Case]:
    """A case with clusters of even and of unequal sizes."""
    return [
        Case(name=name, metric=metric, world=world, sizes=sizes, clusters=clusters, **known)
        for sizes, clusters in (("even", 100), ("lognormal", 200), ("Zipf", 200))
    ]


def _rows(name: str, metric: str, world: Callable[..., World], **known: Any) -> list[Case]:
    """A case with independent rows, and with even clusters."""
    return _everywhere(name, metric, world, **known)[:5]


_AUC = partial(worlds.two_class_scores, before=0.8, after=0.77, positives=0.22)
_RARE = partial(worlds.two_class_scores, before=0.8, after=0.77, positives=0.01)
_SHARP = partial(worlds.two_class_scores, before=0.98, after=0.95, positives=0.01)
_SHARPER = partial(worlds.two_class_scores, before=0.98, after=0.96, positives=0.001)
_OUTLIERS = partial(worlds.rare_outliers, share=0.002)
_CERTAIN = partial(worlds.rare_certainty, share=0.001)

_ZEROS = partial(worlds.zero_inflated, share=0.1)
_LARGE = partial(worlds.lognormal_values, spread=1.5)
_TIED = partial(worlds.tied, of=_AUC, step=1.0)
_RETRIED = partial(worlds.repeated, of=_AUC)
_ERRORS_RETRIED = partial(worlds.repeated, of=worlds.days_of_errors)
_T3 = partial(worlds.scaled_errors, draw=lambda random, rows: random.standard_t(3, rows))
_T30 = partial(worlds.scaled_errors, draw=lambda random, rows: random.standard_t(30, rows))
_LOGNORMAL = partial(worlds.scaled_errors, draw=lambda random, rows: random.lognormal(size=rows))


def _bad_days(name: str, days: int, *, share: float, loss: float) -> Case:
    return Case(
        name=f"accuracy, {name}",
        metric="accuracy",
        world=partial(worlds.bad_days, share=share, loss=loss),
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
    *_everywhere("mean absolute error, days", "mae", worlds.days_of_errors, margin=0.1),
    *_rows(
        "mean absolute error, tails of t3",
        "mae",
        partial(worlds.heavy_errors, degrees=3),
        margin=0.1,
    ),
    *_everywhere("log loss", "log_loss", worlds.noisy_chances),
    *_rows("Brier score", "brier", worlds.noisy_chances),
    *_rows("calibration", "calibration", worlds.raised_chances, margin=0.05**2),
    *_rows("calibration, .2 in a tenth", "calibration", worlds.one_sure_tenth, margin=0.1 * 0.2**2)[
        1:3
    ],
    *_rows("calibration, a tenth of sure positives", "calibration", worlds.sure_tenth)[1:4],
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
            world=partial(worlds.harm_by_days, spread=spread),
            margin=0.1,
            sizes="even",
            clusters=days,
            rows=100 * days,
        )
        for spread, days in ((1, 25), (1, 60), (1.5, 25), (1.5, 60))
    ),
    *_everywhere("mean absolute error, 90 % zeros", "mae", _ZEROS, margin=0.1),
    # The mean of .2 |normal| times the mean of the values, and a tenth of it.
    *_rows(
        "mean absolute error, lognormal values",
        "mae",
        _LARGE,
        margin=0.02 * math.sqrt(2 / math.pi) * math.exp(1.5**2 / 2),
    ),
    *_rows("RMSE, lognormal values", "rmse", _LARGE)[1:3],
    *_rows("AUC .80, scores of few levels", "auc", _TIED)[:3],
    *_sizes("AUC .80, 1 to many retries of a request", "auc", _RETRIED, margin=0.03),
    *_sizes(
        "mean absolute error, 1 to many retries of a request", "mae", _ERRORS_RETRIED, margin=0.1
    ),
    *_sizes("AUC, tenants with 0 to 100 % positives", "auc", worlds.tenants_of_two_kinds),
    *(
        Case(
            name="accuracy, .2 % mistakes become .4 %",
            metric="accuracy",
            world=partial(worlds.rare_mistakes, share=0.002),
            margin=0.002,
            rows=rows,
        )
        for rows in (500, 2000, 20_000)
    ),
    *(
        Case(
            name=name,
            metric="mae",
            world=world,
            margin=margin,
            sizes="even",
            clusters=days,
            rows=50 * days,
        )
        for name, world, margin in (
            ("mean absolute error, harm that grows day by day", worlds.growing_harm, 0.1),
            ("mean absolute error, harm at weekends", worlds.weekend_harm, 0.1),
            ("mean absolute error, 1 day in 50 gains 4.8", worlds.few_days_of_gains, 0.1),
        )
        for days in (28, 56, 280)
    ),
    *(
        Case(
            name="log loss of 4 classes",
            metric="log_loss",
            world=worlds.noisy_classes,
            classes=(0, 1, 2, 3),
            sizes=sizes,
            clusters=clusters,
        )
        for sizes, clusters in (("rows", 0), ("even", 25), ("Zipf", 60))
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
        world=worlds.days_of_errors,
        margin=0.1,
        sizes="all but one small",
        clusters=30,
    ),
    Case(name="RMSE, harm in .2 % of the rows", metric="rmse", world=_OUTLIERS, margin=0.0984),
    Case(name="squared error, tails of t3", metric="mse", world=_T3, margin=0.21 * 3),
    _bad_days("1 day in 60 loses .6", 60, share=1 / 60, loss=0.6),
)
"""Cases that a few runs tell something about."""
