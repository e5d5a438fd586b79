from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pytest

from modelyard.domain.drift.quality import (
    _STAKES,
    ALARM,
    DayLoss,
    HeldOutLoss,
    day_loss,
    held_out_loss,
    judge_quality,
    loss_metric,
    row_losses,
)

DAY = date(2026, 1, 1)


def losses_of_days(seed, days=30, rows=50, *, worse=1.0, shared=0.0, lasting=0.0):
    """Absolute errors by day; a part of their size is shared by a day and lasts."""
    random = np.random.default_rng(seed)
    level = np.zeros(days)
    for day in range(days):
        before = level[day - 1] if day else 0.0
        level[day] = lasting * before + random.normal(0, shared * math.sqrt(1 - lasting**2))
    return [np.abs(random.normal(0, worse * math.exp(level[day]), rows)) for day in range(days)]


def reference(seed=1, **shape) -> HeldOutLoss:
    losses = losses_of_days(seed, **shape)
    clusters = np.repeat(np.arange(len(losses)), [len(day) for day in losses])
    found = held_out_loss("mae", np.concatenate(losses), clusters)
    assert found is not None
    return found


def judged(known: HeldOutLoss, losses):
    days = [day_loss(DAY + timedelta(days=n), one, known) for n, one in enumerate(losses)]
    return judge_quality(days, known)


def test_the_reference_is_the_mean_day_and_a_standard_deviation_of_days():
    losses = np.array([1.0, 3.0, 2.0, 2.0, 4.0, 4.0])
    found = held_out_loss("mae", losses, np.array(["a", "a", "b", "b", "c", "c"]))
    assert found is not None
    # The cut is the 99.5 % quantile, 4; days have means of 2, 2 and 4, with a deviation of 1.1547.
    assert (found.mean, found.cut) == (pytest.approx(16 / 6), pytest.approx(4.0))
    assert found.allowed == pytest.approx((16 / 6 + 2 / math.sqrt(3)) / 4)
    rows = held_out_loss("mae", losses, np.arange(6))
    assert rows is not None
    assert rows.allowed == pytest.approx(1.1 * 16 / 6 / 4)


def test_without_any_loss_there_is_no_reference():
    assert held_out_loss("mae", np.zeros(10), np.arange(10)) is None
    assert held_out_loss("mae", np.full(10, np.nan), np.arange(10)) is None
    assert judge_quality([], HeldOutLoss(metric="mae", mean=1, cut=1, allowed=0.5)) is None


def test_the_detector_is_the_mean_over_stakes_of_the_sum_of_the_bets_of_all_first_days():
    known = HeldOutLoss(metric="mae", mean=1.0, cut=4.0, allowed=0.3)
    shares = np.random.default_rng(3).random(12) * 0.8
    days = [
        DayLoss(day=DAY + timedelta(days=n), mean=4 * share, share=share, rows=5)
        for n, share in enumerate(shares.tolist())
    ]
    found = judge_quality(days, known)
    expected = np.mean([
        sum(
            np.prod([1 + stake / 0.3 * (share - 0.3) for share in shares[first:]])
            for first in range(12)
        )
        for stake in _STAKES
    ])  # fmt: skip
    assert found is not None
    assert found.evidence == pytest.approx(expected)


@pytest.mark.long
@pytest.mark.parametrize(("shared", "lasting"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.7)])
def test_the_mean_time_to_a_false_alarm_is_years(shared, lasting):
    # 40 models of 200 days each: at most 8 alarms would be a mean of 1,000 days.
    alarms = 0
    for seed in range(40):
        known = reference(seed, shared=shared, lasting=lasting)
        losses = losses_of_days(1000 + seed, days=200, shared=shared, lasting=lasting)
        days = [day_loss(DAY + timedelta(days=n), one, known) for n, one in enumerate(losses)]
        looks = (judge_quality(days[max(0, n - 90) : n], known) for n in range(10, 200, 10))
        alarms += any(look is not None and look.drifted for look in looks)
    assert alarms <= 3


@pytest.mark.sample(2)
@pytest.mark.parametrize(("worse", "within"), [(3.4, 15), (2.0, 25), (1.5, 60)])
def test_a_model_that_predicts_worse_is_found_within_days_or_weeks(worse, within):
    known, found = reference(2, shared=0.2), []
    for seed in range(20):
        losses = losses_of_days(seed + 50, days=90, shared=0.2, worse=worse)
        first = next(n for n in range(1, 91) if (q := judged(known, losses[:n])) and q.drifted)
        found.append(first)
    assert np.median(found) <= within


def test_the_alarm_names_the_day_since_which_the_loss_is_larger():
    known = reference(2)
    losses = [*losses_of_days(7, days=40), *losses_of_days(8, days=20, worse=3.0)]
    found = judged(known, losses)
    assert found is not None
    assert found.drifted
    assert abs((found.since - (DAY + timedelta(days=40))).days) <= 1
    assert found.recent == pytest.approx(3 * found.held_out, rel=0.1)
    check = found.as_check("y")
    assert (check.column, check.reason, check.drifted) == ("y", "quality", True)
    assert check.p <= 1 / ALARM
    assert found.detail.startswith("mae 0.8")


def test_evidence_stays_finite_and_rows_that_cannot_be_scored_count_as_the_cut():
    known = HeldOutLoss(metric="mae", mean=1e-6, cut=1.0, allowed=1e-5)
    found = judged(known, [np.array([np.nan, 2.0])] * 90)
    assert found is not None
    assert math.isfinite(found.evidence)
    assert day_loss(DAY, np.array([np.nan, 0.5]), known).share == 0.75


def test_each_metric_of_the_gate_has_a_loss_that_grows_when_predictions_worsen():
    labels, good = np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.8, 0.2])
    for name in ("auc", "log_loss", "brier", "accuracy"):
        metric = loss_metric(name)
        right = row_losses(metric, labels, good, ()).mean()
        assert right < row_losses(metric, labels, 1 - good, ()).mean()
    for name in ("mae", "rmse", "mse"):
        metric = loss_metric(name)
        numbers = np.array([1.0, 2.0])
        assert row_losses(metric, numbers, numbers + 3, ()).mean() in (3.0, 9.0)
