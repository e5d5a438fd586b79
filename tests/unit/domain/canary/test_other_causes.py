"""What may explain a canary's counts besides its answers: stable, its clients, or silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from error_rates.judge import verdict_of
from error_rates.judge_cases import Case
from error_rates.judge_traffic import of_segment
from modelyard.domain.canary.arms import count_arm
from modelyard.domain.canary.input_mix import cell_name
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.prediction_grid import Grid, prediction_grid
from modelyard.domain.canary.prediction_shift import (
    ExpectedPredictions,
    expect_predictions,
    fold_predictions,
)
from modelyard.domain.canary.request_metrics import unanswered
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.model import CanaryPolicy, Output, OutputKind
from modelyard.domain.verdict import Outcome

START = datetime(2013, 5, 1, tzinfo=UTC)
POLICY = CanaryPolicy(least_looks=1)
QUARTERS = Grid(edges=(0.25, 0.5, 0.75))
EVEN = expect_predictions([0.1, 0.3, 0.6, 0.8] * 50, [0.1, 0.3, 0.6, 0.8] * 50, QUARTERS)
LEVEL = (0.25, 0.25, 0.25, 0.25)
LAST = (0.0, 0.0, 0.0, 1.0)
ODD, HALVES = (0.0, 0.5, 0.5, 0.0), (0.5, 0.0, 0.0, 0.5)


def counted(per_look, shares, looks, inputs=None):
    """Counters after each look; the shares and the inputs may change with the look."""
    histogram, cells, found = np.zeros(len(shares(1))), {}, []
    for look in range(looks + 1):
        if look:
            histogram = histogram + per_look * np.array(shares(look))
            for name, share in (inputs or {}).items():
                cells[name] = cells.get(name, 0) + round(per_look * share)
        found.append(
            Counts(
                requests={"2xx": per_look * look},
                rows=per_look * look,
                predictions=tuple(histogram.round().astype(int).tolist()),
                inputs=dict(cells),
            )
        )
    return found


def judged(canary, stable, **changed):
    samples = tuple(
        Sample(at=START + look * timedelta(seconds=30), counts={"v2": mine, "v1": others})
        for look, (mine, others) in enumerate(zip(canary, stable, strict=True))
    )
    evidence = CanaryEvidence(
        **{"samples": samples, "canary": "v2", "stable": "v1", "expected": EVEN, **changed}
    )
    return judge_canary(evidence, POLICY)


def always(shares):
    return lambda _look: shares


def test_a_canary_that_answers_half_of_its_requests_fails_by_its_share():
    arms = counted(100, always(LEVEL), 20), counted(800, always(LEVEL), 20)
    verdict = judged(*arms, share=0.2)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == (
        "it answered 11.1 % of all requests and its share is 20 %: "
        "about 50 % of its requests are never answered"
    )
    assert verdict.numbers["unanswered"] == pytest.approx(0.5)
    # Without a router nothing says how many requests it should have had.
    assert judged(*arms).outcome is Outcome.PASS


def test_a_server_that_starts_late_or_starts_again_has_no_share_meanwhile():
    mine = counted(200, always(LEVEL), 40)
    late = [Counts(rows=0)] * 15 + mine[:10] + [mine[9]] * 8 + mine[10:18]
    found = judged(late, counted(800, always(LEVEL), len(late) - 1), share=0.2)
    assert found.outcome is Outcome.PASS
    assert found.numbers["unanswered"] == pytest.approx(0)


@pytest.mark.parametrize("answered", [200, 400, 165])
def test_a_canary_with_nearly_its_share_or_more_is_not_missed(answered):
    arms = counted(answered, always(LEVEL), 30), counted(800, always(LEVEL), 30)
    assert judged(*arms, share=0.2).outcome is Outcome.PASS


def test_one_interval_adds_at_most_a_quarter_of_what_is_needed():
    # Two intervals with answers of which the second counts, and is capped at a quarter.
    arms = counted(1, always(LEVEL), 2), counted(800, always(LEVEL), 2)
    found = judged(*arms, share=0.2).numbers
    assert found["evidence_unanswered"] == pytest.approx(1.001 * found["evidence_needed"] / 4)


def test_a_stable_that_breaks_is_named_and_the_canary_passes():
    broken = counted(800, lambda look: LEVEL if look < 20 else LAST, 40)
    verdict = judged(counted(200, always(LEVEL), 40), broken)
    assert verdict.outcome is Outcome.PASS
    assert "an incident of stable: its predictions differ by" in verdict.reason
    assert verdict.reason.endswith("the canary's are as expected")
    assert verdict.numbers["stable_distance"] > 0.15


def breaking(look):
    """The answers of a stable release that is broken for ten looks."""
    return LAST if 5 <= look < 15 else LEVEL


@pytest.mark.parametrize("looks", [9, 15, 16, 20, 30, 45, 80])
def test_a_stable_that_was_broken_for_a_time_blames_no_canary_for_it_later(looks):
    verdict = judged(counted(200, always(LEVEL), looks), counted(800, breaking, looks))
    assert verdict.outcome is not Outcome.FAIL
    assert "an incident of stable" in verdict.reason or looks == 80  # hardly any by then


@pytest.mark.parametrize("since", [1, 20])
def test_a_bad_canary_fails_beside_a_stable_that_was_broken_for_a_time(since):
    canary = counted(200, lambda look: LAST if look >= since else LEVEL, 45)
    assert judged(canary, counted(800, breaking, 45)).outcome is Outcome.FAIL


def moved(off):
    """The shares of a canary that is off by so much."""
    return (0.25 - off, 0.25, 0.25, 0.25 + off)


def in_turns(every, other=LAST):
    """The answers of a stable release that is broken in one look of so many."""
    return lambda look: other if look % every == 0 else LEVEL


@pytest.mark.parametrize("looks", [20, 40, 80, 160])
@pytest.mark.parametrize(("every", "off"), [(8, 0.18), (4, 0.2), (3, 0.2)])
def test_a_bad_canary_does_not_hide_behind_a_stable_that_is_broken_in_turns(every, off, looks):
    verdict = judged(counted(200, always(moved(off)), looks), counted(800, in_turns(every), looks))
    assert verdict.outcome is Outcome.FAIL
    assert "an incident of stable: in" in verdict.reason
    assert f"in the others the canary's differ by {off:.2f} from the expected" in verdict.reason


@pytest.mark.parametrize("looks", [8, 20, 40, 80])
@pytest.mark.parametrize(
    ("shares", "stable"),
    [
        (moved(0.2), in_turns(2)),
        # In the middle of two ways in which stable is broken, so that both add to the same.
        (HALVES, in_turns(2, (1.0, 0.0, 0.0, 0.0))),
        (HALVES, lambda look: LAST if look % 2 else (1.0, 0.0, 0.0, 0.0)),
    ],
)
def test_beside_a_stable_that_is_hardly_ever_in_order_a_canary_off_too_does_not_pass(
    shares, stable, looks
):
    verdict = judged(counted(200, always(shares), looks), counted(800, stable, looks))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "an incident of stable: " in verdict.reason
    assert "stable as on held-out rows" in verdict.reason


@pytest.mark.parametrize("looks", [20, 40, 80])
@pytest.mark.parametrize("every", [2, 3, 4, 8])
@pytest.mark.parametrize("off", [0.0, 0.1, -0.1])
def test_a_healthy_canary_passes_beside_a_stable_that_is_broken_in_turns(every, off, looks):
    verdict = judged(counted(200, always(moved(off)), looks), counted(800, in_turns(every), looks))
    assert verdict.outcome is Outcome.PASS


def test_traffic_that_moves_for_both_in_every_second_look_hides_nothing():
    arms = counted(200, in_turns(2, ODD), 40), counted(800, in_turns(2, ODD), 40)
    assert judged(*arms).outcome is Outcome.PASS


def test_inputs_that_differ_excuse_a_canary_that_a_broken_stable_hid():
    mine = {cell_name("dest", 1): 0.7, cell_name("dest", 2): 0.3}
    others = {cell_name("dest", 1): 0.4, cell_name("dest", 2): 0.6}
    canary = counted(200, always(moved(0.2)), 40, mine)
    verdict = judged(canary, counted(800, in_turns(4), 40, others))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "inputs of canary and stable differ: dest by 0.30" in verdict.reason


def test_a_canary_that_failed_fails_also_when_stable_breaks_later():
    stable = counted(800, lambda look: LAST if look > 30 else LEVEL, 60)
    canary = counted(200, always(moved(0.2)), 60)
    for looks in (20, 30, 35, 40, 60):
        assert judged(canary[: looks + 1], stable[: looks + 1]).outcome is Outcome.FAIL


@pytest.mark.parametrize(("off", "per_look"), [(0.17, 100), (0.17, 200), (0.2, 100), (0.2, 200)])
def test_the_same_samples_do_not_fail_at_first_and_are_waited_for_later(off, per_look):
    canary, stable = counted(per_look, always(moved(off)), 90), counted(800, breaking, 90)
    asked = [judged(canary[:looks], stable[:looks]).outcome for looks in range(10, 91, 4)]
    failed = asked.index(Outcome.FAIL)
    assert set(asked[:failed]) <= {Outcome.INCONCLUSIVE}
    assert set(asked[failed:]) == {Outcome.FAIL}


@pytest.mark.parametrize("off", [ODD, HALVES])
def test_a_canary_that_was_off_too_while_stable_was_broken_does_not_pass(off):
    canary = counted(200, lambda look: off if 5 <= look < 15 else LEVEL, 60)
    verdict = judged(canary, counted(800, breaking, 60))
    assert verdict.outcome is not Outcome.PASS
    assert verdict.outcome is Outcome.FAIL or "canary or stable as on held-out" in verdict.reason


def test_a_canary_further_off_than_stable_was_fails():
    half = (0.25, 0.25, 0.0, 0.5)  # off by .25
    canary = counted(200, lambda look: (0.0, 1.0, 0.0, 0.0) if 5 <= look < 15 else LEVEL, 60)
    stable = counted(800, lambda look: half if 5 <= look < 15 else LEVEL, 60)
    assert judged(canary, stable).outcome is Outcome.FAIL


@pytest.mark.parametrize("looks", [16, 20, 30, 60])
@pytest.mark.parametrize("shift", [1.0, 0.9])
def test_a_mix_of_traffic_that_moved_for_a_time_excuses_no_bad_canary(looks, shift):
    def change(canary, stable, _):
        rows = of_segment(lambda look: shift if 5 <= look < 15 else 0.3)
        canary.rows = stable.rows = rows
        score = canary.score
        canary.score = lambda rows, look: np.where(
            (rows[:, 2] > 0.5) & (np.abs(rows[:, 1]) < 0.45), 0.001, score(rows, look)
        )

    case = Case(name="moved", is_bad=True, change=change)
    assert verdict_of(case, np.random.default_rng(1), looks).outcome is not Outcome.PASS


@pytest.mark.parametrize("per_look", [0, 1, 10])
def test_few_predictions_beside_a_sound_stable_are_waited_for(per_look):
    # 5 of the looks are doubtful, or 6, and the canary has hardly any predictions in the others.
    def arm(rows, shares):
        found = counted(1, lambda look: tuple(rows(look) * share for share in shares(look)), 60)
        total = np.cumsum([0, *(rows(look) for look in range(1, 61))])
        return [
            replace(each, rows=int(n), requests={"2xx": int(n)})
            for each, n in zip(found, total, strict=True)
        ]

    canary = arm(lambda look: 800 if 5 <= look < 15 else per_look, always(LEVEL))
    verdict = judged(canary, arm(lambda _: 800, breaking))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "more predictions while stable's are as on held-out rows" in verdict.reason


def test_where_both_are_off_nothing_is_decided():
    upper = (0.0, 0.0, 0.5, 0.5)
    verdict = judged(counted(200, always(upper), 40), counted(800, always(LAST), 40))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "an incident of stable" in verdict.reason
    assert "predictions of canary or stable as on held-out rows" in verdict.reason


def test_a_stable_that_is_a_little_off_excuses_no_broken_canary():
    # Other traffic than on held-out rows: stable is off by .25, and the canary by .75.
    moved = (0.5, 0.25, 0.25, 0.0)
    verdict = judged(counted(200, always(LAST), 40), counted(800, always(moved), 40))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.startswith("predictions differ by 1.00 from the expected ones")


def test_a_canary_off_beside_a_sound_stable_fails():
    verdict = judged(counted(200, always(LAST), 20), counted(800, always(LEVEL), 20))
    assert verdict.outcome is Outcome.FAIL
    assert "stable_distance" not in verdict.numbers


def test_other_inputs_are_named_instead_of_a_fail():
    mine = {cell_name("dest", 1): 0.7, cell_name("dest", 2): 0.3}
    others = {cell_name("dest", 1): 0.4, cell_name("dest", 2): 0.6}
    moved = (0.45, 0.25, 0.25, 0.05)
    arms = counted(200, always(moved), 30, mine), counted(800, always(LEVEL), 30, others)
    verdict = judged(*arms)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "inputs of canary and stable differ: dest by 0.29" in verdict.reason
    assert verdict.columns == ("dest",)


def test_of_several_inputs_that_differ_all_are_named_the_greatest_first():
    def inputs(dest, origin):
        shares = {"dest": dest, "origin": origin}
        return {
            cell_name(column, cell): part
            for column, share in shares.items()
            for cell, part in ((1, share), (2, 1 - share))
        }

    moved = (0.45, 0.25, 0.25, 0.05)
    verdict = judged(
        counted(200, always(moved), 30, inputs(0.6, 0.7)),
        counted(800, always(LEVEL), 30, inputs(0.4, 0.4)),
    )
    assert "inputs of canary and stable differ: origin by 0.29, dest by 0.19" in verdict.reason
    assert verdict.columns == ("origin", "dest")
    assert verdict.numbers["input_distance"] == pytest.approx(0.29, abs=0.01)


def test_predictions_further_apart_than_the_inputs_fail_all_the_same():
    mine = {cell_name("dest", 1): 0.5, cell_name("dest", 2): 0.5}
    others = {cell_name("dest", 1): 0.4, cell_name("dest", 2): 0.6}
    arms = counted(200, always(LAST), 30, mine), counted(800, always(LEVEL), 30, others)
    assert judged(*arms).outcome is Outcome.FAIL


def test_older_servers_are_compared_in_hundredths():
    output = Output(name="late", kind=OutputKind.PROBABILITY, primary=True)
    grid = prediction_grid(output)
    scores = np.random.default_rng(0).beta(1, 30, size=4000)
    expected = expect_predictions(scores, scores, grid)
    shares = np.bincount(np.searchsorted(grid.edges, scores, side="right"), minlength=grid.bins)
    fine = tuple((shares / 4000).tolist())
    (coarse,) = fold_predictions([fine], grid.older_bins)
    assert len(coarse) == 100
    for mine, others in ((fine, coarse), (coarse, fine), (fine, fine), (coarse, coarse)):
        arms = counted(2000, always(mine), 20), counted(8000, always(others), 20)
        assert judged(*arms, expected=expected).outcome is Outcome.PASS
    ones = tuple(np.eye(100)[50].tolist())
    arms = counted(200, always(ones), 20), counted(800, always(fine), 20)
    assert judged(*arms, expected=expected).outcome is Outcome.FAIL


def test_finer_and_older_bins_are_at_most_as_many_as_asked_for():
    grid = prediction_grid(Output(name="late", kind=OutputKind.PROBABILITY, primary=True))
    scores = np.random.default_rng(0).beta(1, 30, size=4000)
    expected = expect_predictions(scores, scores, grid, most=4)
    assert expected.older is not None
    assert [len(each.shares) for each in (expected, expected.older)] == [4, 4]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1e-9, 1), (-1, 1e-9), (-1, 1)])
def test_all_edges_of_a_grid_are_within_its_range_and_ascend(low, high):
    output = Output(name="y", kind=OutputKind.VALUE, minimum=low, maximum=high, primary=True)
    grid = prediction_grid(output)
    assert grid.older is not None
    for edges in (grid.edges, grid.older.edges):
        assert list(edges) == sorted(set(edges))
        assert low < edges[0] < edges[-1] < high
    assert set(grid.older.edges) <= set(grid.edges)


def known(*shares):
    return ExpectedPredictions(
        edges=(), bins=tuple(range(len(shares))), kernel=(), shares=shares, rows=1000
    )


@pytest.mark.parametrize(
    ("shares", "radius", "is_blind"),
    [
        ((0.25, 0.25, 0.25, 0.25), 0.15, False),
        ((0.9, 0.06, 0.04), 0.05, False),
        ((0.97, 0.03), 0.02, False),
        ((0.99, 0.01), 0.02, True),
        ((1.0, 0.0), 0.02, True),
    ],
)
def test_the_radius_is_at_most_half_of_what_a_constant_shows(shares, radius, is_blind):
    expected = known(*shares)
    assert expected.allowed_radius(0.15) == pytest.approx(radius)
    assert expected.is_blind(0.15) is is_blind


def test_a_promise_that_a_constant_keeps_is_said_to_be_blind():
    one = expect_predictions([0.1] * 200, [0.1] * 200, QUARTERS)
    arms = counted(200, always((1.0, 0, 0, 0)), 20), counted(800, always((1.0, 0, 0, 0)), 20)
    verdict = judged(*arms, expected=one)
    assert verdict.outcome is Outcome.PASS
    assert "a constant answer would differ by 0: not seen" in verdict.reason


def arm_of(answered):
    """An arm that is known by its answers alone."""
    found = tuple(Sample(at=START, counts={"v": Counts(requests={"2xx": n})}) for n in answered)
    return count_arm(found, "v", is_new=True)


@pytest.mark.parametrize(
    ("per_look", "lost"),
    [((100, 800), 0.5), ((200, 800), 0), ((400, 800), 0), ((200, 0), 0), ((0, 800), None)],
)
def test_what_is_lost_is_the_part_of_its_share_that_a_canary_does_not_answer(per_look, lost):
    canary, stable = (arm_of([look * n for look in range(5)]) for n in per_look)
    found = unanswered(canary, stable, POLICY, share=0.2, alpha=0.05)
    assert (found and found.numbers["unanswered"]) == pytest.approx(lost)


@pytest.mark.parametrize("share", [0, 1])
def test_an_arm_without_a_share_of_its_own_misses_nothing(share):
    canary, stable = arm_of([0, 1, 2]), arm_of([0, 800, 1600])
    assert unanswered(canary, stable, POLICY, share=share, alpha=0.05) is None


def test_a_canary_a_little_off_while_stable_was_in_order_waits_and_is_not_failed():
    off = (0.08, 0.25, 0.25, 0.42)
    canary = counted(100, lambda look: LEVEL if 5 <= look < 15 else off, 40)
    verdict = judged(canary, counted(800, breaking, 40))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "predictions within 0.15 while stable's are as on held-out rows" in verdict.reason


def drawn(rng, per_look, shares, looks=30):
    """Counters after each look, of rows drawn by chance."""
    added = [rng.multinomial(per_look, shares(look)) for look in range(1, looks + 1)]
    histograms = np.cumsum([np.zeros(4, dtype=int), *added], axis=0)
    return [
        Counts(requests={"2xx": sum(each)}, rows=sum(each), predictions=tuple(each))
        for each in histograms.tolist()
    ]


def test_few_rows_of_a_healthy_canary_beside_a_stable_that_was_broken_do_not_fail_it():
    rng = np.random.default_rng(0)
    failed = [
        judged(drawn(rng, rows, always(LEVEL)), drawn(rng, 800, breaking)).outcome is Outcome.FAIL
        for rows in (1, 2)
        for _ in range(20)
    ]
    assert sum(failed) == 0


@pytest.mark.parametrize(("low", "high"), [(0.12, 0.1), (0.14, 0.14), (0.13, 0.12), (0.1, 0.08)])
@pytest.mark.parametrize("looks", [34, 45, 60])
def test_a_canary_that_was_off_beside_stable_does_not_pass_once_stable_breaks(low, high, looks):
    canary = (0.25 - low, 0.25, 0.25, 0.25 + low)
    before = (0.25 + high, 0.25, 0.25, 0.25 - high)
    stable = counted(800, lambda look: before if look < 30 else LAST, looks)
    verdict = judged(counted(200, always(canary), looks), stable)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "predictions within 0.15 while stable's are as on held-out rows" in verdict.reason


@pytest.mark.parametrize("looks", [30, 45, 60])
def test_a_healthy_canary_passes_though_stable_breaks_and_stays_broken(looks):
    stable = counted(800, lambda look: LEVEL if look < 20 else LAST, looks)
    assert judged(counted(200, always(LEVEL), looks), stable).outcome is Outcome.PASS
