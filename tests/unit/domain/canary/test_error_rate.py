from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from modelyard.domain.canary import error_rate
from modelyard.domain.canary.error_rate import (
    NO_EVIDENCE,
    RATE_RATIOS,
    Evidence,
    against_at_least,
    against_at_most,
    ranges_with_both_arms,
)


def both(canary_total, canary_errors, stable_total, stable_errors):
    """Cumulative counts of both arms from what each interval adds."""
    columns = (canary_total, canary_errors, stable_total, stable_errors)
    return tuple(np.cumsum(column) for column in columns)


def against_not_worse(counts):
    return error_rate.against_not_worse(*counts)


def against_worse_by(counts, margin):
    return error_rate.against_worse_by(*counts, margin)


def canaries(count, *, canary, stable, rates, peeks=60, seed=0):
    """Simulated canaries: requests a minute of both arms, and their error rates."""
    random = np.random.default_rng(seed)
    totals = np.broadcast_to(canary, peeks), np.broadcast_to(stable, peeks)
    for _ in range(count):
        errors = [random.binomial(n, rate) for n, rate in zip(totals, rates, strict=True)]
        yield both(totals[0], errors[0], totals[1], errors[1])


def rejected(test, worlds, alpha=0.05):
    return np.mean([test(world).ever_rejects(alpha) for world in worlds])


def test_two_samples_by_hand():
    # Shares 1/2, then 1/5: each ratio r gains r^2 / ((r + 1) / 2)^3 and r / ((r + 4) / 5).
    found = against_not_worse(both([100, 100], [2, 1], [100, 400], [1, 0]))
    first = RATE_RATIOS**2 / ((RATE_RATIOS + 1) / 2) ** 3
    second = first * RATE_RATIOS / ((RATE_RATIOS + 4) / 5)
    assert found.now == pytest.approx(math.log(second.mean()))
    assert found.peak == pytest.approx(max(0, math.log(first.mean()), math.log(second.mean())))


def test_evidence_is_kept_at_its_peak_and_as_it_stands():
    evidence = Evidence(now=math.log(19), peak=math.log(20) + 1e-9)
    assert (evidence.ever_rejects(0.05), evidence.rejects_now(0.05)) == (True, False)


def test_nothing_counted_is_no_evidence():
    empty = both([0, 0], [0, 0], [0, 0], [0, 0])
    for samples in (
        both([], [], [], []),
        empty,
        both([10], [10], [0], [0]),
        both([0], [0], [10], [0]),
    ):
        assert against_not_worse(samples) == NO_EVIDENCE
        assert against_worse_by(samples, 0.01) == NO_EVIDENCE
    assert against_at_most([], [], 0.02) == NO_EVIDENCE
    assert against_at_least([0], [0], 0.02).peak == pytest.approx(0, abs=1e-12)


def test_at_a_margin_of_one_nothing_is_evidence():
    worse = both([100, 100, 100], [90, 90, 90], [100, 100, 100], [0, 0, 0])
    assert against_worse_by(worse, 1) == NO_EVIDENCE
    assert error_rate.against_within(*worse, 1) == NO_EVIDENCE


def test_samples_are_joined_until_both_arms_answered():
    canary, stable = np.array([0.0, 3, 1, 0, 5]), np.array([7.0, 0, 2, 2, 0])
    assert ranges_with_both_arms(canary, stable) == [(0, 2), (2, 3), (3, 5)]
    split = both([3, 0, 9], [1, 0, 2], [0, 7, 9], [0, 0, 1])
    whole = both([3, 9], [1, 2], [7, 9], [0, 1])
    assert against_not_worse(split) == against_not_worse(whole)
    assert against_worse_by(split, 0.01) == against_worse_by(whole, 0.01)


@pytest.mark.parametrize(("canary", "stable"), [(3, 3), (2, 7), (9, 1)])
@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
def test_the_mean_e_value_of_equal_arms_is_at_most_one_exactly(canary, stable, rate):
    mean = sum(
        binom.pmf(errors, canary + stable, rate)
        * hypergeom.pmf(mine, canary + stable, errors, canary)
        * math.exp(against_not_worse(both([canary], [mine], [stable], [errors - mine])).now)
        for errors in range(canary + stable + 1)
        for mine in range(max(0, errors - stable), min(canary, errors) + 1)
    )
    assert mean <= 1 + 1e-9


@pytest.mark.parametrize(("canary", "stable"), [(3, 3), (2, 7), (9, 1)])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.4, 0.9])
@pytest.mark.parametrize("worse", [0.1, 0.05])
def test_the_mean_e_value_at_the_margin_is_at_most_one_exactly(canary, stable, rate, worse):
    mean = sum(
        binom.pmf(mine, canary, rate + 0.1)
        * binom.pmf(other, stable, rate)
        * math.exp(against_worse_by(both([canary], [mine], [stable], [other]), worse).now)
        for mine in range(canary + 1)
        for other in range(stable + 1)
    )
    assert mean <= 1 + 1e-9


@pytest.mark.parametrize("limit", [0.02, 0.5, 0.9])
def test_the_mean_e_value_at_a_limit_is_one_exactly(limit):
    for test in (against_at_most, against_at_least):
        mean = sum(
            binom.pmf(hits, 30, limit) * math.exp(test([30], [hits], limit).now)
            for hits in range(31)
        )
        assert mean == pytest.approx(1)


@pytest.mark.long
@pytest.mark.parametrize(("canary", "stable"), [(1000, 1000), (200, 800), (50, 950)])
def test_a_healthy_canary_is_seldom_failed_by_sixty_evaluations(canary, stable):
    worlds = canaries(1000, canary=canary, stable=stable, rates=(0.02, 0.02))
    assert rejected(against_not_worse, worlds) <= 0.05


@pytest.mark.long
def test_a_share_that_grows_with_the_error_rate_of_both_arms_is_no_evidence():
    # Pooled over the hour the canary has 2.6 % and stable 1.8 %: only the time of day differs.
    grows, shrinks = np.linspace(50, 950, 60, dtype=int), np.linspace(950, 50, 60, dtype=int)
    rates = np.linspace(0.005, 0.04, 60)
    worlds = list(canaries(500, canary=grows, stable=shrinks, rates=(rates, rates)))
    assert rejected(against_not_worse, worlds) <= 0.05
    pooled = [[counts[-1:] for counts in world] for world in worlds]
    assert rejected(against_not_worse, pooled) > 0.9


@pytest.mark.long
@pytest.mark.parametrize(
    ("canary", "stable", "rate", "median", "late"),
    [
        (1000, 1000, 0.06, 1, 2),
        (1000, 1000, 0.03, 5, 12),
        (200, 800, 0.06, 2, 4),
        (200, 800, 0.03, 15, 35),
        (50, 950, 0.06, 5, 12),
    ],
)
def test_a_bad_canary_is_found_within_minutes(canary, stable, rate, median, late):
    worlds = canaries(300, canary=canary, stable=stable, rates=(rate, 0.02))
    minutes = [first_minute(world) for world in worlds]
    assert np.median(minutes) <= median
    assert np.percentile(minutes, 95) <= late + 1


def first_minute(world):
    """The first minute that rejects, by bisection: once rejected the peak stays."""
    low, high = 0, len(world[0]) + 1
    while high - low > 1:
        middle = (low + high) // 2
        until = [counts[:middle] for counts in world]
        reached = against_not_worse(until).ever_rejects(0.05)
        low, high = (low, middle) if reached else (middle, high)
    return high


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("rates", [(0.01, 0.0), (0.03, 0.02), (0.21, 0.2)])
def test_a_canary_worse_by_the_margin_is_seldom_passed_by_sixty_evaluations(rates):
    worlds = canaries(1000, canary=200, stable=800, rates=rates)
    assert rejected(lambda world: against_worse_by(world, 0.01), worlds) <= 0.05


@pytest.mark.parametrize(
    ("rates", "minutes"), [((0.0, 0.0), 4), ((0.001, 0.001), 7), ((0.02, 0.02), 45)]
)
def test_an_equal_canary_is_passed_soon(rates, minutes):
    worlds = canaries(200, canary=200, stable=800, rates=rates, peeks=minutes)
    assert rejected(lambda world: against_worse_by(world, 0.01), worlds, alpha=0.025) > 0.9


@pytest.mark.long
def test_an_absolute_limit_is_seldom_broken_or_kept_by_mistake():
    random = np.random.default_rng(5)
    totals = np.arange(1, 61) * 100
    hits = [random.binomial(100, 0.02, 60).cumsum() for _ in range(1000)]
    for test in (against_at_most, against_at_least):
        assert np.mean([test(totals, h, 0.02).ever_rejects(0.05) for h in hits]) <= 0.05


@pytest.mark.parametrize(
    ("rate", "broken", "kept"), [(0.06, True, False), (0.0, False, True), (0.02, False, False)]
)
def test_an_absolute_limit_of_two_per_cent(rate, broken, kept):
    totals = np.arange(1, 11) * 50
    hits = np.round(totals * rate)
    assert against_at_most(totals, hits, 0.02).rejects_now(0.05) is broken
    assert against_at_least(totals, hits, 0.02).rejects_now(0.05) is kept


def test_a_column_that_became_null_is_proven_by_two_rows_and_an_always_null_one_never():
    assert against_at_most([2], [2], 0.02).rejects_now(0.05)
    assert against_at_most([1000], [1000], 1.0) == NO_EVIDENCE


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_order_of_samples_at_one_share_changes_nothing(data):
    errors = data.draw(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 80)), min_size=1))
    order = data.draw(st.permutations(errors))
    for test in (against_not_worse, lambda world: against_worse_by(world, 0.01)):
        found, moved = (
            test(both([20] * len(e), [a for a, _ in e], [80] * len(e), [b for _, b in e]))
            for e in (errors, order)
        )
        assert moved.now == pytest.approx(found.now, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.integers(0, 400))
def test_one_more_error_of_the_canary_never_speaks_for_it(mine, other):
    fewer, more = (both([100], [e], [400], [other]) for e in (mine, mine + 1))
    assert against_not_worse(more).now > against_not_worse(fewer).now
    assert against_worse_by(more, 0.01).now < against_worse_by(fewer, 0.01).now


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (both([10, -1], [0, 0], [10, 1], [0, 0]), "must not fall"),
        (both([10], [11], [10], [0]), "errors must not exceed requests"),
        (both([10], [math.nan], [10], [0]), "finite"),
    ],
)
def test_counts_that_cannot_be_are_an_error(wrong, said):
    with pytest.raises(ValueError, match=said):
        against_not_worse(wrong)


@pytest.mark.parametrize("outside", [1.1, math.nan, -0.1])
def test_a_margin_out_of_range_is_an_error(outside):
    with pytest.raises(ValueError, match="margin must be"):
        against_worse_by(both([], [], [], []), outside)


def test_a_limit_that_is_no_share_is_an_error():
    for test, limit in ((against_at_most, math.nan), (against_at_least, math.nan)):
        with pytest.raises(ValueError, match="limit must be"):
            test([], [], limit)


def test_policies_at_the_ends_of_their_range_are_answered():
    clean, broken = both([10_000], [0], [10_000], [0]), both([10_000], [10_000], [10_000], [0])
    for margin in (0.0, 1.0):
        assert not against_worse_by(clean, margin).rejects_now(0.05)
        assert not against_worse_by(broken, margin).rejects_now(0.05)
    assert against_at_most([100], [1], 0.0).rejects_now(0.05)
    assert not against_at_most([100], [0], 0.0).rejects_now(0.05)
    assert against_at_least([100], [99], 1.0).rejects_now(0.05)
    assert against_at_least([10**9], [0], 0.0) == NO_EVIDENCE


@pytest.mark.parametrize("rows", [5, 200, 100_000])
@pytest.mark.parametrize("part", [3, 4, 7])
def test_clear_harm_is_shown_by_as_many_samples_as_must_show_it_and_not_by_fewer(rows, part):
    # Every request of the canary fails, and none of stable's.
    needed, totals = math.log(80), rows * np.arange(1.0, 8.0)
    for looks in range(1, 8):
        mine, none = totals[:looks], np.zeros(looks)
        found = (
            error_rate.against_not_worse(mine, mine, 4 * mine, none, most=1.001 * needed / part),
            against_at_most(mine, mine, 0.02, most=1.001 * needed / part),
        )
        assert [each.peak >= needed for each in found] == [looks >= part] * 2


def test_a_capped_average_never_has_a_mean_above_one():
    # All outcomes of three samples of two requests of the canary and three of stable, under
    # equal rates: errors are drawn without replacement, so given their number all are as likely.
    means, of_mine, of_others = [], binom.pmf(range(3), 2, 0.3), binom.pmf(range(4), 3, 0.3)
    for most in (0.1, 0.5, 2.0):
        mean = 0.0
        for mine in itertools.product(range(3), repeat=3):
            for others in itertools.product(range(4), repeat=3):
                chance = math.prod(of_mine[each] for each in mine)
                chance *= math.prod(of_others[each] for each in others)
                counts = (np.cumsum(each) for each in ([2] * 3, mine, [3] * 3, others))
                mean += chance * math.exp(error_rate.against_not_worse(*counts, most=most).now)
        means.append(mean)
    assert max(means) <= 1
    assert means == sorted(means)
