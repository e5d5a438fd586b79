from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modelyard.domain.gate.comparisons import gate_answer
from modelyard.domain.gate.gate import Comparison, Scores, compare_on_set
from modelyard.domain.gate.paired import non_inferiority, p_of_harm, paired_difference
from modelyard.domain.gate.slices import holm
from modelyard.domain.specs.model import Guard, Slice
from modelyard.domain.verdict import Outcome
from unit.domain.gate.test_gate import MODEL

RANDOM = np.random.default_rng(3)
ROWS = 8000
DAYS = np.repeat(np.arange(100), 80)
PLACES = np.array(["place = A", "place = B", "place = C", "place = D"])[np.arange(ROWS) % 4]
ODDS = 1.5 * RANDOM.normal(size=ROWS)
LABELS = (RANDOM.random(ROWS) < 1 / (1 + np.exp(-ODDS))).astype(int)
NOISY = ODDS + 0.3 * RANDOM.normal(size=ROWS)
BAD_AT_B = np.where(PLACES == "place = B", NOISY + 3 * RANDOM.normal(size=ROWS), NOISY)
BY_PLACE = Slice(margin=0.04, by="place")


def sliced(*slices):
    return replace(MODEL, gate=replace(MODEL.gate, margin=0.1, slices=slices))


def compared(model, challenger, names=None, champion=ODDS):
    known = {"by place": PLACES} if names is None else names
    rows = {"digest": "rows", "labels": LABELS, "clusters": DAYS}
    return compare_on_set(
        model,
        Comparison(
            name="recent",
            challenger=Scores(**rows, scores=challenger, slices=known),
            champion=None if champion is None else Scores(**rows, scores=champion),
            look=1,
            max_looks=3,
        ),
    )


def outcomes(found):
    return {each.name.removeprefix("place = "): each.verdict.outcome for each in found.slices}


def test_harm_in_one_slice_fails_what_all_rows_together_pass():
    found = compared(sliced(BY_PLACE), BAD_AT_B)
    assert found.champion is not None
    assert found.champion.passed
    assert outcomes(found) == dict.fromkeys("ACD", Outcome.PASS) | {"B": Outcome.FAIL}
    assert found.verdict.outcome is Outcome.FAIL
    assert found.verdict.reason.startswith("slice place = B (2,000 rows): auc 0.")


def test_a_slice_is_the_comparison_on_its_rows_alone():
    found = compared(sliced(BY_PLACE), NOISY)
    rows = PLACES == "place = C"
    alone = paired_difference("auc", LABELS[rows], ODDS[rows], NOISY[rows], DAYS[rows])
    assert found.slices[2].verdict == non_inferiority(alone, margin=0.04, alpha=0.05)
    assert found.verdict.passed


def test_a_slice_in_doubt_leaves_the_gate_in_doubt_unless_only_harm_counts():
    few = np.where(np.arange(ROWS) < 100, "few", "")
    strict = compared(sliced(Slice(margin=0.03, where="few")), NOISY, {"few": few})
    assert strict.verdict.outcome is Outcome.INCONCLUSIVE
    lenient = sliced(Slice(margin=0.03, where="few", harm_only=True))
    found = compared(lenient, NOISY, {"few": few})
    assert outcomes(found) == {"few": Outcome.INCONCLUSIVE}
    assert found.verdict.passed
    answer = gate_answer(found.verdict, ["recent"], [found], champion="v1", contract=None)
    assert [(each.name, each.decides) for each in answer.comparisons] == [
        ("recent, against the champion v1", True),
        ("recent, slice few, against the champion v1", False),
        ("recent, against the baseline", False),
    ]


def test_a_slice_of_harm_alone_fails_by_harm_and_decides():
    model = sliced(replace(BY_PLACE, harm_only=True))
    found = compared(model, BAD_AT_B)
    assert found.verdict.outcome is Outcome.FAIL
    answer = gate_answer(found.verdict, ["recent"], [found], champion="v1", contract=None)
    assert [each.name for each in answer.comparisons if each.decides] == [
        "recent, slice place = B, against the champion v1"
    ]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({}, "the rows were scored before this slice was declared; train the version again"),
        ({"by place": np.full(ROWS, "")}, "no held-out row is in this slice"),
    ],
)
def test_a_slice_without_rows_is_inconclusive_and_says_why(names, reason):
    for each in (BY_PLACE, replace(BY_PLACE, harm_only=True)):
        found = compared(sliced(each), NOISY, names)
        assert [(one.name, one.verdict.reason) for one in found.slices] == [("by place", reason)]
        assert found.verdict.outcome is Outcome.INCONCLUSIVE


def test_a_slice_of_one_label_has_no_auc_and_says_so():
    found = compared(sliced(BY_PLACE), NOISY, {"by place": np.where(LABELS, "late", "in time")})
    assert {each.verdict.outcome for each in found.slices} == {Outcome.INCONCLUSIVE}
    assert "auc needs rows of both labels" in found.slices[0].verdict.reason


def test_a_slice_may_have_a_metric_of_its_own():
    chances = 1 / (1 + np.exp(-ODDS))
    over = np.where(PLACES == "place = B", 1 / (1 + np.exp(-4 * NOISY)), chances)
    model = sliced(replace(BY_PLACE, metric="calibration", margin=0.002))
    found = compared(model, over, champion=chances)
    assert found.champion is not None
    assert found.champion.passed
    assert [name for name, outcome in outcomes(found).items() if outcome is Outcome.FAIL] == ["B"]


def test_the_same_rows_may_be_compared_in_two_metrics_and_each_is_named_by_its_own():
    chances = 1 / (1 + np.exp(-ODDS))
    over = np.where(PLACES == "place = B", 1 / (1 + np.exp(-4 * NOISY)), chances)
    calibrated = replace(BY_PLACE, metric="calibration", margin=0.002)

    found = compared(sliced(BY_PLACE, calibrated), over, champion=chances)

    told = outcomes(found)
    assert len(told) == len(found.slices) == 8
    assert [name for name, outcome in told.items() if outcome is Outcome.FAIL] == ["B, calibration"]
    assert "B, auc" in told
    assert found.verdict.reason.startswith("slice place = B, calibration (2,000 rows): ")
    for names, reason in (({}, "scored before"), ({"by place": np.full(ROWS, "")}, "no held-out")):
        empty = compared(sliced(BY_PLACE, calibrated), over, names, champion=chances).slices
        assert [each.name for each in empty] == ["by place, auc", "by place, calibration"]
        assert all(reason in each.verdict.reason for each in empty)


@pytest.mark.parametrize("least", [{"least_clusters": 101}, {"least_informative": ROWS + 1}])
def test_the_least_that_the_policy_asks_for_counts_in_every_comparison(least):
    # A challenger that is worse everywhere: each comparison with the champion would fail.
    chances = 1 / (1 + np.exp(-ODDS))
    sure = sliced(replace(BY_PLACE, metric="mae"))
    guards = (Guard(metric="mae", margin=0.1),)
    sure = replace(sure, gate=replace(sure.gate, metric="mae", guards=guards))
    strict = replace(sure, gate=replace(sure.gate, **least))

    def of_all(found):
        said = (found.champion, *found.guards.values(), *(each.verdict for each in found.slices))
        return {each.outcome for each in said}

    assert of_all(compared(sure, 1 - chances, champion=chances)) == {Outcome.FAIL}
    assert of_all(compared(strict, 1 - chances, champion=chances)) == {Outcome.INCONCLUSIVE}
    first = compared(strict, 1 - chances, champion=None).verdict
    assert first.outcome is Outcome.INCONCLUSIVE


def test_a_first_version_has_no_champion_to_lose_against():
    assert compared(sliced(BY_PLACE), BAD_AT_B, champion=None).slices == ()


def test_holm_rejects_by_steps():
    # .01 <= .05 / 4 and .013 <= .05 / 3, but .03 > .05 / 2, so .04 is not asked for.
    assert holm([0.04, 0.01, 0.03, 0.013], 0.05) == [False, True, False, True]
    assert holm([], 0.05) == []


def test_the_p_of_harm_is_the_level_at_which_the_gate_would_fail():
    found = paired_difference("brier", LABELS, 1 / (1 + np.exp(-ODDS)), np.full(ROWS, 0.4), DAYS)
    margin = -found.difference - 1.5 * found.standard_error
    p = p_of_harm(found, margin)
    assert 0 < p < 0.5
    for alpha, outcome in ((p * 1.01, Outcome.FAIL), (p * 0.99, Outcome.INCONCLUSIVE)):
        assert non_inferiority(found, margin=margin, alpha=alpha).outcome is outcome


def test_one_cluster_shows_no_harm_and_without_an_error_the_difference_does():
    def p(labels, champion, challenger, clusters):
        return p_of_harm(paired_difference("mae", labels, champion, challenger, clusters), 0.5)

    zeros, ones = np.zeros(4), np.ones(4)
    assert p(zeros, zeros, np.arange(4.0), zeros) == 1.0
    assert [p(zeros, zeros, each, np.arange(4)) for each in (ones, 0.4 * ones)] == [0.0, 1.0]
    assert p(zeros, zeros, np.full(4, np.nan), np.arange(4)) == 0.0


@pytest.mark.long
def test_of_forty_slices_of_an_equal_model_hardly_one_fails_and_some_would_alone():
    random, holms, alone = np.random.default_rng(8), 0, 0
    names = {"by place": np.array([f"place = {n}" for n in range(40)])[np.arange(ROWS) % 40]}
    model = sliced(Slice(margin=0, by="place", metric="brier", harm_only=True))
    for _ in range(20):
        odds = random.normal(size=ROWS)
        labels = (random.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(int)
        before, after = (1 / (1 + np.exp(-odds - 0.3 * random.normal(size=ROWS))) for _ in range(2))
        rows = {"digest": "rows", "labels": labels, "clusters": np.arange(ROWS)}
        made = Comparison(
            name="recent",
            challenger=Scores(**rows, scores=after, slices=names),
            champion=Scores(**rows, scores=before),
            look=1,
            max_looks=3,
        )
        said = compare_on_set(model, made).slices
        holms += any(each.verdict.outcome is Outcome.FAIL for each in said)
        alone += any("looks so by chance" in each.verdict.reason for each in said)
    assert holms <= 3
    assert alone >= 12


def test_the_sentence_names_guards_and_has_four_comparisons_and_the_number_of_others():
    places = np.char.add("place = ", (np.arange(ROWS) % 4).astype(str))
    model = sliced(BY_PLACE)
    model = replace(model, gate=replace(model.gate, guards=(Guard(metric="brier", margin=0.01),)))
    chances = 1 / (1 + np.exp(-ODDS))
    found = compared(model, 1 - chances, {"by place": places}, champion=chances)
    first, second, *others, last = found.verdict.reason.split("; ")
    assert first.startswith("auc ")
    assert second.startswith("guard brier ")
    assert [each.partition(" (")[0] for each in others] == ["slice place = 0", "slice place = 1"]
    # The other two places, and the baseline.
    assert last == "3 more comparisons: fail"
