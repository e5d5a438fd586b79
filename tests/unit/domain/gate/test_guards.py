from __future__ import annotations

from dataclasses import replace

import numpy as np

from modelyard.domain.gate.comparisons import gate_answer
from modelyard.domain.gate.gate import Comparison, Scores, compare_on_set
from modelyard.domain.specs.model import Guard, Output, OutputKind
from modelyard.domain.verdict import Outcome
from unit.domain.gate.test_gate import MODEL

RANDOM = np.random.default_rng(3)
ROWS = 4000
DAYS = np.repeat(np.arange(100), 40)
ODDS = RANDOM.normal(size=ROWS)
LABELS = (RANDOM.random(ROWS) < 1 / (1 + np.exp(-ODDS))).astype(int)
CHANCES = 1 / (1 + np.exp(-ODDS))
GUARDED = replace(
    MODEL,
    gate=replace(
        MODEL.gate,
        guards=(Guard(metric="brier", margin=0.01), Guard(metric="log_loss", margin=0.05)),
    ),
)


def scores(values):
    return Scores(digest="rows", labels=LABELS, clusters=DAYS, scores=values)


def compared(model, challenger, champion=CHANCES):
    known = None if champion is None else scores(champion)
    return compare_on_set(
        model,
        Comparison(
            name="recent", challenger=scores(challenger), champion=known, look=1, max_looks=3
        ),
    )


# Nearly the same order of rows, so the same AUC; but nearly certain of everything.
NOISY = ODDS + 0.02 * RANDOM.normal(size=ROWS)
OVERCONFIDENT = 1 / (1 + np.exp(-6 * NOISY))


def test_a_guard_fails_what_the_gates_metric_passes():
    assert compared(MODEL, OVERCONFIDENT).verdict.passed
    found = compared(GUARDED, OVERCONFIDENT)
    assert found.champion is not None
    assert found.champion.passed
    assert {name: verdict.outcome for name, verdict in found.guards.items()} == {
        "brier": Outcome.FAIL,
        "log_loss": Outcome.FAIL,
    }
    assert found.verdict.outcome is Outcome.FAIL
    assert found.verdict.reason == "; ".join(
        f"guard {verdict.reason}" for verdict in found.guards.values()
    )
    assert found.verdict.numbers == found.guards["brier"].numbers


def test_all_guards_must_pass_and_one_in_doubt_leaves_all_in_doubt():
    close = 1 / (1 + np.exp(-1.05 * NOISY))
    assert compared(GUARDED, close).verdict.passed
    strict = replace(GUARDED, gate=replace(GUARDED.gate, guards=(Guard(metric="brier", margin=0),)))
    found = compared(strict, close)
    assert found.guards["brier"].outcome is Outcome.INCONCLUSIVE
    assert found.verdict.outcome is Outcome.INCONCLUSIVE


def test_a_guard_of_a_class_output_is_measured_by_its_classes():
    output = Output(name="when", kind=OutputKind.CLASS, primary=True, classes=("soon", "early"))
    gate = replace(MODEL.gate, metric="accuracy", guards=(Guard(metric="brier", margin=0.01),))
    model = replace(MODEL, outputs=(output,), gate=gate)
    labels, close = np.array(output.classes)[LABELS], 1 / (1 + np.exp(-1.05 * NOISY))

    def of(chances):
        values = np.column_stack([1 - chances, chances])
        return Scores(digest="rows", labels=labels, clusters=DAYS, scores=values)

    found = compare_on_set(
        model,
        Comparison(name="recent", challenger=of(close), champion=of(CHANCES), look=1, max_looks=3),
    )

    assert found.guards["brier"].passed


def test_a_first_version_has_no_champion_to_guard():
    assert compared(GUARDED, OVERCONFIDENT, champion=None).guards == {}


def test_each_guard_is_a_comparison_with_its_name():
    found = compared(GUARDED, OVERCONFIDENT)
    answer = gate_answer(found.verdict, ["recent"], [found], champion="v1", contract=None)
    assert [(each.name, each.decides) for each in answer.comparisons] == [
        ("recent, against the champion v1", False),
        ("recent, guard brier, against the champion v1", True),
        ("recent, guard log_loss, against the champion v1", True),
        ("recent, against the baseline", False),
    ]


def test_records_that_counted_all_clusters_alike_are_older_than_guards():
    found = compare_on_set(
        GUARDED,
        Comparison(
            name="recent",
            challenger=scores(OVERCONFIDENT),
            champion=scores(CHANCES),
            look=1,
            max_looks=3,
        ),
        counts_information=False,
    )
    assert (found.guards, found.verdict.outcome) == ({}, Outcome.PASS)
