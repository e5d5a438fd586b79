from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from modelyard.domain.pictures.evidence import draw_evidence, evidence_in_words
from modelyard.domain.pictures.scale import Scale, scale_around, time_ticks
from modelyard.domain.pictures.story import find_spans
from modelyard.domain.promotion.timeline import Event, Kind

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_scale_keeps_what_is_outside_at_its_ends():
    scale = Scale(low=0.0, high=10.0, left=100.0, right=200.0)

    assert [scale.place(value) for value in (-5.0, 0.0, 2.5, 10.0, 99.0)] == [
        100.0, 100.0, 125.0, 200.0, 200.0,
    ]  # fmt: skip


@pytest.mark.parametrize("values", [[], [3.0], [0.0, 0.0], [1e-9, 2e-9], [-1e9, 1e9]])
def test_any_values_have_a_scale_with_few_round_ticks(values):
    scale = scale_around(values, 0.0, 100.0)

    assert scale.low < scale.high
    assert 1 <= len(scale.ticks()) <= 9


def test_times_have_ticks_at_round_times():
    start = AT.timestamp()
    scale = Scale(low=start - 20, high=start + 250, left=0.0, right=270.0)

    assert [(tick.x, tick.label) for tick in time_ticks(scale)] == [
        (20.0, "01 Mar 12:00"),
        (80.0, "01 Mar 12:01"),
        (140.0, "01 Mar 12:02"),
        (200.0, "01 Mar 12:03"),
        (260.0, "01 Mar 12:04"),
    ]


def event(kind, minutes, version, **more):
    at = AT + timedelta(minutes=minutes)
    return Event(at=at, kind=kind, what="", version=version, environment="canary", **more)


def test_a_rollback_ends_a_span_and_brings_the_old_version_back():
    spans = find_spans(
        [
            event(Kind.RELEASE, 0, "v1"),
            event(Kind.VERIFIED, 1, "v1"),
            event(Kind.RELEASE, 2, "v2"),
            event(Kind.ROLLBACK, 3, "v1", rolled_back="v2"),
        ],
        "canary",
    )

    assert [(s.version, s.is_verified, s.is_rolled_back) for s in spans] == [
        ("v1", True, False),
        ("v2", False, True),
        ("v1", True, False),
    ]
    assert spans[-1].until is None


def test_evidence_is_drawn_against_what_is_needed():
    numbers = {"evidence_needed": 4.0, "evidence_worse": 0.0, "evidence_not_worse": 1.0}
    segment = {"evidence_needed": 4.0, "evidence_segment": 1.0}
    of_segment = draw_evidence([(AT, segment), (AT + timedelta(minutes=1), segment)])
    assert of_segment is not None
    assert [line.name for line in of_segment.lines] == ["predictions of a segment are others"]
    later = {**numbers, "evidence_worse": 5.2}

    picture = draw_evidence([(AT, numbers), (AT + timedelta(minutes=1), later)])

    assert [(line.name, line.last, line.is_good) for line in picture.lines] == [
        ("errors are not worse", 1.0, True),
        ("errors are worse", 5.2, False),
    ]
    assert picture.lines[1].points == "60.0,200.0 720.0,30.0"
    assert draw_evidence([(AT, numbers)]) is None
    assert draw_evidence([(AT, {}), (AT, {})]) is None


def test_every_evidence_of_the_judge_has_words():
    names = ("worse", "refused_not_worse", "slow_worse", "shadow", "quality", "stable_distance")
    assert [evidence_in_words(f"evidence_{name}") for name in names] == [
        "errors are worse",
        "refusals are not worse",
        "slow answers are worse",
        "shadow answers are others",
        "losses are larger",
        "stable's predictions are others",
    ]
