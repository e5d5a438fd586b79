from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.canary import prediction_shift
from modelyard.domain.canary.error_rate import NO_EVIDENCE
from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.prediction_shift import (
    ExpectedPredictions,
    ShiftEvidence,
    expect_predictions,
    fold_predictions,
)
from modelyard.errors import CannotAnswer

HUNDREDTHS = Grid(edges=tuple(step / 100 for step in range(1, 100)))
COIN = Grid(classes=("no", "yes"))


@dataclass(frozen=True, kw_only=True)
class HistogramSample:
    canary: tuple[float, ...]
    stable: tuple[float, ...] | None = None


def shift_evidence(given, samples, radius, effects=1.0):
    stable = [sample.stable for sample in samples if sample.stable is not None]
    histograms = [sample.canary for sample in samples], stable or None
    return prediction_shift.shift_evidence(given, *histograms, radius, effects)


def coin(no_to_yes, yes_to_yes):
    """Predictions of two classes, from the chance of `yes` after stable's `no` and `yes`."""
    return ExpectedPredictions(
        edges=(),
        bins=(0, 1),
        kernel=((1 - no_to_yes, no_to_yes), (1 - yes_to_yes, yes_to_yes)),
        shares=(0.5, 0.5),
        rows=1000,
    )


def chance(logit):
    return 1 / (1 + np.exp(-logit))


def scores(random, rows, *, empty=0.0):
    """Stable's and the canary's answers on the same rows; a part of the canary's lack a column."""
    delay, other = random.normal(size=(2, rows))
    seen = np.where(random.random(rows) < empty, 0, delay)
    return chance(1.5 * delay + 0.5 * other - 1.3), chance(1.6 * seen + 0.3 * other - 1.25)


def traffic(random, predictions, *, share=0.2, batch=50, empty=0.0):
    """Cumulative histograms of a canary and of stable, each row answered by one of them."""
    edges = [0.0, *HUNDREDTHS.edges, 1.0]
    arms = np.zeros((2, 100))
    for _ in range(predictions // batch):
        stable, canary = scores(random, batch, empty=empty)
        mine = random.random(batch) < share
        arms += [np.histogram(canary[mine], edges)[0], np.histogram(stable[~mine], edges)[0]]
        yield HistogramSample(canary=tuple(arms[0]), stable=tuple(arms[1]))


@pytest.fixture(scope="module")
def flights():
    return expect_predictions(*scores(np.random.default_rng(0), 20_000), HUNDREDTHS)


def test_expected_predictions_of_classes_by_hand():
    # Of 3 rows of champion `no` 2 stay and 1 turns; the one `yes` stays; one row follows the whole.
    found = expect_predictions(["no", "no", "no", "yes"], ["no", "no", "yes", "yes"], COIN)
    assert found == ExpectedPredictions(
        edges=(),
        bins=(0, 1),
        kernel=((2.5 / 4, 1.5 / 4), (0.5 / 2, 1.5 / 2)),
        shares=(0.5, 0.5),
        rows=4,
        stable_shares=(0.75, 0.25),
    )


def test_numbers_get_ten_equal_bins_on_the_grid():
    random = np.random.default_rng(1)
    found = expect_predictions(random.random(20_000), random.random(20_000), HUNDREDTHS)
    assert found.edges == pytest.approx([step / 10 for step in range(1, 10)], abs=0.0101)
    assert set(found.edges) <= set(HUNDREDTHS.edges)
    assert len(found.bins) == 100
    assert found.shares == pytest.approx([0.1] * 10, abs=0.02)
    assert np.sum(found.kernel, axis=1) == pytest.approx(np.ones(10))


def test_a_value_on_an_edge_belongs_to_the_bin_above():
    found = expect_predictions([0.1, 0.9], [0.5, 0.9], Grid(edges=(0.5,)))
    assert found.shares == (0.0, 1.0)


def test_a_constant_model_has_expected_predictions_too():
    found = expect_predictions([0.5] * 10, [0.5] * 10, HUNDREDTHS)
    assert sum(found.shares) == pytest.approx(1)
    elsewhere = [0.0] * 100
    elsewhere[90] = 200
    sample = HistogramSample(canary=tuple(elsewhere), stable=tuple(elsewhere))
    assert shift_evidence(found, [sample], 0.15).evidence.ever_rejects(0.05)


def test_rare_classes_share_a_bin():
    grid = Grid(classes=tuple(f"c{place:02}" for place in range(30)))
    often = [f"c{place:02}" for place in range(9) for _ in range(5)]
    rare = [f"c{place:02}" for place in range(9, 30)]
    found = expect_predictions(None, often + rare, grid)
    assert found.bins == (*range(9), *[9] * 21)
    assert found.shares == pytest.approx((*[5 / 66] * 9, 21 / 66))


def test_a_first_version_is_expected_to_keep_its_own_distribution():
    found = expect_predictions(None, ["no", "no", "yes", "no"], COIN)
    assert (found.kernel, found.shares) == ((), (0.75, 0.25))


def test_the_distance_is_measured_from_live_stable_sent_through_the_kernel():
    # Stable says yes to 1 in 4, so .75 * .2 + .25 * .6 = .3 is expected, and .5 came.
    sample = HistogramSample(canary=(50, 50), stable=(300, 100))
    found = shift_evidence(coin(0.2, 0.6), [sample], 0.15)
    assert found.distance == pytest.approx(0.2)
    assert found.predictions == 100


def test_no_predictions_are_no_evidence():
    nothing = ShiftEvidence(evidence=NO_EVIDENCE, distance=0.0, predictions=0.0, effective=0.0)
    assert shift_evidence(coin(0.2, 0.6), [], 0.15) == nothing
    empty = HistogramSample(canary=(0, 0), stable=(5, 5))
    assert shift_evidence(coin(0.2, 0.6), [empty], 0.15) == nothing


@pytest.mark.long
@pytest.mark.parametrize(("stable_yes", "rows"), [(0.5, (3, 6)), (0.1, (4, 4)), (0.8, (6, 2))])
@pytest.mark.parametrize("kernel", [(0.2, 0.6), (0.5, 0.5), (0.0, 1.0)])
def test_the_mean_e_value_on_the_edge_of_the_ball_is_at_most_one_exactly(stable_yes, rows, kernel):
    """Every outcome of two intervals, of which the second is bet on in the light of the first."""
    from scipy.stats import binom

    given, radius = coin(*kernel), 0.15
    expectation = (1 - stable_yes) * kernel[0] + stable_yes * kernel[1]
    for yes in (min(1, expectation + radius), max(0, expectation - radius)):
        mean = 0.0
        mines = binom.pmf(np.arange(rows[0] + 1), rows[0], yes)
        others = binom.pmf(np.arange(rows[1] + 1), rows[1], stable_yes)
        outcomes = itertools.product(range(rows[0] + 1), range(rows[1] + 1), repeat=2)
        for mine, other, mine_later, other_later in outcomes:
            first = HistogramSample(canary=(rows[0] - mine, mine), stable=(rows[1] - other, other))
            both = (mine + mine_later, other + other_later)
            second = HistogramSample(
                canary=(2 * rows[0] - both[0], both[0]), stable=(2 * rows[1] - both[1], both[1])
            )
            weight = mines[mine] * mines[mine_later] * others[other] * others[other_later]
            found = shift_evidence(given, [first, second], radius)
            mean += weight * math.exp(found.evidence.now)
        assert mean <= 1 + 1e-9


@pytest.mark.long
def test_a_canary_at_the_edge_of_the_ball_is_seldom_failed_by_forty_evaluations():
    random, failed = np.random.default_rng(2), 0
    given = coin(0.2, 0.6)
    for _ in range(400):
        canary = random.binomial(20, 0.4 + 0.15, 40).cumsum()
        stable = random.binomial(80, 0.5, 40).cumsum()
        counted = np.arange(1, 41)
        samples = [
            HistogramSample(canary=(20 * t - c, c), stable=(80 * t - s, s))
            for t, c, s in zip(counted, canary, stable, strict=True)
        ]
        failed += shift_evidence(given, samples, 0.15).evidence.ever_rejects(0.05)
    assert failed / 400 <= 0.05 + 0.03


@pytest.mark.long
def test_a_healthy_canary_never_alarms(flights):
    random = np.random.default_rng(3)
    for _ in range(30):
        found = shift_evidence(flights, list(traffic(random, 2000)), 0.15)
        assert not found.evidence.ever_rejects(0.05)
        assert found.distance < 0.15


def test_traffic_that_moves_both_arms_is_no_evidence(flights):
    """Stable answers only high scores; the canary answers what the kernel makes of them."""
    random = np.random.default_rng(4)
    bins, kernel = np.array(flights.bins), np.array(flights.kernel)
    high = np.flatnonzero(bins == bins[-1])[0]
    canary, stable = np.zeros(100), np.zeros(100)
    stable[high] = 800
    for place, count in enumerate(random.multinomial(200, kernel[-1])):
        canary[np.flatnonzero(bins == place)[0]] = count
    sample = HistogramSample(canary=tuple(canary), stable=tuple(stable))
    found = shift_evidence(flights, [sample], 0.15)
    assert found.distance < 0.1
    assert found.evidence.peak == 0.0
    alone = HistogramSample(canary=sample.canary)
    assert shift_evidence(flights, [alone], 0.15).evidence.ever_rejects(0.001)


def predictions_until_found(given, samples):
    """The first look that alarms, by bisection: once alarmed the peak stays."""
    low, high = 0, len(samples) + 1
    while high - low > 1:
        middle = (low + high) // 2
        found = shift_evidence(given, samples[:middle], 0.15)
        low, high = (low, middle) if found.evidence.ever_rejects(0.05) else (middle, high)
    return sum(samples[min(high, len(samples)) - 1].canary) * 5


@pytest.mark.long
def test_an_empty_column_is_found_within_hundreds_of_predictions(flights):
    random = np.random.default_rng(5)
    whole = [
        predictions_until_found(flights, list(traffic(random, 2000, empty=1.0))) for _ in range(30)
    ]
    assert np.median(whole) <= 437
    half = [
        shift_evidence(flights, list(traffic(random, 2000, empty=0.5)), 0.15) for _ in range(30)
    ]
    assert np.mean([found.evidence.ever_rejects(0.05) for found in half]) > 0.8


def test_an_empty_column_is_found_in_a_first_release_too(flights):
    samples = list(traffic(np.random.default_rng(6), 500, share=1.0, empty=1.0))
    alone = [HistogramSample(canary=sample.canary) for sample in samples]
    assert shift_evidence(flights, alone, 0.15).evidence.ever_rejects(0.05)


def test_a_radius_of_one_allows_everything():
    sample = HistogramSample(canary=(1000, 0), stable=(0, 1000))
    assert shift_evidence(coin(0.0, 1.0), [sample], 1.0).evidence.peak == 0.0


def test_one_evaluation_at_the_end_is_enough(flights):
    last = list(traffic(np.random.default_rng(7), 1000, empty=1.0))[-1]
    assert shift_evidence(flights, [last], 0.15).evidence.ever_rejects(0.05)


def test_rows_that_all_come_four_times_are_worth_one_each():
    once = [HistogramSample(canary=(t, 9 * t), stable=(20 * t, 20 * t)) for t in (1, 2, 3)]
    often = [HistogramSample(canary=(4 * t, 36 * t), stable=(80 * t, 80 * t)) for t in (1, 2, 3)]
    found, copied = (
        shift_evidence(coin(0.2, 0.6), once, 0.15),
        shift_evidence(coin(0.2, 0.6), often, 0.15, 4.0),
    )
    assert copied.evidence == found.evidence
    assert copied.evidence.peak > 0
    assert (copied.distance, copied.predictions) == (pytest.approx(found.distance), 120)


@pytest.mark.parametrize("effect", [0.99, math.nan, math.inf])
def test_a_design_effect_below_one_or_unknown_is_an_error(effect):
    sample = HistogramSample(canary=(1, 1), stable=(1, 1))
    for effects in (effect, [effect]):
        with pytest.raises(ValueError, match="design effects must be at least 1"):
            shift_evidence(coin(0.2, 0.6), [sample], 0.15, effects)


def test_design_effects_that_are_not_one_a_sample_are_an_error():
    sample = HistogramSample(canary=(1, 1), stable=(1, 1))
    with pytest.raises(ValueError, match="shape"):
        shift_evidence(coin(0.2, 0.6), [sample] * 3, 0.15, [2.0, 2.0])


def test_each_sample_is_divided_by_its_own_design_effect_also_where_samples_are_joined():
    # Until the canary has answered there is nothing to compare, so the first two are one interval.
    often = [
        HistogramSample(canary=canary, stable=stable)
        for canary, stable in (((0, 0), (30, 30)), ((5, 45), (50, 50)), ((7, 63), (58, 58)))
    ]
    once = [
        HistogramSample(canary=canary, stable=stable)
        for canary, stable in (((0, 0), (10, 10)), ((1, 9), (14, 14)), ((2, 18), (18, 18)))
    ]
    given = coin(0.2, 0.6)
    found = shift_evidence(given, often, 0.15, [3.0, 5.0, 2.0])
    assert found.evidence == shift_evidence(given, once, 0.15).evidence
    assert (found.predictions, found.effective) == (70, 20)


@settings(max_examples=30, deadline=None)
@given(
    canary=st.tuples(*[st.integers(0, 200)] * 2).filter(any),
    stable=st.tuples(*[st.integers(0, 200)] * 2).filter(any),
)
def test_renaming_the_bins_changes_nothing(canary, stable):
    given = coin(0.2, 0.6)
    renamed = ExpectedPredictions(
        edges=(), bins=(1, 0), kernel=given.kernel, shares=given.shares, rows=given.rows
    )
    found = shift_evidence(given, [HistogramSample(canary=canary, stable=stable)], 0.15)
    turned = HistogramSample(canary=canary[::-1], stable=stable[::-1])
    assert shift_evidence(renamed, [turned], 0.15) == found


@pytest.mark.parametrize(
    ("samples", "radius", "said"),
    [
        ([HistogramSample(canary=(1, 2, 3), stable=(1, 2))], 0.15, "must have the 2 bins"),
        ([HistogramSample(canary=(1, math.nan), stable=(1, 2))], 0.15, "must be finite"),
        (
            [HistogramSample(canary=c, stable=(9, 9)) for c in ((2, 2), (1, 3))],
            0.15,
            "must not fall",
        ),
        ([], 1.1, "radius must be"),
        ([], math.nan, "radius must be"),
    ],
)
def test_counts_that_cannot_be_are_an_error(samples, radius, said):
    with pytest.raises(ValueError, match=said):
        shift_evidence(coin(0.2, 0.6), samples, radius)


@pytest.mark.parametrize(
    ("champion", "challenger", "grid", "said"),
    [
        (["no"], ["maybe"], COIN, "'maybe'"),
        ([0.1], [math.nan], HUNDREDTHS, "challenger predictions are not all finite"),
        ([0.1, 0.2], [0.1], HUNDREDTHS, "2 champion and 1 challenger"),
        (None, [], HUNDREDTHS, "0 challenger predictions"),
    ],
)
def test_held_out_predictions_that_cannot_be_used_are_refused(champion, challenger, grid, said):
    with pytest.raises(CannotAnswer, match=said):
        expect_predictions(champion, challenger, grid)


def test_counts_in_an_array_are_those_in_tuples(flights):
    rows = [*traffic(np.random.default_rng(5), 2000, empty=0.4)]
    mine, others = [each.canary for each in rows], [each.stable for each in rows]
    merged = replace(flights, bins=tuple(range(len(flights.shares))))
    for expected, (one, other) in (
        (flights, (mine, others)),
        (merged, [fold_predictions(each, flights.bins) for each in (mine, others)]),
    ):
        found = prediction_shift.shift_evidence(expected, np.array(one), np.array(other), 0.05)
        assert found == prediction_shift.shift_evidence(flights, mine, others, 0.05)
        assert found == prediction_shift.shift_evidence(expected, one, other, 0.05)
    with pytest.raises(ValueError, match="bins of the expected"):
        prediction_shift.shift_evidence(flights, np.ones((3, 7)), None, 0.05)
