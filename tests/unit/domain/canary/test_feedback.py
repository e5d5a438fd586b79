"""Labels that arrived later: a canary that loses more than stable fails, and none is waited for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from modelyard.domain.canary.feedback.findings import (
    LabelledRows,
    LiveLoss,
    UnreadLabels,
    feedback_finding,
    is_other_mix,
    live_loss,
)
from modelyard.domain.canary.judge import judge_canary
from modelyard.domain.canary.request_metrics import Series
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.verdict import Outcome
from unit.domain.canary.test_judge import canary, steady

REFERENCE = np.linspace(0, 1, 1000)
ALPHA = 0.01
LOSSES = LiveLoss(
    metric="log_loss",
    cut=1.0,
    canary=Series(totals=[1.0], hits=[0.0]),
    stable=Series(totals=[1.0], hits=[0.0]),
)


@dataclass(frozen=True, kw_only=True)
class LabelledRow:
    look: tuple[int, str]
    release: str
    request: str
    loss: float


def rows(release, mean, *, looks=8, requests=60, size=1, seed=0):
    """Labelled rows of a release: losses around a mean, alike within a request."""
    random = np.random.default_rng(seed)
    return [
        LabelledRow(
            look=(1, f"hour {look:02}"), release=release, request=f"{look}-{number}", loss=loss
        )
        for look in range(looks)
        for number in range(requests)
        for loss in [float(random.beta(2, 2 / mean - 2))] * size
    ]


def numbered(keys):
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([places[key] for key in keys], dtype=np.int64)


def found(mine, other, reference=REFERENCE):
    both = [*mine, *other]
    labelled = LabelledRows(
        looks=numbered([row.look for row in both]),
        requests=numbered([(row.release, row.request) for row in both]),
        is_canary=np.array([row.release == "v2" for row in both], dtype=bool),
        losses=np.array([row.loss for row in both], dtype=float),
    )
    return live_loss(labelled, metric="log_loss", reference=reference)


def finding(mine, other, margin=0.05):
    return feedback_finding(found(mine, other), margin=margin, alpha=ALPHA)


def test_a_canary_that_loses_more_than_the_margin_fails_and_one_within_it_does_not():
    stable = rows("v1", 0.2, requests=240, seed=1)
    bad = finding(rows("v2", 0.45), stable)
    assert bad.bad
    assert bad.text.startswith("live log_loss 0.469 of 480 labelled requests, stable 0.2 of 1920")
    assert "worse by more than 0.05 (5 % of the cut)" in bad.text
    for mean in (0.1, 0.2, 0.24):
        good = finding(rows("v2", mean), stable)
        assert not good.bad
        assert good.missing is None


def test_the_rows_of_one_request_are_one_unit():
    stable = rows("v1", 0.2, requests=240, seed=1)
    once, often = (finding(rows("v2", 0.3, size=size), stable) for size in (1, 50))
    assert once.numbers == pytest.approx(often.numbers)


def test_fewer_than_four_looks_fail_nobody():
    stable = rows("v1", 0.2, looks=3, requests=800)
    assert not finding(rows("v2", 0.6, looks=3, requests=800), stable).bad
    assert finding(rows("v2", 0.6, looks=8, requests=800), rows("v1", 0.2, looks=8)).bad


def test_a_later_delivery_of_earlier_hours_is_a_later_look():
    one = rows("v2", 0.3, looks=1)
    later = [replace(row, look=(2, "hour 00"), request=f"later {row.request}") for row in one]
    both = found([*one, *later], rows("v1", 0.3, looks=1))
    assert both.canary.totals == [60.0, 120.0]
    assert len(both.stable.totals) == 2


@pytest.mark.parametrize("deliveries", [1, 2, 400])
def test_a_request_counts_once_however_many_deliveries_label_its_rows(deliveries):
    def labelled(release, loss):
        return [
            LabelledRow(look=(number, "hour 00"), release=release, request=request, loss=loss)
            for number in range(deliveries)
            for request in "abc"
        ]

    both = found(labelled("v2", 0.9), labelled("v1", 0.0))
    assert (both.canary.totals, both.stable.totals) == ([3.0], [3.0])
    assert not finding(labelled("v2", 0.9), labelled("v1", 0.0)).bad


def test_later_rows_of_a_counted_request_change_nothing_of_it():
    first = rows("v2", 0.3, looks=2, size=2)
    wild = [replace(row, look=(2, "hour 05"), loss=9.0) for row in first[:50]]
    stable = rows("v1", 0.3, looks=2)
    assert found([*first, *wild], stable) == found(first, stable)
    assert found([*wild, *first], stable) == found(first, stable)


@pytest.mark.parametrize(
    ("mine", "other"),
    [([], []), (rows("v2", 0.2), []), ([], rows("v1", 0.2))],
)
def test_labels_of_one_release_alone_judge_nothing(mine, other):
    said = feedback_finding(found(mine, other), margin=0.05, alpha=ALPHA)
    assert said.text == "live quality not judged: no labels of both releases yet"
    assert not said.bad


def test_losses_that_are_not_finite_count_as_the_cut_and_larger_ones_too():
    wild = [
        replace(row, loss=loss)
        for row, loss in zip(
            rows("v2", 0.2, looks=1, requests=3), (float("nan"), 1e9, 0.0), strict=True
        )
    ]
    assert found(wild, rows("v1", 0.2)).canary.hits[-1] == pytest.approx(2.0)
    assert found([], [], reference=np.zeros(9)) is None


@pytest.mark.parametrize("worst", [1e9, float("inf"), 1.0 - 1e-12, -1.0])
def test_looks_whose_losses_are_all_alike_at_an_edge_are_judged(worst):
    # Sums of fractions are rounded: 0.1 + 0.2 + 3 - (0.1 + 0.2) is more than 3.
    random = np.random.default_rng(3)
    for _ in range(20):
        before = [*rows("v2", 0.3, looks=3, requests=5, seed=int(random.integers(1e6)))]
        edge = [
            replace(row, look=(look, "hour 00"), loss=worst, request=f"edge {row.request}")
            for look in (2, 3)
            for row in rows("v2", 0.3, looks=1, requests=3)
        ]
        mine = [*before, *edge]
        assert finding(mine, [replace(row, release="v1") for row in mine]).bad is False


def test_equal_models_seldom_fail_however_often_they_are_asked():
    # The null hypothesis has a margin of 0 here: no lower level could be kept by less evidence.
    fails = 0
    for seed in range(60):
        mine, other = rows("v2", 0.3, seed=seed), rows("v1", 0.3, requests=120, seed=999 + seed)
        fails += feedback_finding(found(mine, other), margin=0.0, alpha=0.05).bad
    assert fails <= 3


def test_the_judge_fails_by_labels_alone_and_never_waits_for_them():
    policy = CanaryPolicy(least_looks=1, least_predictions=0, least_seconds=0, margin_quality=0.05)
    evidence = canary(steady((400, 0), (1600, 0), steps=9))
    worse = found(rows("v2", 0.5), rows("v1", 0.2, requests=240))
    assert judge_canary(replace(evidence, feedback=worse), policy).outcome is Outcome.FAIL
    unlabelled = judge_canary(evidence, policy)
    assert unlabelled.outcome is Outcome.PASS
    assert "no labels of both releases yet" in unlabelled.reason
    unread = judge_canary(
        replace(evidence, feedback=UnreadLabels(why="1.parquet: cut off")), policy
    )
    assert unread.outcome is Outcome.PASS
    assert "live quality not judged: 1.parquet: cut off" in unread.reason
    undeclared = replace(policy, margin_quality=None)
    assert judge_canary(replace(evidence, feedback=worse), undeclared).outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"feedback": replace(LOSSES, canary=Series(totals=[1.0], hits=[3.0]))}, "live quality"),
        (
            {"feedback": replace(LOSSES, stable=Series(totals=[2.0, 1.0], hits=[0.0]))},
            "live quality",
        ),
        ({"expected": "no distribution"}, "predictions"),
    ],
)
def test_a_fault_in_one_kind_of_evidence_hides_no_fail_of_another(broken, said):
    policy = CanaryPolicy(least_looks=1, least_predictions=0, least_seconds=0, margin_quality=0.05)
    good = judge_canary(replace(canary(steady((400, 0), (1600, 0), steps=9)), **broken), policy)
    assert good.outcome is Outcome.INCONCLUSIVE
    assert f"missing: {said}, which raised " in good.reason
    bad = judge_canary(replace(canary(steady((400, 90), (1600, 0), steps=9)), **broken), policy)
    assert bad.outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("late", "rows", "is_other"),
    [
        (0.2, 1000, False),
        (0.35, 1000, False),
        (0.6, 1000, True),
        (0.0, 1000, True),
        (1.0, 20, True),
        (0.4, 5, False),
        (0.2, 0, False),
    ],
)
def test_labels_that_came_for_one_class_first_are_of_another_mix(late, rows, is_other):
    held_out = np.repeat([0, 1], [800, 200])
    labels = (np.arange(rows) < late * rows).astype(int)
    assert is_other_mix(labels, held_out) == is_other
