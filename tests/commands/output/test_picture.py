from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest

from error_rates import judge
from modelyard.commands.output.picture import (
    COLUMNS,
    NAMES,
    drift_picture,
    gate_picture,
    judge_picture,
    picture_lines,
    picture_svg,
)
from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.gate.comparisons import GateAnswer, NamedComparison
from modelyard.domain.pictures.evidence import STABLE, evidence_in_words
from modelyard.domain.verdict import Outcome, Verdict

STABLE_IN_WORDS = evidence_in_words(STABLE)


def compared(name, outcome, lower, upper, margin=0.1, *, decides=False):
    numbers = {"lower": lower, "upper": upper, "difference": (lower + upper) / 2, "margin": margin}
    verdict = Verdict(outcome=outcome, reason="r", numbers=numbers)
    return NamedComparison(name=name, decides=decides, verdict=verdict)


ANSWER = GateAnswer(
    verdict=Verdict(outcome=Outcome.FAIL, reason="r"),
    comparisons=(
        compared("passes", Outcome.PASS, -0.05, 0.05),
        compared("fails", Outcome.FAIL, -0.3, -0.15, decides=True),
        compared("no margin", Outcome.PASS, 0.01, 0.03, margin=0.0),
        NamedComparison(
            name="contract", decides=False, verdict=Verdict(outcome=Outcome.PASS, reason="r")
        ),
    ),
)


def drawn(picture):
    """Each line's characters after its name, and where the limit stands."""
    *lines, axis = picture_lines(picture)
    return [line[NAMES + 1 :].ljust(COLUMNS)[:COLUMNS] for line in lines], axis


def test_a_pass_is_right_of_the_limit_and_a_fail_left_of_it():
    (passes, fails, better), axis = drawn(gate_picture(ANSWER))
    limit = passes.index("|")
    assert passes.index("-") > limit
    assert fails.index("|") == better.index("|") == limit
    assert fails.rindex("-") < limit < better.index("-")
    assert "margin" in axis


def test_what_decides_has_a_star_and_what_has_no_bounds_no_line():
    *lines, _ = picture_lines(gate_picture(ANSWER))
    assert [line.split()[0] for line in lines] == ["passes", "fails", "no"]
    assert [line.endswith("*") for line in lines] == [False, True, False]


def test_what_is_far_beyond_the_axis_ends_in_an_arrow():
    answer = GateAnswer(
        verdict=ANSWER.verdict, comparisons=(compared("far", Outcome.FAIL, -9.0, -3.0),)
    )
    ((line,), _) = drawn(gate_picture(answer))
    assert line[0] == "<"


def test_evidence_is_drawn_in_units_of_what_is_needed():
    numbers = {
        "evidence_needed": 4.0,
        "evidence_worse": 6.0,
        "evidence_not_worse": -1.0,
        "seconds": 60.0,
    }
    picture = judge_picture(Verdict(outcome=Outcome.FAIL, reason="r", numbers=numbers))
    assert [(line.name, line.middle, line.said) for line in picture.lines] == [
        ("errors are worse", 1.5, "6.00 shown"),
        ("errors are not worse", -0.25, "-1.00 not shown"),
    ]


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("a constant", Outcome.FAIL),
        ("garbage for the 15 % of rows of one segment", Outcome.FAIL),
        ("garbage for the 15 % of rows of one segment, by shadow answers", Outcome.FAIL),
        ("5 % errors", Outcome.FAIL),
        ("stable answers a constant always, and it is said", Outcome.INCONCLUSIVE),
        ("healthy, with segments", Outcome.INCONCLUSIVE),
    ],
)
def test_the_picture_shows_harm_if_and_only_if_the_judge_fails_the_canary(name, outcome):
    case = next(each for each in judge.CASES if each.name == name)
    verdict = judge.verdict_of(case, np.random.default_rng(1), 20)
    assert verdict.outcome is outcome
    said = {line.name: line.said.split(maxsplit=1)[1] for line in judge_picture(verdict).lines}
    good = [line for line in said if line.endswith("not worse")]
    harm = [said[line] for line in said if line not in {*good, STABLE_IN_WORDS}]
    assert ("shown" in harm) is (outcome is Outcome.FAIL)
    assert ("shown, but excused" in harm) is name.startswith("stable")


def test_effects_are_drawn_in_units_of_their_floors():
    check = ColumnCheck(
        column="temp\x1b[2J",
        reason="shape",
        measure="W1",
        effect=0.6,
        floor=0.2,
        p=0.0,
        limit=0.01,
        rows=900,
        enough_blocks=True,
        detail="d",
    )
    picture = drift_picture([check])
    assert round(picture.lines[0].middle, 9) == 3
    assert "\x1b" not in "".join(picture_lines(picture))


def test_the_svg_is_a_document_whose_text_is_no_markup():
    hostile = GateAnswer(
        verdict=ANSWER.verdict,
        comparisons=(compared("<script>&", Outcome.PASS, -0.05, 0.05),),
    )
    root = ET.fromstring(picture_svg(gate_picture(hostile)))  # noqa: S314 - our own text
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "<script>&"
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
