from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modelyard.domain.gate.gate import (
    Comparison,
    Scores,
    compare_on_set,
    gate_verdict,
    held_out_verdict,
    verdict_of_first_rules,
    with_contract,
)
from modelyard.domain.gate.paired import baseline_difference, non_inferiority, paired_difference
from modelyard.domain.specs.model import (
    DataContract,
    GatePolicy,
    Model,
    Output,
    OutputKind,
    Owner,
    Target,
    Task,
    Trainer,
)
from modelyard.domain.verdict import Outcome, Verdict

MODEL = Model(
    name="m",
    description="",
    owner=Owner(team="t", contact="c"),
    task=Task.BINARY,
    target=Target(column="late", above=15),
    outputs=(Output(name="late", kind=OutputKind.PROBABILITY, primary=True),),
    trainer=Trainer(command=("train",)),
    data=DataContract(columns=()),
    gate=GatePolicy(metric="auc", margin=0.01, alpha=0.05, least_clusters=20),
)
RANDOM = np.random.default_rng(7)
LABELS = RANDOM.integers(0, 2, 4000)
DAYS = np.repeat(np.arange(100), 40)
GOOD = LABELS + RANDOM.normal(size=4000)
CLOSE = GOOD + 0.02 * RANDOM.normal(size=4000)
WORSE = LABELS + 3 * RANDOM.normal(size=4000)
NOISE = RANDOM.normal(size=4000)


def scores(values, digest="rows", rows=slice(None)):
    return Scores(digest=digest, labels=LABELS[rows], clusters=DAYS[rows], scores=values[rows])


def comparison(challenger, champion=GOOD, rows=slice(None), **changes):
    made = Comparison(
        name="recent",
        challenger=scores(challenger, rows=rows),
        champion=None if champion is None else scores(champion, rows=rows),
        look=1,
        max_looks=3,
    )
    return replace(made, **changes)


def test_where_it_must_be_better_a_challenger_that_is_only_not_worse_does_not_pass():
    found = compare_on_set(MODEL, comparison(CLOSE))
    assert found.verdict.outcome is Outcome.PASS
    found = compare_on_set(MODEL, comparison(CLOSE, must_be_better=True))
    assert found.champion is not None
    assert found.champion.numbers["margin"] == 0
    assert found.verdict.outcome is not Outcome.PASS
    better = compare_on_set(MODEL, comparison(GOOD, champion=WORSE, must_be_better=True))
    assert better.verdict.outcome is Outcome.PASS
    assert better.verdict.reason.endswith(": better than the champion")


@pytest.mark.parametrize("who", [("v2",), ("v1",), ("v1", "v2")])
def test_refuses_a_comparison_on_days_that_either_model_trained_on(who):
    said = f"{' and '.join(who)} trained on rows of recent"
    assert held_out_verdict(MODEL, comparison(CLOSE, seen_by=who)) == Verdict(
        outcome=Outcome.FAIL, reason=said
    )


def test_refuses_scores_of_different_rows():
    champion = scores(GOOD, digest="other rows")
    assert held_out_verdict(MODEL, comparison(CLOSE, champion=None, look=3)).passed
    assert held_out_verdict(MODEL, replace(comparison(CLOSE), champion=champion)) == Verdict(
        outcome=Outcome.FAIL, reason="champion and challenger were not scored on the same rows"
    )


def test_the_last_look_is_a_look_and_the_one_after_it_decides_nothing():
    assert held_out_verdict(MODEL, comparison(CLOSE, look=3)).passed
    assert held_out_verdict(MODEL, comparison(CLOSE, look=4)) == Verdict(
        outcome=Outcome.INCONCLUSIVE,
        reason="recent is used up: 4 versions were judged on it, and max_looks is 3; "
        "a new held-out set is needed",
    )


def test_training_on_held_out_days_is_refused_even_when_the_looks_are_used_up():
    verdict = held_out_verdict(MODEL, comparison(CLOSE, look=4, seen_by=("v2",)))
    assert verdict.outcome is Outcome.FAIL


def test_a_challenger_close_to_its_champion_passes_with_the_numbers_of_that_comparison():
    difference = paired_difference("auc", LABELS, GOOD, CLOSE, DAYS)
    expected = non_inferiority(difference, margin=0.01, alpha=0.05, least_clusters=20)
    assert held_out_verdict(MODEL, comparison(CLOSE)) == expected
    assert expected.passed
    assert expected.numbers["margin"] == 0.01


def test_a_challenger_that_is_worse_by_more_than_the_margin_fails():
    verdict = held_out_verdict(MODEL, comparison(WORSE))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.numbers["upper"] < -0.01


def test_a_challenger_that_may_be_worse_or_not_is_inconclusive():
    verdict = held_out_verdict(MODEL, comparison(GOOD + 0.3 * NOISE, rows=slice(0, 1000)))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.numbers["lower"] < -0.01 < verdict.numbers["upper"]


def test_a_first_version_is_compared_with_the_best_constant_alone():
    verdict = held_out_verdict(MODEL, comparison(WORSE, champion=None))
    expected = baseline_difference("auc", LABELS, WORSE, DAYS)
    assert verdict.passed
    assert verdict.numbers["difference"] == expected.difference
    assert verdict.numbers["baseline"] == 0.5
    assert "champion" not in verdict.numbers


def test_a_challenger_no_better_than_a_constant_does_not_pass_whatever_its_champion_is():
    close = NOISE + 0.02 * np.random.default_rng(8).normal(size=4000)
    verdict = held_out_verdict(MODEL, comparison(close, champion=NOISE))
    assert not verdict.passed
    assert verdict.numbers["baseline"] == 0.5
    assert "champion" not in verdict.numbers


def test_too_few_clusters_decide_nothing():
    verdict = held_out_verdict(MODEL, comparison(CLOSE, rows=slice(0, 19 * 40)))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "19 clusters of 760 rows, but at least 20 are needed" in verdict.reason


def test_several_sets_pass_only_together():
    recent = comparison(CLOSE)
    old = comparison(CLOSE, rows=slice(2000, None), name="old")
    verdict, each = gate_verdict(MODEL, (recent, old))
    assert each == (held_out_verdict(MODEL, recent), held_out_verdict(MODEL, old))
    assert verdict == Verdict(
        outcome=Outcome.PASS,
        reason=f"recent: {each[0].reason}; old: {each[1].reason}",
        numbers=each[0].numbers,
    )


@pytest.mark.parametrize("order", [1, -1])
def test_one_set_that_fails_fails_all_with_its_reason_and_its_numbers(order):
    sets = (comparison(CLOSE), comparison(WORSE, name="old"), comparison(CLOSE, look=9))[::order]
    verdict, each = gate_verdict(MODEL, sets)
    assert [each_one.outcome for each_one in each][::order] == [
        Outcome.PASS,
        Outcome.FAIL,
        Outcome.INCONCLUSIVE,
    ]
    assert verdict == Verdict(
        outcome=Outcome.FAIL, reason=f"old: {each[1].reason}", numbers=each[1].numbers
    )


def test_one_set_in_doubt_leaves_all_in_doubt():
    verdict, each = gate_verdict(MODEL, (comparison(CLOSE), comparison(CLOSE, look=9, name="old")))
    assert verdict == Verdict(outcome=Outcome.INCONCLUSIVE, reason=f"old: {each[1].reason}")


def test_no_held_out_set_decides_nothing():
    assert gate_verdict(MODEL, ()) == (
        Verdict(outcome=Outcome.INCONCLUSIVE, reason="there is no held-out set to judge on"),
        (),
    )


def auc(values, rows=slice(None)):
    return paired_difference("auc", LABELS[rows], values[rows], values[rows], DAYS[rows]).champion


def test_a_challenger_far_worse_than_its_champion_fails_though_the_baseline_is_inconclusive():
    both = compare_on_set(MODEL, comparison(NOISE))

    assert both.baseline.outcome is Outcome.INCONCLUSIVE
    assert both.champion.outcome is Outcome.FAIL
    assert both.verdict == both.champion


def test_each_comparison_has_its_rivals_value_under_its_own_name():
    both = compare_on_set(MODEL, comparison(NOISE))

    assert both.champion.numbers["champion"] == pytest.approx(auc(GOOD))
    assert "baseline" not in both.champion.numbers
    assert both.baseline.numbers["baseline"] == 0.5
    assert "champion" not in both.baseline.numbers


def test_a_challenger_worse_than_both_fails_with_both_sentences():
    verdict = held_out_verdict(MODEL, comparison(-GOOD))

    assert verdict.outcome is Outcome.FAIL
    assert "the champion 0.7" in verdict.reason
    assert "the baseline 0.5" in verdict.reason


def test_a_champion_no_better_than_a_constant_does_not_let_such_a_challenger_pass():
    both = compare_on_set(MODEL, comparison(-CLOSE, champion=-GOOD))

    assert both.champion.passed
    assert both.verdict == both.baseline
    assert both.verdict.outcome is Outcome.FAIL


def test_with_too_few_clusters_neither_comparison_decides():
    both = compare_on_set(MODEL, comparison(WORSE, rows=slice(0, 19 * 40)))

    assert both.verdict.outcome is Outcome.INCONCLUSIVE
    assert both.verdict.numbers["champion"] == pytest.approx(auc(GOOD, slice(0, 19 * 40)))


def test_predictions_that_cannot_be_scored_fail_under_both_names():
    both = compare_on_set(MODEL, comparison(np.full(4000, np.nan)))

    assert both.champion.outcome is both.baseline.outcome is Outcome.FAIL
    assert both.champion.numbers["champion"] == pytest.approx(auc(GOOD))


@pytest.mark.parametrize("challenger", [CLOSE, WORSE, NOISE, -GOOD])
@pytest.mark.parametrize("champion", [GOOD, NOISE, None])
def test_the_rules_of_version_0_1_never_passed_what_is_refused_now(challenger, champion):
    found = compare_on_set(MODEL, comparison(challenger, champion=champion))
    before = verdict_of_first_rules(found)

    assert before.passed == found.verdict.passed
    assert {before.outcome, found.verdict.outcome} in (
        {found.verdict.outcome},
        {Outcome.INCONCLUSIVE, Outcome.FAIL},
    )


def test_a_first_version_has_the_baseline_alone_and_its_verdict_is_that_one():
    found = compare_on_set(MODEL, comparison(CLOSE, champion=None))
    assert found.baseline == found.verdict
    assert (found.champion, found.guards, found.slices) == (None, {}, ())


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE])
@pytest.mark.parametrize(("is_good", "rest"), [(True, ""), (False, "; worse")])
def test_a_contract_that_is_broken_is_told_first_and_decides(outcome, is_good, rest):
    said = Verdict(
        outcome=Outcome.PASS if is_good else Outcome.FAIL, reason="worse", numbers={"n": 1.0}
    )
    contract = Verdict(outcome=outcome, reason="no temp", columns=("temp",))
    assert with_contract(said, contract) == Verdict(
        outcome=outcome,
        reason=f"served contract: no temp{rest}",
        numbers={"n": 1.0},
        columns=("temp",),
    )
    kept = replace(contract, outcome=Outcome.PASS)
    assert with_contract(said, kept) == with_contract(said, None) == said
