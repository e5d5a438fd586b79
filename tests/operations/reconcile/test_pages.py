from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.isolation import Isolation
from modelyard.domain.signatures import describe_signer, key_hint
from modelyard.domain.specs.model import ArtifactPolicy, Trusted
from modelyard.domain.specs.record import GuardResult, Record, SliceResult, UnwatchedMeasure
from modelyard.operations.reconcile.pages import (
    CLOSED_IN_BY_A_POD,
    NOT_CLOSED_IN,
    evidence_page,
    trusted_note,
    verdict_lines,
)
from operations.yard import MODEL, new_yard

OLD = Path(__file__).parents[1] / "records_of_version_0_1"


def rows(record):
    """Rival, its value, the version's value and the verdict, by row of the table."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in verdict_lines(record)
        if line.startswith("| recent")
    ]
    return [(row[3], row[4], row[5], row[-1]) for row in cells]


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    yard = new_yard(tmp_path_factory.mktemp("pages") / "yard")
    yard.record("v1")
    yard.record("v2", champion="v1", skill=0.02)
    return yard


def record_of(yard, version):
    return yard.workspace().catalog(yard.main()).records[MODEL, version]


def test_both_comparisons_are_shown_under_their_own_names(yard):
    assert rows(record_of(yard, "v2")) == [
        ("v1", "0.9860", "0.4998", "fail"),
        ("the baseline", "0.5000", "0.4998", "inconclusive"),
    ]


def test_a_guard_is_shown_under_the_name_of_its_metric(yard):
    record = record_of(yard, "v2")
    (result,) = record.held_out
    guard = GuardResult(metric="brier", verdict=result.against_champion)
    guarded = replace(result, guards=(guard,))
    assert rows(replace(record, held_out=(guarded,))) == [
        ("v1", "0.9860", "0.4998", "fail"),
        ("v1 (brier)", "0.9860", "0.4998", "fail"),
        ("the baseline", "0.5000", "0.4998", "inconclusive"),
    ]


def test_a_slice_is_shown_by_its_rows_and_says_if_only_harm_counts(yard):
    record = record_of(yard, "v2")
    (result,) = record.held_out
    slices = tuple(
        SliceResult(name=f"place = <b>{n}", verdict=result.against_champion, harm_only=n == 2)
        for n in (1, 2)
    )
    assert rows(replace(record, held_out=(replace(result, slices=slices),)))[1:3] == [
        ("v1 (place = &lt;b>1)", "0.9860", "0.4998", "fail"),
        ("v1 (place = &lt;b>2)", "0.9860", "0.4998", "fail (only a fail counts)"),
    ]


def test_a_first_version_is_shown_against_the_baseline_alone(yard):
    assert rows(record_of(yard, "v1")) == [("the baseline", "0.5000", "0.9860", "pass")]


def test_a_set_that_was_refused_shows_no_figure(yard):
    record = record_of(yard, "v2")
    (result,) = record.held_out
    verdict = replace(result.verdict, reason="v1 trained on rows of recent", numbers={})
    refused = replace(result, verdict=verdict, against_baseline=None, against_champion=None)

    assert rows(replace(record, held_out=(refused,))) == [("v1", "-", "-", "fail")]


@pytest.mark.parametrize(
    ("version", "rival", "value"),
    [("v1", "the baseline", "0.5000"), ("v2", "v1", "0.9914"), ("v3", "the baseline", "0.5000")],
)
def test_the_one_figure_of_a_record_of_version_0_1_is_named_for_what_it_is(version, rival, value):
    record = read_spec(Record, (OLD / f"{version}.yaml").read_bytes(), name=version)

    ((shown, its_value, _, _),) = rows(record)

    assert (shown, its_value) == (rival, value)


def test_the_page_says_which_interval_it_shows_and_which_bound_decides(yard):
    text = "\n".join(verdict_lines(record_of(yard, "v1")))

    assert "| two-sided 95 % interval |" in text
    assert "one-sided bound" in text


def test_a_trainer_that_was_not_closed_in_is_a_warning(yard):
    record = record_of(yard, "v2")
    for isolation in Isolation:
        page = evidence_page(replace(record, isolation=isolation))
        assert f"- isolation of the trainer: {isolation}\n" in page
        assert (NOT_CLOSED_IN in page) == (isolation is Isolation.NONE)
        assert (CLOSED_IN_BY_A_POD in page) == (isolation is Isolation.POD)
    old = evidence_page(replace(record, isolation=None))
    assert "isolation" not in old


def test_the_page_names_the_key_by_which_training_signed(yard):
    record = record_of(yard, "v2")
    signed = replace(record, artifact=replace(record.artifact, signed_by="ab" * 32))
    assert "- signed in training by the key abababababab...\n" in evidence_page(signed)
    assert "signed" not in evidence_page(record)


def test_a_key_is_told_with_whether_model_yaml_lists_it(yard):
    model = yard.workspace().catalog(yard.main()).models[MODEL]
    asking = replace(model, artifact=replace(model.artifact, signed_by=("MFkw",)))
    told = "signed in training by the key abababababab..."
    assert describe_signer("ab" * 32, model) == told
    assert describe_signer("ab" * 32, asking) == f"{told}, which artifact.signed_by does not list"
    assert describe_signer(key_hint("MFkw"), asking).endswith("..., which artifact.signed_by lists")


def test_the_page_names_the_columns_that_drift_does_not_watch(yard):
    record = record_of(yard, "v2")
    hidden = UnwatchedMeasure(column="a*b", measure="KS D", why="it is a season")
    page = evidence_page(replace(record, not_watched=(hidden,)))
    assert page.endswith("\n`drift` does not watch:\n\n- a\\*b (KS D): it is a season\n")
    assert "not watch" not in evidence_page(replace(record, not_watched=()))


def test_every_page_says_that_code_of_the_artifact_is_trusted(yard):
    model = yard.workspace().catalog(yard.main()).models[MODEL]
    assert trusted_note(model) == ""
    policy = ArtifactPolicy(formats=("pickle",), trusted=Trusted(reason="No *other* format."))
    note = trusted_note(replace(model, artifact=policy))
    assert "may run any code in it (pickle)" in note
    assert r"No \*other\* format." in note
