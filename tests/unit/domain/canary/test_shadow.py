"""The canary's answers to copies of stable's requests: right answers on the wrong rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.adapters.specs.schemas import schema_of
from modelyard.domain.canary.arms import count_arm
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.request_metrics import format_share
from modelyard.domain.canary.segments.cells import segment_grid
from modelyard.domain.canary.shadow.findings import shadow_findings
from modelyard.domain.canary.shadow.pairs import (
    FAILED,
    MOST_CLASSES,
    OTHER,
    grid_key,
    keep_pairs_of,
    pair_name,
    parse_pair,
)
from modelyard.domain.canary.shadow.promise import LEAST_HELD_OUT, TAIL, promise_pairs
from modelyard.domain.canary.shift.looks import distance_by_chance
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.model import CanaryPolicy, Output, OutputKind
from modelyard.domain.verdict import Outcome
from unit.domain.canary.test_judge import EVEN, START

LATE = Output(name="late", kind=OutputKind.PROBABILITY, primary=True)
KIND = Output(name="kind", kind=OutputKind.CLASS, classes=("a", "b", "c"), primary=True)
GRID = segment_grid(LATE)
KEY = grid_key(GRID)
POLICY = CanaryPolicy(least_looks=1, shadow=0.2)
SPREAD = np.random.default_rng(0).random(4000)
NEAR = np.clip(SPREAD + 0.02 * np.random.default_rng(1).normal(size=4000), 0, 1)
PAIRS = promise_pairs(SPREAD, NEAR, GRID)
SCARCE = promise_pairs(SPREAD[:60], NEAR[:60], GRID)
PERCENT = Output(name="late", kind=OutputKind.VALUE, minimum=0, maximum=100, primary=True)


def place(score):
    return int(np.searchsorted(GRID.edges, score, side="right"))


def copied(looks, per_look, answer, release="v2", grid=KEY):
    """Stable's counts of pairs after each look."""
    random, total, found = np.random.default_rng(2), dict[str, int](), []
    for look in range(looks + 1):
        for score in random.random(per_look if look else 0):
            name = pair_name(release, grid, place(score), answer(score, random))
            total[name] = total.get(name, 0) + 1
        found.append(dict(total))
    return found


def judged(answer, *, policy=POLICY, **changed):
    return judge_canary(canary_evidence(answer, **changed), policy)


def canary_evidence(answer, *, looks=20, per_look=40, release="v2", grid=KEY, lost=(), **changed):
    bins = tuple(200 * part for part in (1, 1, 1, 1))
    samples = tuple(
        Sample(
            at=START + look * timedelta(seconds=30),
            counts={
                name: Counts(
                    requests={"2xx": 800 * look},
                    rows=800 * look,
                    predictions=tuple(count * look for count in bins),
                    shadow=shadow if name == "v1" else {},
                    lost={why: look * count for why, count in lost} if name == "v1" else {},
                )
                for name in ("v2", "v1")
            },
        )
        for look, shadow in enumerate(copied(looks, per_look, answer, release, grid))
    )
    known = {"samples": samples, "canary": "v2", "stable": "v1", "expected": EVEN, "pairs": PAIRS}
    return CanaryEvidence(**{**known, **changed})


def near(score, random):
    return place(np.clip(score + 0.02 * random.normal(), 0, 1))


def of_another(score, random):
    return place(random.random())


def failing(share):
    return lambda score, random: FAILED if random.random() < share else near(score, random)


def test_right_answers_on_the_wrong_rows_are_failed_and_seen_by_nothing_else():
    verdict = judged(of_another)
    assert verdict.outcome is Outcome.FAIL
    assert "shadow answers are unlike those on held-out rows, 7 % is allowed" in verdict.reason
    assert judged(of_another, policy=replace(POLICY, shadow=0.0)).outcome is Outcome.PASS
    assert judged(near).outcome is Outcome.PASS
    # The others are beside answers that few held-out rows had.
    assert 700 < judged(near).numbers["shadow_answers"] < 800


def test_a_stable_release_that_breaks_blames_no_canary():
    # Stable's answers are all in the first quarter, which held-out rows do not promise.
    evidence = canary_evidence(of_another)
    samples = tuple(
        replace(
            sample,
            counts={
                **sample.counts,
                "v1": replace(
                    sample.counts["v1"], predictions=(sum(sample.counts["v1"].predictions), 0, 0, 0)
                ),
            },
        )
        for sample in evidence.samples
    )
    verdict = judge_canary(replace(evidence, samples=samples), POLICY)
    assert verdict.outcome is not Outcome.PASS
    assert (
        "stable does not predict as on held-out rows, so that is not the canary's"
        in (verdict.reason)
        or "shadow" not in verdict.reason
    )


@pytest.mark.parametrize(
    ("is_broken", "outcome"), [(True, Outcome.PASS), (False, Outcome.INCONCLUSIVE)]
)
def test_strays_of_a_time_in_which_stable_was_broken_do_not_stay_in_the_evidence(
    is_broken, outcome
):
    # In looks 5 to 10 the answers are those to other rows, and stable's are all in one quarter.
    usual, other = (canary_evidence(each, per_look=200) for each in (near, of_another))
    samples = []
    for look, (sample, strange) in enumerate(zip(usual.samples, other.samples, strict=True)):
        counts, then = sample.counts["v1"], min(max(look, 5), 10)
        shadow = dict(counts.shadow)
        for sign, at in ((1, then), (-1, 5)):
            for name, count in other.samples[at].counts["v1"].shadow.items():
                shadow[name] = shadow.get(name, 0) + sign * count
        moved = 600 * (then - 5) if is_broken else 0
        bins = tuple(200 * look + part for part in (moved, *[-moved // 3] * 3))
        stable = replace(counts, shadow=shadow, predictions=bins)
        samples.append(replace(sample, counts={**strange.counts, "v1": stable}))
    verdict = judge_canary(replace(usual, samples=tuple(samples)), POLICY)
    assert verdict.outcome is outcome
    assert verdict.numbers["shadow_strays"] < 0.05 or not is_broken


def beside(answer, trusted, **known):
    evidence = canary_evidence(answer, **known)
    arm = count_arm(keep_pairs_of(evidence.samples, "v2"), "v1", is_new=False)
    (found,) = shadow_findings(
        arm, PAIRS, release="v2", margin=0.05, alpha=0.01, trusted=np.array(trusted)
    )
    return found


@pytest.mark.parametrize("sound", [0, 1, 4, 8])
@pytest.mark.parametrize("per_look", [10, 200])
def test_a_few_looks_in_which_stable_was_in_order_show_no_pass(sound, per_look):
    trusted = [look >= 40 - sound for look in range(41)]
    found = beside(near, trusted, looks=40, per_look=per_look)
    assert found.missing == "stable's predictions as on held-out rows"
    assert not found.bad
    assert beside(near, [True] * 41, looks=40, per_look=per_look).missing is None


def test_looks_without_shadow_answers_are_no_looks_in_which_stable_was_in_order():
    usual = canary_evidence(near, looks=8, per_look=400)
    idle = [usual.samples[-1].counts["v1"].shadow] * 40
    evidence = canary_evidence(near, looks=48, per_look=0)
    shadows = [*(sample.counts["v1"].shadow for sample in usual.samples), *idle]
    samples = tuple(
        replace(
            sample,
            counts={**sample.counts, "v1": replace(sample.counts["v1"], shadow=dict(shadow))},
        )
        for sample, shadow in zip(evidence.samples, shadows, strict=True)
    )
    arm = count_arm(keep_pairs_of(samples, "v2"), "v1", is_new=False)
    trusted = np.array([look >= 8 for look in range(49)])
    (found,) = shadow_findings(arm, PAIRS, release="v2", margin=0.05, alpha=0.01, trusted=trusted)
    assert found.missing == "stable's predictions as on held-out rows"


@pytest.mark.parametrize("sound", [5, 20])
def test_strays_of_looks_in_which_stable_was_in_order_fail_however_few_these_are(sound):
    found = beside(of_another, [look >= 40 - sound for look in range(41)], looks=40, per_look=200)
    assert found.bad


@pytest.mark.parametrize("rows", [1, 3, 10, 40])
def test_few_rows_of_stable_excuse_no_canary(rows):
    random = np.random.default_rng(rows)
    drawn = random.multinomial(rows, [0.25] * 4, size=21).cumsum(axis=0)
    evidence = canary_evidence(of_another)
    samples = tuple(
        replace(
            sample,
            counts={
                **sample.counts,
                "v1": replace(sample.counts["v1"], predictions=tuple(drawn[look].tolist())),
            },
        )
        for look, sample in enumerate(evidence.samples)
    )
    verdict = judge_canary(replace(evidence, samples=samples), POLICY)
    assert "so that is not the canary's" not in verdict.reason
    assert "shadow answers are unlike those on held-out rows" in verdict.reason


@pytest.mark.parametrize("shares", [(0.25,) * 4, (0.1,) * 10, (0.97, 0.01, 0.02), (0.5, 0.5)])
@pytest.mark.parametrize("rows", [5, 60, 3000])
def test_rows_differ_from_their_shares_by_more_than_chance_in_a_few_samples_alone(shares, rows):
    drawn = np.random.default_rng(4).multinomial(rows, shares, size=4000) / rows
    distances = np.abs(drawn - shares).sum(axis=1) / 2
    bound = distance_by_chance(shares, rows)
    assert np.mean(distances > bound) < (0.08 if rows >= 60 else 0.2)
    assert bound < 0.1 + 3 * distances.mean()


def test_copies_that_fail_are_unlike_and_are_said():
    verdict = judged(failing(0.3))
    assert verdict.outcome is Outcome.FAIL
    assert "of them by an error" in verdict.reason
    assert "more have answers of stable that too few" in verdict.reason
    assert judged(failing(0.02)).outcome is Outcome.PASS


def test_a_share_beyond_the_limit_that_may_be_chance_holds_a_pass_back():
    verdict = judged(failing(0.11), per_look=15)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "missing: shadow answers of which at most 7 % differ" in verdict.reason
    wide = replace(POLICY, margin_shadow=0.15)
    assert judged(failing(0.11), per_look=15, policy=wide).outcome is Outcome.PASS


def test_without_a_margin_what_is_unusual_on_any_rows_is_allowed_and_the_format_says_so():
    strict = replace(POLICY, margin_shadow=0)
    assert judged(near, policy=strict).outcome is Outcome.PASS
    verdict = judged(failing(0.05), policy=strict)
    assert verdict.outcome is not Outcome.PASS
    assert verdict.numbers["shadow_limit"] == TAIL
    assert f"{format_share(TAIL)} is allowed" in verdict.reason
    described = schema_of("Model")["properties"]["canary"]["properties"]["margin_shadow"]
    assert f"beyond {format_share(TAIL)}." in described["description"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"per_look": 0}, "stable's servers have counted none"),
        ({"release": "v1-of-last-week"}, "stable's servers have counted none"),
        ({"pairs": None}, "no held-out rows were scored by both"),
        ({"pairs": SCARCE}, "all 800 have answers of stable that too few held-out rows had"),
        (
            {"grid": grid_key(segment_grid(PERCENT))},
            "stable's servers counted 800 by another range",
        ),
        (
            {"per_look": 0, "lost": (("silent", 2), ("contract", 1), ("full", 0))},
            "stable's servers have counted none, and lost copies: 20 contract, 40 silent",
        ),
    ],
)
def test_what_keeps_shadow_answers_from_being_judged_is_said(changed, said):
    verdict = judged(of_another, **changed)
    assert verdict.outcome is Outcome.PASS
    assert f"shadow answers not judged: {said}" in verdict.reason


def test_a_share_of_alpha_is_kept_for_shadow_answers_before_there_are_any():
    declared, not_declared = (
        judged(near, per_look=0, policy=replace(POLICY, shadow=share)).numbers["evidence_needed"]
        for share in (0.1, 0.0)
    )
    assert declared > not_declared


def test_where_even_the_answers_of_other_rows_are_usual_it_says_so():
    rare = np.full(4000, 0.9)
    rare[:40] = 0.1
    verdict = judged(lambda *_: place(0.9), pairs=promise_pairs(rare, rare, GRID), policy=POLICY)
    assert "answers of other rows would differ in" in verdict.reason
    assert "not seen" in verdict.reason
    assert "not seen" not in judged(near).reason


def test_a_version_that_differs_on_purpose_has_said_so_on_held_out_rows():
    turned = promise_pairs(SPREAD, 1 - SPREAD, GRID)
    assert judged(lambda score, _: place(1 - score), pairs=turned).outcome is Outcome.PASS
    assert judged(lambda score, _: place(score), pairs=turned).outcome is Outcome.FAIL


def test_a_change_of_the_mix_is_no_harm_as_each_answer_of_stable_has_its_usual_ones():
    # Held-out rows are seldom above .9, where the canary answers .5; in traffic all are.
    before = np.concatenate([SPREAD * 0.9, np.full(200, 0.97)])
    after = np.concatenate([SPREAD * 0.9, np.full(200, 0.5)])
    promise = promise_pairs(before, after, GRID)
    assert promise.is_stray(place(0.97), place(0.5)) is False
    assert promise.is_stray(place(0.45), place(0.97)) is True


def test_beside_a_class_with_few_held_out_rows_nothing_is_known():
    before = np.array(["a"] * 300 + ["b"] * (LEAST_HELD_OUT - 1))
    after = np.array(["a"] * 290 + ["c"] * 10 + ["b"] * (LEAST_HELD_OUT - 1))
    promise = promise_pairs(before, after, segment_grid(KIND))
    assert [promise.is_stray(0, answer) for answer in range(3)] == [False, True, False]
    assert promise.is_stray(1, 0) is None
    assert promise.is_stray(7, 0) is None
    assert promise.is_stray(0, FAILED) is True


def found(promise, mine, theirs):
    pairs = (np.searchsorted(GRID.edges, each, side="right").tolist() for each in (mine, theirs))
    return [promise.is_stray(*pair) for pair in zip(*pairs, strict=True)]


HELD_OUT = {
    "rare events": lambda random, rows: random.beta(1, 30, rows),
    "events nearly always": lambda random, rows: random.beta(30, 1, rows),
    "a crowd beside few others": lambda random, rows: np.concatenate(
        [random.uniform(0, 0.9, 90), random.uniform(0.905, 0.945, rows - 90)]
    ),
}


@pytest.mark.parametrize("held_out", HELD_OUT)
@pytest.mark.parametrize("version", [lambda x: x, lambda x: 1 - x, lambda x: x / 2])
def test_rows_that_were_rare_on_held_out_rows_are_no_strays_when_they_come(held_out, version):
    random = np.random.default_rng(3)
    scores = HELD_OUT[held_out](random, 5000)
    promise = promise_pairs(scores, version(scores), GRID)
    for wave in ((8, 3), (2, 3), (1, 1)):
        live = random.beta(*wave, 400)
        strays = found(promise, live, version(live))
        assert strays.count(True) <= 0.02 * len(live)
    # Not by knowing nothing: what the version answers to other rows is still unlike.
    others = found(promise, scores, version(random.permutation(scores)))
    assert others.count(True) > 0.14 * len(others) or promise.mixed <= 0.07
    assert others.count(None) < 0.1 * len(others)


def test_beside_a_number_with_few_held_out_rows_nothing_is_known():
    scores = np.array([0.12] * (LEAST_HELD_OUT - 1) + [0.17] * LEAST_HELD_OUT)
    promise = promise_pairs(scores, scores, GRID)
    assert [at for at, usual in enumerate(promise.usual) if usual is not None] == [place(0.17)]


def test_of_classes_that_are_as_rare_the_first_ones_of_the_contract_are_usual():
    """More than 16 of them: what sorts fewer keeps their order anyway."""
    names = [f"c{at:02}" for at in range(MOST_CLASSES)]
    answers = np.repeat(names, [2] * 18 + [60, 900])
    grid = segment_grid(replace(KIND, classes=tuple(names)))
    promise = promise_pairs(np.repeat(names[0], answers.size), answers, grid)
    usual = {names[at] for at in promise.usual[grid.classes.index(names[0])]}
    assert usual == {*names[:9], *names[18:]}


@given(rows=st.integers(0, 9 * LEAST_HELD_OUT), seed=st.integers(0, 9))
def test_what_a_version_answered_on_held_out_rows_is_usual(rows, seed):
    scores = np.random.default_rng(seed).random(rows) ** 3
    promise = promise_pairs(scores, scores, GRID)
    assert found(promise, scores, scores).count(True) == 0
    assert 0 <= promise.mixed <= 1


def test_a_grid_of_another_range_or_order_of_classes_has_another_key():
    grids = [
        segment_grid(each)
        for each in (
            LATE,
            PERCENT,
            replace(PERCENT, maximum=200),
            replace(PERCENT, minimum=-1),
            KIND,
            replace(KIND, classes=("b", "a", "c")),
            replace(KIND, classes=("a", "b", "c", "d")),
        )
    ]
    assert len({grid_key(each) for each in grids}) == len(grids)
    as_read_from_json = replace(PERCENT, minimum=0.0, maximum=100.0)
    assert grid_key(segment_grid(as_read_from_json)) == grid_key(segment_grid(PERCENT))


def test_of_many_classes_it_is_only_known_whether_both_answers_are_the_same():
    names = tuple(f"c{at}" for at in range(MOST_CLASSES + 1))
    grid = segment_grid(replace(KIND, classes=names))
    before = np.repeat(names, 100)
    after = before.copy()
    after[:1] = "c3"  # 1 % of the first class are others
    after[100:150] = "c4"  # half of the second
    promise = promise_pairs(before, after, grid)
    assert [promise.is_stray(0, answer) for answer in (0, OTHER, FAILED)] == [False, True, True]
    assert [promise.is_stray(1, answer) for answer in (1, OTHER, FAILED)] == [False, False, True]
    assert promise.mixed == pytest.approx(20 / 21 * 20 / 21, abs=0.02)


@given(release=st.text("abc0-", min_size=1), stable=st.integers(0, 80), canary=st.integers(-2, 80))
def test_a_pair_is_read_back_from_its_name_alone(release, stable, canary):
    name = pair_name(release, KEY, stable, canary)
    assert parse_pair(name, release, KEY) == (stable, canary)
    assert parse_pair(name, f"{release}x", KEY) is None
    assert parse_pair(name, release, "00000000") is None
    old = f"{release}:{stable}:{canary}"
    for other in ("", release, f"{release}:", old, f"{release}:{KEY}:x:1", f"{release}:{KEY}:1:y"):
        assert parse_pair(other, release, KEY) is None
