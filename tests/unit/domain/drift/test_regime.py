"""Held-out days of a retraining have the clusters that the gate needs, whatever the calendar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from modelyard.domain.drift.regime import Regime, RetrainingDays, TooFewDays, plan_days
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.operations.drift.regime import clusters_a_day
from operations.drift_yard import MODEL

BEGIN = date(2025, 1, 1)
PARENT = ModelVersion(
    model="delays",
    version="v2",
    reason="More",
    data=TrainingData(
        files=(DataFile(uri="a", sha256="a" * 64),),
        window=Interval(since=BEGIN, until=date(2026, 4, 1)),
    ),
    held_out=(),
    code=Code(tree="0" * 40),
    runtime=Runtime(lock="0" * 64),
)


def is_business_day(day: date) -> bool:
    return day.weekday() < 5


def is_open_at_christmas(day: date) -> bool:
    return is_business_day(day) and not date(2026, 12, 21) <= day < date(2027, 1, 4)


def is_even(day: date) -> bool:
    return day.toordinal() % 2 == 0


def regime_of(has_rows: Callable[[date], bool], until: date, since: date) -> Regime:
    days = (BEGIN + timedelta(days=n) for n in range((until - BEGIN).days))
    return Regime(since=since, until=until, days=frozenset(filter(has_rows, days)))


@pytest.mark.parametrize(
    ("has_rows", "until"),
    [
        (is_business_day, date(2026, 8, 29)),
        (is_business_day, date(2026, 11, 28)),
        (is_business_day, date(2027, 7, 31)),
        (is_open_at_christmas, date(2027, 1, 9)),
        (is_open_at_christmas, date(2027, 1, 27)),
        (is_even, date(2026, 11, 28)),
        (lambda _: True, date(2026, 8, 1)),
    ],
)
@pytest.mark.parametrize(("least", "delay"), [(20, 0), (21, 0), (20, 9), (33, 0)])
def test_held_out_days_have_the_clusters_of_the_gate_on_days_that_have_rows(
    has_rows, until, least, delay
):
    model = replace(
        MODEL,
        gate=replace(MODEL.gate, least_clusters=least),
        target=replace(MODEL.target, delay_days=delay),
    )
    regime = regime_of(has_rows, until, date(2026, 6, 1))
    found = plan_days(model, PARENT, [], regime)
    if isinstance(found, TooFewDays):
        assert (until - regime.since).days < 3 * 7 / 5 * (least + 12)
        return
    kept = found.held_out
    held_out = [day for day in regime.days or () if kept.since <= day < kept.until]
    assert len(held_out) >= least
    assert found.held_out.until == until - timedelta(days=delay)


def test_the_day_when_enough_business_days_will_be_there_is_the_day_of_the_proposal():
    model = replace(MODEL, gate=replace(MODEL.gate, least_clusters=20))
    since = date(2026, 6, 1)
    early = plan_days(model, PARENT, [], regime_of(is_business_day, date(2026, 7, 4), since))
    assert isinstance(early, TooFewDays)
    expected = date.fromisoformat(early.reason.rpartition(" ")[2])
    before = expected - timedelta(days=1)
    for until, kind in ((before, TooFewDays), (expected, RetrainingDays)):
        assert isinstance(
            plan_days(model, PARENT, [], regime_of(is_business_day, until, since)), kind
        )


def test_a_feed_that_began_lately_has_too_few_days():
    model = replace(MODEL, gate=replace(MODEL.gate, least_clusters=20))
    days = frozenset(date(2026, 7, 1) + timedelta(days=n) for n in range(10))
    regime = Regime(since=min(days), until=date(2026, 7, 11), days=days)
    assert regime.least_days(20, until=regime.until) == 20
    assert isinstance(plan_days(model, PARENT, [], regime), TooFewDays)


def test_clusters_are_counted_for_a_day_with_rows():
    days = np.repeat(np.arange("2026-06-01", "2026-06-06", dtype="datetime64[D]"), 10)
    table = {"day": days, "place": np.array(["a", "b"] * 25, dtype=object)}
    assert clusters_a_day(table, 50, "day", "day") == 1.0
    assert clusters_a_day(table, 50, "place", "day") == 2.0
    assert clusters_a_day(table, 50, "row", "day") == 10.0
