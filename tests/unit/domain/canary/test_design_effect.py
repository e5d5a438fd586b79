from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.canary.arms import Arm
from modelyard.domain.canary.design_effect import MEASURES, design_effects, pair_measures
from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.prediction_shift import (
    ExpectedPredictions,
    expect_predictions,
    shift_evidence,
)
from modelyard.domain.canary.promises.stable import trusted_looks

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


def side(*requests, bins=3, counts_pairs=True, answered=None):
    """An arm that answered so many lists of requests between samples, each by its rows' bins."""
    histograms, pairs, total = np.zeros(bins), dict.fromkeys(MEASURES, 0.0), 0
    found = []
    for request in requests:
        for places in request:
            counts = np.bincount(np.array(places, dtype=int), minlength=bins)
            histograms = histograms + counts
            pairs = {name: pairs[name] + n for name, n in pair_measures(counts.tolist()).items()}
        total += len(request)
        found.append((tuple(histograms.tolist()), pairs if counts_pairs else {}, float(total)))
    return Arm(
        answered=tuple(n for _, _, n in found) if answered is None else (float(answered),),
        errors=(0.0,) * len(found),
        predictions=tuple(histogram for histogram, _, _ in found),
        rows=float(histograms.sum()),
        nulls={},
        unseen={},
        pairs=tuple(each for _, each, _ in found),
        seconds=60,
        is_fresh=True,
    )


def effect(canary, stable=None):
    """Of the last sample."""
    found = design_effects(canary, stable)
    return None if found is None else found[-1]


def test_pairs_are_measured_as_if_they_were_compared_one_by_one():
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
    assert effect(side([[0] * 4, [1] * 4, [2] * 4, [1] * 4])) == 4


def test_the_design_effect_of_three_requests_by_hand():
    # Of 3 * 12 ordered pairs within requests 6 + 6 + 0 are unlike; of all 12 * 11 pairs 2 * 8 * 4,
    # so between requests 52 of 96, and rho is 1 - (12 / 36) / (52 / 96) = 5 / 13 as seen. With
    # half a request of doubt it is (3 * 5 / 13 + 1 / 2) / 3.5 = 43 / 91.
    requests = [[0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert effect(side(requests)) == pytest.approx(1 + 3 * 43 / 91)


def test_rows_that_come_alone_are_worth_one_each():
    assert effect(side([[0], [1], [2]]), side([[0], [0]])) == 1


def test_a_request_counts_by_how_its_rows_meet_it():
    # One of 4 rows and four of 1: squares 16 + 4 over 8 rows, so a row meets 2.5 on average.
    assert effect(side([[1] * 4, [1], [1], [1], [1]])) == 2.5


def test_little_data_is_not_taken_as_independence():
    apart = [0, 1, 2]
    assert effect(side([apart])) == 3
    few, many = (effect(side([apart] * n)) for n in (2, 100))
    assert few == pytest.approx(1 + 2 * 0.5 / 2.5)
    assert many == pytest.approx(1 + 2 * 0.5 / 100.5)


def test_a_young_canary_is_taken_to_be_like_stable_until_it_shows_otherwise():
    apart, alike = [[0, 1, 2]] * 100, [[0] * 3, [1] * 3, [2] * 3]
    young = (3 * 1 + 5 * 0.5 / 100.5) / (3 + 5)
    assert effect(side(alike), side(apart)) == pytest.approx(1 + 2 * young)
    assert effect(side(apart), side(alike)) == pytest.approx(3)


def test_rows_that_are_near_each_other_are_alike_although_their_bins_and_tenths_differ():
    near = side([[start, start + 1] for start in range(9, 99, 10)], bins=100)
    assert near.pairs[-1]["tenths"] == near.pairs[-1]["unlike"] == near.pairs[-1]["pairs"]
    assert effect(near) == pytest.approx(2, abs=0.01)


def test_requests_that_differ_in_spread_alone_are_alike():
    # Within requests half of the pairs are in different tenths, of all rows 1 - 1/4 - 4/64 are.
    calm, stormy = [41, 43, 46, 48], [5, 25, 65, 85]
    rho = 1 - 0.5 / 0.6875
    assert effect(side([calm, stormy] * 200, bins=100)) == pytest.approx(1 + 3 * rho, abs=0.01)


def test_predictions_that_never_differ_say_nothing_of_how_alike_requests_are():
    constant, apart = side([[0] * 3] * 50), side([[0, 1, 2]] * 50)
    assert effect(constant) == 3
    assert effect(constant, apart) == effect(apart, constant) == effect(apart)


def test_an_arm_whose_rows_come_alone_puts_no_doubt_on_the_requests_of_the_other():
    single, apart = side([[0], [1], [2]] * 20), side([[0, 1, 2]] * 50)
    assert effect(single, apart) == effect(apart, single) == effect(apart)


def test_a_server_that_counts_no_pairs_is_taken_to_answer_one_row_many_times():
    old = side([[0, 1, 2]] * 50, counts_pairs=False)
    assert effect(old) == 3
    assert effect(old, old) == 3
    assert effect(side([[0], [1]] * 50), old) == 3
    assert effect(side([[0, 1]] * 50, counts_pairs=False, answered=200)) == 1


def test_beside_a_server_that_counts_no_pairs_the_pairs_of_the_other_arm_are_taken():
    old, canary = side([[0, 1, 2]] * 50, counts_pairs=False), side([[0, 1]] * 50)
    assert effect(canary, old) == pytest.approx(1 + 2 * 0.5 / 50.5)
    assert effect(old, canary) == effect(canary, old)
    assert effect(side([[0, 1]]), old) == 3


def test_while_some_servers_of_an_arm_count_no_pairs_its_requests_have_at_least_the_mean_rows():
    whole, half = side([[0] * 4, [1] * 4]), side([[0] * 4, [1]])
    mixed = Arm(**{**vars(whole), "pairs": half.pairs})
    assert effect(mixed) > 3.5


def test_without_a_request_that_was_answered_the_design_effect_is_not_known():
    assert effect(side([[0, 1]], counts_pairs=False, answered=0)) is None
    assert effect(side([[0]]), side([[0, 1]], counts_pairs=False, answered=0)) is None


def test_one_great_request_is_no_doubt_of_the_rows_before_and_after_it():
    single, great = [[0], [1], [2]] * 10, [[0, 1, 2] * 100]
    canary, stable = side(single, great, single, []), side(single, single, single, [])
    for arms in ((canary, stable), (stable, canary)):
        before, then, after, nothing = design_effects(*arms)
        assert (before, after, nothing) == (1, 1, 1)
        assert then > 10


@pytest.mark.long
@given(
    each=st.lists(
        st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1, max_size=3),
        min_size=2,
        max_size=5,
    )
)
def test_what_an_interval_counted_as_never_changes_afterwards(each):
    canary, stable = side(*each), side(*each[::-1])
    short = side(*each[:-1]), side(*each[:0:-1])
    assert design_effects(*short) == design_effects(canary, stable)[:-1]


# False alarms and power, by simulation


def chance(logit):
    return 1 / (1 + np.exp(-logit))


def features(random, rows, kind, part):
    """Of the rows of a request: copies of one row, or shifted together, or more or less spread."""
    own, common = random.normal(size=rows), random.normal()
    if kind == "copied":
        return np.where(random.random(rows) < part, common, own)
    if kind == "spread":
        return own * (0.1 if common > 0 else 1.0)
    return math.sqrt(part) * common + math.sqrt(1 - part) * own


def traffic(random, requests, kind, *, shift=0.0, rows=ROWS, great=None):
    """Requests as whether they are the canary's, as a fifth is, and their rows' bins.

    Args:
        great: Rows of every thirtieth request, which are of one day.
    """
    for at in range(requests):
        is_great = great is not None and at % 30 == 15
        size, how = (great, ("shifted", 0.9)) if is_great else (rows, kind)
        feature, mine = features(random, size, *how), random.random() < 0.2
        logit = 1.7 * feature - 1.2 + shift if mine else 1.5 * feature - 1.3
        yield mine, np.searchsorted(HUNDREDTHS.edges, chance(logit), side="right")


@pytest.fixture(scope="module")
def expectation():
    """Of two models that see the same feature, in three bins, so that there are few sets."""
    return in_three_bins(np.random.default_rng(0).normal(size=20_000), 15, 40)


def in_three_bins(feature, low, high):
    logits = 1.5 * feature - 1.3, 1.7 * feature - 1.2
    names = np.array(["low", "mid", "high"])
    scores = [names[np.digitize(chance(logit), (low / 100, high / 100))] for logit in logits]
    found = expect_predictions(*scores, Grid(classes=tuple(names)))
    return ExpectedPredictions(
        edges=(low / 100, high / 100),
        bins=(0,) * low + (1,) * (high - low) + (2,) * (100 - high),
        kernel=found.kernel,
        shares=found.shares,
        rows=found.rows,
    )


def predictions_until_failed(expectation, requests, *, every=5, independent=False):
    """Predictions of the canary until a look at all so far fails it; infinite if none does."""
    looks = [requests[start : start + every] for start in range(0, len(requests), every)]
    canary, stable = (
        side(*([places for mine, places in look if mine is which] for look in looks), bins=100)
        for which in (True, False)
    )
    effects = np.ones(len(looks)) if independent else design_effects(canary, stable)
    mine, other = canary.predictions, stable.predictions

    def has_failed(end):
        found = shift_evidence(expectation, mine[:end], other[:end], 0.15, effects[:end])
        return found.evidence.ever_rejects(LEVEL)

    if not has_failed(len(mine)):
        return math.inf
    low, high = 0, len(mine)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if has_failed(middle) else (middle, high)
    return sum(mine[high - 1])


def failures(expectation, kind, *, runs, requests, independent=False, every=5, **how):
    """By run, after how many predictions the canary failed."""
    random, found = np.random.default_rng(1), []
    for _ in range(runs):
        seen = [*traffic(random, requests, kind, **how)]
        found.append(
            predictions_until_failed(expectation, seen, independent=independent, every=every)
        )
    return np.array(found)


@pytest.mark.long
def test_counting_rows_as_independent_fails_healthy_canaries_whose_requests_are_alike(expectation):
    kind = KINDS["six tenths copied"]
    found = failures(expectation, kind, runs=40, requests=60, independent=True)
    assert np.isfinite(found).mean() >= 0.1


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", KINDS)
def test_a_healthy_canary_is_not_failed_however_alike_the_rows_of_a_request_are(expectation, kind):
    found = failures(expectation, KINDS[kind], runs=40, requests=60)
    assert not np.isfinite(found).any()


@pytest.mark.long
def test_a_healthy_canary_is_not_failed_by_requests_that_differ_in_spread():
    random = np.random.default_rng(0)
    spread = np.concatenate([features(random, 100, "spread", 1.0) for _ in range(400)])
    expectation = in_three_bins(spread, 18, 26)
    found = failures(expectation, ("spread", 1.0), runs=50, requests=60, every=3)
    assert np.isfinite(found).mean() <= 0.02


@pytest.mark.long
@pytest.mark.parametrize("rows", [1, ROWS])
def test_great_requests_of_one_day_each_fail_no_healthy_canary(expectation, rows):
    how = {"runs": 20, "requests": 240, "rows": rows, "great": 500, "every": 10}
    kind = KINDS["independent"]
    assert np.isfinite(failures(expectation, kind, **how, independent=True)).any()
    assert not np.isfinite(failures(expectation, kind, **how)).any()


@pytest.mark.long
def test_great_requests_of_either_arm_leave_a_bad_canary_failing(expectation):
    how = {"runs": 10, "requests": 300, "rows": 1, "great": 2000, "shift": 3, "every": 10}
    assert np.isfinite(failures(expectation, KINDS["independent"], **how)).all()


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("independent", 80),
        ("a third copied", 120),
        ("six tenths copied", 240),
        ("all copied", 480),
        ("similar", 320),
    ],
)
def test_a_gross_shift_is_found_however_alike_the_rows_of_a_request_are(expectation, kind, needed):
    found = failures(expectation, KINDS[kind], runs=9, requests=150, shift=3)
    assert np.median(found) <= needed


@pytest.mark.long
def test_a_small_shift_of_independent_rows_needs_few_more_predictions_than_if_that_were_known(
    expectation,
):
    how = {"runs": 11, "requests": 300, "shift": 1.05}
    known, judged = (
        failures(expectation, KINDS["independent"], **how, independent=known)
        for known in (True, False)
    )
    assert np.median(judged) <= 1.3 * np.median(known)


def test_without_its_held_out_shares_nothing_can_be_held_against_stable():
    unknown = ExpectedPredictions(
        edges=(), bins=(0, 1, 2), kernel=tuple(map(tuple, np.eye(3))), shares=(1.0, 0, 0), rows=900
    )
    far = side(*[[[2, 2]] * 200] * 5)

    assert trusted_looks(far, unknown, radius=0.1).tolist() == [True] * 5
    known = replace(unknown, stable_shares=(1.0, 0.0, 0.0))
    assert not trusted_looks(far, known, radius=0.1).all()
