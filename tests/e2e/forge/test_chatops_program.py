"""chatops.yml with the real program on Gitea's runner: a comment becomes a fact on the forge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2e.forge.runner import job_logs, publish_actions, running_runner, workflow_runs
from e2e.forge.seed import git
from e2e.forge.site import BOT
from e2e.forge.test_chatops_workflow import write_chatops_seed

PROGRAM = Path(sys.executable).with_name("modelyard")
STATE = "modelyard/state"


@pytest.fixture(scope="module")
def repository(gitea_forge, tmp_path_factory):
    """A yard on this forge with a pull request of ann, and a runner."""
    folder = tmp_path_factory.mktemp("program")
    seed = write_chatops_seed(folder, publish_actions(gitea_forge, folder / "actions"))
    found = gitea_forge.new_repository(seed)
    work = folder / "work"
    git(folder, "clone", "--quiet", found.clone_url(BOT), str(work))
    (work / "modelyard.yaml").write_text(
        "apiVersion: modelyard/v1\nkind: Repository\nforge: gitea\n"
        f"forge_uri: {gitea_forge.url}/api/v1\nforge_repository: acme/{found.name}\nbot: {BOT}\n"
    )
    git(work, "commit", "--quiet", "--all", "-m", "This forge")
    git(work, "push", "--quiet", "origin", "main")
    found.protect_main()
    found.keep_secret("MODELYARD_FORGE_TOKEN", gitea_forge.token(BOT))
    git(work, "remote", "set-url", "origin", found.clone_url("ann"))
    (work / "docs/page.md").write_text("A page.\n")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "A page")
    git(work, "push", "--quiet", "origin", "HEAD:refs/heads/page")
    found.open_pull("ann", "page")
    environment = {"MODELYARD_E2E_PROGRAM": str(PROGRAM)}
    with running_runner(gitea_forge, folder / "runner", environment=environment):
        yield found


def run_of(repository, login, body):
    """Comment on the pull request, and wait until the workflow has ended; the reactions."""
    known = {run["id"] for run in workflow_runs(repository)}
    path = f"{repository.path}/issues"
    comment = repository.api(login).post(f"{path}/1/comments", body=body)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        new = [run for run in workflow_runs(repository) if run["id"] not in known]
        if new and all(run["status"] == "completed" for run in new):
            break
        time.sleep(0.2)
    assert {run["conclusion"] for run in new} == {"success"}, job_logs(repository)
    reactions = repository.api(login).get(f"{path}/comments/{comment['id']}/reactions")
    return {each["content"] for each in reactions or ()}


def test_a_person_s_command_is_done_with_the_tool_s_token_and_a_reader_s_is_not(repository):
    until = (datetime.now(tz=UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    command = f"/freeze dev until {until} audit"

    assert run_of(repository, "rex", command) == set()
    assert git(repository.bare, "branch", "--list", STATE) == ""
    assert run_of(repository, "bob", command) == {"eyes", "rocket"}

    freeze = json.loads(git(repository.bare, "show", f"{STATE}:freezes/dev.json"))
    assert "bob" in json.dumps(freeze)
    said = repository.api("ann").get(f"{repository.path}/issues/1/comments")
    assert [each["user"]["login"] for each in said if "/freeze: done" in each["body"]] == [BOT]


def test_what_a_person_types_is_done_by_the_workflow_and_followed_to_its_end(repository, tmp_path):
    work = tmp_path / "work"
    git(tmp_path, "clone", "--quiet", repository.clone_url("bob"), str(work))

    def typed(login: str, *words: str) -> subprocess.CompletedProcess[str]:
        token = {"MODELYARD_FORGE_TOKEN": repository.site.token(login)}
        return subprocess.run(
            [PROGRAM, *words],
            cwd=work,
            env={**os.environ, **token},
            capture_output=True,
            text=True,
            check=False,
        )

    until = (datetime.now(tz=UTC) + timedelta(days=1)).replace(microsecond=0).isoformat()
    done = typed("bob", "freeze", "canary", "--until", until, "--reason", "$(id) x")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{job_logs(repository)}"
    first, last = done.stdout.splitlines()
    assert f"{repository.name}/actions/runs/" in first
    assert last == f"canary is frozen until {until}: $(id) x"
    freeze = json.loads(git(repository.bare, "show", f"{STATE}:freezes/canary.json"))
    assert "bob" in json.dumps(freeze)

    refused = typed("bob", "freeze", "lab", "--until", until, "--reason", "audit")
    assert (refused.returncode, "unknown_environment" in refused.stderr) == (3, True)
    reader = typed("rex", "unfreeze", "canary")
    assert reader.returncode == 1
    assert "chatops.yml is not started for rex" in reader.stderr
    assert "comment on any pull request: /unfreeze canary" in reader.stderr
