"""chatops.yml on Gitea's runner: who and what can make a comment do something."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.forge.runner import job_logs, publish_actions, running_runner, workflow_runs
from e2e.forge.seed import git, write_seed
from e2e.forge.site import BOT, ForgeRepository, Site
from e2e.forge.stub_chatops import CALLS, TOKEN
from e2e.forge.workflow_copy import make_readable

WORKFLOW = ".github/workflows/chatops.yml"
STUB = Path(__file__).with_name("stub_chatops.py")


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A repository with a pull request, and a runner that waits for comments.

    Args:
        calls: Where each call of the toolkit is recorded.
        pwned: A file that only an attack makes.
        pull: The number of ann's pull request, which changes the workflow.
    """

    repository: ForgeRepository
    calls: Path
    pwned: Path
    pull: int
    log: Path

    def comment(self, login: str, body: str, *, number: int | None = None) -> Any:
        number = number or self.pull
        path = f"{self.repository.path}/issues/{number}/comments"
        return self.repository.api(login).post(path, body=body)

    def run_of(self, login: str, body: str, *, number: int | None = None) -> Conversation:
        """Comment, and wait until the workflow has ended."""
        known = {run["id"] for run in workflow_runs(self.repository)}
        recorded = len(list(self.calls.iterdir()))
        comment = self.comment(login, body, number=number)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            new = [run for run in workflow_runs(self.repository) if run["id"] not in known]
            if new and all(run["status"] == "completed" for run in new):
                break
            time.sleep(0.2)
        else:
            raise AssertionError(f"no run ended: {new}; {self.log.read_text()[-3000:]}")
        (run,) = new
        assert run["conclusion"] != "failure", job_logs(self.repository)
        files = [self.calls / f"{number}.json" for number in range(recorded, recorded + 9)]
        made = [json.loads(file.read_text()) for file in files if file.exists()]
        reactions = self.repository.api("bob").get(
            f"{self.repository.path}/issues/comments/{comment['id']}/reactions"
        )
        return Conversation(run=run, calls=made, reactions=[r["content"] for r in reactions or ()])


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What a comment led to."""

    run: dict[str, Any]
    calls: list[dict[str, Any]]
    reactions: list[str]

    @property
    def commands(self) -> list[list[str]]:
        return [call["arguments"] for call in self.calls]


@pytest.fixture(scope="module")
def desk(gitea_forge: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("chatops")
    calls, pwned = folder / "calls", folder / "pwned"
    calls.mkdir()
    seed = write_chatops_seed(folder, publish_actions(gitea_forge, folder / "actions"))
    repository = gitea_forge.new_repository(seed)
    repository.protect_main()
    repository.keep_secret(TOKEN, gitea_forge.token(BOT))
    pull = propose_another_workflow(repository, folder, pwned)
    program = folder / "modelyard"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} "$@"\n')
    program.chmod(0o755)
    environment = {
        "MODELYARD_E2E_PROGRAM": str(program),
        CALLS: str(calls),
    }
    with running_runner(gitea_forge, folder / "runner", environment=environment) as log:
        yield Desk(repository=repository, calls=calls, pwned=pwned, pull=pull, log=log)


def write_chatops_seed(folder: Path, pins: dict[str, str]) -> Path:
    """A yard with chatops.yml alone: the other workflows would run on the pull request too."""
    work = folder / "seeded"
    git(folder, "clone", "--quiet", str(write_seed(folder)), str(work))
    make_readable(work, pins=pins)
    for path in (work / ".github/workflows").iterdir():
        if path.name != Path(WORKFLOW).name:
            path.unlink()
    git(work, "commit", "--quiet", "--all", "-m", "As Gitea's runner reads it")
    return work


def propose_another_workflow(repository: ForgeRepository, folder: Path, pwned: Path) -> int:
    """A pull request of ann whose chatops.yml runs a command of hers first."""
    work = folder / "anns"
    git(folder, "clone", "--quiet", repository.clone_url("ann"), str(work))
    git(work, "checkout", "--quiet", "-b", "another-workflow")
    text = (work / WORKFLOW).read_text()
    changed = text.replace("    steps:\n", f"    steps:\n      - run: touch {pwned}\n")
    assert changed.count(str(pwned)) == 2
    (work / WORKFLOW).write_text(changed)
    git(work, "commit", "--quiet", "--all", "-m", "Another workflow")
    git(work, "push", "--quiet", "origin", "another-workflow")
    return repository.open_pull("ann", "another-workflow")["number"]


def test_a_command_is_acknowledged_then_done_by_the_workflow_of_main(desk: Desk):
    talk = desk.run_of("bob", "/hold wine v1 a try")
    assert talk.run["conclusion"] == "success"
    assert talk.commands == [["chatops", "ack"], ["chatops", "act"]]
    assert talk.reactions == ["eyes"]
    main = git(desk.repository.bare, "rev-parse", "main").strip()
    assert {(call["ref"], call["checked_out"]) for call in talk.calls} == {
        ("refs/heads/main", main)
    }
    assert not desk.pwned.exists()


def test_a_job_has_the_tool_s_token_for_one_step_and_leaves_no_credentials(desk: Desk):
    for call in desk.run_of("bob", "/hold wine v1 again").calls:
        assert call["secrets"] == [TOKEN]
        assert not call["credentials_left"]


def test_a_readers_comment_does_nothing(desk: Desk):
    talk = desk.run_of("rex", "/hold wine v1 a try")
    assert talk.commands == [["chatops", "ack"]]
    assert talk.reactions == []


@pytest.mark.parametrize(
    "text",
    [
        # Each way out of an argument; a runner takes seconds for a comment, so all at once.
        "$(touch {pwned}) `touch {pwned}` '; touch {pwned}; '\"; touch {pwned}; \"",
        "${{{{ github.token }}}}\nEOF\ntouch {pwned}\nenvironment=production",
        "x\n::set-output name=environment::production\n::add-path::/tmp",
    ],
)
def test_what_a_comment_says_is_never_run(desk: Desk, text: str):
    body = "/hold wine v1 " + text.format(pwned=desk.pwned)
    talk = desk.run_of("bob", body)
    assert [call["comment"].replace("\r\n", "\n") for call in talk.calls] == [body, body]
    assert not desk.pwned.exists()


def test_a_comment_without_a_command_starts_no_job(desk: Desk):
    talk = desk.run_of("bob", "looks good to me")
    assert (talk.run["conclusion"], talk.commands) == ("skipped", [])


def test_a_comment_on_an_issue_starts_no_job(desk: Desk):
    issue = desk.repository.api("bob").post(f"{desk.repository.path}/issues", title="A question")
    talk = desk.run_of("bob", "/hold wine v1 a try", number=issue["number"])
    assert (talk.run["conclusion"], talk.commands) == ("skipped", [])
