from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from git_commits import write_commit
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import dump_spec
from modelyard.cli import cli
from modelyard.domain.specs.repository import Repository

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RELEASE = "environments/production/releases/m.yaml"
BOT = "modelyard[bot]"
BRANCH = "modelyard/promote/production/m"


@pytest.fixture
def git(tmp_path):
    """A checkout as a CI makes it: main and the pull request's commits, and no network."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    made = Git(tmp_path)
    settings = dump_spec("Repository", Repository())
    (tmp_path / "modelyard.yaml").write_bytes(settings)
    documents = {RELEASE: b"version: v1\n", "modelyard.yaml": settings}
    start = write_commit(made, None, documents, parents=[], message="x", author="Ann", at=AT)
    made.run("update-ref", "refs/remotes/origin/main", start)
    made.run("update-ref", "refs/remotes/origin/trunk", start)
    return made


def pushed(git, documents):
    """A commit of somebody's, on top of main."""
    main = git.rev_parse("refs/remotes/origin/main")
    return write_commit(git, main, documents, parents=[main], message="x", author="Mallory", at=AT)


@pytest.fixture
def run(git, tmp_path):
    """Run the command in a GitHub Action about this pull request, or about none."""

    def ran(*args, event=None, **environment):
        if event is not None:
            file = tmp_path / "event.json"
            file.write_text(event if isinstance(event, str) else json.dumps(event))
            environment |= {
                "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": str(file),
            }  # fmt: skip
        done = CliRunner(env=environment).invoke(
            cli, ["--root", str(git.root), "check-pull", *args]
        )
        return done.exit_code, done.stdout, done.stderr

    return ran


def event(head, branch, author="Mallory", base="main"):
    return {
        "pull_request": {
            "head": {"ref": branch, "sha": head},
            "base": {"ref": base},
            "user": {"login": author},
        }
    }


def test_a_persons_release_is_refused_in_any_ci(git, run):
    head = pushed(git, {RELEASE: b"version: v2\n"})

    code, out, err = run(event=event(head, "sneaky"))

    use = "use modelyard promote or modelyard rollback"
    assert (code, out) == (3, f"only the tool writes {RELEASE}: {use}\n")
    assert err == "error: 1 problem with the pull request from sneaky\n"


def test_the_same_commit_is_judged_by_the_branch_that_brings_it(git, run):
    head = pushed(git, {RELEASE: b"version: v2\n"})

    assert run(event=event(head, BRANCH, BOT))[0] == 0
    code, out, _ = run(event=event(head, "modelyard/retrain/m", BOT))
    assert (code, out) == (3, f"modelyard/retrain/m may not change {RELEASE}\n")


def test_a_person_opens_none_from_a_branch_of_the_tools(git, run):
    head = pushed(git, {RELEASE: b"version: v2\n"})

    code, out, _ = run(event=event(head, BRANCH))

    assert (code, out) == (3, f"only the tool opens pull requests from {BRANCH}, not Mallory\n")


def test_the_settings_in_force_say_who_the_tool_is(git, run):
    """Not those that the pull request brings."""
    mine = dump_spec("Repository", Repository(bot="Mallory"))
    head = pushed(git, {RELEASE: b"version: v2\n", "modelyard.yaml": mine})
    (git.root / "modelyard.yaml").write_bytes(mine)

    code, out, _ = run(event=event(head, BRANCH))

    assert code == 3
    assert out.splitlines() == [
        f"{BRANCH} may not change modelyard.yaml",
        f"only the tool opens pull requests from {BRANCH}, not Mallory",
    ]


def test_a_pull_request_for_another_base_is_refused(git, run):
    """Its answer would be about that base, and the base can be edited afterwards."""
    head = pushed(git, {"README.md": b"words\n"})

    code, _, err = run(event=event(head, "words", base="trunk"))

    assert (code, err) == (3, "error: pull requests are for main, and this one is for trunk\n")


@pytest.mark.parametrize(
    "broken",
    ["{", "[]", "{}", '{"pull_request": {"head": {"ref": 1}}}', "[" * 100_000],
    ids=["no json", "a list", "empty", "numbers", "deep"],
)
def test_an_event_that_names_no_pull_request_is_no_success(run, broken):
    code, _, err = run(event=broken)

    assert code == 1
    assert "names no pull request" in err
    assert "hint: give --branch, --base, --head and --author" in err


def test_an_event_that_contradicts_its_run_is_no_success(git, run):
    head = pushed(git, {"README.md": b"words\n"})

    code, _, err = run(event=event(head, "words"), GITHUB_HEAD_REF="other")

    assert (code, err) == (1, "error: GITHUB_HEAD_REF is other, but the event says words\n")


@pytest.mark.parametrize(
    "branch", ["$(touch hacked)", "a;touch hacked", "`touch hacked`", "--upload-pack=x", "x\ny"]
)
def test_text_from_outside_is_data(git, run, branch):
    head = pushed(git, {"README.md": b"words\n"})

    code, out, _ = run(event=event(head, branch))

    assert (code, len(out.splitlines())) == (0, 1)
    assert not (git.root / "hacked").exists()


@pytest.mark.parametrize("base", ["--all", "../main", "main\nx", "main:modelyard.yaml"])
def test_a_base_that_is_no_branch_of_this_checkout_is_no_success(git, run, base):
    head = pushed(git, {"README.md": b"words\n"})

    code, _, err = run(event=event(head, "words", base=base))

    assert (code, err.count("error:")) in {(1, 1), (3, 1)}


def test_a_run_about_no_pull_request_has_nothing_to_check(run):
    assert run(GITHUB_EVENT_NAME="push") == (0, "this run is about no pull request\n", "")


def test_a_person_gives_the_names_on_the_command_line(git, run):
    head = pushed(git, {RELEASE: b"version: v2\n"})

    assert run()[0] == 2
    assert run("--branch", "mine", "--base", "main", "--head", head)[0] == 3
    code, _, err = run("--branch", BRANCH, "--base", "main", "--head", head)
    assert (code, err) == (
        1, f"error: who opened {BRANCH} is not known\nhint: give --author\n",
    )  # fmt: skip
    named = ("--branch", BRANCH, "--base", "main", "--head", head, "--author", BOT)
    assert run(*named) == (0, f"{BRANCH} changes only what it may change\n", "")
