"""One class for another, where both are usual: the order of the classes is mixed up."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from modelyard.domain.canary.arms import count_arm
from modelyard.domain.canary.prediction_shift import expect_predictions
from modelyard.domain.canary.segments.cells import segment_grid
from modelyard.domain.canary.shadow.class_order import UsualClass
from modelyard.domain.canary.shadow.findings import shadow_findings
from modelyard.domain.canary.shadow.pairs import MOST_CLASSES, grid_key, pair_name
from modelyard.domain.canary.shadow.promise import promise_pairs
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.verdict import Outcome
from unit.domain.canary.test_shadow import KIND, POLICY, START, canary_evidence, judge_canary

NAMES = ("a", "b", "c", "d", "e")
GRID = segment_grid(replace(KIND, classes=NAMES))
EDGES = (-0.5, 0.2, 0.8, 1.5)
HELD_OUT = np.random.default_rng(0).normal(size=(4000, 2))


def stable_of(rows):
    return np.digitize(rows[:, 0], EDGES)


def canary_of(rows):
    """Where two classes meet, the versions differ: beside each, 4 to 9 % have a neighbour."""
    return np.digitize(rows[:, 0] + 0.1 * rows[:, 1], EDGES)


def other_version(rows):
    """It also asks for a second input: beside b a third of its answers are b."""
    return np.digitize(rows[:, 0] + 0.8 * rows[:, 1], EDGES)


def judged(
    answer=canary_of, *, live=(0.0, 0.0), looks=20, names=NAMES, grid=GRID, promised=canary_of
):
    """A verdict on 80 shadow answers a look, to rows around a place."""
    random, total, pairs = np.random.default_rng(3), dict[str, int](), [dict[str, int]()]
    for _ in range(looks):
        rows = random.normal(size=(80, 2)) + live
        for mine, theirs in zip(stable_of(rows).tolist(), answer(rows).tolist(), strict=True):
            name = pair_name("v2", grid_key(grid), mine, theirs)
            total[name] = total.get(name, 0) + 1
        pairs.append(dict(total))
    titles = np.array(names)
    held_out = titles[stable_of(HELD_OUT)], titles[promised(HELD_OUT)]
    expected = expect_predictions(*held_out, grid)
    evidence = canary_evidence(
        lambda *_: 0,
        looks=looks,
        expected=expected,
        pairs=promise_pairs(*held_out, grid),
    )
    counted = [round(1000 * share) for share in expected.stable_shares]
    samples = tuple(
        replace(sample, counts={name: counts_of(look, counted, pairs) for name in ("v1", "v2")})
        for look, sample in enumerate(evidence.samples)
    )
    return judge_canary(replace(evidence, samples=samples), POLICY)


def counts_of(look, counted, pairs):
    rows = look * sum(counted)
    predictions = tuple(look * count for count in counted)
    return Counts(requests={"2xx": rows}, rows=rows, predictions=predictions, shadow=pairs[look])


def swapped(one, other):
    places = {one: other, other: one}
    return lambda rows: np.array([places.get(each, each) for each in canary_of(rows).tolist()])


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (3, 4)])
def test_two_classes_that_are_exchanged_fail_also_where_each_is_usual_beside_the_other(one, other):
    verdict = judged(swapped(one, other), looks=20)
    assert verdict.outcome is Outcome.FAIL
    assert f"shadow answers are {NAMES[one]}" in verdict.reason
    assert f"beside {NAMES[other]}, " in verdict.reason


@pytest.mark.parametrize("live", [(0, 0), (1, 0), (-1, 0), (0, 2), (0, -2), (0.5, 3)])
def test_a_change_of_the_mix_takes_no_class_half_of_what_is_usual(live):
    verdict = judged(live=live)
    assert verdict.outcome is not Outcome.FAIL
    assert "is the least" not in verdict.reason


def test_where_no_answer_is_much_more_usual_than_others_a_change_of_the_mix_is_no_exchange():
    verdict = judged(other_version, live=(0, 0.7), looks=150, promised=other_version)
    assert verdict.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("share", "least"),
    [(0.98, 0.49), (0.7, 0.35), (2 / 3, 1 / 3), (0.5, 0.2), (0.2, 0.2 / 3.4), (1.0, 0.5)],
)
def test_of_an_answer_that_is_less_usual_a_smaller_part_is_to_be_kept(share, least):
    usual = UsualClass(stable=0, canary=0, share=share, beside="a", name="a")
    assert usual.least == pytest.approx(least)


def test_an_answer_that_is_half_as_usual_as_it_was_and_may_be_so_by_chance_holds_a_pass_back():
    random = np.random.default_rng(1)

    def less(rows):
        answers = canary_of(rows)
        return np.where((answers == 1) & (random.random(len(rows)) < 0.53), 0, answers)

    verdict = judged(less, looks=60)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "missing: shadow answers that are b beside b" in verdict.reason


def test_of_many_classes_the_usual_ones_are_known_too():
    names = (*NAMES, *(f"more {place}" for place in range(MOST_CLASSES)))
    grid = segment_grid(replace(KIND, classes=names))
    titles = np.array(names)
    promise = promise_pairs(titles[stable_of(HELD_OUT)], titles[canary_of(HELD_OUT)], grid)
    assert [(each.beside, each.name) for each in promise.classes] == [
        *zip(NAMES, NAMES, strict=True)
    ]
    other = promise_pairs(titles[stable_of(HELD_OUT)], titles[5 + canary_of(HELD_OUT)], grid)
    assert other.classes == ()


def test_where_one_answer_is_usual_beside_each_class_no_level_is_spent_on_that():
    titles = np.array(NAMES)[stable_of(HELD_OUT)]
    assert promise_pairs(titles, titles, GRID).classes == ()


MANY = tuple(f"c{place}" for place in range(MOST_CLASSES))


def spread(random, rows, same):
    """Stable's and the canary's classes: so many are the same, all others as frequent."""
    mine = random.integers(0, len(MANY), rows)
    return mine, np.where(random.random(rows) < same, mine, random.integers(0, len(MANY), rows))


def findings_of_many(same, held_out, seed, places=None, looks=40):
    """The findings on 40 shadow answers a look, where the canary's classes have these places."""
    random, grid = np.random.default_rng(seed), segment_grid(replace(KIND, classes=MANY))
    promise = promise_pairs(
        *(np.array(MANY)[each] for each in spread(random, held_out, same)), grid
    )
    total, samples = dict[str, int](), []
    for look in range(looks + 1):
        mine, theirs = spread(random, 40 if look else 0, same)
        for pair in zip(
            mine.tolist(),
            (theirs if places is None else np.array(places)[theirs]).tolist(),
            strict=True,
        ):
            name = pair_name("v2", grid_key(grid), *pair)
            total[name] = total.get(name, 0) + 1
        counts = Counts(requests={"2xx": 40 * look}, rows=40 * look, shadow=dict(total))
        samples.append(Sample(at=START + look * timedelta(seconds=30), counts={"v1": counts}))
    arm = count_arm(samples, "v1", is_new=False)
    return [*shadow_findings(arm, promise, release="v2", margin=0.05, alpha=0.007)]


@pytest.mark.parametrize(
    ("same", "held_out"), [(0.8, 1200), (0.8, 2000), (0.8, 4000), (0.95, 1200), (0.0, 1200)]
)
def test_answers_that_chance_left_out_of_few_held_out_rows_fail_no_canary(same, held_out):
    found = [findings_of_many(same, held_out, seed) for seed in range(5)]
    assert not any(each.bad for findings in found for each in findings)


def test_where_few_held_out_rows_tell_no_strays_two_exchanged_classes_are_found_all_the_same():
    places = [1, 0, *range(2, MOST_CLASSES)]
    strays, *classes = findings_of_many(0.8, 1200, 1, places)
    assert strays.text.startswith("shadow answers not judged: all 1600 have answers of stable that")
    assert [each.text.partition(",")[0] for each in classes if each.bad] == [
        "beside c0",
        "beside c1",
    ]
