from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from modelyard.domain.canary import arms
from modelyard.domain.canary.arms import count_arm
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.segments.cells import (
    segment_cell,
    segment_grid,
    segment_level,
    segment_levels,
    segment_name,
)
from modelyard.domain.canary.segments.findings import (
    LEAST_HELD_OUT,
    segment_findings,
    segment_promises,
)
from modelyard.domain.canary.shift import bets
from modelyard.domain.canary.traffic import Counts, Sample
from modelyard.domain.specs.model import CanaryPolicy, Output, OutputKind
from modelyard.domain.verdict import Outcome
from unit.domain.canary.test_judge import EVEN, START

LATE = Output(name="late", kind=OutputKind.PROBABILITY, primary=True)
GRID = segment_grid(LATE)
POLICY = CanaryPolicy(least_looks=1, segments=("carrier",))
SPREAD = np.array([0.1, 0.3, 0.6, 0.8] * 50)
LEVELS = {"carrier": np.array(["AA", "UA"], dtype=object).repeat(100)}
PROMISES = segment_promises(SPREAD, SPREAD, LEVELS, GRID)


def counted(look, per_look, answers):
    """Counters after a look: for each level its answer, spread if that is None."""
    segments, total = {}, np.zeros(4)
    for level, (share, answer) in answers.items():
        values = SPREAD[:4] if answer is None else [answer] * 4
        for value in values:
            place = int(np.searchsorted(GRID.edges, value, side="right"))
            name = segment_name("carrier", segment_cell(level), place)
            segments[name] = segments.get(name, 0) + round(look * per_look * share / 4)
            total[np.searchsorted((0.25, 0.5, 0.75), value)] += look * per_look * share / 4
    return Counts(
        requests={"2xx": look * per_look},
        rows=look * per_look,
        predictions=tuple(total.round().astype(int).tolist()),
        segments=segments,
    )


def judged(canary, stable, looks=20, policy=POLICY, **changed):
    samples = tuple(
        Sample(
            at=START.replace(minute=look),
            counts={"v2": counted(look, 200, canary), "v1": counted(look, 800, stable)},
        )
        for look in range(looks + 1)
    )
    known = {"samples": samples, "canary": "v2", "stable": "v1", "expected": EVEN}
    return judge_canary(CanaryEvidence(**{**known, "segments": PROMISES, **changed}), policy)


HEALTHY = {"AA": (0.86, None), "UA": (0.14, None)}
GARBAGE = {"AA": (0.86, None), "UA": (0.14, 0.99)}


def test_of_a_canary_that_is_well_in_all_segments_no_bet_is_counted(monkeypatch):
    monkeypatch.setattr(bets, "_logs_of_living", lambda *_: pytest.fail("all bets were counted"))
    assert judged(HEALTHY, HEALTHY).outcome is Outcome.PASS


def test_the_last_looks_are_read_without_segments(monkeypatch):
    read, are_there = arms.read_counters, []

    def reading(counts):
        are_there.append(any(each.segments for each in counts if each))
        return read(counts)

    monkeypatch.setattr(arms, "read_counters", reading)
    assert judged(HEALTHY, HEALTHY, looks=30).outcome is Outcome.PASS
    assert are_there == [True, True, False, False]


def test_garbage_for_a_segment_is_failed_and_named():
    assert judged(HEALTHY, HEALTHY).outcome is Outcome.PASS
    verdict = judged(GARBAGE, HEALTHY)
    assert verdict.outcome is Outcome.FAIL
    assert "where carrier = UA predictions differ by 0.7" in verdict.reason
    assert verdict.columns == ("carrier",)
    needed = verdict.numbers["evidence_needed"]
    assert verdict.numbers["evidence_segment"] > needed
    assert judged(HEALTHY, HEALTHY).numbers["evidence_segment"] == 0
    # Without segments it is within the radius of all predictions.
    assert judged(GARBAGE, HEALTHY, segments=()).outcome is Outcome.PASS


def test_a_canary_of_a_server_that_counts_no_segments_is_judged_without_them():
    for release in ("v1", "v2"):
        arms = {"v2": GARBAGE, "v1": HEALTHY}
        samples = tuple(
            Sample(
                at=START.replace(minute=look),
                counts={
                    name: replace(
                        counted(look, 200, arms[name]),
                        **({"segments": {}} if name == release else {}),
                    )
                    for name in arms
                },
            )
            for look in range(21)
        )
        verdict = judged(HEALTHY, HEALTHY, samples=samples)
        assert verdict.outcome is Outcome.PASS
        assert "segments of carrier not judged: the server of" in verdict.reason
    unscored = judged(HEALTHY, HEALTHY, segments=())
    assert "segments of carrier not judged: none of them has 100 held-out rows" in unscored.reason


def test_each_declared_column_that_is_not_judged_is_named_and_the_others_are_judged():
    # Stable was trained with [carrier], and origin was declared later.
    later = replace(POLICY, segments=("carrier", "origin"))
    levels = {**LEVELS, "origin": np.array(["JFK", "LGA"], dtype=object).repeat(100)}
    promises = segment_promises(SPREAD, SPREAD, levels, GRID)
    origin = {segment_name("origin", segment_cell("JFK"), 3): 1000}

    def said(segments, *counting, looks=1):
        samples = tuple(
            Sample(
                at=START.replace(minute=look),
                counts={
                    release: replace(
                        found := counted(look, rows, answers),
                        segments={**found.segments, **(origin if release in counting else {})},
                    )
                    for release, rows, answers in (("v2", 200, GARBAGE), ("v1", 800, HEALTHY))
                },
            )
            for look in range(looks + 1)
        )
        canary, stable = (count_arm(samples, each, is_new=False) for each in ("v2", "v1"))
        return list(
            segment_findings(
                canary, stable, segments, columns=later.segments, radius=0.15, alpha=0.05
            )
        )

    def unjudged(*arguments):
        return [each.text for each in said(*arguments) if "not judged" in each.text]

    of_server = "segments of origin not judged: the server of {} does not count them"
    assert unjudged(promises, "v2") == [of_server.format("stable")]
    assert unjudged(promises, "v1") == [of_server.format("the canary")]
    assert unjudged(promises, "v1", "v2") == []
    assert "segments of origin not judged: none of them has" in unjudged(PROMISES, "v1", "v2")[0]
    assert len(unjudged((), "v1", "v2")) == 2
    assert [each.columns for each in said(promises, looks=20) if each.bad] == [("carrier",)]


def test_a_column_whose_name_begins_another_one_is_not_taken_for_it():
    short = [replace(each, column="carr") for each in PROMISES]
    text = judged(HEALTHY, HEALTHY, policy=replace(POLICY, segments=("carr",)), segments=short)
    assert "segments of carr not judged: the server of the canary" in text.reason


def test_a_stable_arm_that_breaks_in_a_segment_fails_no_healthy_canary():
    verdict = judged(HEALTHY, GARBAGE)
    assert verdict.outcome is not Outcome.FAIL
    assert "where carrier = UA: an incident of stable" in verdict.reason


def in_turns(per_look, answers, looks):
    """Counters after each look, of which each has its own answers for UA; AA is as held out."""
    segments, total, found = {}, np.zeros(4), []
    for look in range(looks + 1):
        for level in ("AA", "UA") if look else ():
            values = answers(look) if level == "UA" else SPREAD[:4]
            for value in values:
                place = int(np.searchsorted(GRID.edges, value, side="right"))
                name = segment_name("carrier", segment_cell(level), place)
                rows = per_look // (2 * len(values))
                segments[name] = segments.get(name, 0) + rows
                total[np.searchsorted((0.25, 0.5, 0.75), value)] += rows
        found.append(
            Counts(
                requests={"2xx": look * per_look},
                rows=look * per_look,
                predictions=tuple(total.astype(int).tolist()),
                segments=dict(segments),
            )
        )
    return found


@pytest.mark.parametrize("looks", [20, 40, 80])
def test_a_bad_segment_does_not_hide_behind_a_stable_that_is_broken_in_turns(looks):
    def said(*answers):
        stable = in_turns(800, lambda look: SPREAD[:4] if look % 4 else [0.99] * 4, looks)
        pairs = zip(in_turns(200, lambda _: answers, looks), stable, strict=True)
        samples = tuple(
            Sample(at=START + look * timedelta(seconds=30), counts={"v2": mine, "v1": others})
            for look, (mine, others) in enumerate(pairs)
        )
        return judged(HEALTHY, HEALTHY, samples=samples)

    assert said(*SPREAD[:4]).outcome is Outcome.PASS
    verdict = said(0.1, *[0.3] * 5, *[0.6] * 5, *[0.8] * 4, *[0.99] * 5)  # off by .2
    assert verdict.outcome is Outcome.FAIL
    assert "where carrier = UA: an incident of stable: in" in verdict.reason
    assert verdict.columns == ("carrier",)


def test_segments_with_few_held_out_rows_promise_nothing():
    assert [(one.column, one.cell) for one in PROMISES] == [
        ("carrier", segment_cell(level)) for level in sorted(("AA", "UA"), key=segment_cell)
    ]
    few = {"carrier": np.array(["AA"] * (201 - LEAST_HELD_OUT) + ["UA"] * (LEAST_HELD_OUT - 1))}
    assert [one.title for one in segment_promises(None, SPREAD, few, GRID)] == ["carrier = AA"]


def test_a_segment_of_several_levels_names_the_most_frequent_ones_first():
    same = [level for n in range(99) if segment_cell(level := f"L{n:02}") == segment_cell("L00")]
    first, second, third, fourth = same[:4]
    rows = [*[fourth] * 30, *[third] * 60, *[second] * 60, *[first] * 30, *[same[4]] * 20]
    (promise,) = segment_promises(None, SPREAD, {"x": np.array(rows, dtype=object)}, GRID)
    assert promise.title == f"x = {second}, {third}, {first} ..."
    nulls = {"x": np.array([""] * len(SPREAD), dtype=object)}
    assert [each.title for each in segment_promises(None, SPREAD, nulls, GRID)] == ["x = null"]


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("AA", "AA"),
        (True, "true"),
        (np.bool_(False), "false"),
        (1.0, "true"),
        (None, ""),
        (float("nan"), ""),
    ],
)
def test_levels_of_requests_and_of_held_out_rows_are_written_alike(value, level):
    assert segment_level(value) == level
    assert segment_levels([value]).tolist() == [level]


def test_a_segment_is_named_by_its_column_cell_and_bin():
    assert segment_name("carrier", "3", 4) == "carrier:3:4"


def test_the_grid_of_segments_is_finer_at_both_ends_and_beside_zero():
    assert 0.000_01 in GRID.edges
    assert GRID.bins < 80
    value = Output(name="y", kind=OutputKind.VALUE, minimum=-1, maximum=1, primary=True)
    assert {-0.002, 0.002} <= set(segment_grid(value).edges)
    ends = segment_grid(replace(value, minimum=-0.002, maximum=0.998)).edges
    assert -0.002 < ends[0] < ends[-1] < 0.998  # no cell without a width
    classes = Output(name="c", kind=OutputKind.CLASS, classes=("a", "b"), primary=True)
    assert segment_grid(classes).classes == ("a", "b")
    with pytest.raises(ValueError, match="needs minimum and maximum"):
        segment_grid(replace(value, minimum=None))


def test_inputs_that_differ_excuse_a_segment_by_its_share_of_the_rows():
    # A tenth of all rows differs in its inputs: it may be most of the 14 % of one segment.
    def seen(inputs):
        return tuple(
            Sample(
                at=START.replace(minute=look),
                counts={
                    name: replace(
                        counted(look, rows, answers),
                        inputs={cell: round(look * rows * share) for cell, share in cells.items()},
                    )
                    for name, rows, answers, cells in (
                        ("v2", 200, GARBAGE, inputs),
                        ("v1", 800, HEALTHY, {"x:0": 0.5, "x:1": 0.5}),
                    )
                },
            )
            for look in range(21)
        )

    same = judged(GARBAGE, HEALTHY, samples=seen({"x:0": 0.5, "x:1": 0.5}))
    assert same.outcome is Outcome.FAIL
    other = judged(GARBAGE, HEALTHY, samples=seen({"x:0": 0.6, "x:1": 0.4}))
    assert other.outcome is Outcome.INCONCLUSIVE
    assert "where carrier = UA: inputs of canary and stable differ: x by 0.09" in other.reason
