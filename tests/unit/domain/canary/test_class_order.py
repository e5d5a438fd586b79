"""One class for another, where both are usual: the order of the classes is mixed up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modelyard.domain.canary.prediction_shift import expect_predictions
from modelyard.domain.canary.segments.cells import segment_grid
from modelyard.domain.canary.shadow.findings import promise_pairs
from modelyard.domain.canary.shadow.pairs import MOST_CLASSES, grid_key, pair_name
from modelyard.domain.canary.traffic import Counts
from modelyard.domain.verdict import Outcome
from unit.domain.canary.test_shadow import KIND, POLICY, canary_evidence, judge_canary

NAMES = ("a", "b", "c", "d", "e")
GRID = segment_grid(replace(KIND, classes=NAMES))
EDGES = (-0.5, 0.2, 0.8, 1.5)
HELD_OUT = np.random.default_rng(0).normal(size=(4000, 2))


def stable_of(rows):
    return np.digitize(rows[:, 0], EDGES)


def canary_of(rows):
    """Where two classes meet, the versions differ: beside each, 4 to 9 % have a neighbour."""
    return np.digitize(rows[:, 0] + 0.1 * rows[:, 1], EDGES)


def judged(answer=canary_of, *, live=(0.0, 0.0), looks=20, names=NAMES, grid=GRID):
    """A verdict on 80 shadow answers a look, to rows around a place."""
    random, total, pairs = np.random.default_rng(3), dict[str, int](), [dict[str, int]()]
    for _ in range(looks):
        rows = random.normal(size=(80, 2)) + live
        for mine, theirs in zip(stable_of(rows).tolist(), answer(rows).tolist(), strict=True):
            name = pair_name("v2", grid_key(grid), mine, theirs)
            total[name] = total.get(name, 0) + 1
        pairs.append(dict(total))
    titles = np.array(names)
    held_out = titles[stable_of(HELD_OUT)], titles[canary_of(HELD_OUT)]
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
