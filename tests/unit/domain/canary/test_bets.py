from __future__ import annotations

import math

import numpy as np
import pytest

from modelyard.domain.canary.shift import bets

BINS, LOOKS = 5, 40


def pair_of(seed, *, rows, breaks_at=LOOKS, idle=()):
    """Looks of a canary that does as expected, and answers only the first bin from a look on."""
    random = np.random.default_rng(seed)
    kernel = random.dirichlet(np.ones(BINS), size=BINS)
    shares = random.dirichlet(np.ones(BINS))
    stable = random.multinomial(4 * rows, shares, size=LOOKS).astype(float)
    expected = stable / stable.sum(axis=1, keepdims=True) @ kernel
    canary = np.array([random.multinomial(rows, each) for each in expected]).astype(float)
    canary[breaks_at:] = rows * np.eye(BINS)[0]
    canary[list(idle)] = 0
    return kernel, shares, canary, stable


def logs_of(known, most):
    """The evidence with all bets, and with those that may still count."""
    kernel, shares, canary, stable = known
    sets = np.array([[set_ >> place & 1 for place in range(BINS)] for set_ in range(1, 31)])
    pair = bets._Pair(kernel, shares, sets.astype(float), canary, stable, 0.15)
    where, stake = (each.ravel() for each in np.mgrid[: len(sets), : bets.STAKES.size])
    gains = pair.gains_of(slice(None), where, stake)
    by_set = np.ascontiguousarray(gains).reshape(LOOKS, len(sets), bets.STAKES.size)
    return bets._logs_of_all(iter([by_set]), len(sets), most), bets._logs_of_living(pair, most)


@pytest.mark.parametrize("most", [2.5, math.inf])
@pytest.mark.parametrize("breaks_at", [1, 20, LOOKS])
@pytest.mark.parametrize("rows", [1, 30, 1000])
@pytest.mark.parametrize("chunk", [1, 2000, 100_000])
def test_bets_that_are_left_out_change_no_digit(rows, breaks_at, most, chunk, monkeypatch):
    monkeypatch.setattr(bets, "_CHUNK", chunk)
    for seed in range(4):
        known = pair_of(seed, rows=rows, breaks_at=breaks_at)
        everything, living = logs_of(known, most)
        assert living == everything


def test_of_a_healthy_canary_nearly_all_bets_are_soon_left_out(monkeypatch):
    counted = []
    gains_of = bets._Pair.gains_of

    def counting(pair, looks, where, stake):
        found = gains_of(pair, looks, where, stake)
        counted.append(found.size)
        return found

    known = pair_of(1, rows=1000)
    everything, _ = logs_of(known, 2.5)
    monkeypatch.setattr(bets._Pair, "gains_of", counting)
    found = bets.evidence_of_bets(*known, radius=0.15, most=2.5)
    assert found.now == everything[-1]
    assert sum(counted) < 0.4 * LOOKS * 30 * len(bets.STAKES)


def test_a_bet_that_comes_back_is_not_left_out():
    # It loses for half of the looks, and then wins until it is the greatest of all.
    everything, living = logs_of(pair_of(2, rows=200, breaks_at=20), math.inf)
    assert living == everything
    assert living[18] < 0 < living[-1]


def test_what_is_far_below_is_counted_from_the_last_look_backwards():
    # With no look after it every bet is forgotten; the hopes of earlier looks are differences.
    kernel, shares, canary, stable = pair_of(3, rows=50)
    sets = np.array([[1.0, 0, 0, 0, 0], [0, 1.0, 1.0, 0, 0]])
    hopes = bets._hopes(bets._Pair(kernel, shares, sets, canary[:5], stable[:5], 0.15), 2.5)
    assert sorted(hopes) == [0, 3, 4]
    assert np.isneginf(hopes[4]).all()
    assert np.isfinite(hopes[0]).all()


@pytest.mark.parametrize("radius", [0.02, 0.15])
@pytest.mark.parametrize("breaks_at", [1, 20, LOOKS])
def test_evidence_of_one_arm_alone_is_never_beyond_what_it_reaches_at_most(breaks_at, radius):
    for seed in range(4):
        kernel, shares, canary, _ = pair_of(seed, rows=50, breaks_at=breaks_at, idle=(3,))
        known = {"radius": radius, "most": math.inf}
        found = bets.evidence_of_bets(kernel, shares, canary, None, **known)
        most, late = bets.most_evidence_alone(shares, canary, (0, 25), radius=radius)
        assert found.peak <= most + 1e-9
        assert breaks_at == LOOKS or most > 100
        found = bets.evidence_of_bets(kernel, shares, canary[25:], None, **known)
        assert found.peak <= late + 1e-9
        assert [late] == pytest.approx(
            bets.most_evidence_alone(shares, canary[25:], (0,), radius=radius)
        )


@pytest.mark.parametrize("stable", [None, "too"])
@pytest.mark.parametrize("strays", [0, 1])
def test_where_nothing_is_expected_and_no_radius_allowed_any_row_is_evidence(stable, strays):
    shares = np.array([0.5, 0.5, 0.0])
    canary = np.tile([50.0, 50.0, strays], (LOOKS, 1))
    usual = None if stable is None else np.tile([500.0, 500.0, 0.0], (LOOKS, 1))
    found = bets.evidence_of_bets(np.eye(3), shares, canary, usual, radius=0.0, most=2.5)
    assert math.isfinite(found.peak)
    assert (found.peak > 5) == bool(strays)
    (most,) = bets.most_evidence_alone(shares, canary, (0,), radius=0.0)
    assert math.isfinite(most)


def test_an_arm_that_answers_as_expected_needs_no_logarithms():
    random = np.random.default_rng(1)
    shares = random.dirichlet(np.ones(BINS))
    canary = np.tile(1000 * shares, (LOOKS, 1))
    assert bets.most_evidence_alone(shares, canary, (0, 3), radius=0.15) == [0, 0]


@pytest.mark.parametrize("looks", [0, 1, 23, 24, 25, 200])
def test_products_are_computed_in_parts_that_one_thread_takes(looks, monkeypatch):
    random = np.random.default_rng(looks)
    counts, sets = random.random((looks, 10)), random.random((1022, 10))
    seen = []
    monkeypatch.setattr(
        bets.np, "concatenate", lambda parts: seen.extend(parts) or np.vstack(parts)
    )
    found = bets._times(counts, sets)
    assert found == pytest.approx(counts @ sets.T, rel=1e-12)
    assert found.shape == (looks, 1022)
    assert all(10 * part.size <= bets._ONE_THREAD for part in seen)
    assert bool(seen) == (looks > 24)


@pytest.mark.parametrize("rows", [1, 3, 30, 1000])
@pytest.mark.parametrize("breaks_at", [1, 20, LOOKS])
def test_a_canary_that_never_gains_has_the_peak_that_all_its_bets_show(rows, breaks_at):
    for seed in range(8):
        *pair, canary, stable = pair_of(seed, rows=rows, breaks_at=breaks_at, idle=(3,))
        quick, whole = (
            bets.evidence_of_bets(
                *pair, canary, stable, radius=0.15, most=2.5, is_peak_enough=is_enough
            ).peak
            for is_enough in (True, False)
        )
        assert quick == whole


def test_of_a_canary_that_is_well_no_bet_is_counted(monkeypatch):
    kernel, shares, canary, stable = pair_of(1, rows=1000)
    monkeypatch.setattr(bets, "_logs_of_living", lambda *_: pytest.fail("all bets were counted"))
    known = {"radius": 0.15, "most": 2.5, "is_peak_enough": True}
    assert bets.evidence_of_bets(kernel, shares, canary, stable, **known).peak == 0


def test_with_few_rows_some_bets_gain_at_first_and_are_outweighed_by_the_others():
    gains, never = [], []
    for seed in range(20):
        kernel, shares, canary, stable = pair_of(seed, rows=10)
        pair = bets._Pair(kernel, shares, bets._sets_of(BINS), canary, stable, 0.15)
        gains.append(pair.ceilings.cumsum(axis=0).max() > 0)
        never.append(bets._never_gains(pair))
    assert sum(gains) > 15
    assert sum(never) > 10
