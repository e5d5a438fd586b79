"""The workflows of .github: thin, with the rights they name, and no text of others in a shell."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from image.build import find_locks, list_locks
from modelyard.adapters.git.trees import WorkingTree
from modelyard.adapters.specs.reader import read_valid_catalog
from modelyard.cli import load_command
from modelyard.errors import Refused
from release.tag import check_changes, check_version
from release.tag import main as make_tag

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))
TOOL = ".venv/bin/modelyard"
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}|\$/\.github/actions/[a-z-]+")

every_workflow = pytest.mark.parametrize("name", NAMES)


def workflow(name: str) -> dict[Any, Any]:
    return yaml.safe_load((FOLDER / f"{name}.yml").read_text())


def triggers(name: str) -> dict[str, Any]:
    # YAML 1.1 takes `on` for a truth value.
    return workflow(name)[True]


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def commands(name: str) -> list[list[str]]:
    return [shlex.split(step["run"]) for step in steps(name) if "run" in step]


@every_workflow
def test_each_step_is_one_call_whose_text_no_event_can_change(name):
    for step in steps(name):
        if "run" in step:
            assert "\n" not in step["run"].strip()
            assert "${{" not in step["run"]
    assert {words[0] for words in commands(name)} <= {TOOL, "make"}


@every_workflow
def test_the_toolkit_knows_each_command(name, monkeypatch):
    monkeypatch.setenv("GITHUB_EVENT_PATH", "event.json")
    for words in commands(name):
        if words[0] != TOOL:
            continue
        _, verb, *rest = words
        command = load_command(verb)
        if isinstance(command, click.Group):
            command, rest = command.commands[rest[0]], rest[1:]
        command.make_context(verb, [word.replace("$MODEL", "wine") for word in rest])


@every_workflow
def test_a_job_has_the_rights_it_names_and_keeps_no_credentials(name):
    assert workflow(name)["permissions"] == {}
    for job in workflow(name)["jobs"].values():
        assert job["permissions"]
        assert job["timeout-minutes"]
    for step in steps(name):
        if "uses" in step:
            assert PINNED.fullmatch(step["uses"])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@every_workflow
def test_code_of_a_pull_request_runs_only_where_it_may_do_nothing(name):
    assert (
        not {"pull_request_target", "pull_request_review", "workflow_run"} & triggers(name).keys()
    )
    if {"pull_request", "merge_group"} & triggers(name).keys():
        for job in workflow(name)["jobs"].values():
            rights = dict(job["permissions"])
            # It shows a cloud who asks; what that may do is the cloud's to say: it reads evidence.
            assert rights.pop("id-token", "write") == "write"
            assert set(rights.values()) == {"read"}


def test_a_repository_without_a_role_of_aws_skips_it_and_so_does_every_other_event():
    (taken,) = [step for step in steps("content") if "aws-actions/" in step.get("uses", "")]
    wanted = "vars.MODELYARD_EVIDENCE_ROLE != '' && github.event_name == 'pull_request'"
    assert taken["if"] == wanted
    assert steps("content").index(taken) == len(steps("content")) - 2  # just before the verdicts
    # The others sign what they built on the main branch, or of a tag.
    signing = [name for name in NAMES if "id-token" in (FOLDER / f"{name}.yml").read_text()]
    assert signing == ["content", "images", "release"]


def test_a_command_is_acknowledged_at_once_and_never_lost_among_those_that_wait():
    chatops = workflow("chatops")
    ack, act = chatops["jobs"]["ack"], chatops["jobs"]["act"]
    asked = triggers("chatops")
    assert asked.keys() == {"issue_comment", "workflow_dispatch"}
    assert asked["issue_comment"] == {"types": ["created"]}
    # `modelyard hold` and its like give the command; anything else would be data nobody reads.
    assert asked["workflow_dispatch"]["inputs"].keys() == {"command"}
    assert (
        "github.event_name == 'workflow_dispatch' && github.ref == 'refs/heads/main'" in ack["if"]
    )
    assert "concurrency" not in chatops.keys() | ack.keys()
    assert act["concurrency"] == {
        "group": "act-${{ needs.ack.outputs.environment }}",
        "cancel-in-progress": False,
        "queue": "max",
    }
    assert ack["permissions"]["contents"] == "read"


@pytest.mark.parametrize("name", ["reconcile", "drift"])
def test_a_branch_that_somebody_dispatches_decides_nothing(name):
    assert triggers(name).keys() >= {"schedule", "workflow_dispatch"}
    for job in workflow(name)["jobs"].values():
        assert job["if"] == "github.ref == 'refs/heads/main'"


def test_drift_compares_every_model_with_a_feed():
    models = read_valid_catalog(WorkingTree(ROOT)).models
    fed = [name for name, model in models.items() if model.data.feed]
    matrix = workflow("drift")["jobs"]["drift"]["strategy"]["matrix"]["model"]
    one, every = matrix.removeprefix("${{ fromJSON(").removesuffix(") }}").split(" || ")
    assert json.loads(every.strip("'")) == sorted(fed)
    # What somebody asks for is quoted, and never an option.
    assert one == "inputs.model && format('[{0}]', toJSON(inputs.model))"
    assert triggers("drift")["workflow_dispatch"]["inputs"].keys() == {"model"}
    assert workflow("drift")["concurrency"]["queue"] == "max"
    assert all(words[-2:] == ["--", "$MODEL"] for words in commands("drift"))


def test_an_image_is_built_of_every_lock_and_of_the_main_branch_alone(tmp_path):
    jobs = workflow("images")["jobs"]
    assert jobs["locks"]["if"] == "github.ref == 'refs/heads/main'"
    assert jobs["locks"]["permissions"] == {"contents": "read"}
    assert jobs["image"]["needs"] == "locks"
    matrix = jobs["image"]["strategy"]["matrix"]
    assert matrix == {"lock": "${{ fromJSON(needs.locks.outputs.locks) }}"}
    assert triggers("release")["push"] == {"tags": ["v*"]}

    names = ["wine/trainer", "beer-2/trainer", "Wine;id/trainer", "tea/heldout"]
    for name in names:
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "requirements.lock").write_text("")
    (tmp_path / "models/wine/trainer/other.lock").write_text("")
    assert find_locks(tmp_path) == [
        "requirements-runtime.lock",
        "models/beer-2/trainer/requirements.lock",
        "models/wine/trainer/requirements.lock",
    ]


def test_more_locks_than_a_matrix_may_have_jobs_are_refused_with_the_limit(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_OUTPUT", raising=False)
    for number in range(256):
        lock = tmp_path / f"models/m{number}/trainer/requirements.lock"
        lock.parent.mkdir(parents=True)
        lock.write_text("")
    assert list_locks() == 3
    assert "257 locks, and a workflow of GitHub builds at most 256" in capsys.readouterr().err
    lock.unlink()
    assert list_locks() == 0


def test_what_may_push_an_image_sees_no_secret_and_what_sees_the_app_s_key_may_push_none():
    jobs = workflow("images")["jobs"]
    note = jobs.pop("note")
    assert "secrets." not in json.dumps(jobs)
    assert not [job for job in jobs.values() if "environment" in job]
    assert note["permissions"] == {"contents": "read"}
    assert note["environment"] == "modelyard"
    assert note["needs"] == "image"
    *others, noted = note["steps"]
    assert "MODELYARD_APP_KEY" in noted["env"]
    assert "secrets." not in json.dumps(others)
    folder = noted["run"].split()[-1]
    assert jobs["image"]["steps"][-1]["with"]["path"] == folder
    assert others[-1]["with"]["path"] == folder
    assert others[-1]["with"]["merge-multiple"] is True


def test_only_the_app_makes_a_tag_and_only_of_the_main_branch():
    jobs = workflow("release")["jobs"]
    assert triggers("release").keys() == {"push", "workflow_dispatch"}
    wanted = "github.event_name == 'workflow_dispatch' && github.ref == 'refs/heads/main'"
    assert jobs["tag"]["if"] == wanted
    assert jobs["tag"]["permissions"] == {"contents": "read"}
    assert jobs["release"]["if"] == "github.event_name == 'push'"


@pytest.mark.parametrize("tag", ["", "v1", "v1.2", "1.2.3", "v1.2.3\n", "v1.2.3;id", "v01.2.3"])
def test_what_is_no_tag_of_a_release_makes_none(tag, monkeypatch, capsys):
    monkeypatch.setenv("TAG", tag)
    assert make_tag() == 2
    assert "is no tag of a release" in capsys.readouterr().err


def test_a_tag_names_the_version_of_the_package():
    check_version("v1.2.0", b'[project]\nversion = "1.2.0"\n')
    for tag in ("v1.2.1", "v1.20.0", "v01.2.0"):
        with pytest.raises(Refused, match="has the version"):
            check_version(tag, b'[project]\nversion = "1.2.0"\n')


@pytest.mark.parametrize("newest", ["Unreleased", "1.1.0 - 2026-11-30", "1.2.0", "1.2.0 - soon"])
def test_a_tag_names_the_newest_section_of_the_changes(newest):
    check_changes("v1.2.0", b"# Changelog\n\n## 1.2.0 - 2026-11-30\n\n## 1.1.0 - 2026-11-29\n")
    with pytest.raises(Refused, match=f"is '{newest}'"):
        check_changes("v1.2.0", f"# Changelog\n\n## {newest}\n".encode())


@pytest.mark.parametrize("rest", ["\r\n\r\n- Line ends of Windows.\r\n", "\n\n- Latin: \xe9\n"])
def test_the_newest_section_is_read_whatever_bytes_the_changes_have(rest):
    check_changes("v1.2.0", f"# Changelog\n\n## 1.2.0 - 2026-11-30{rest}".encode("latin-1"))


def test_whatever_the_image_is_made_of_builds_it_again():
    lines = (ROOT / "Containerfile").read_text().splitlines()
    copied = [
        word
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = wheel["tool"]["hatch"]["build"]["targets"]["wheel"]
    # Of a folder that is copied, the package takes these alone, and the image has the package.
    taken = [*wheel["packages"], *wheel["force-include"]]
    locks = ["requirements-runtime.lock", "models/m/trainer/requirements.lock"]
    sources = {"${LOCK}": locks, "requirements-*.lock": locks[:1]}
    sources |= {
        word: [each for each in taken if each.startswith(f"{word}/")]
        for word in (".github", "environments")
    }
    named = [name for word in copied for name in sources.get(word, [word])]

    assert [name for name in (*named, *taken) if not builds_images(name)] == []


@pytest.mark.parametrize(
    "path",
    [
        "environments/dev/releases/wine.yaml",
        "environments/production/manifests/wine/rollout.yaml",
        "models/wine/records/v1.yaml",
        "models/wine/versions/v1.yaml",
        ".github/workflows/toolkit.yml",
        "scripts/demo/play.py",
        "tests/conftest.py",
        "docs/aws.md",
    ],
)
def test_a_promotion_and_what_is_in_no_image_build_none_again(path):
    assert not builds_images(path)


def builds_images(path: str) -> bool:
    """Whether a push that changes a file, or all of a folder, starts `images`."""
    patterns = triggers("images")["push"]["paths"]
    file = path if (ROOT / path).is_file() or "." in path.rpartition("/")[2] else f"{path}/a/b"
    as_regex = (re.escape(each).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") for each in patterns)
    return any(re.fullmatch(each, file) for each in as_regex)


def git(folder: Path, *words: str) -> None:
    person = ("-c", "user.name=ann", "-c", "user.email=ann@example.com")
    subprocess.run(["git", *person, *words], cwd=folder, check=True)


def test_nothing_is_released_of_a_commit_that_is_not_on_the_main_branch(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main", "remote")
    git(tmp_path / "remote", "commit", "-q", "--allow-empty", "-m", "Reviewed")
    git(tmp_path, "clone", "-q", "remote", "here")
    make = ["make", "-f", ROOT / "Makefile", "--no-print-directory", "released-from-main"]

    def ended() -> tuple[int, str]:
        done = subprocess.run(
            make, cwd=tmp_path / "here", capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    assert ended() == (0, "")
    git(tmp_path / "here", "commit", "-q", "--allow-empty", "-m", "Of a branch")
    code, said = ended()
    assert (code != 0, "is not on origin/main" in said) == (True, True)
    runs = [step.get("run") for step in steps("release")]
    assert runs.index("make released-from-main") < runs.index("make dist")
