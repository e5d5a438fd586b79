from __future__ import annotations

import os
import re
import shlex
import socket
import sqlite3
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fakes.airflow.fake import FakeAirflow, serving
from git_commits import spoil_state, write_commit
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.specs.documents import dump_spec
from modelyard.cli import cli
from modelyard.domain.promotion.facts import TrainingFacts
from modelyard.domain.specs.repository import WorkflowsKind
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.doctor.checks import CHECKS, HOSTED_ONLY, LEAST_GIT
from modelyard.operations.doctor.machine_checks import (
    the_signing_key_is_out_of_reach,
    trainers_are_closed_in,
)
from modelyard.operations.doctor.password_checks import (
    nobody_else_may_read_saved_passwords,
    the_configuration_of_git_has_no_password,
)
from modelyard.operations.doctor.runner import Checkout, Finding, State, run_doctor
from operations.yard import MODEL, manifests, release_file, spec_file
from operations.yard_with_history import (
    answer,
    faked_registry,
    in_production,
    release_in,
    run,
    trained,
)

WORKFLOW = "environments/platform/manifests/workflows/train-and-evaluate.yaml"

ROOM = "the disks have room"

EDIT = "git config --file .git/config --edit; "
COUNT = len(CHECKS) - len(HOSTED_ONLY) - 2  # no Airflow, no preloaded process


@pytest.fixture
def yard(tmp_path, tmp_path_factory, monkeypatch):
    """A checkout in which nothing is wrong."""
    yard = in_production(tmp_path / "yard")
    root = yard.folder / "clone"
    (root / WORKFLOW).parent.mkdir(parents=True)
    (root / WORKFLOW).write_bytes(b"kind: WorkflowTemplate\n")
    (root / "modelyard.yaml").write_bytes(
        dump_spec("Repository", yard.workspace().services.repository)
    )
    monkeypatch.setattr("modelyard.operations.workspace.Registry", faked_registry(yard))
    every = dict.fromkeys(("dev", "staging", "canary", "production"), "v1")
    yard.ledger("registry").put(MODEL, every)
    monkeypatch.setenv("COLUMNS", "200")
    return yard


def wrong(yard):
    """What each check found wrong, and what mends it."""
    told = answer(yard, "doctor", code=3)
    assert told["well"] is False
    return {
        each["check"]: (each["found"], each["mend"])
        for each in told["checks"]
        if each["state"] == "wrong"
    }


def settings(yard, **fields):
    """The yard's services under other settings, which is what the check reads."""
    services = yard.workspace().services
    repository = replace(services.repository, **fields)
    return replace(services, repository=repository)


def asked(yard, services, check):
    """One check's answer under these services."""
    done = CliRunner().invoke(cli, ["doctor", "--output", "json"], obj=services)
    import json

    told = json.loads(done.stdout)
    return next((each for each in told["checks"] if each["check"] == check), None)


@pytest.mark.long
def test_a_yard_in_which_nothing_is_wrong_is_well(yard):
    told = answer(yard, "doctor")

    assert told["well"] is True
    means = next(each for each in told["checks"] if each["check"] == "trainers are closed in")
    assert re.match(r"isolation: (landlock|namespaces), by ", means["found"][0])
    assert [
        (each["state"], each["found"] if each is not means else [], each["mend"])
        for each in told["checks"]
    ] == [("well", [], None)] * COUNT


@pytest.mark.parametrize(
    ("key", "value", "mend"),
    [
        (
            "remote.origin.url",
            "https://ann:s3cret@h/o/n.git",
            "git remote set-url origin https://h/o/n.git; ",
        ),
        (
            "remote.up.pushurl",
            "https://ghp_s3cret@h:8443/n",
            "git remote set-url --push up https://h:8443/n; ",
        ),
        ("url.https://x:s3cret@h/.insteadof", "gh:", EDIT),
        ("http.proxy", "http://ann:s3cret@proxy:3128", EDIT),
        ("remote.up.url", "https://gh%70_s3cret@h/n", "git remote set-url up https://h/n; "),
        ("remote.a b.url", "https://a:s3cret@h/n", "git remote set-url 'a b' https://h/n; "),
        ("remote.up.url", "https://ann:s3cret[@h/n", "git remote set-url up https://h/n; "),
        ("remote.up.url", "https://ann:s3/cret@h/n", "git remote set-url up https://h/n; "),
        ("remote.up.url", "https://ann:s3/s3cret@s3cret@h/n", "git remote set-url up https://h/n"),
        ("remote.up.url", "https://h/n?access_token=s3cret", "git remote set-url up https://h/n; "),
        (
            "remote.up.url",
            "https://h/n?a=1&Private_Token=s3cret&b=2",
            "git remote set-url up 'https://h/n?a=1&b=2'; ",
        ),
        ("remote.up.url", "ssh://git:s3cret@h/n", "git remote set-url up ssh://git@h/n; "),
        ("remote.up.url", "ssh://git@h/n?token=s3cret", "git remote set-url up ssh://git@h/n; "),
        ("url.https://h/n?token=s3cret&p=.insteadof", "gh:", EDIT),
        ("url.https://x:a/s3cret@h/.pushinsteadof", "gh:", EDIT),
        ("submodule.data.url", "https://ann:s3cret@h/n", EDIT),
        ("remote.up.url", "ext::sh -c 'curl https://ann:s3cret@h/n'", EDIT),
    ],
)
def test_a_password_in_an_address_of_git_s_configuration_is_found_and_never_shown(
    tmp_path, key, value, mend
):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    checkout = Checkout(tmp_path, lambda: pytest.fail("needs no settings"))
    for name, url in (("ssh", "ssh://git@h/n"), ("ann", "https://ann@h/n"), ("here", "/a@b:c")):
        checkout.git.run("remote", "add", name, url)
    checkout.git.run("remote", "add", "paged", "https://h/n?page=2&tokens=3#token")
    assert list(the_configuration_of_git_has_no_password(checkout)) == []

    checkout.git.run("config", key, value)
    (found,) = the_configuration_of_git_has_no_password(checkout)

    assert "s3" not in f"{found}"
    assert found.fix is not None
    assert found.fix.startswith(mend)


@pytest.mark.parametrize("scope", ["--local", "--worktree", "--global"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http.extraheader", "Authorization: Basic s3cret"),
        ("http.https://h/.extraheader", "AUTHORIZATION:bearer s3cret"),
        ("http.https://h/.extraheader", "PRIVATE-TOKEN: s3cret"),
        ("http.extraheader", "Cookie: s3cret"),
    ],
)
def test_a_header_that_signs_in_is_found_in_each_file_and_never_shown(
    tmp_path, monkeypatch, scope, key, value
):
    checkout = empty_checkout(tmp_path, monkeypatch)
    checkout.git.run("config", "extensions.worktreeConfig", "true")
    checkout.git.run("config", "http.https://other/.extraHeader", "X-Trace: 1")
    assert list(the_configuration_of_git_has_no_password(checkout)) == []

    checkout.git.run("config", scope, "--add", key, value)
    (found,) = the_configuration_of_git_has_no_password(checkout)

    assert "s3cret" not in f"{found}"
    command, _, _ = (found.fix or "").partition(", and")
    subprocess.run(shlex.split(command), cwd=checkout.root, check=True)
    assert list(the_configuration_of_git_has_no_password(checkout)) == []


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("!f() { echo username=ann; echo password=s3cret; }; f", 1),
        ("!printf 'username=ann\\npassword=s3cret\\n'", 1),
        ('!f() { echo username=x; echo "password=$TOKEN"; }; f', 0),
        ("!f() { printf 'password=%s' \"$TOKEN\"; }; f", 0),
        ("osxkeychain", 0),
    ],
)
def test_a_helper_that_is_a_command_with_a_password_is_found(tmp_path, monkeypatch, value, found):
    checkout = empty_checkout(tmp_path, monkeypatch)
    checkout.git.run("config", "credential.https://h.helper", value)

    told = list(the_configuration_of_git_has_no_password(checkout))

    assert len(told) == found
    assert "s3cret" not in f"{told}"


def test_of_several_addresses_of_a_remote_no_command_replaces_the_first(tmp_path, monkeypatch):
    checkout = empty_checkout(tmp_path, monkeypatch)
    checkout.git.run("remote", "add", "up", "https://h/first")
    checkout.git.run("remote", "set-url", "--add", "up", "https://ann:s3cret@h/second")

    (found,) = the_configuration_of_git_has_no_password(checkout)

    assert (found.fix or "").startswith("git config --file .git/config --edit; ")


@pytest.mark.parametrize(
    ("helper", "file"),
    [
        ("store", ".git-credentials"),
        ("store", ".config/git/credentials"),
        ("store --file ~/mine", "mine"),
        ('store --file="$HOME/my own"', "my own"),
        ("!git credential-store --file=~/mine", "mine"),
        ("/usr/lib/git-core/git-credential-store --file ~/mine", "mine"),
        (None, ".netrc"),
    ],
)
def test_a_file_of_passwords_that_others_may_open_is_found(tmp_path, monkeypatch, helper, file):
    checkout = empty_checkout(tmp_path, monkeypatch)
    if helper is not None:
        checkout.git.run("config", "--global", "credential.https://h.helper", helper)
    assert list(nobody_else_may_read_saved_passwords(checkout)) == []
    kept = Path.home() / file
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("https://ann:s3cret@h\n")
    kept.chmod(0o640)

    (found,) = nobody_else_may_read_saved_passwords(checkout)

    assert found.what == f"{kept} has passwords and the mode 640: others than you may open it"
    command, _, _ = (found.fix or "").partition(";")
    subprocess.run(shlex.split(command), check=True)
    assert list(nobody_else_may_read_saved_passwords(checkout)) == []


def empty_checkout(folder, monkeypatch):
    for variable in ("GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))
    (folder / "home").mkdir()
    subprocess.run(["git", "init", "-q", str(folder / "yard")], check=True)
    return Checkout(folder / "yard", lambda: pytest.fail("needs no settings"))


@pytest.mark.long
def test_changes_nothing(yard):
    def everything():
        found = {}
        for path in sorted(yard.folder.rglob("*")):
            if path.is_file() and ".git" not in path.parts:
                found[path] = path.read_bytes()
        return yard.refs(), found

    before = everything()

    answer(yard, "doctor")

    assert everything() == before


@pytest.mark.long
def test_a_person_reads_one_line_a_check_and_what_mends_it(yard):
    (yard.folder / "clone" / WORKFLOW).unlink()

    said = run(yard, "doctor")

    assert said.code == 3
    assert said.lines[0] == "ok git merges without a checkout"
    at = said.lines.index(f"failed the workflows are rendered {WORKFLOW} is missing")
    assert said.lines[at + 1] == "fix: modelyard render --platform"
    assert len(said.lines) == COUNT + 1
    assert said.err == f"error: 1 of {COUNT} checks failed\n"


@pytest.mark.long
def test_an_old_git_is_too_old(yard, tmp_path, monkeypatch):
    old = tmp_path / "bin" / "git"
    old.parent.mkdir()
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout
    old.write_text(
        "#!/bin/sh\nfor word; do [ $word = version ] && echo git version 2.37.9 && exit; done\n"
        f'exec {real.strip()} "$@"\n'
    )
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{old.parent}{os.pathsep}{os.environ['PATH']}")

    assert wrong(yard) == {
        "git merges without a checkout": (
            ["git version 2.37.9, but 2.38 is needed"],
            "install git 2.38 or newer",
        )
    }
    assert LEAST_GIT == (2, 38)


@pytest.mark.long
def test_a_git_that_knows_nobody_cannot_sign_for_you(yard, monkeypatch):
    monkeypatch.delenv("GIT_AUTHOR_NAME")

    assert wrong(yard) == {
        "git knows your name": (["user.name is not set"], "git config user.name 'Your Name'")
    }


def test_settings_that_are_not_valid_are_named_with_their_line(yard):
    file = yard.folder / "clone" / "modelyard.yaml"
    file.write_bytes(b"apiVersion: modelyard/v1\nkind: Repository\nforge: locl\n")

    found, mend = wrong(yard)["the settings are valid"]

    assert found[0].startswith("modelyard.yaml:3: forge:")
    assert "did you mean local?" in found[0]
    assert mend == "modelyard validate"


def test_what_needs_the_settings_is_skipped_and_says_so(yard):
    (yard.folder / "clone" / "modelyard.yaml").write_bytes(b"{")

    told = answer(yard, "doctor", code=3)

    states = {each["check"]: each["state"] for each in told["checks"]}
    assert [check for check, state in states.items() if state == "well"] == [
        "git merges without a checkout",
        "git knows your name",
        "the configuration of git has no password",
        "nobody else may read saved passwords",
        "trainers are closed in",
    ]
    skipped = [each for each in told["checks"] if each["state"] == "skipped"]
    assert {each["found"][0] for each in skipped} == {"needs that the settings are valid"}


def test_a_forge_without_its_repository_is_found_before_anything_is_asked(tmp_path):
    (tmp_path / "modelyard.yaml").write_bytes(
        b"apiVersion: modelyard/v1\nkind: Repository\nforge: github\n"
    )

    done = CliRunner().invoke(cli, ["--root", str(tmp_path), "doctor"], env={"COLUMNS": "200"})

    assert done.exit_code == 3
    assert "forge: github needs the repository's owner and name" in done.stdout
    assert "fix: set forge_repository: acme/yard" in done.stdout


def test_a_remote_out_of_reach_is_wrong(yard):
    (yard.folder / "remote.git").rename(yard.folder / "elsewhere.git")

    (found, _), *others = wrong(yard).values()

    assert "does not appear to be a git repository" in found[0]
    assert others == []


def test_a_remote_without_the_main_branch_is_wrong(yard):
    services = settings(yard, main="trunk")

    told = asked(yard, services, "the remote has the main branch")

    assert (told["state"], told["found"]) == ("wrong", ["origin has no branch trunk"])
    assert told["mend"] == "git push origin trunk"


@pytest.mark.long
def test_specs_that_are_not_valid_are_named_but_not_all_of_them(yard):
    text = yard.read(spec_file("v1"))
    yard.commit({spec_file(f"w{number}"): text for number in range(12)})

    found, mend = wrong(yard)["the specs are valid"]

    assert found[0].startswith(f"{spec_file('w0')}:")
    assert len(found) == 9
    assert found[-1].startswith("and ")
    assert mend == "git pull, then modelyard validate"


@pytest.mark.long
def test_facts_that_cannot_be_read_are_wrong(yard):
    path = f"facts/dev/{MODEL}.json"
    spoil_state(yard.git, path, b"{}[]")

    found, mend = wrong(yard)["the facts are readable"]

    assert found[0].startswith(f"modelyard/state:{path}: ")
    assert mend.startswith("a newer modelyard may have written it")


@pytest.mark.long
def test_pull_requests_and_their_statuses_that_cannot_be_read_are_wrong(yard):
    head = yard.branch("docs", {"README.md": b"hello\n"}).head
    refs = [f"refs/modelyard/pulls/{yard.pull('docs').number + 1}",
            f"refs/modelyard/statuses/{head}"]  # fmt: skip
    broken = write_commit(
        yard.git,
        None,
        {"document.json": b"{}[]"},
        parents=[],
        message="Break",
        author="Mallory",
        at=yard.clock.at,
    )
    yard.git.push("origin", dict.fromkeys(refs, (None, broken)))

    found, mend = wrong(yard)["the pull requests are readable"]

    assert [line.split(": ")[0] for line in found] == refs
    assert mend.startswith("a newer modelyard may have written it")


@pytest.mark.long
def test_a_store_that_is_a_file_cannot_be_written_to(yard):
    (yard.folder / "file").write_text("")
    services = settings(yard, artifacts=str(yard.folder / "file" / "store"))

    told = asked(yard, services, "the artifact store is writable")

    where = yard.folder / "file"
    assert told["found"] == [f"{where}/store: {where} is not a folder"]


@pytest.mark.long
def test_a_store_that_is_not_there_yet_could_be_made(yard):
    services = settings(yard, artifacts=str(yard.folder / "new" / "store"))

    assert asked(yard, services, "the artifact store is writable")["state"] == "well"
    assert not (yard.folder / "new").exists()


def test_a_disk_that_is_nearly_full_is_named_once_with_the_room_it_has(yard, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=499_999_999))
    clone = yard.folder / "clone"

    told = asked(yard, settings(yard, state=str(clone), artifacts=f"file://{clone}/store"), ROOM)

    assert told["found"] == [f"{clone}: 499 MB are free, 500 are needed"]
    assert told["mend"] == f"make room there: du -xhd1 {clone}"


@pytest.mark.long
@pytest.mark.parametrize("artifacts", ["s3://bucket/store", "nowhere/yet", "memory://"])
def test_a_disk_with_room_is_well_wherever_the_artifacts_are(yard, monkeypatch, artifacts):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=500_000_000))

    assert asked(yard, settings(yard, artifacts=artifacts), ROOM)["state"] == "well"


@pytest.mark.sample(1)
@pytest.mark.parametrize(("uri", "state"), [("memory://store", "well"), ("nosuch://x", "wrong")])
def test_another_store_only_has_to_answer(yard, uri, state):
    services = settings(yard, artifacts=uri)

    assert asked(yard, services, "the artifact store is writable")["state"] == state


@pytest.mark.long
def test_a_tracking_database_that_is_none_is_wrong(yard):
    (yard.folder / "notes.db").write_text("this is no database, however long it goes on " * 9)
    uri = f"sqlite:///{yard.folder}/notes.db"

    told = asked(yard, settings(yard, tracking_uri=uri), "the tracking database answers")

    assert told["found"] == [f"{uri}: file is not a database"]


@pytest.mark.long
def test_a_tracking_database_nobody_wrote_to_yet_is_well_and_is_not_made(yard):
    uri = f"sqlite:///{yard.folder}/new/mlflow.db"
    services = settings(yard, tracking_uri=uri)

    assert asked(yard, services, "the tracking database answers")["state"] == "well"
    assert asked(yard, services, "aliases follow verified releases")["state"] == "well"
    assert not (yard.folder / "new").exists()


def test_a_tracking_server_has_to_take_connections_and_its_password_is_not_told(yard):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        services = settings(yard, tracking_uri=f"http://127.0.0.1:{port}")
        (checkout,) = _patients(yard, services)
        assert list(_check("the tracking database answers")(checkout)) == []
    uri = f"postgresql://ann:secret@127.0.0.1:{port}/mlflow"
    (checkout,) = _patients(yard, settings(yard, tracking_uri=uri))

    (found,) = _check("the tracking database answers")(checkout)

    assert found.what.startswith(f"postgresql://127.0.0.1:{port}/mlflow: ")
    assert "secret" not in found.what


def _patients(yard, *services):
    from modelyard.operations.open_workspace import workspace_of

    return [
        Checkout(yard.folder / "clone", lambda each=each: workspace_of(each)) for each in services
    ]


def _check(name):
    return next(check for check in CHECKS if check.__name__.replace("_", " ") == name)


def test_a_released_artifact_that_is_lost_is_wrong_where_it_runs(yard):
    for file in (yard.folder / "store" / "models").rglob(".complete"):
        file.unlink()

    found, mend = wrong(yard)["released artifacts are in the store"]

    assert [line.split(":")[0] for line in found] == [
        f"{environment} m v1" for environment in ("canary", "dev", "production", "staging")
    ]
    assert "check `artifacts` in modelyard.yaml" in mend


def test_a_signing_key_that_is_none_is_wrong(yard, monkeypatch, tmp_path):
    monkeypatch.setenv("MODELYARD_SIGNING_KEY", str(tmp_path / "mistyped.pem"))
    checkout = Checkout(yard.folder / "clone", yard.workspace)

    (found,) = the_signing_key_is_out_of_reach(checkout)

    assert "mistyped.pem: cannot be read: No such file" in found.what
    assert found.fix


def test_the_signature_of_a_model_that_is_missing_is_asked_for_by_nobody(yard):
    yard.commit({f"models/{MODEL}/model.yaml": None})
    checkout = Checkout(yard.folder / "clone", yard.workspace)

    assert list(_check("released artifacts are in the store")(checkout)) == []


@pytest.mark.long
def test_evidence_that_was_changed_is_wrong(yard):
    for file in (yard.folder / "store" / "evidence").iterdir():
        file.write_bytes(b"better numbers")

    found, mend = wrong(yard)["evidence of releases is whole"]

    assert len(found) == 1
    assert found[0].startswith("m v1: ")
    assert found[0].endswith("does not match its digest")
    assert mend == "restore it from a copy of the store"


@pytest.mark.long
def test_manifests_that_somebody_changed_are_wrong(yard):
    path = yard.paths(manifests("production"))[0]
    commit = yard.commit({path: b"kind: Nothing\n"})

    assert wrong(yard) == {
        "manifests are what releases render to": (
            [f"{path} is not what its release renders to"],
            "git pull, then modelyard render, and propose what changed",
        ),
        "releases came with pull requests": (
            [
                f"production has v1 of m, unreviewed: commit {commit[:10]} by Cleo changed it "
                "without a merged pull request"
            ],
            "modelyard promote production m v1",
        ),
    }


@pytest.mark.long
def test_an_alias_that_somebody_moved_is_wrong(yard):
    (yard.folder / "clone" / ".modelyard").mkdir(exist_ok=True)
    sqlite3.connect(yard.folder / "clone" / ".modelyard" / "mlflow.db").close()
    aliases = {"dev": "v1", "staging": "v1", "canary": "v0", "production": "v1"}
    yard.ledger("registry").put(MODEL, aliases)

    assert wrong(yard) == {
        "aliases follow verified releases": (
            ["canary of m points to v0, not to v1"],
            "modelyard reconcile m",
        )
    }


@pytest.mark.long
def test_servers_that_git_names_no_release_for_are_wrong(yard):
    workspace = yard.workspace()
    model = workspace.catalog(yard.main()).models[MODEL]
    environment = workspace.catalog(yard.main()).environments["staging"]
    workspace.services.cluster.sync(
        release_in(yard, "staging"), model=model, environment=environment
    )
    yard.commit({release_file("staging"): None, manifests("staging"): None})

    assert wrong(yard)["servers belong to releases"] == (
        ["staging runs m, but has no release of it on the main branch"],
        "modelyard watch --once",
    )


@pytest.mark.long
def test_a_workflow_whose_attempt_is_over_is_wrong(yard):
    yard.add_version("v2")
    lost = yard.workflow("v2")
    yard.orchestrator.submit(lost, template="train-and-evaluate", parameters={})
    yard.workspace().facts.update_model(
        MODEL, lambda facts: replace(facts, training={"v2": TrainingFacts(attempt=2)})
    )
    now = yard.workflow("v2")
    yard.orchestrator.submit(now, template="train-and-evaluate", parameters={})

    assert wrong(yard) == {
        "workflows belong to versions": (
            [f"workflow {lost} still runs, but attempt 1 of v2 is over"],
            f"stop {lost}, or let it end: its outcome is not used",
        )
    }


@pytest.mark.long
def test_a_workflow_that_ended_is_nobodys_trouble(yard):
    trained(yard, "v2", champion="v1")
    yard.workspace().facts.update_model(
        MODEL, lambda facts: replace(facts, training={"v2": TrainingFacts(attempt=2)})
    )

    assert answer(yard, "doctor")["well"] is True


@pytest.mark.long
def test_an_airflow_that_runs_the_workflows_is_asked_and_any_other_engine_is_not(yard):
    check = "airflow runs the workflows"
    assert asked(yard, yard.workspace().services, check) is None
    fake = FakeAirflow(**{"train-and-evaluate": ()})
    fake.paused.add("train-and-evaluate")
    fake.tokens.add("given")
    with serving(fake) as uri, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_AIRFLOW_TOKEN", "given")
        services = settings(yard, workflows=WorkflowsKind.AIRFLOW, workflows_uri=uri)
        told = asked(yard, services, check)
    assert told["state"] == "wrong"
    assert told["mend"] == "airflow dags unpause train-and-evaluate"


@pytest.mark.long
def test_a_preloaded_process_that_is_gone_is_wrong(yard, monkeypatch, tmp_path):
    address = str(tmp_path / "socket")
    monkeypatch.setenv(PRELOADED, address)
    gone = wrong(yard)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(address)
        listening.listen()
        there = answer(yard, "doctor")

    assert gone == {
        "the preloaded process listens": (
            [f"{PRELOADED}={address}: No such file or directory"],
            f"unset {PRELOADED}, or modelyard preload --socket {address}",
        )
    }
    assert there["well"] is True


def test_a_check_that_is_refused_or_cannot_answer_is_wrong_with_the_hint():
    def one_cannot_answer(_):
        raise CannotAnswer("no idea", hint="look again")

    def another_is_refused(_):
        yield Finding(what="first", fix="this")
        raise Refused("never")

    def a_third_needs_the_first(_):
        return []

    needs = {
        one_cannot_answer: (),
        another_is_refused: (),
        a_third_needs_the_first: (one_cannot_answer,),
    }
    found = run_doctor(Checkout(Path(), lambda: None), needs)

    assert [(each.state, each.found, each.fix) for each in found] == [
        (State.FAILED, ("no idea",), "look again"),
        (State.FAILED, ("never",), "fix that, and run doctor again"),
        (State.SKIPPED, ("needs that one cannot answer",), None),
    ]


def test_a_machine_that_cannot_close_trainers_in_is_told_how_it_could(monkeypatch):
    means = "modelyard.adapters.isolation.confinement"
    monkeypatch.setattr(f"{means}.landlock_abi", lambda: 0)
    monkeypatch.setattr(f"{means}._can_enter", lambda *_: False)
    (finding,) = trainers_are_closed_in(None)
    assert finding.what == (
        "isolation: none, by no means; a trainer could still read and change what its user may, "
        "and signal this user's processes"
    )
    assert "user.max_user_namespaces" in finding.fix


def test_an_old_landlock_without_namespaces_is_well_and_its_gaps_are_named(monkeypatch):
    means = "modelyard.adapters.isolation.confinement"
    monkeypatch.setattr(f"{means}.landlock_abi", lambda: 4)
    monkeypatch.setattr(f"{means}._can_enter", lambda *_: False)
    (finding,) = trainers_are_closed_in(None)
    assert finding.fix is None
    assert finding.what.startswith("isolation: landlock, by Landlock (ABI 4); a trainer could")
    assert "signal this user's processes" in finding.what
