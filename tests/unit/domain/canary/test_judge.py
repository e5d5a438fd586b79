from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.canary.design_effect import MEASURES, pair_measures
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.prediction_shift import expect_predictions
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.model import CanaryPolicy
from modelyard.domain.verdict import Outcome, Verdict

START = datetime(2013, 5, 1, 8, tzinfo=UTC)
POLICY = CanaryPolicy(least_looks=1)
QUARTERS = Grid(edges=(0.25, 0.5, 0.75))
EVEN = expect_predictions([0.1, 0.3, 0.6, 0.8] * 50, [0.1, 0.3, 0.6, 0.8] * 50, QUARTERS)


def counts(total, errors=0, *, refused=0, predictions=(), nulls=None, unseen=None):
    return Counts(
        requests={"2xx": total - errors, "4xx": refused, "5xx": errors},
        rows=total - errors,
        predictions=tuple(predictions),
        nulls=nulls or {},
        unseen=unseen or {},
    )


def samples(*pairs, every=30):
    """Samples from (canary, stable) pairs; None is a release without servers."""
    return tuple(
        Sample(
            at=START + timedelta(seconds=every * place),
            counts={name: found for name, found in zip(("v2", "v1"), pair, strict=True) if found},
        )
        for place, pair in enumerate(pairs)
    )


def steady(canary, stable, steps=5, **each):
    """Both arms at constant rates: (requests, errors) a step."""
    return samples(
        *(
            (
                counts(step * canary[0], step * canary[1], **scaled(each, step)),
                counts(step * stable[0], step * stable[1]),
            )
            for step in range(steps)
        )
    )


def scaled(each, step):
    return {name: {column: n * step for column, n in of.items()} for name, of in each.items()}


def canary(found, **changed):
    return CanaryEvidence(**{"samples": found, "canary": "v2", "stable": "v1", **changed})


@pytest.mark.parametrize("segments", [(), ("carrier",)])
def test_a_verdict_without_the_promises_has_the_same_part_of_alpha_as_one_with_them(segments):
    found = steady((500, 0), (2000, 0))
    policy = replace(POLICY, segments=segments)
    needed = [
        judge_canary(canary(found, **known), policy).numbers["evidence_needed"]
        for known in ({"expected": EVEN}, {"is_promised": True}, {})
    ]
    assert needed[0] == needed[1] > needed[2]
    parts = math.exp(needed[0]) / math.exp(needed[2])
    assert parts == pytest.approx(2 + len(segments))  # errors, predictions and segments


def test_a_canary_as_good_as_stable_passes():
    verdict = judge_canary(canary(steady((500, 0), (2000, 0))), POLICY)
    assert verdict.outcome is Outcome.PASS
    assert verdict.reason == "error rate 0 % of 2000 requests, stable 0 % of 8000: not worse by 1 %"
    assert verdict.columns == ()
    assert verdict.numbers == pytest.approx(
        {
            "canary_requests": 2000,
            "canary_error_rate": 0,
            "stable_requests": 8000,
            "stable_error_rate": 0,
            "evidence_needed": math.log(20),
            "evidence_worse": 0,
            "evidence_not_worse": verdict.numbers["evidence_not_worse"],
            "canary_predictions": 2000,
            "looks": 4,
            "seconds": 120,
        }
    )
    assert verdict.numbers["evidence_not_worse"] > math.log(20)


def test_a_canary_with_more_errors_fails():
    verdict = judge_canary(canary(steady((200, 12), (800, 16), steps=6)), POLICY)
    assert verdict.outcome is Outcome.FAIL
    assert (
        verdict.reason == "error rate 6 % of 1000 requests, stable 2 % of 4000: worse than stable"
    )


def test_fails_before_the_least_sample_is_there():
    verdict = judge_canary(canary(steady((20, 20), (80, 0))), POLICY)
    assert verdict.outcome is Outcome.FAIL


def test_fewer_than_four_bad_intervals_are_no_fail_however_bad_they_are():
    # A server that warms up, or one of many with a bad minute, is not a bad release.
    for steps in (2, 3, 4):
        verdict = judge_canary(canary(steady((200, 200), (800, 0), steps=steps)), POLICY)
        assert verdict.outcome is Outcome.INCONCLUSIVE
    assert judge_canary(canary(steady((200, 200), (800, 0))), POLICY).outcome is Outcome.FAIL


def test_a_failure_stands_although_later_requests_went_well():
    bad = [(counts(n, n // 2), counts(4 * n)) for n in (0, 25, 50, 75, 100)]
    good = [(counts(100 + n, 50), counts(400 + 4 * n)) for n in (50_000, 100_000)]
    verdict = judge_canary(canary(samples(*bad, *good)), POLICY)
    assert verdict.outcome is Outcome.FAIL


def test_a_failure_stands_although_the_evidence_for_it_is_gone():
    # Stable errs much more later, so all samples together show nothing against the canary.
    bad = [(counts(n, n // 2), counts(4 * n)) for n in (0, 25, 50, 75, 100)]
    turned = [(counts(100 + 200 * n, 50), counts(400 + 800 * n, 200 * n)) for n in range(1, 20)]
    verdict = judge_canary(canary(samples(*bad, *turned)), POLICY)
    assert verdict.outcome is Outcome.FAIL
    alone = judge_canary(canary(samples(*bad[:1], *turned)), POLICY)
    assert alone.outcome is not Outcome.FAIL


def test_a_pass_does_not_stand_when_later_requests_go_badly():
    good = [(counts(n), counts(4 * n)) for n in (0, 500, 1000)]
    assert judge_canary(canary(samples(*good)), POLICY).outcome is Outcome.PASS
    assert judge_canary(
        canary(samples(*good, (counts(1400, 40), counts(5600, 130)))), POLICY
    ).outcome in {
        Outcome.INCONCLUSIVE,
        Outcome.FAIL,
    }


def hanging(*parts):
    """A canary with a share of a fifth that answers these parts of its requests, one a look."""
    answered = itertools.accumulate((int(200 * part) for part in parts), initial=0)
    looks = [(counts(own), counts(800 * look)) for look, own in enumerate(answered)]
    return canary(samples(*looks), share=0.2)


def test_a_canary_that_hangs_late_does_not_pass_by_what_it_answered_before():
    healthy, late = hanging(*[1.0] * 60), hanging(*[1.0] * 60, *[0.5] * 20)
    assert judge_canary(healthy, POLICY).outcome is Outcome.PASS

    found = judge_canary(late, POLICY)

    assert found.outcome is Outcome.INCONCLUSIVE
    assert "missing: 20 looks without harm; in the last ones it answered" in found.reason
    assert "of its requests are never answered" in found.reason


def test_a_canary_that_answered_badly_for_a_while_passes_once_its_last_looks_are_good():
    found = judge_canary(hanging(*[1.0] * 100, *[0.5] * 10, *[1.0] * 20), POLICY)

    assert found.outcome is Outcome.PASS


def test_slow_harm_is_not_passed_before_the_least_looks_and_seconds():
    # No errors for 20 looks, then 1 in 20: asked at each look, it never passes.
    totals = [(200 * look, 10 * max(0, look - 20)) for look in range(61)]
    seen = samples(*((counts(*own), counts(4 * own[0], 0)) for own in totals))
    outcomes = [
        judge_canary(canary(seen[: look + 1]), CanaryPolicy()).outcome for look in range(1, 61)
    ]
    assert Outcome.PASS not in outcomes
    assert outcomes[-1] is Outcome.FAIL
    early = judge_canary(canary(seen[:20]), CanaryPolicy())
    assert "missing: 11 more looks with answers" in early.reason
    assert early.numbers["looks_missing"] == 11
    daily = CanaryPolicy(least_seconds=86_400)
    healthy = samples(*((counts(200 * look), counts(800 * look)) for look in range(32)))
    assert judge_canary(canary(healthy), CanaryPolicy()).outcome is Outcome.PASS
    assert judge_canary(canary(healthy), daily).outcome is Outcome.INCONCLUSIVE


def test_a_canary_that_restarts_between_any_two_looks_is_failed_by_its_errors():
    def seen(look):
        mine = replace(counts(200 + look, 40 + look), process=str(look))
        return mine, counts(800 * look, 2 * look)

    verdict = judge_canary(canary(samples(*(seen(look) for look in range(1, 12)))), POLICY)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.numbers["canary_error_rate"] > 0.2


def test_says_how_much_is_missing():
    verdict = judge_canary(canary(steady((100, 0), (400, 0), steps=2)), POLICY)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason == (
        "error rate 0 % of 100 requests, stable 0 % of 400; missing: evidence that the error rate "
        "is not worse by 1 % (0.6 of 3.0; at this rate about 444 more requests), "
        "900 more predictions, 30 more seconds"
    )


def test_errors_of_clients_do_not_count():
    refused = steady((500, 0), (2000, 0))
    flooded = tuple(
        replace(
            sample,
            counts={
                name: replace(found, requests={**found.requests, "4xx": 10_000 * place})
                for name, found in sample.counts.items()
            },
        )
        for place, sample in enumerate(refused)
    )
    assert judge_canary(canary(flooded), POLICY) == judge_canary(canary(refused), POLICY)


@pytest.mark.parametrize(
    "found",
    [
        (),
        samples((counts(500), counts(2000))),
        samples((counts(0), counts(0)), (counts(0), counts(2000))),
        samples((None, counts(0)), (None, counts(2000))),
        samples((counts(0), counts(0)), (counts(0, refused=500), counts(2000))),
    ],
)
def test_no_data_is_never_a_pass(found):
    verdict = judge_canary(canary(found), POLICY)
    assert verdict == Verdict(
        outcome=Outcome.INCONCLUSIVE,
        reason="no request answered yet",
    )


def test_a_stable_that_answers_nothing_is_no_comparison():
    verdict = judge_canary(canary(samples(*((counts(n), None) for n in (0, 5000, 9000)))), POLICY)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "requests answered by stable" in verdict.reason
    assert "data of stable in the last sample" in verdict.reason


@pytest.mark.parametrize("strange", [math.nan, math.inf, -1.0, 2**51, 2.0**60, 10**400])
@pytest.mark.parametrize("code", ["2xx", "5xx"])
def test_an_unreadable_last_sample_never_passes_but_may_fail(strange, code):
    broken = Counts(requests={"2xx": 9000, code: strange}, rows=9000)
    for errors, outcome in ((0, Outcome.INCONCLUSIVE), (400, Outcome.FAIL)):
        found = steady((500, errors), (2000, 0))
        last = Sample(at=START + timedelta(hours=1), counts={"v2": broken, "v1": counts(9000)})
        verdict = judge_canary(canary((*found, last)), POLICY)
        assert verdict.outcome is outcome
    inconclusive = judge_canary(canary((*steady((500, 0), (2000, 0)), last)), POLICY)
    assert "data of the canary in the last sample: a counter is negative" in inconclusive.reason


def test_response_times_that_contradict_each_other_hide_no_error_and_never_pass():
    # More requests within a second than there are.
    for errors, outcome in ((0, Outcome.INCONCLUSIVE), (400, Outcome.FAIL)):
        found = tuple(
            replace(
                sample,
                counts={
                    name: replace(each, within={"0.1": 9 * place, "inf": place})
                    for name, each in sample.counts.items()
                },
            )
            for place, sample in enumerate(steady((500, errors), (2000, 0)))
        )
        verdict = judge_canary(replace(canary(found), slow_ms=100.0), POLICY)
        assert verdict.outcome is outcome
        assert outcome is Outcome.FAIL or "requests slower than 100 ms, which raised" in (
            verdict.reason
        )


def test_an_unreadable_sample_on_the_way_is_left_out():
    whole = steady((500, 0), (2000, 0))
    broken = replace(whole[2], counts={**whole[2].counts, "v2": Counts(rows=math.nan)})
    assert judge_canary(canary((*whole[:2], broken, *whole[3:])), POLICY).outcome is Outcome.PASS


def test_a_restart_counts_nothing_twice():
    # The sum over three servers falls when one starts again; what is new in it cannot be known.
    totals = [0, 600, 1200, 900, 1500]
    three = [replace(counts(n), servers=3) for n in totals]
    found = samples(*((each, counts(4000 * place)) for place, each in enumerate(three)))
    assert judge_canary(canary(found), POLICY).numbers["canary_requests"] == 1800


def test_a_canary_that_restarts_between_all_samples_fails_by_its_errors():
    pairs = [
        (counts(n, n // 5), counts(800 * place))
        for place, n in enumerate([0, *range(200, 80, -10)])
    ]
    verdict = judge_canary(canary(samples(*pairs)), POLICY)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.startswith("error rate 20 % of 1740 requests")


def test_a_canary_seen_to_start_is_counted_from_its_start_and_stable_never_is():
    found = samples((None, counts(10**6, 10**5)), (counts(700), counts(10**6 + 50, 10**5)))
    verdict = judge_canary(canary(found), POLICY)
    assert verdict.numbers["canary_requests"] == 700
    assert verdict.numbers["stable_requests"] == 50
    joined_late = samples((counts(0), None), (counts(700), counts(10**6)))
    assert "stable without requests" in judge_canary(canary(joined_late), POLICY).reason


def test_samples_out_of_order_are_left_out():
    found = steady((500, 0), (2000, 0))
    stale = replace(found[1], at=found[0].at)
    assert judge_canary(canary((*found, stale)), POLICY) == judge_canary(canary(found), POLICY)


def test_an_empty_column_is_named_as_the_cause_and_fails_nothing_alone():
    found = steady((500, 0), (2000, 0), nulls={"dep_delay": 500, "origin": 1}, unseen={"dest": 40})
    verdict = judge_canary(
        canary(found, training_nulls={"dep_delay": 0.0, "origin": 0.0, "speed": 0.4}), POLICY
    )
    assert verdict.outcome is Outcome.PASS
    assert verdict.columns == ("dep_delay", "dest")
    assert verdict.reason.endswith(
        "inputs unlike the training data: dep_delay null 0 % -> 100 %, dest unseen 0 % -> 8 %"
    )


def test_an_input_as_empty_as_in_training_is_no_cause():
    found = steady((500, 0), (2000, 0), nulls={"speed": 205}, unseen={"dest": 10})
    verdict = judge_canary(canary(found, training_nulls={"speed": 0.4}), POLICY)
    assert verdict.columns == ()


def bins(canary_bins, stable_bins, steps=5):
    return samples(
        *(
            (
                counts(step * sum(canary_bins), predictions=[step * n for n in canary_bins]),
                counts(step * sum(stable_bins), predictions=[step * n for n in stable_bins]),
            )
            for step in range(steps)
        )
    )


def test_predictions_as_expected_pass():
    verdict = judge_canary(canary(bins([190, 210, 200, 200], [800] * 4), expected=EVEN), POLICY)
    assert verdict.outcome is Outcome.PASS
    assert "predictions differ by 0.01 from the expected ones, 0.15 is allowed" in verdict.reason
    assert verdict.numbers["evidence_needed"] == pytest.approx(math.log(40))


def test_predictions_far_from_the_expected_ones_fail_and_name_the_empty_column():
    found = bins([10, 10, 10, 770], [800] * 4)
    last = found[-1].counts["v2"]
    emptied = replace(
        found[-1],
        counts={**found[-1].counts, "v2": replace(last, nulls={"dep_delay": last.rows})},
    )
    evidence = canary((*found[:-1], emptied), expected=EVEN, training_nulls={"dep_delay": 0.0})
    verdict = judge_canary(evidence, POLICY)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == (
        "predictions differ by 0.71 from the expected ones, 0.15 is allowed; "
        "inputs unlike the training data: dep_delay null 0 % -> 100 %"
    )
    assert verdict.columns == ("dep_delay",)


def test_a_distance_beyond_the_radius_that_may_be_chance_is_no_pass():
    found = bins([230, 190, 190, 190], [800] * 4)
    verdict = judge_canary(canary(found, expected=EVEN), replace(POLICY, distribution_radius=0.03))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "missing: predictions within 0.03" in verdict.reason


def in_requests(found, rows):
    """The samples of servers that answer so many rows a request and do not count pairs."""
    return tuple(
        replace(
            sample,
            counts={
                name: replace(count, requests={"2xx": count.rows // rows, "4xx": 0, "5xx": 0})
                for name, count in sample.counts.items()
            },
        )
        for sample in found
    )


def test_rows_of_a_server_that_does_not_count_pairs_are_as_if_all_of_a_request_were_one():
    found = bins([20, 20, 20, 140], [200] * 4)
    alone, together = (
        judge_canary(canary(in_requests(found, rows), expected=EVEN), POLICY) for rows in (1, 50)
    )
    assert (alone.outcome, alone.numbers["design_effect"]) == (Outcome.FAIL, 1)
    assert (together.outcome, together.numbers["design_effect"]) == (Outcome.INCONCLUSIVE, 50)
    assert together.numbers["evidence_distance"] < alone.numbers["evidence_distance"] / 20
    assert alone.reason.startswith(
        "predictions differ by 0.45 from the expected ones, 0.15 is allowed"
    )
    assert "0.15 is allowed (50 correlated rows count as one)" in together.reason


def test_rows_of_requests_that_are_not_alike_count_nearly_one_each():
    # A hundred requests with one row of each of four bins: 12 ordered pairs, all of them unlike.
    pairs = {"pairs": 12, "unlike": 12, "tenths": 12, "distance": 40}
    found = tuple(
        replace(
            sample,
            counts={
                name: replace(
                    count, pairs={measure: n * count.rows // 4 for measure, n in pairs.items()}
                )
                for name, count in sample.counts.items()
            },
        )
        for sample in in_requests(bins([100] * 4, [400] * 4), 4)
    )
    verdict = judge_canary(canary(found, expected=EVEN), POLICY)
    assert verdict.numbers["design_effect"] == pytest.approx(1, abs=0.01)
    assert "correlated" not in verdict.reason


def answering(*requests):
    """Samples of servers that count pairs: what the canary and stable answer between them.

    A request is its rows by bin, shape (4,).
    """
    found, so_far = [], [counts(0, predictions=[0] * 4) for _ in range(2)]
    for both in ([[], []], *requests):
        for place, answers in enumerate(both):
            before = so_far[place]
            histograms = [before.predictions, *answers]
            measures = [before.pairs, *map(pair_measures, answers)]
            so_far[place] = Counts(
                requests={"2xx": before.requests["2xx"] + len(answers), "5xx": 0},
                rows=sum(map(sum, histograms)),
                predictions=tuple(map(sum, zip(*histograms, strict=True))),
                pairs={name: sum(each.get(name, 0) for each in measures) for name in MEASURES},
            )
        found.append(tuple(so_far))
    return samples(*found)


SINGLE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
BAD_ROWS, GOOD_ROWS = [SINGLE[3]] * 40, SINGLE * 40
GREAT = {
    "canary": ([[0, 0, 0, 2000]], []),
    "of the canary that is like stable": ([[500] * 4], []),
    "stable": ([], [[500] * 4]),
    "stable of one day": ([], [[0, 0, 2000, 0]]),
}


@pytest.mark.parametrize("great", GREAT)
def test_no_great_request_takes_proof_away(great):
    proof = [(BAD_ROWS, GOOD_ROWS)] * 3
    before, after, later = (
        judge_canary(canary(answering(*proof, *more), expected=EVEN), POLICY)
        for more in ([], [GREAT[great]], [GREAT[great], (GOOD_ROWS, GOOD_ROWS)])
    )
    assert {before.outcome, after.outcome, later.outcome} == {Outcome.FAIL}
    proofs = [found.numbers["evidence_distance"] for found in (before, after, later)]
    assert proofs[0] <= proofs[1] <= proofs[2]


@pytest.mark.parametrize("great", GREAT)
def test_a_bad_canary_fails_by_its_single_rows_after_a_great_request(great):
    found = answering(GREAT[great], *[(BAD_ROWS, GOOD_ROWS)] * 3)
    assert judge_canary(canary(found, expected=EVEN), POLICY).outcome is Outcome.FAIL


def test_the_design_effect_of_a_great_request_among_single_rows_is_the_mean_one():
    found = answering((GOOD_ROWS, GOOD_ROWS), ([[0, 0, 0, 840]], []))
    verdict = judge_canary(canary(found, expected=EVEN), POLICY)
    assert verdict.numbers["design_effect"] == pytest.approx(1000 / 161, rel=0.2)
    assert "correlated rows count as one" in verdict.reason


def test_rows_of_servers_that_answered_no_request_are_missing_how_many_come_together():
    found = tuple(
        replace(
            sample,
            counts={
                **sample.counts,
                "v1": replace(sample.counts["v1"], requests={"2xx": 0, "5xx": 0}),
            },
        )
        for sample in bins([200] * 4, [800] * 4)
    )
    verdict = judge_canary(canary(found, expected=EVEN), POLICY)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "the number of rows in a request" in verdict.reason


@pytest.mark.parametrize(
    ("canary_bins", "stable_bins", "said"),
    [
        ([], [800] * 4, "predictions of canary, by bin"),
        ([800] * 4, [], "predictions of stable, by bin"),
        ([800] * 5, [800] * 4, "predictions of canary in 4 bins as expected, not 5"),
    ],
)
def test_predictions_that_cannot_be_compared_are_no_pass(canary_bins, stable_bins, said):
    found = samples(
        *(
            (
                counts(2000 * step, predictions=[step * n for n in canary_bins]),
                counts(8000 * step, predictions=[step * n for n in stable_bins]),
            )
            for step in range(5)
        )
    )
    verdict = judge_canary(canary(found, expected=EVEN), POLICY)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert said in verdict.reason


@pytest.mark.parametrize(
    ("errors", "outcome", "said"),
    [
        (0, Outcome.PASS, "error rate 0 % of 2000 requests: below 2 %"),
        (40, Outcome.FAIL, "error rate 10 % of 2000 requests: above the limit of 2 %"),
        (
            8,
            Outcome.INCONCLUSIVE,
            "error rate 2 % of 2000 requests; missing: evidence that the error rate is",
        ),
    ],
)
def test_a_first_release_is_held_to_an_absolute_limit(errors, outcome, said):
    found = samples(*((counts(400 * step, errors * step), None) for step in range(6)))
    verdict = judge_canary(canary(found, stable=None), POLICY)
    assert verdict.outcome is outcome
    assert verdict.reason.startswith(said)


def test_a_first_release_must_predict_as_on_its_held_out_rows():
    alone = expect_predictions(None, [0.1, 0.3, 0.6, 0.8] * 50, QUARTERS)
    for shares, outcome in (([200] * 4, Outcome.PASS), ([10, 10, 10, 770], Outcome.FAIL)):
        found = [
            counts(800 * step, predictions=[step * share for share in shares]) for step in range(5)
        ]
        evidence = canary(samples(*((c, None) for c in found)), stable=None, expected=alone)
        assert judge_canary(evidence, POLICY).outcome is outcome


def test_nulls_read_a_moment_after_their_rows_are_not_an_error():
    found = steady((500, 0), (2000, 0), nulls={"dep_delay": 501})
    verdict = judge_canary(canary(found, training_nulls={"dep_delay": 0.0}), POLICY)
    assert verdict.columns == ("dep_delay",)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_policies_at_the_ends_of_their_range_are_answered(end):
    policy = CanaryPolicy(
        margin_error_rate=end, distribution_radius=end, error_limit=end, input_floor=end
    )
    found = bins([200] * 4, [800] * 4)
    for stable in ("v1", None):
        evidence = canary(found, stable=stable, expected=EVEN, training_nulls={"dep_delay": end})
        assert judge_canary(evidence, policy).outcome in Outcome


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_the_counters_do_a_pass_has_data_behind_it(data):
    number = st.one_of(st.integers(0, 3000), st.just(math.nan))
    kept = [
        (counts(data.draw(number), data.draw(st.integers(0, 9))), counts(data.draw(number)))
        for _ in range(data.draw(st.integers(0, 6)))
    ]
    verdict = judge_canary(canary(samples(*kept), training_nulls={"dep_delay": 0.0}), POLICY)
    assert all(math.isfinite(number) for number in verdict.numbers.values())
    if verdict.passed:
        assert verdict.numbers["canary_requests"] >= 300
        assert verdict.numbers["canary_predictions"] >= POLICY.least_predictions
        assert verdict.numbers["seconds"] >= POLICY.least_seconds


def replayed(random, minutes, *, share, error_rates):
    totals = np.zeros((2, 6))
    for _ in range(minutes):
        yield tuple(counts(int(t[4]), int(t[5]), predictions=t[:4].astype(int)) for t in totals)
        for arm, part in enumerate((share, 1 - share)):
            new = int(1000 * part)
            totals[arm, :4] += random.multinomial(new, [0.25] * 4)
            totals[arm, 4:] += [new, random.binomial(new, error_rates[arm])]


@pytest.mark.long
def test_of_healthy_canaries_few_fail_and_of_bad_ones_few_pass():
    random = np.random.default_rng(0)
    outcomes = {}
    for rate in (0.02, 0.03, 0.06):
        worlds = (
            samples(*replayed(random, 45, share=0.2, error_rates=(rate, 0.02)), every=60)
            for _ in range(150)
        )
        verdicts = [judge_canary(canary(world, expected=EVEN), POLICY).outcome for world in worlds]
        outcomes[rate] = {outcome: verdicts.count(outcome) / 150 for outcome in Outcome}
    assert outcomes[0.02][Outcome.FAIL] <= 0.05
    assert outcomes[0.02][Outcome.PASS] > 0.7
    assert outcomes[0.03][Outcome.PASS] <= 0.05
    assert outcomes[0.03][Outcome.FAIL] > 0.8
    assert outcomes[0.06][Outcome.FAIL] == 1
