from __future__ import annotations

from dataclasses import replace
from datetime import date
from hashlib import sha256

import pytest

from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import dump_spec, read_spec
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.promotion.facts import Hold, TrainingFacts
from modelyard.domain.promotion.pulls import (
    CHECKS,
    PROMOTE,
    PullRequest,
    PullState,
    Status,
    StatusState,
)
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.record import HeldOutResult, Record
from modelyard.domain.specs.version import Code, ModelVersion, Runtime, TrainingData
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.drift.retraining import aged_text
from operations.drift_yard import (
    JUNE,
    NOW,
    Yard,
    drifting_yard,
    in_kelvin,
    pins,
    release_version,
    rewritten,
    rows,
)
from operations.real_flights import contract, flights, real_yard
from runtimes import OWN

__all__ = ["contract", "flights"]

BRANCH = "modelyard/retrain/delays"
V3 = "models/delays/versions/v3.yaml"


@pytest.fixture
def yard(tmp_path) -> Yard:
    return drifting_yard(tmp_path)


def retrain(yard: Yard, *words: object, code: int = 0) -> str:
    """What `retrain` says on stdout."""
    done = yard.run("retrain", "delays", *words)
    assert done.exit_code == code, done.stderr
    return done.stdout


def pulls(yard: Yard) -> tuple[PullRequest, ...]:
    return yard.services.desk.list(every=True)


def proposed(yard: Yard) -> Catalog:
    """The specs as the open pull request would leave them, all of them valid."""
    [pull] = yard.services.desk.list()
    specs = read_specs(GitTree(yard.git, pull.head))
    assert specs.all_problems() == ()
    return specs.catalog


def merged(yard: Yard) -> None:
    """Merge the open pull request, and follow."""
    [pull] = yard.services.desk.list()
    for context in (CHECKS, PROMOTE):
        status = Status(context=context, state=StatusState.SUCCESS, description="fine")
        yard.services.pulls.set_status(pull, status)
    yard.services.desk.merge(pull.number, sha=pull.head, by="ada")
    yard.git.run("pull", "-q", "--ff-only", "origin", "main")


def remote(yard: Yard) -> dict[str, str]:
    """Every ref of the remote."""
    return yard.git.ls_remote("origin", ["*"])


def june(yard: Yard) -> HeldOut:
    return HeldOut(
        model="delays",
        name="recent-2026-06-11",
        files=pins(yard.root, [JUNE]),
        cluster="date",
        role=Role.RECENT,
        max_looks=20,
        window=Interval(since=date(2026, 6, 11), until=date(2026, 7, 1)),
    )


@pytest.mark.long
def test_confirmed_drift_proposes_a_version_on_all_history_and_a_new_held_out_set(yard):
    said = retrain(yard)
    assert said == "#1 opened: Retrain delays as v3: temp (range), temp (shape) drifted\n"
    [pull] = pulls(yard)
    assert (pull.branch, str(pull.author), pull.state) == (BRANCH, "modelyard[bot]", PullState.OPEN)
    assert yard.services.desk.files(1) == (
        "models/delays/heldout/april.yaml",
        "models/delays/heldout/recent-2026-06-11.yaml",
        V3,
    )
    catalog = proposed(yard)
    months = [f"data/delays/2026-0{month}.parquet" for month in (1, 2, 3, 5, 6)]
    spec = catalog.versions["delays", "v3"]
    assert spec == ModelVersion(
        model="delays",
        version="v3",
        reason="Drift of temp (range), temp (shape) from what v2 was trained on, confirmed by 3 "
        "of 4 windows before 2026-07-01",
        parent="v2",
        data=TrainingData(
            files=pins(yard.root, months),
            window=Interval(since=date(2026, 1, 1), until=date(2026, 6, 11)),
            excludes=(Interval(since=date(2026, 4, 1), until=date(2026, 5, 1)),),
        ),
        held_out=("recent-2026-06-11", "april"),
        better_on=("recent-2026-06-11",),
        code=Code(tree=yard.git.rev_parse("main:models/delays/trainer")),
        runtime=Runtime(lock=OWN),
        parameters={"depth": 3},
        seed=7,
        evidence=spec.evidence,
    )
    assert catalog.held_out["delays", "recent-2026-06-11"] == june(yard)
    april = catalog.held_out["delays", "april"]
    assert (april.role, april.window) == (Role.OLD, spec.data.excludes[0])


@pytest.mark.long
def test_the_evidence_it_names_is_kept_and_is_the_one_drift_gives(yard):
    retrain(yard)
    spec = proposed(yard).versions["delays", "v3"]
    _, answer = yard.answer("drift", "delays")
    assert spec.evidence == answer["evidence"]
    assert yard.workspace.store.read_evidence(spec.evidence)


@pytest.mark.long
def test_a_persons_comments_in_a_held_out_file_survive(yard):
    retrain(yard)
    [pull] = pulls(yard)
    text = yard.git.read_file(pull.head, "models/delays/heldout/april.yaml")
    before = yard.git.read_file("main", "models/delays/heldout/april.yaml")
    assert text.startswith(b"# Spring.\n")
    assert text == before.replace(b"role: recent", b"role: old")


def test_a_held_out_file_that_cannot_be_edited_in_place_is_written_anew(yard):
    before = june(yard)
    aged = replace(before, role=Role.OLD)
    plain = dump_spec("HeldOut", before)
    quoted = plain.replace(b"role: recent", b'"role": "recent"')
    commented = plain.replace(b"role: recent", b"role: recent  # still")
    assert aged_text(quoted, aged) == dump_spec("HeldOut", aged)
    assert aged_text(commented, aged) == commented.replace(b"recent  #", b"old  #")
    assert read_spec(HeldOut, aged_text(commented, aged), name="x") == aged


@pytest.mark.long
def test_the_page_shows_the_drift_and_what_would_be_trained(yard):
    retrain(yard)
    [pull] = pulls(yard)
    lines = pull.body.splitlines()
    spec = proposed(yard).versions["delays", "v3"]
    assert lines[:3] == [
        "Drift from what **v2** was trained on is confirmed by 3 of 4 windows of 7 days: "
        "temp (range), temp (shape).",
        "",
        f"Evidence `{spec.evidence}`.",
    ]
    assert sum(line.startswith("| 2026-06-") for line in lines) == 8
    for line in (
        "- trained on 2026-01-01 until 2026-04-01 and 2026-05-01 until 2026-06-11; v2 on "
        "2026-01-01 until 2026-04-01",
        "- 2 files in addition to those of v2: `data/delays/2026-05.parquet`, "
        "`data/delays/2026-06.parquet`",
        "- judged on `recent-2026-06-11`, `april`",
        "- new held-out set `recent-2026-06-11`: 2026-06-11 until 2026-07-01",
        "- held-out set `april` now stands for an earlier regime: its role becomes old; if that "
        "regime is over for good, retire the set",
        "- 41 days of the new regime train",
        "- parameters and seed (7) of v2",
        f"- trainer `{spec.code.tree[:12]}`, not the one of v2",
        f"- locked requirements `{spec.runtime.lock[:12]}`, not those of v2",
    ):
        assert line in lines


@pytest.mark.long
def test_text_from_the_data_cannot_write_on_the_page(yard):
    for month in ("05", "06"):
        rewritten(yard, f"data/delays/2026-{month}.parquet", airline=lambda _: "<b>|@ada`\n# x")
    retrain(yard)
    [pull] = pulls(yard)
    assert "(new)" in pull.title
    for text in ("<b>", "|@ada", "@ada", "\n# x"):
        assert text not in pull.body


@pytest.mark.long
def test_running_again_with_the_same_data_changes_nothing(yard):
    retrain(yard)
    before = remote(yard)
    assert retrain(yard) == (
        "#1 is up to date: Retrain delays as v3: temp (range), temp (shape) drifted\n"
    )
    assert remote(yard) == before


@pytest.mark.long
def test_newer_evidence_updates_the_pull_request_in_place(yard):
    retrain(yard, "--until", "2026-06-30")
    [first] = pulls(yard)
    assert retrain(yard).startswith("#1 updated: ")
    [second] = pulls(yard)
    assert (second.number, second.head == first.head) == (1, False)
    catalog = proposed(yard)
    assert {name for _, name in catalog.held_out} == {"april", "recent-2026-06-11"}


@pytest.mark.long
def test_the_pull_request_is_closed_when_drift_is_not_confirmed_any_more(yard):
    retrain(yard)
    reason = (
        "delays: drift from what v2 was trained on is not confirmed by 3 of 4 windows before "
        "2026-04-29"
    )
    assert retrain(yard, "--until", "2026-04-29") == (
        "#1 closed: Retrain delays as v3: temp (range), temp (shape) drifted\n"
        f"nothing is proposed: {reason}\n"
    )
    [pull] = pulls(yard)
    assert (pull.state, str(pull.closed_by)) == (PullState.CLOSED, "modelyard[bot]")
    assert [comment.body for comment in pull.comments] == [reason]
    assert retrain(yard).startswith("#2 opened: ")


@pytest.mark.long
@pytest.mark.parametrize("until", ["2026-07-01", "2026-06-30"])
def test_what_a_person_closed_is_not_proposed_again_for_the_same_drift(yard, until):
    retrain(yard)
    yard.services.desk.close(1, by="ada", reason="not in summer")
    assert retrain(yard, "--until", until) == (
        "nothing is proposed: ada closed pull request 1 for the same drift\n"
    )
    assert len(pulls(yard)) == 1


@pytest.mark.long
def test_what_a_person_closed_is_proposed_again_when_another_column_drifts(yard):
    retrain(yard)
    yard.services.desk.close(1, by="ada", reason="not in summer")
    rewritten(yard, JUNE, airline=lambda _: "DD")
    assert retrain(yard).startswith("#2 opened: ")


@pytest.mark.long
def test_no_drift_proposes_nothing(yard):
    said = retrain(yard, "--until", "2026-04-29")
    assert said.startswith("nothing is proposed: delays: drift from what v2 was trained on is not")
    assert pulls(yard) == ()


@pytest.mark.long
def test_a_broken_contract_blocks_and_leaves_the_open_pull_request_alone(yard):
    retrain(yard)
    before = pulls(yard)
    rewritten(yard, JUNE, temp=in_kelvin)
    done = yard.run("retrain", "delays")
    assert done.exit_code == 3
    assert done.stderr.startswith(
        "error: delays is not retrained: contract of data/delays/*.parquet broken: column temp "
        "(range): expected -40 to 60 degC, found values from 29"
    )
    assert pulls(yard) == before
    assert len(yard.workspace.facts.read_model("delays").incidents) == 1


@pytest.mark.long
def test_an_open_incident_blocks_an_earlier_look_until_the_data_is_mended(yard):
    sound = (yard.root / JUNE).read_bytes()
    rewritten(yard, JUNE, temp=in_kelvin)
    yard.run("drift", "delays")
    retrain(yard, "--until", "2026-06-01", code=3)
    assert pulls(yard) == ()
    (yard.root / JUNE).write_bytes(sound)
    assert retrain(yard).startswith("#1 opened: ")


def record_of(yard: Yard, version: str, outcome: Outcome) -> None:
    """Publish a record that says no more than its verdict."""
    text = (yard.root / f"models/delays/versions/{version}.yaml").read_bytes()
    record = Record(
        model="delays",
        version=version,
        spec=sha256(text).hexdigest(),
        workflow=f"delays-{version}",
        attempt=1,
        seed=7,
        lock="0" * 64,
        threads=1,
        verdict=Verdict(outcome=outcome, reason="so"),
    )
    yard.write(f"models/delays/records/{version}.yaml", dump_spec("Record", record))
    yard.publish(f"Record {version}")


@pytest.mark.long
def test_nothing_is_proposed_while_a_version_for_drift_is_trained_or_on_its_way(yard):
    retrain(yard, "--until", "2026-06-30")
    merged(yard)
    said = retrain(yard)
    assert said == "nothing is proposed: v3 was made for drift and has no verdict yet\n"
    record_of(yard, "v3", Outcome.PASS)
    said = retrain(yard)
    assert said == (
        "nothing is proposed: v3 was made for drift, passed, and is on its way to production\n"
    )
    hold = Hold(reason="worse in traffic", by="ada", since=NOW)
    yard.workspace.facts.update_model("delays", lambda facts: replace(facts, holds={"v3": hold}))
    assert retrain(yard) == (
        "nothing is proposed: v3 was made for the same drift and is on hold: it had 40 new days, "
        "and 80 are worth another version\n"
    )


@pytest.mark.long
def test_a_refused_version_is_not_proposed_again_for_the_same_drift(yard):
    retrain(yard, "--until", "2026-06-30")
    merged(yard)
    record_of(yard, "v3", Outcome.FAIL)
    same = "nothing is proposed: v3 was made for the same drift and failed\n"
    assert retrain(yard, "--until", "2026-06-30") == same
    assert retrain(yard) == same


@pytest.mark.long
def test_once_production_runs_the_new_version_its_own_profile_counts(yard):
    retrain(yard, "--until", "2026-06-30")
    spec = proposed(yard).versions["delays", "v3"]
    merged(yard)
    release_version(yard, spec)
    assert retrain(yard) == (
        "nothing is proposed: delays: drift from what v3 was trained on is not confirmed by "
        "3 of 4 windows before 2026-07-01\n"
    )


@pytest.mark.long
def test_waits_until_the_new_regime_has_enough_days_and_says_when(yard):
    said = (
        "nothing is proposed: of the new regime, since 2026-04-27, 11 days could train beside 20 "
        "held-out ones, of which the gate needs 20 clusters, but 40 must: 29 are missing, which "
        "will be there on 2026-06-30\n"
    )
    assert retrain(yard, "--until", "2026-06-01") == said
    assert pulls(yard) == ()
    assert retrain(yard, "--until", "2026-06-29").startswith("nothing is proposed: of the new ")
    assert retrain(yard, "--until", "2026-06-30").startswith("#1 opened: ")


@pytest.mark.long
def test_waits_when_production_has_trained_on_the_days_to_be_held_out(yard):
    text = (yard.root / "models/delays/versions/v2.yaml").read_bytes()
    v2 = read_spec(ModelVersion, text, name="v2")
    window = Interval(since=date(2026, 1, 1), until=date(2026, 6, 20))
    v3 = replace(v2, version="v3", parent="v2", data=replace(v2.data, window=window))
    release_version(yard, v3)
    assert "which will be there on 2026-08-19" in retrain(yard)


@pytest.mark.long
@pytest.mark.parametrize("retired", [False, True])
def test_rows_of_retired_sets_train_again(yard, retired):
    path = "models/delays/heldout/april.yaml"
    april = read_spec(HeldOut, (yard.root / path).read_bytes(), name="april")
    yard.write(path, dump_spec("HeldOut", replace(april, retired=retired)))
    yard.publish()
    retrain(yard)
    spec = proposed(yard).versions["delays", "v3"]
    names = [file.uri[-10:-8] for file in spec.data.files]
    assert ("04" in names, spec.data.excludes == ()) == (retired, retired)
    assert spec.held_out == ("recent-2026-06-11", *([] if retired else ["april"]))


@pytest.mark.long
def test_a_set_without_looks_left_is_retired_and_its_rows_train_again(yard):
    path = "models/delays/heldout/april.yaml"
    text = (yard.root / path).read_bytes()
    yard.write(path, text.replace(b"max_looks: 20", b"max_looks: 1"))
    record = yard.workspace.catalog("main").records["delays", "v2"]
    result = HeldOutResult(
        name="april",
        digest="sha256:" + "d" * 64,
        rows=1,
        unlabelled=0,
        clusters=1,
        look=1,
        metrics={},
        scores="sha256:" + "c" * 64,
        verdict=record.verdict,
    )
    judged = dump_spec("Record", replace(record, held_out=(result,)))
    yard.write("models/delays/records/v2.yaml", judged)
    yard.publish()
    retrain(yard)
    catalog = proposed(yard)
    assert catalog.held_out["delays", "april"].retired
    spec = catalog.versions["delays", "v3"]
    assert (spec.held_out, spec.data.excludes) == (("recent-2026-06-11",), ())
    [pull] = pulls(yard)
    assert yard.git.read_file(pull.head, path).startswith(b"# Spring.\n")
    assert "- held-out set `april` has no looks left: it is retired, and its rows may train" in (
        pull.body.splitlines()
    )


@pytest.mark.long
def test_refuses_a_feed_file_that_changed_since_it_was_pinned(yard):
    other = replace(june(yard), name="other", window=Interval(since=date(2026, 6, 1),
                                                              until=date(2026, 6, 2)))  # fmt: skip
    yard.write("models/delays/heldout/other.yaml", dump_spec("HeldOut", other))
    yard.publish()
    frame = rows(date(2026, 6, 1), date(2026, 7, 1))
    frame.assign(delay=0.0).to_parquet(yard.root / JUNE, index=False)
    done = yard.run("retrain", "delays")
    assert done.exit_code == 3
    assert "but delays's held-out set other pins it as" in done.stderr


@pytest.mark.long
def test_a_dry_run_prints_the_change_and_changes_nothing(yard):
    before = remote(yard)
    said = retrain(yard, "--dry-run").splitlines()
    assert said[0] == f"branch {BRANCH}"
    assert said[1] == "title  Retrain delays as v3: temp (range), temp (shape) drifted"
    assert [line.split()[-1] for line in said[-3:]] == [
        "models/delays/heldout/april.yaml",
        "models/delays/heldout/recent-2026-06-11.yaml",
        V3,
    ]
    assert remote(yard) == before
    profile = yard.workspace.catalog("main").records["delays", "v2"].profile
    kept = [file.name for file in (yard.root / ".modelyard/artifacts/evidence").iterdir()]
    assert [f"sha256:{name}" for name in kept] == [profile]
    rewritten(yard, JUNE, temp=in_kelvin)
    retrain(yard, "--dry-run", code=3)
    assert remote(yard) == before


@pytest.mark.long
def test_a_dry_run_says_what_it_would_close(yard):
    retrain(yard)
    before = remote(yard)
    said = retrain(yard, "--until", "2026-04-29", "--dry-run")
    assert said.startswith("#1 would be closed: ")
    assert remote(yard) == before


def failed(yard: Yard, version: str = "v3") -> None:
    """Merge a version whose training failed for good after three attempts."""
    text = (yard.root / "models/delays/versions/v2.yaml").read_bytes()
    spec = replace(read_spec(ModelVersion, text, name="v2"), version=version, parent="v2")
    yard.write(f"models/delays/versions/{version}.yaml", dump_spec("ModelVersion", spec))
    yard.publish()
    facts = {version: TrainingFacts(attempt=3, failed="no space left")}
    yard.workspace.facts.update_model("delays", lambda before: replace(before, training=facts))


@pytest.mark.long
def test_a_failed_training_is_tried_again_when_a_person_says_so(yard):
    failed(yard)
    done = yard.run("retrain", "delays", "v3")
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        "delays v3: attempt 4 is next\n",
        "modelyard reconcile delays starts it\n",
    )
    facts = yard.workspace.facts.read_model("delays")
    assert facts.training == {"v3": TrainingFacts(attempt=4)}
    again = yard.run("retrain", "delays", "v3")
    assert again.exit_code == 3
    assert again.stderr.startswith(
        "error: training of delays v3 has not failed; it is at attempt 4\n"
    )
    assert yard.workspace.facts.read_model("delays") == facts


@pytest.mark.long
def test_a_dry_run_forgets_no_failure(yard):
    failed(yard)
    before = remote(yard)
    assert yard.run("retrain", "delays", "v3", "--dry-run").stdout == (
        "delays v3: attempt 4 is next\n"
    )
    assert remote(yard) == before


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("v2",), 3, "delays v2 has a record already, and records never change"),
        (("v9",), 1, "the main branch has no valid models/delays/versions/v9.yaml"),
        (
            ("v2", "--until", "2026-06-01"),
            2,
            "--until and --feed are for a new version: leave VERSION out",
        ),
    ],
)
def test_only_a_version_without_a_record_can_be_tried_again(yard, words, code, message):
    done = yard.run("retrain", "delays", *words)
    assert (done.exit_code, message in done.stderr) == (code, True)


@pytest.mark.long
@pytest.mark.slow
def test_the_real_summer_asks_for_v5_on_all_history_but_april(tmp_path, flights, contract):
    yard = real_yard(tmp_path, flights, contract)
    text = (yard.root / "models/flight-delay/versions/v2.yaml").read_bytes()
    for name in ("v3", "v4"):
        other = replace(read_spec(ModelVersion, text, name="v2"), version=name, parent="v2")
        yard.write(f"models/flight-delay/versions/{name}.yaml", dump_spec("ModelVersion", other))
    yard.publish()
    done = yard.run("retrain", "flight-delay", "--until", "2013-07-01")
    assert done.stdout == (
        "#1 opened: Retrain flight-delay as v5: temp (range), temp (shape) drifted\n"
    )
    catalog = proposed(yard)
    spec = catalog.versions["flight-delay", "v5"]
    assert spec.data.spans == (
        Interval(since=date(2013, 1, 1), until=date(2013, 4, 1)),
        Interval(since=date(2013, 5, 1), until=date(2013, 6, 11)),
    )
    assert [file.uri[-10:-8] for file in spec.data.files] == ["01", "02", "03", "05", "06"]
    assert spec.held_out == ("recent-2013-06-11", "april")
    assert catalog.held_out["flight-delay", "recent-2013-06-11"].window == Interval(
        since=date(2013, 6, 11), until=date(2013, 7, 1)
    )
