from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.counting import Arm
from modelyard.domain.design_effect import MEASURES, design_effect, pair_measures
from modelyard.domain.grid import Grid
from modelyard.domain.promise import HistogramSample, Promise, promise, promise_evidence

ROWS = 20
LEVEL = 0.025  # alpha of the default policy, split over two metrics
HUNDREDTHS = Grid(edges=tuple(step / 100 for step in range(1, 100)))
KINDS = {
    "independent": ("copied", 0.0),
    "a third copied": ("copied", 1 / 3),
    "six tenths copied": ("copied", 0.6),
    "all copied": ("copied", 1.0),
    "similar": ("shifted", 0.5),
}


def side(requests, *, counts_pairs=True, answered=None):
    """An arm that answered these requests, each said by its rows' bins, of three."""
    by_request = [np.bincount(places, minlength=3).tolist() for places in requests]
    pairs = {
        name: float(sum(pair_measures(each)[name] for each in by_request)) for name in MEASURES
    }
    return arm_of(
        tuple(map(float, np.sum(by_request, axis=0))),
        len(requests) if answered is None else answered,
        pairs if counts_pairs else {},
    )


def arm_of(histogram, answered, pairs):
    return Arm(
        answered=(float(answered),),
        errors=(0.0,),
        predictions=(histogram,),
        rows=sum(histogram),
        nulls={},
        unseen={},
        pairs=pairs,
        seconds=60,
        is_fresh=True,
    )


def test_pairs_are_measured_as_if_they_were_looked_at_one_by_one():
    # Rows in bins 0, 0 and 2: of six ordered pairs four are unlike, each two bins apart.
    measures = {"pairs": 6, "unlike": 4, "tenths": 4, "distance": 16}
    assert pair_measures([2, 0, 1]) == measures
    assert pair_measures([2, 0, 1] + [0] * 7) == measures
    assert pair_measures([2, 0, 1] + [0] * 17) == {**measures, "tenths": 4}
    assert pair_measures([2, 0, 1] + [0] * 27) == {**measures, "tenths": 0}
    nothing = dict.fromkeys(MEASURES, 0)
    assert pair_measures([5]) == {**nothing, "pairs": 20}
    assert pair_measures([]) == nothing


@given(places=st.lists(st.integers(0, 99), max_size=12))
def test_whatever_the_rows_the_measures_are_those_of_all_ordered_pairs(places):
    pairs = [*itertools.permutations(places, 2)]
    assert pair_measures(np.bincount(places, minlength=100).tolist()) == {
        "pairs": len(pairs),
        "unlike": sum(a != b for a, b in pairs),
        "tenths": sum(a // 10 != b // 10 for a, b in pairs),
        "distance": sum((a - b) ** 2 for a, b in pairs),
    }


def test_requests_whose_rows_are_all_one_count_once_each():
    assert design_effect(side([[0] * 4, [1] * 4, [2] * 4, [1] * 4]), None) == 4


def test_the_design_effect_of_three_requests_by_hand():
    # Of 3 * 12 ordered pairs within requests 6 + 6 + 0 are unlike; of all 12 * 11 pairs 2 * 8 * 4,
    # so between requests 52 of 96, and rho is 1 - (12 / 36) / (52 / 96) = 5 / 13 as seen. With
    # half a request of doubt it is (3 * 5 / 13 + 1 / 2) / 3.5 = 43 / 91.
    requests = [[0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert design_effect(side(requests), None) == pytest.approx(1 + 3 * 43 / 91)


def test_rows_that_come_alone_are_worth_one_each():
    assert design_effect(side([[0], [1], [2]]), side([[0], [0]])) == 1


def test_a_request_counts_by_how_its_rows_meet_it():
    # One of 4 rows and four of 1: squares 16 + 4 over 8 rows, so a row meets 2.5 on average.
    assert design_effect(side([[1] * 4, [1], [1], [1], [1]]), None) == 2.5


def test_little_data_is_not_taken_as_independence():
    apart = [0, 1, 2]
    assert design_effect(side([apart]), None) == 3
    few, many = (design_effect(side([apart] * n), None) for n in (2, 100))
    assert few == pytest.approx(1 + 2 * 0.5 / 2.5)
    assert many == pytest.approx(1 + 2 * 0.5 / 100.5)


def test_a_young_canary_is_taken_to_be_like_stable_until_it_shows_otherwise():
    apart, alike = [[0, 1, 2]] * 100, [[0] * 3, [1] * 3, [2] * 3]
    stable = 0.5 / 100.5
    young = (3 * 1 + 5 * stable) / (3 + 5)
    assert design_effect(side(alike), side(apart)) == pytest.approx(1 + 2 * young)
    assert design_effect(side(apart), side(alike)) == pytest.approx(3)


def in_hundredths(*requests):
    by_request = [np.bincount(each, minlength=100).tolist() for each in requests]
    pairs = {n: float(sum(pair_measures(r)[n] for r in by_request)) for n in MEASURES}
    return arm_of(tuple(np.sum(by_request, axis=0)), len(requests), pairs)


def test_rows_that_are_near_each_other_are_alike_although_their_bins_and_tenths_differ():
    near = in_hundredths(*([start, start + 1] for start in range(9, 99, 10)))
    assert near.pairs["tenths"] == near.pairs["unlike"] == near.pairs["pairs"]
    assert design_effect(near, None) == pytest.approx(2, abs=0.01)


def test_requests_that_differ_in_spread_alone_are_alike():
    # Within requests half of the pairs are in different tenths, of all rows 1 - 1/4 - 4/64 are.
    calm, stormy = [41, 43, 46, 48], [5, 25, 65, 85]
    found = design_effect(in_hundredths(*[calm, stormy] * 200), None)
    assert found == pytest.approx(1 + 3 * (1 - 0.5 / 0.6875), abs=0.01)


def test_predictions_that_never_differ_say_nothing_of_how_alike_requests_are():
    constant, apart = side([[0] * 3] * 50), side([[0, 1, 2]] * 50)
    assert design_effect(constant, None) == 3
    assert design_effect(constant, apart) == design_effect(apart, None)


def test_a_server_that_counts_no_pairs_is_taken_to_answer_one_row_many_times():
    old = side([[0, 1, 2]] * 50, counts_pairs=False)
    assert design_effect(old, None) == 3
    assert design_effect(side([[0, 1]] * 50), old) == 3
    assert design_effect(side([[0, 1]] * 50, counts_pairs=False, answered=200), None) == 1


def test_without_a_request_that_was_answered_the_design_effect_is_not_known():
    assert design_effect(side([[0, 1]], counts_pairs=False, answered=0), None) is None
    assert design_effect(side([[0]]), side([[0, 1]], counts_pairs=False, answered=0)) is None


# False alarms and power, by simulation


@dataclass(frozen=True)
class Traffic:
    """Requests of `ROWS` rows, a fifth of them answered by the canary."""

    mine: np.ndarray
    histograms: np.ndarray


def chance(logit):
    return 1 / (1 + np.exp(-logit))


def logits(random, requests, kind, part):
    """Of rows of requests: copies of one row of the request, or shifted together by its effect."""
    own, common = random.normal(size=(requests, ROWS)), random.normal(size=(requests, 1))
    if kind == "copied":
        return np.where(random.random(own.shape) < part, common, own)
    return math.sqrt(part) * common + math.sqrt(1 - part) * own


def traffic(random, requests, kind, *, shift=0.0):
    feature = logits(random, requests, *KINDS[kind])
    mine = random.random(requests) < 0.2
    stable, canary = chance(1.5 * feature - 1.3), chance(1.7 * feature - 1.2 + shift)
    bins = np.searchsorted(HUNDREDTHS.edges, np.where(mine[:, None], canary, stable), side="right")
    histograms = np.zeros((requests, 100), dtype=int)
    np.add.at(histograms, (np.arange(requests)[:, None], bins), 1)
    return Traffic(mine, histograms)


@pytest.fixture(scope="module")
def promised():
    """Of two models that see the same feature, in three bins, so that there are few sets."""
    feature = np.random.default_rng(0).normal(size=20_000)
    scores = [
        np.digitize(chance(f), (0.15, 0.4)) for f in (1.5 * feature - 1.3, 1.7 * feature - 1.2)
    ]
    names = np.array(["low", "mid", "high"])
    found = promise(names[scores[0]], names[scores[1]], Grid(classes=tuple(names)))
    bins = (0,) * 15 + (1,) * 25 + (2,) * 60
    return Promise(
        edges=(0.15, 0.4),
        bins=bins,
        kernel=found.kernel,
        expected=found.expected,
        rows=found.rows,
    )


def predictions_until_failed(promised, seen, *, every=5, independent=False):
    """Predictions of the canary until a look at all so far fails it; infinite if none does."""
    measures = np.array([[*pair_measures(each).values()] for each in seen.histograms.tolist()])
    counts = [(seen.histograms * mine[:, None]).cumsum(axis=0) for mine in (seen.mine, ~seen.mine)]
    pairs = [(measures * mine[:, None]).cumsum(axis=0) for mine in (seen.mine, ~seen.mine)]
    samples = []
    for end in range(every - 1, len(seen.mine), every):
        canary, stable = (tuple(count[end].tolist()) for count in counts)
        samples.append(HistogramSample(canary=canary, stable=stable))
        arms = [
            arm_of(histogram, sum(histogram) / ROWS, dict(zip(MEASURES, pair[end], strict=True)))
            for histogram, pair in zip((canary, stable), pairs, strict=True)
        ]
        effect = 1.0 if independent else design_effect(*arms) or 1.0
        evidence = promise_evidence(promised, samples, 0.15, effect).evidence
        if evidence.ever_reached(LEVEL):
            return sum(canary)
    return math.inf


def failures(promised, kind, *, runs, requests, independent=False, shift=0.0):
    """By run, after how many predictions the canary failed."""
    random = np.random.default_rng(1)
    return np.array(
        [
            predictions_until_failed(
                promised, traffic(random, requests, kind, shift=shift), independent=independent
            )
            for _ in range(runs)
        ]
    )


def test_counting_rows_as_independent_fails_healthy_canaries_whose_requests_are_alike(promised):
    found = failures(promised, "six tenths copied", runs=40, requests=60, independent=True)
    assert np.isfinite(found).mean() >= 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_canary_is_not_failed_however_alike_the_rows_of_a_request_are(promised, kind):
    found = failures(promised, kind, runs=50, requests=60)
    assert np.isfinite(found).mean() <= 0.02


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("independent", 80),
        ("a third copied", 120),
        ("six tenths copied", 200),
        ("all copied", 480),
        ("similar", 320),
    ],
)
def test_a_gross_shift_is_found_however_alike_the_rows_of_a_request_are(promised, kind, needed):
    found = failures(promised, kind, runs=11, requests=250, shift=3)
    assert np.median(found) <= needed


def test_a_small_shift_of_independent_rows_needs_few_more_predictions_than_if_that_were_known(
    promised,
):
    known, judged = (
        failures(promised, "independent", runs=15, requests=300, shift=1.05, independent=known)
        for known in (True, False)
    )
    assert np.median(judged) <= 1.25 * np.median(known)
