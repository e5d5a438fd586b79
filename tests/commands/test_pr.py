from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator, FormatChecker

from git_commits import STATE, write_commit
from modelyard.adapters.facts.documents import freeze_path, model_path
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.forge.local.forge import LocalForge
from modelyard.adapters.forge.local.pulls import LocalPulls
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import dump_spec
from modelyard.cli import cli
from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import find_approvers
from modelyard.domain.promotion.change import Change, Purpose
from modelyard.domain.promotion.facts import Freeze, Hold
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullState, Status, StatusState
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.repository import Repository
from modelyard.ports import Services

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RELEASE = "environments/dev/releases/m.yaml"
SCHEMAS = Path(__file__).parents[2] / "schemas" / "output"


@dataclass
class StoppedClock:
    at: datetime = AT

    def now(self):
        return self.at

    def even_since(self) -> None:
        return None


@pytest.fixture
def git(tmp_path):
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path / "clone")], check=True)
    made = Git(tmp_path / "clone")
    made.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    documents = {
        RELEASE: b"version: v1\n",
        "models/m/versions/v2.yaml": b"seed: 1\n",
        "environments/dev/environment.yaml": dump_spec(
            "Environment", Environment(name="dev", description="First.", namespace="dev")
        ),
    }
    start = write_commit(made, None, documents, parents=[], message="Start", author="Ann", at=AT)
    made.push("origin", {"refs/heads/main": (None, start)})
    return made


@pytest.fixture
def services(git):
    repository, clock = Repository(), StoppedClock()
    forge = LocalForge(git, repository, clock)
    return Services(
        root=git.root,
        repository=repository,
        pulls=LocalPulls(git=git, forge=forge, bot=repository.bot),
        desk=forge,
        orchestrator=None,
        cluster=None,
        metrics=None,
        clock=clock,
    )


@pytest.fixture
def store(git, services):
    return FactStore(git, services.repository, services.clock)


@pytest.fixture
def pull(services):
    change = Change(
        purpose=Purpose.PROMOTE,
        branch="modelyard/promote/dev/m",
        title="Promote m v2 to dev",
        body="It is [bold]better[/bold].\n\x1b[31mred\n  indented",
        documents={RELEASE: b"version: v2\n"},
    )
    return services.pulls.propose(change, requester=Person.named("Ann"))


@pytest.fixture
def run(services):
    """Run the command line; gives exit code, stdout and stderr."""

    def ran(*args, stdin=None):
        environment = {"COLUMNS": "100", "NO_COLOR": "1"}
        done = CliRunner(env=environment).invoke(cli, [*args], obj=services, input=stdin)
        return done.exit_code, done.stdout, done.stderr

    return ran


def say(services, pull, context, state, why="ok"):
    services.pulls.set_status(pull, Status(context=context, state=state, description=why))


def checked(kind, text):
    """A JSON answer that keeps its schema."""
    schema = json.loads((SCHEMAS / f"{kind}.schema.json").read_text())
    answer = json.loads(text)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(answer)
    return answer


def test_lists_open_pull_requests_for_a_person(run, services, pull):
    say(services, pull, CHECKS, StatusState.SUCCESS)
    say(services, pull, PROMOTE, StatusState.PENDING, "1 approval is missing")
    services.desk.review(1, sha=pull.head, by="Bo", approved=True)

    code, out, _ = run("pr", "list")

    assert code == 0
    assert [" ".join(line.split()) for line in out.strip().splitlines() if "─" not in line] == [
        "pull request state statuses approved by",
        "#1 Promote m v2 to dev open modelyard/checks success Bo",
        "modelyard/promote/dev/m modelyard/promote pending",
    ]


def test_says_that_there_are_none(run):
    assert run("pr", "list") == (0, "no open pull requests\n", "")


def test_lists_as_json_by_its_schema(run, services, pull):
    say(services, pull, CHECKS, StatusState.SUCCESS)
    services.desk.review(1, sha=pull.head, by="Bo", approved=True)

    code, out, _ = run("pr", "list", "--output", "json")

    status = {"context": CHECKS, "state": "success", "description": "ok"}
    assert (code, checked("pr-list", out)) == (0, {"pulls": [{
        "number": 1,
        "branch": "modelyard/promote/dev/m",
        "title": "Promote m v2 to dev",
        "state": "open",
        "author": "modelyard[bot]",
        "requester": "Ann",
        "head": pull.head,
        "opened_at": "2026-03-01T12:00:00+00:00",
        "approved_by": ["Bo"],
        "statuses": [status],
    }]})  # fmt: skip


def test_lists_merged_ones_only_when_asked(run, services, pull):
    services.desk.close(1, by="Bo", reason="no")

    assert checked("pr-list", run("pr", "list", "--output", "json")[1]) == {"pulls": []}
    every = checked("pr-list", run("pr", "list", "--all", "--output", "json")[1])
    assert [(p["number"], p["state"]) for p in every["pulls"]] == [(1, "closed")]


def test_shows_a_page_on_which_foreign_text_is_only_text(run, services, pull):
    say(services, pull, PROMOTE, StatusState.FAILURE, "v2 is [red]held[/red]")
    services.desk.review(1, sha=pull.head, by="Bo", approved=True)
    services.desk.review(1, sha=pull.head, by="Ann", approved=True)
    services.desk.comment(1, by="Eve\x1b[2J", body="look\x07 here")

    code, out, _ = run("pr", "show", "1")

    assert code == 0
    assert "\x1b" not in out
    assert "\x07" not in out
    assert [" ".join(line.split()) for line in out.splitlines() if line.strip(" ─")] == [
        "#1 Promote m v2 to dev open",
        f"modelyard/promote/dev/m at {pull.head}",
        "opened 2026-03-01 12:00 by modelyard[bot], requested by Ann",
        "It is [bold]better[/bold].",
        "\N{REPLACEMENT CHARACTER}[31mred",
        "indented",
        "Statuses of the head commit",
        "status state description",
        "modelyard/promote failure v2 is [red]held[/red]",
        "Reviews",
        "who commit counts",
        f"Bo approves {pull.head[:12]} yes",
        f"Ann approves {pull.head[:12]} no: for their own work",
        "Files changed: 1",
        RELEASE,
        "Eve [2J, 2026-03-01 12:00",
        "look\N{REPLACEMENT CHARACTER} here",
    ]


def test_shows_everything_as_json_by_its_schema(run, services, pull):
    services.desk.review(1, sha=pull.head, by="Bo", approved=True)
    services.desk.close(1, by="Cy", reason="no \x9b2J")

    code, out, _ = run("pr", "show", "1", "--output", "json")

    at = "2026-03-01T12:00:00+00:00"
    assert "\x9b" not in out
    assert (code, checked("pr-show", out)) == (0, {
        "number": 1,
        "branch": "modelyard/promote/dev/m",
        "title": "Promote m v2 to dev",
        "state": "closed",
        "author": "modelyard[bot]",
        "requester": "Ann",
        "head": pull.head,
        "opened_at": at,
        "approved_by": ["Bo"],
        "statuses": [],
        "base": pull.base,
        "body": pull.body,
        "contributors": [],
        "labels": [],
        "files": [RELEASE],
        "reviews": [{"author": "Bo", "approved": True, "sha": pull.head, "at": at}],
        "comments": [{"author": "Cy", "body": "no \x9b2J", "at": at}],
        "merged_as": None,
        "closed_at": at,
        "closed_by": "Cy",
    })  # fmt: skip


def test_approves_the_head_under_gits_name(run, services, pull):
    code, out, _ = run("pr", "approve", "1")

    assert (code, out) == (0, f"Ada Example approves pull request 1 at {pull.head}\n")
    assert find_approvers(services.desk.get(1)) == {Person.named("Ada Example")}


@pytest.mark.parametrize(
    ("name", "did"), [("Ann", "asked for"), ("modelyard[bot]", "opened"), ("Eve", "committed to")]
)
def test_refuses_the_approval_of_those_who_made_it(run, git, services, pull, name, did):
    pushed = write_commit(
        git,
        pull.head,
        {RELEASE: b"version: v3\n"},
        parents=[pull.head],
        message="x",
        author="Eve",
        at=AT,
    )
    git.push("origin", {f"refs/heads/{pull.branch}": (pull.head, pushed)})

    code, out, err = run("pr", "approve", "1", "--as", name)

    assert (code, out) == (3, "")
    assert err.splitlines() == [
        f"error: {name} {did} pull request 1 and cannot approve it",
        "hint: ask somebody who took no part in it",
    ]
    assert services.desk.get(1).reviews == ()


def test_an_approval_of_what_is_not_the_head_any_more_is_not_given(run, services, pull):
    code, _, err = run("pr", "approve", "1", "--sha", pull.base)

    assert code == 1
    assert f"{pull.base} is not its head any more" in err
    assert services.desk.get(1).reviews == ()


def test_merges_what_may_be_merged_and_says_what_is_missing(run, services, pull):
    say(services, pull, CHECKS, StatusState.SUCCESS)
    code, _, err = run("pr", "merge", "1", "--as", "Bo", "--wait", "0")
    assert (code, err.splitlines()[0]) == (
        3, "error: pull request 1 may not be merged: modelyard/promote has not reported",
    )  # fmt: skip

    say(services, pull, PROMOTE, StatusState.SUCCESS)
    code, out, _ = run("pr", "merge", "1", "--as", "Bo")

    merged = services.desk.get(1)
    assert (code, out) == (0, f"pull request 1 is merged as {merged.merged_as}\n")
    assert (merged.state, str(merged.closed_by)) == (PullState.MERGED, "Bo")


def test_a_merge_waits_no_longer_than_it_is_told_to(run, services, pull):
    say(services, pull, CHECKS, StatusState.SUCCESS)

    code, _, err = run("pr", "merge", "1", "--as", "Bo", "--wait", "0.1")

    assert (code, err.splitlines()[:2]) == (3, [
        "waiting up to 0.1 s for a watcher to report modelyard/promote",
        "error: pull request 1 may not be merged: modelyard/promote has not reported",
    ])  # fmt: skip


def test_a_merge_does_not_wait_for_what_waits_for_a_person(run, services, pull):
    say(services, pull, CHECKS, StatusState.SUCCESS)
    say(services, pull, PROMOTE, StatusState.PENDING)

    code, _, err = run("pr", "merge", "1", "--as", "Bo")

    assert (code, err.partition("(")[0]) == (
        3, "error: pull request 1 may not be merged: modelyard/promote is pending ",
    )  # fmt: skip


def test_closes_and_comments_and_reads_words_from_stdin(run, services, pull):
    assert run("pr", "comment", "1", "--body", "-", "--as", "Bo", stdin="two\nlines") == (
        0, "commented on pull request 1\n", "",
    )  # fmt: skip
    assert run("pr", "close", "1", "--reason", "no", "--as", "Bo")[0] == 0

    after = services.desk.get(1)
    assert (after.state, [said.body for said in after.comments]) == (
        PullState.CLOSED, ["two\nlines", "no"],
    )  # fmt: skip


def test_opens_a_branch_that_was_pushed(run, git, services):
    main = git.ls_remote("origin", ["refs/heads/main"])["refs/heads/main"]
    head = write_commit(git, main, {"x": b"1"}, parents=[main], message="x", author="Eve", at=AT)
    git.push("origin", {"refs/heads/eve/x": (None, head)})

    code, out, _ = run("pr", "open", "eve/x", "--title", "Add x", "--body", "why")

    pull = services.desk.get(1)
    assert (code, out) == (0, "pull request 1 is open: Add x\n")
    assert (pull.title, pull.body, str(pull.author), pull.head) == (
        "Add x",
        "why",
        "Ada Example",
        head,
    )


def test_a_dry_run_of_any_writing_command_writes_nothing(run, git, services, store, pull):
    say(services, pull, CHECKS, StatusState.SUCCESS)
    say(services, pull, PROMOTE, StatusState.SUCCESS)
    run("hold", "m", "v2", "--reason", "bad")
    run("freeze", "dev", "--reason", "holidays")
    before = git.ls_remote("origin", ["refs/*"])

    answers = [
        run(*command, "--dry-run", "--as", "Bo")
        for command in (
            ("pr", "open", pull.branch, "--title", "x"),
            ("pr", "approve", "1"),
            ("pr", "merge", "1"),
            ("pr", "close", "1", "--reason", "x"),
            ("pr", "comment", "1", "--body", "x"),
            ("hold", "m", "v2", "--reason", "worse"),
            ("unhold", "m", "v2"),
            ("freeze", "dev", "--reason", "x"),
            ("unfreeze", "dev"),
        )
    ]

    assert git.ls_remote("origin", ["refs/*"]) == before
    assert answers == [
        (0, f"would open a pull request for {pull.branch} as Bo: x\n", ""),
        (0, f"would approve pull request 1 at {pull.head} as Bo\n", ""),
        (0, f"would merge pull request 1 at {pull.head} as Bo\n", ""),
        (0, f"would close pull request 1 as Bo and delete {pull.branch}: x\n", ""),
        (0, "would comment on pull request 1 as Bo: x\n", ""),
        (0, "would hold m v2 as Bo: worse\n", ""),
        (0, "would lift the hold of Ada Example on m v2 as Bo\n", ""),
        (0, "would freeze dev as Bo: x\n", ""),
        (0, "would lift the freeze of Ada Example on dev as Bo\n", ""),
    ]


def tip(store: FactStore) -> str | None:
    return store._refs.read_refs(STATE).get(STATE)


def test_a_hold_is_written_down_and_lifted_under_a_name(run, git, store):
    assert run("hold", "m", "v2", "--reason", "wrong\nunits", "--as", "Bo") == (
        0, "m v2 is on hold: wrong units\n", "",
    )  # fmt: skip
    assert store.read_model("m").holds == {"v2": Hold(reason="wrong units", by="Bo", since=AT)}

    assert run("unhold", "m", "v2", "--as", "Cy") == (0, "m v2 is no longer on hold\n", "")
    assert store.read_model("m").holds == {}
    assert [entry.author for entry in git.log(tip(store))] == ["Cy", "Bo"]
    assert len(store.read_history(model_path("m"))) == 2


def test_holding_again_keeps_since_when_and_takes_the_new_reason(run, services, store):
    run("hold", "m", "v2", "--reason", "bad", "--as", "Bo")
    first = tip(store)
    services.clock.at = datetime(2026, 3, 2, tzinfo=UTC)
    again = run("hold", "m", "v2", "--reason", "bad", "--as", "Bo")
    assert (again, tip(store)) == ((0, "m v2 is on hold: bad\n", ""), first)

    _, out, _ = run("hold", "m", "v2", "--reason", "worse", "--as", "Cy")

    assert out == f"m v2 is on hold: worse (since {AT:%Y-%m-%d %H:%M} UTC it was by Bo: bad)\n"
    assert store.read_model("m").holds == {"v2": Hold(reason="worse", by="Cy", since=AT)}


def test_a_freeze_is_written_down_and_lifted(run, store):
    assert run("freeze", "dev", "--reason", "holidays", "--as", "Bo") == (
        0, "dev is frozen: holidays\n", "",
    )  # fmt: skip
    freeze = Freeze(reason="holidays", by="Bo", since=AT)
    assert store.read_freeze("dev") == freeze

    assert run("unfreeze", "dev", "--as", "Bo") == (0, "dev is open again\n", "")
    assert store.read_history(freeze_path("dev")) == [(AT, freeze), (AT, None)]


@pytest.mark.parametrize(
    ("command", "refused", "message"),
    [
        (
            ("hold", "m", "v9", "--reason", "x"),
            1,
            "the main branch has no valid models/m/model.yaml",
        ),
        (("hold", "../m", "v2", "--reason", "x"), 1, "the main branch has no valid models/../m/"),
        (("unhold", "m", "v2"), 3, "m v2 is not on hold"),
        (
            ("freeze", "prod", "--reason", "x"),
            1,
            "the main branch has no valid environments/prod/environment.yaml",
        ),
        (("unfreeze", "dev"), 3, "dev is not frozen"),
    ],
)
def test_refuses_to_hold_or_lift_what_is_not_there(run, command, refused, message):
    code, out, err = run(*command)

    assert (code, out) == (refused, "")
    assert err.startswith(f"error: {message}")


def test_a_number_that_is_none_is_wrong_usage_and_an_unknown_one_no_answer(run):
    assert run("pr", "show", "0")[0] == 2
    code, _, err = run("pr", "show", "7")
    assert (code, err.splitlines()[0]) == (
        1,
        "error: there is no pull request 7; origin has none yet",
    )
