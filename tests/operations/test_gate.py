from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from modelyard.adapters.specs import schemas
from modelyard.adapters.specs.documents import dump_spec, load_yaml, read_spec
from modelyard.adapters.store.signatures import sign_artifact
from modelyard.adapters.store.signing_keys import read_key, write_key
from modelyard.artifact_digest import artifact_digest
from modelyard.cli import cli
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.record import GuardResult, Record
from modelyard.domain.specs.version import TrainingData
from modelyard.domain.verdict import Outcome
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.gate import (
    check_record,
    compare_versions,
    find_differences,
    recompute_verdicts,
    scored_by_both,
    seen_by,
)
from modelyard.serving.documents import SERVING
from operations.yard import (
    HELD_OUT,
    HELD_OUT_SPEC,
    MODEL,
    artifact_of,
    evidence,
    new_yard,
    record_file,
    spec,
)

OLD = Path(__file__).parent / "records_of_version_0_1"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = new_yard(tmp_path_factory.mktemp("start") / "yard")
    yard.record("v1")
    yard.record("v2", champion="v1")
    yard.record("v3")
    return yard


@pytest.fixture
def yard(start, tmp_path):
    """v1 and v3 have records without a champion, v2 was compared with v1."""
    return start.copy(tmp_path / "yard")


def catalog_of(yard):
    return yard.workspace().catalog(yard.main())


def record_of(yard, version):
    return catalog_of(yard).records[MODEL, version]


@pytest.mark.sample(1)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_evidence_gives_the_verdict_of_the_record_again(yard, version):
    record = record_of(yard, version)

    overall, each = recompute_verdicts(yard.workspace().store, catalog_of(yard), record)

    assert overall.outcome is Outcome.PASS
    assert find_differences(record, overall, each) == ()


def test_a_number_that_the_evidence_does_not_give_is_named(yard):
    record = record_of(yard, "v2")
    overall, each = recompute_verdicts(yard.workspace().store, catalog_of(yard), record)
    (result,) = record.held_out
    numbers = {**result.verdict.numbers, "difference": 0.5}
    verdict = replace(result.verdict, numbers=numbers, outcome=Outcome.FAIL)
    tampered = replace(record, held_out=(replace(result, verdict=verdict),))

    assert find_differences(tampered, overall, each) == (
        "held-out set recent: the record has fail, the evidence gives pass",
        "held-out set recent: difference is 0.5 in the record, "
        f"{each[0].verdict.numbers['difference']} from the evidence",
    )


def test_a_record_whose_artifact_is_not_signed_as_its_model_asks_is_refused(yard, tmp_path):
    catalog, record = catalog_of(yard), record_of(yard, "v1")
    model = catalog.models[record.model]
    key = write_key(tmp_path / "key.pem")
    policy = replace(model, artifact=replace(model.artifact, signed_by=(key,)))
    asking = replace(catalog, models={**catalog.models, record.model: policy})
    store, folder = yard.workspace().store, tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.txt").write_bytes(b"tree")
    record = replace(record, artifact=replace(record.artifact, digest=artifact_digest(folder)))

    with pytest.raises(Refused, match="it is not signed"):
        check_record(store, asking, record, check=True)

    names = {"model": record.model, "version": record.version}
    sign_artifact(store, folder, read_key(tmp_path / "key.pem"), **names)
    assert check_record(store, asking, record, check=True).verdict == record.verdict


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_is_served_is_read_only_from_the_bytes_that_were_signed(yard, tmp_path, version):
    catalog, record, store = catalog_of(yard), record_of(yard, "v2"), yard.workspace().store
    key = write_key(tmp_path / "key.pem")
    model = catalog.models[MODEL]
    policy = replace(model, artifact=replace(model.artifact, signed_by=(key,)))
    asking = replace(catalog, models={**catalog.models, MODEL: policy})
    digests = {}
    for each in ("v1", "v2"):
        (folder := tmp_path / each).mkdir()
        (folder / "of").write_text(each)
        (folder / SERVING).write_bytes(store.read_model_file(artifact_of(each), SERVING))
        digests[each] = artifact_digest(folder)
        store.put_model(folder, digests[each])
    record = replace(
        record,
        champion=replace(record.champion, artifact=digests["v1"]),
        artifact=replace(record.artifact, digest=digests["v2"]),
    )
    for each in ("v1", "v2"):
        with pytest.raises(Refused, match="it is not signed"):
            check_record(store, asking, record, check=True)
        sign = read_key(tmp_path / "key.pem")
        sign_artifact(store, tmp_path / each, sign, model=MODEL, version=each)
    assert check_record(store, asking, record, check=True).verdict == record.verdict
    kept = yard.folder / "store" / "models" / digests[version].removeprefix("sha256:") / SERVING
    kept.write_bytes(kept.read_bytes() + b" ")

    with pytest.raises(Refused, match=r"serving\.json is another one: expected SHA-256"):
        check_record(store, asking, record, check=True)


def test_a_number_that_was_left_out_is_named(yard):
    record = record_of(yard, "v2")
    overall, each = recompute_verdicts(yard.workspace().store, catalog_of(yard), record)
    numbers = dict(record.verdict.numbers)
    lower = numbers.pop("lower")

    found = find_differences(
        replace(record, verdict=replace(record.verdict, numbers=numbers)), overall, each
    )

    assert found == (f"verdict: lower is None in the record, {lower} from the evidence",)


def test_two_versions_are_compared_on_the_rows_both_were_scored_on(yard):
    verdict = compare_versions(yard.workspace().store, catalog_of(yard), MODEL, "v2", "v3")

    assert verdict is not None
    assert verdict.outcome is Outcome.PASS
    assert verdict.numbers["champion"] == record_of(yard, "v3").held_out[0].metrics["auc"]


def test_scores_of_a_champion_are_found_in_the_challengers_own_record(yard):
    catalog = catalog_of(yard)
    alone = replace(catalog, records={(MODEL, "v2"): catalog.records[MODEL, "v2"]})

    ((result, scores),) = scored_by_both(alone, MODEL, "v2", "v1")

    assert (result.name, scores) == (HELD_OUT, result.champion_scores)


def test_versions_without_common_rows_are_not_compared(yard):
    catalog = catalog_of(yard)
    (result,) = catalog.records[MODEL, "v3"].held_out
    moved = replace(
        catalog.records[MODEL, "v3"], held_out=(replace(result, digest=f"sha256:{'f' * 64}"),)
    )
    other = replace(catalog, records={**catalog.records, (MODEL, "v3"): moved})

    assert compare_versions(yard.workspace().store, other, MODEL, "v3", "v1") is None
    assert compare_versions(yard.workspace().store, other, MODEL, "v9", "v1") is None


def test_a_spec_the_record_speaks_of_may_not_be_missing(yard):
    catalog, store = catalog_of(yard), yard.workspace().store
    record = catalog.records[MODEL, "v2"]
    for field, file in (
        ("held_out", f"models/m/heldout/{HELD_OUT}.yaml"),
        ("versions", "models/m/versions/v2.yaml"),
        ("models", "models/m/model.yaml"),
    ):
        with pytest.raises(Refused, match=file):
            recompute_verdicts(store, replace(catalog, **{field: {}}), record)


def test_evidence_out_of_reach_and_evidence_of_something_else_are_no_answer(yard):
    store, catalog, record = yard.workspace().store, catalog_of(yard), record_of(yard, "v1")
    (result,) = record.held_out
    other = store.put_evidence(b"{}")
    with pytest.raises(CannotAnswer, match="not readable as a table"):
        recompute_verdicts(
            store, catalog, replace(record, held_out=(replace(result, scores=other),))
        )
    kept = yard.folder / "store" / "evidence" / result.scores.removeprefix("sha256:")
    content = kept.read_bytes()
    kept.write_bytes(evidence("v2"))
    with pytest.raises(Refused, match="does not match its digest"):
        recompute_verdicts(store, catalog, record)
    kept.unlink()
    with pytest.raises(CannotAnswer, match="out of reach"):
        recompute_verdicts(store, catalog, record)
    kept.write_bytes(content)
    assert recompute_verdicts(store, catalog, record)[0].passed


def test_a_version_has_seen_a_set_by_its_days_or_by_its_files():
    version = spec("v1")
    file = HELD_OUT_SPEC.files[0]
    january = Interval(since=date(2026, 1, 1), until=date(2026, 2, 1))
    february = Interval(since=date(2026, 2, 1), until=date(2026, 3, 1))
    by_day = replace(version, data=TrainingData(files=version.data.files, window=january))

    assert not seen_by(version, HELD_OUT_SPEC)
    assert seen_by(replace(version, data=TrainingData(files=(file,))), HELD_OUT_SPEC)
    assert seen_by(by_day, replace(HELD_OUT_SPEC, window=january))
    assert not seen_by(by_day, replace(HELD_OUT_SPEC, window=february))


def gate(yard, *words):
    return CliRunner().invoke(cli, ["gate", MODEL, *words], obj=yard.workspace().services)


def test_the_command_answers_by_its_exit_code(yard):
    record = record_of(yard, "v2")
    verdict = replace(record.verdict, numbers={**record.verdict.numbers, "lower": 0.3})
    tampered = replace(record, verdict=verdict)
    yard.commit({record_file("v2"): dump_spec("Record", tampered)})

    assert gate(yard, "v1", "--check").exit_code == 0
    assert gate(yard, "v2", "--check").exit_code == 3
    assert gate(yard, "v2", "--against", "v3").exit_code == 0
    assert gate(yard, "v9").exit_code == 1
    (yard.folder / "store" / "evidence").rename(yard.folder / "elsewhere")
    assert gate(yard, "v1").exit_code == 1


def shown(output):
    """The comparisons that the text shows, with whether each is marked as one that decides."""
    return [
        (line[0] == "*", line[2:])
        for line in output.splitlines()[1:]
        if line[:2] in {"* ", "  "} and line[2:3] not in {"", " "}
    ]


def test_the_command_shows_every_comparison_computed_again(yard):
    result = gate(yard, "v2")

    assert result.exit_code == 0
    assert result.output.startswith("pass: recent: ")
    assert shown(result.output) == [
        (False, "served contract of v1: pass"),
        (True, "recent, against the champion v1: pass"),
        (False, "recent, against the baseline: pass"),
    ]
    lines = result.output.splitlines()
    (found,) = record_of(yard, "v2").held_out
    for against in (found.against_champion, found.against_baseline):
        for name, value in against.numbers.items():
            assert f"    {name} {value:.6g}" in lines


def test_a_version_that_beats_the_constant_and_not_its_champion_shows_which_decides(yard):
    yard.record("v4", champion="v1", skill=0.3)
    record = record_of(yard, "v4")
    (found,) = record.held_out
    assert (found.against_champion.outcome, found.against_baseline.outcome) == (
        Outcome.FAIL,
        Outcome.PASS,
    )

    text, document = gate(yard, "v4"), json.loads(gate(yard, "v4", "--output", "json").output)

    assert text.exit_code == 3
    assert shown(text.output)[1:] == [
        (True, "recent, against the champion v1: fail"),
        (False, "recent, against the baseline: pass"),
    ]
    schema = json.loads((schemas.schema_folder() / "output/gate.schema.json").read_bytes())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert document["outcome"] == "fail"
    assert [(each["decides"], each["name"]) for each in document["comparisons"]] == [
        (line[0], line[1].rpartition(":")[0]) for line in shown(text.output)
    ]
    assert document["comparisons"][2]["numbers"] == found.against_baseline.numbers


def test_a_guard_of_a_record_that_its_evidence_does_not_give_is_named(yard):
    record = record_of(yard, "v2")
    (result,) = record.held_out
    guarded = replace(result, guards=(GuardResult(metric="brier", verdict=result.verdict),))

    verdict, each = recompute_verdicts(yard.workspace().store, catalog_of(yard), record)

    assert find_differences(replace(record, held_out=(guarded,)), verdict, each) == (
        "held-out set recent, guard brier: the record has pass, the evidence gives none",
    )


def test_any_two_versions_are_shown_with_every_comparison_too(yard):
    assert shown(gate(yard, "v2", "--against", "v3").output) == [
        (False, "served contract of v3: pass"),
        (True, "recent, against the champion v3: pass"),
        (False, "recent, against the baseline: pass"),
    ]


def test_the_verdict_explains_itself_by_a_sentence_a_table_and_a_picture(yard, tmp_path):
    found = gate(yard, "v2", "--explain", "--picture", tmp_path / "gate.svg").output
    assert found.startswith("pass: recent: ")
    line = next(x for x in found.splitlines() if x.startswith("recent, against the champion v1 "))
    assert line.endswith("pass *")
    assert "left of it fails" in found.splitlines()[-1]
    assert (tmp_path / "gate.svg").read_text().startswith("<svg")


def test_a_first_version_is_compared_with_the_baseline_alone(yard):
    assert shown(gate(yard, "v1").output) == [(True, "recent, against the baseline: pass")]


def old_record(yard, version):
    """A record that version 0.1 wrote, with its evidence in this yard's store."""
    file = OLD / f"{version}.yaml"
    assert [*schemas.spec_errors("Record", load_yaml(file.read_bytes(), name="old").document)] == []
    record = read_spec(Record, file.read_bytes(), name=file.name)
    store = yard.workspace().store
    (result,) = record.held_out
    # Another release of the table's library writes other bytes for the same scores.
    kept = replace(
        result,
        scores=store.put_evidence(evidence(version, 0.02 if version == "v3" else 1.5, 40)),
        champion_scores=(
            store.put_evidence(evidence("v1", clusters=40)) if result.champion_scores else None
        ),
    )
    return replace(record, held_out=(kept,))


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_a_record_of_version_0_1_equals_what_its_own_rules_give_again(yard, version):
    record = old_record(yard, version)

    verdict, each = recompute_verdicts(yard.workspace().store, catalog_of(yard), record)

    assert find_differences(record, verdict, each) == ()
    assert verdict == record.verdict


def test_gate_check_passes_for_a_stored_record_of_version_0_1(yard):
    record = old_record(yard, "v3")
    yard.commit({record_file("v3"): dump_spec("Record", record)}, "Record of version 0.1")

    found = gate(yard, "v3", "--check")

    assert (found.exit_code, found.output.split(":")[0]) == (0, "inconclusive")


def test_the_present_rules_fail_what_version_0_1_called_inconclusive(yard):
    record = old_record(yard, "v3")
    yard.record("v9", champion="v1", skill=0.02)

    assert record.verdict.outcome is Outcome.INCONCLUSIVE
    assert record_of(yard, "v9").verdict.outcome is Outcome.FAIL


def test_a_figure_of_the_champion_that_its_scores_do_not_give_is_named(yard):
    record = record_of(yard, "v2")
    overall, each = recompute_verdicts(yard.workspace().store, catalog_of(yard), record)
    (result,) = record.held_out
    numbers = {**result.against_champion.numbers, "champion": 0.1}
    against = replace(result.against_champion, numbers=numbers)
    tampered = replace(record, held_out=(replace(result, against_champion=against),))

    assert find_differences(tampered, overall, each) == (
        "held-out set recent against the champion: champion is 0.1 in the record, "
        f"{each[0].champion.numbers['champion']} from the evidence",
    )


def test_a_comparison_left_out_of_a_record_is_named(yard):
    record = record_of(yard, "v2")
    overall, each = recompute_verdicts(yard.workspace().store, catalog_of(yard), record)
    (result,) = record.held_out
    tampered = replace(record, held_out=(replace(result, against_champion=None),))

    assert find_differences(tampered, overall, each) == (
        "held-out set recent against the champion: the record has none, the evidence gives pass",
    )
