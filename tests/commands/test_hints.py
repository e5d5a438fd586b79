"""Each hint leads to what helps: to the next command, the place of a log, the branch one is on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelyard.adapters.cluster.local_state import read_state
from modelyard.adapters.specs.documents import read_spec
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.data_files import read_uri
from modelyard.adapters.workflows.local import LocalWorkflows
from modelyard.adapters.workflows.local_runner import Track, Walk
from modelyard.adapters.workflows.plan import Plan, Step
from modelyard.cli import cli
from modelyard.commands.version import _print_next
from modelyard.domain.promotion.dora import dora_measures
from modelyard.domain.promotion.timeline import Event, Kind
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import record_file
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.repository import Repository
from modelyard.errors import EXIT_CODES, CannotAnswer
from modelyard.operations.drift.feed import read_feed
from modelyard.operations.reconcile import loop
from modelyard.operations.reconcile.pages import evidence_page
from modelyard.operations.training.job import Job
from modelyard.operations.training.pins import DataRoot
from modelyard.ports import Phase, WorkflowStatus
from operations.yard import MODEL, MODEL_SPEC, living_yard

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    return living_yard(tmp_path_factory.mktemp("living") / "yard")


@pytest.fixture
def yard(living, tmp_path):
    return living.copy(tmp_path / "yard")


def run(yard, *args: str):
    return CliRunner().invoke(cli, list(args), obj=yard.workspace().services)


# Pull requests


def test_a_merge_before_the_checks_ran_is_told_who_runs_them(yard):
    number = yard.branch("someone", {"docs/x.md": b"x"}).number

    said = run(yard, "pr", "merge", str(number), "--as", "Ada", "--wait", "0").stderr

    assert "has not reported" in said
    assert "modelyard watch --once" in said.splitlines()[-1]


# The store


def test_a_clone_without_a_store_is_told_that_it_has_none(tmp_path: Path):
    with pytest.raises(CannotAnswer, match="this checkout has no artifact store") as found:
        Store("store", tmp_path).read_evidence(f"sha256:{'a' * 64}")

    assert "the checkout that trained" in (found.value.hint or "")


def test_a_store_that_lacks_one_thing_is_told_so(tmp_path: Path):
    store = Store("store", tmp_path)
    store.put_evidence(b"x")

    with pytest.raises(CannotAnswer, match="the store does not have it"):
        store.read_evidence(f"sha256:{'a' * 64}")


def test_a_file_that_is_missing_is_named_once(tmp_path: Path):
    with pytest.raises(CannotAnswer) as found:
        read_uri("x.csv", base="data", root=tmp_path)

    assert found.value.message.count(str(tmp_path)) == 1
    assert found.value.message.endswith("No such file or directory")


# Training


def walked(folder: Path, log: str) -> str:
    (folder / "a.log").write_text(log)
    walk = Walk(
        Plan(steps=(), arguments={}), name="w", folder=folder, root=folder, report=lambda: None
    )
    return walk._last_words(Track(name="a", step=Step(name="a", command=("true",))))


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("error: no such row\nhint: run it again with --debug to see where\n", "no such row"),
        ("thinking\nerror: one\nmore\nerror: two\nhint: x\n\n", "two"),
        ("thinking\nKilled\n", "Killed"),
        ("", "it said nothing"),
    ],
)
def test_the_reason_of_a_failed_step_is_its_error_and_not_the_hint_below(tmp_path, log, reason):
    assert walked(tmp_path, log) == reason


def test_a_failed_workflow_is_reported_with_its_reason_and_its_log():
    said: list[str] = []
    steps = {"fetch": Phase.FAILED}
    loop._progress(said.append)(
        WorkflowStatus(
            name="w", phase=Phase.FAILED, message="fetch: no rows", steps=steps, log="a/fetch.log"
        )
    )

    assert said == ["  w fetch: Failed", "  w fetch: no rows (log: a/fetch.log)"]


def refused(yard, reason: str, **more) -> str:
    commit, workspace = yard.main(), yard.workspace()
    job = Job(workspace.services, workspace.store, MODEL, "v1", 1, commit, "w-refused")
    job.refuse(reason, **more)
    return job.read_document("outcome.json")["verdict"]["reason"]


def test_a_refusal_in_a_record_keeps_its_hint_and_no_temporary_path(yard):
    folder = Path("/tmp/modelyard-train-x1")

    assert refused(
        yard, f"{folder}/artifact/MLmodel: no signature", hint="log it", folder=folder
    ) == ("artifact/MLmodel: no signature (log it)")
    assert refused(yard, f"nothing in {folder}", folder=folder) == "nothing in ."
    assert refused(yard, "no rows") == "no rows"


def test_a_record_without_an_artifact_does_not_say_that_something_was_trained(yard):
    record = read_spec(Record, yard.git.read_file(yard.main(), record_file(MODEL, "v1")), name="x")

    assert "was trained by" in evidence_page(record)
    page = evidence_page(replace(record, artifact=None, server=None))
    assert "was trained by" not in page
    assert f"ended without a trained model of {MODEL} v1." in page


# Drift reads the main branch


@pytest.mark.parametrize(
    ("timestamp", "feed", "hint"),
    [
        (None, None, "data.timestamp"),
        (None, "data/*.parquet", "data.timestamp"),
        ("t", None, "the main branch is read, not this checkout; or give --feed URI"),
    ],
)
def test_drift_says_which_model_yaml_it_reads(tmp_path, timestamp, feed, hint):
    data = replace(MODEL_SPEC.data, timestamp=timestamp, feed=None)
    model: Model = replace(MODEL_SPEC, data=data)

    with pytest.raises(CannotAnswer, match="of the main branch has no data") as found:
        read_feed(model, feed, DataRoot(base="data", root=tmp_path))
    assert hint in (found.value.hint or "")


# Versions


@pytest.mark.parametrize("branch", ["my-work", "fix/a-b"])
def test_next_is_about_the_branch_one_is_on(yard, capsys, branch):
    git, root = yard.git, yard.git.root
    (root / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    git.run("symbolic-ref", "HEAD", f"refs/heads/{branch}")

    _print_next(root, "models/m/versions/v7.yaml")

    said = capsys.readouterr().err.splitlines()
    assert not [line for line in said if "git switch" in line]
    assert said[-2:] == [
        f"  git push -u origin {branch}",
        f'  modelyard pr open {branch} --title "Add m v7"',
    ]


# History


def events(merged: datetime, arrived: datetime) -> tuple[Event, ...]:
    return (
        Event(at=merged, kind=Kind.SPEC, version="v1", what="x"),
        Event(at=arrived, kind=Kind.VERIFIED, version="v1", environment="production", what="x"),
    )


CATALOG = Catalog(
    environments={"production": Environment(name="production", description="x", namespace="x")}
)


@pytest.mark.parametrize(
    ("merged", "began", "minutes"),
    [
        (-timedelta(days=5), timedelta(0), 10),  # came with the fork
        (timedelta(minutes=4), timedelta(0), 6),
        (timedelta(0), None, 10),
        (timedelta(0), timedelta(0), 10),
    ],
)
def test_a_lead_time_does_not_begin_before_the_repository_was_in_use(merged, began, minutes):
    start = None if began is None else AT + began
    story = events(AT + merged, AT + timedelta(minutes=10))

    [lead] = dora_measures(story, CATALOG, began=start).leads

    assert lead.seconds == minutes * 60


def test_history_of_a_shallow_clone_is_refused_with_the_command_that_mends_it(yard, tmp_path):
    git = yard.git
    git.run("clone", "-q", "--depth", "1", f"file://{yard.folder}/remote.git", str(tmp_path / "c"))
    shallow = replace(yard.workspace().services, root=tmp_path / "c")

    done = CliRunner().invoke(cli, ["history", MODEL], obj=shallow)

    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "hint: git fetch --unshallow origin"


# Input that no file can hold


@pytest.mark.parametrize(
    "option",
    [
        ("--param", 'a="\\ud800"'),
        ("--param", "a=1e999"),
        ("--param", "a=NaN"),
        ("--param", "a=[1, -1e999]"),
        ("--param", '{"a'),
    ],
    ids=str,
)
def test_a_parameter_that_no_file_can_hold_is_wrong_usage(yard, option):
    (yard.git.root / "modelyard.yaml").write_text("apiVersion: modelyard/v1\nkind: Repository\n")
    yard.git.run("checkout", "-q", "-f", "-B", "main", yard.main())

    done = run(yard, "version", "new", MODEL, "v7", "--parent", "v1", "--reason", "x", *option)

    assert done.exit_code == 2, done.output
    assert f"--param {option[1]}" in done.stderr.replace("\\\\", "\\")


@pytest.mark.parametrize("reason", ["\udcff", "\ud800x", "a\nb"])
def test_a_reason_is_one_line_that_git_can_hold(yard, reason):
    done = run(yard, "hold", MODEL, "v1", "--reason", reason, "--as", "Ada")

    assert done.exit_code == 0, done.output
    done.output.encode()


def test_list_names_the_files_it_could_not_read(yard):
    yard.git.run("checkout", "-q", "-f", "-B", "main", yard.main())
    broken = yard.git.root / f"models/{MODEL}/versions/v8.yaml"
    broken.write_text("a: [\n")

    assert (
        f"models/{MODEL}/versions/v8.yaml is not valid"
        in run(yard, "version", "list", MODEL).stderr
    )


@pytest.mark.long
def test_a_failing_check_names_the_line(yard):
    yard.branch(
        "someone", {f"models/{MODEL}/versions/v8.yaml": b"apiVersion: modelyard/v1\na: [\n"}
    )
    yard.rest()

    [pull] = [each for each in yard.pulls.list() if each.branch == "someone"]
    assert f"models/{MODEL}/versions/v8.yaml:" in pull.statuses["modelyard/checks"].description


def test_the_exit_codes_have_one_wording():
    readme = (Path(__file__).parents[2] / "README.md").read_text().replace("\n", " ")

    assert f"Exit codes: {EXIT_CODES}." in readme
    assert EXIT_CODES in " ".join(CliRunner().invoke(cli, ["--help"]).output.split())


# Files of this machine


def test_a_damaged_state_of_servers_names_the_file_and_the_way_out(tmp_path):
    path = tmp_path / "m.json"
    for content in (b"", b"{", b'{"model": "m"', b"null"):
        path.write_bytes(content)
        with pytest.raises(CannotAnswer) as found:
            read_state(path)
        assert (found.value.hint or "").startswith(f"rm {path}; then `modelyard watch")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"phase": "Running"}', "null"])
def test_a_damaged_state_of_a_workflow_is_a_lost_workflow(tmp_path, content):
    folder = tmp_path / ".modelyard/workflows/w-1"
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(content)

    status = LocalWorkflows(tmp_path, Repository()).status("w-1")

    assert status is not None
    assert (status.phase, status.message[:5]) == (Phase.ERROR, "lost:")


# What people wait for


@pytest.mark.long
def test_status_of_a_model_shows_the_pull_requests_of_people_that_concern_it(yard):
    yard.branch("mine", {f"models/{MODEL}/README.md": b"x"})
    yard.branch("rules", {"environments/README.md": b"x"})
    yard.branch("others", {"models/other/README.md": b"x", "docs/x.md": b"x"})

    document = json.loads(run(yard, "status", MODEL, "--output", "json").stdout)
    every = json.loads(run(yard, "status", "--output", "json").stdout)

    assert [pull["branch"] for pull in document["pulls"]] == ["mine", "rules"]
    assert [pull["branch"] for pull in every["pulls"]] == ["mine", "rules", "others"]


@pytest.mark.long
def test_a_dry_run_leaves_out_what_a_run_leaves_out_because_statuses_cannot_be_read(yard):
    yard.record("v2", champion="v1")
    yard.reconcile()
    [pull] = yard.pulls.list()
    git, ref = yard.git, f"refs/modelyard/statuses/{pull.head}"
    known = git.ls_remote("origin", [ref]).get(ref)
    assert known is not None
    tree = git.write_tree(None, {"status.json": b"{"})
    damaged = git.commit_tree(tree, parents=[], message="x", author="Eve", at=AT)
    git.push("origin", {ref: (known, damaged)})

    done = run(yard, "reconcile", MODEL, "--dry-run")

    assert yard.reconcile() == 0
    assert f"m: left out: set modelyard/promote of #{pull.number} to" in done.stderr
    assert ref in done.stderr
    assert "would set" not in done.stdout
