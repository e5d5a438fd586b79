"""Gitea's runner on this machine: it runs the workflows' jobs as processes, without containers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from e2e.forge.programs import RUNNER, program
from e2e.forge.seed import git
from e2e.forge.site import OWNER, ForgeRepository, Site

LABEL = "ubuntu-24.04"
STOP_SECONDS = 20
_STAND_INS = Path(__file__).parent / "stand_ins"
_ACTIONS = ("checkout", "setup-python")
_published: dict[str, dict[str, str]] = {}


@contextmanager
def running_runner(site: Site, folder: Path, *, environment: Mapping[str, str]) -> Iterator[Path]:
    """Run the jobs of all repositories until the block ends; gives the runner's log.

    Args:
        site: The forge.
        folder: For settings, logs and the jobs' working folders.
        environment: What jobs get besides PATH and HOME.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings, log = folder / "settings.yaml", folder / "runner.log"
    settings.write_text(yaml.safe_dump(_settings(folder, environment)))
    # Warnings come first.
    token = site.gitea.command("actions", "generate-runner-token").split()[-1]
    command = [program(RUNNER), "--config", settings]
    kept = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    register = ["register", "--no-interactive", "--instance", site.url, "--token", token]
    subprocess.run([*command, *register], cwd=folder, env=kept, check=True, capture_output=True)
    bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*bound, *command, "daemon"], cwd=folder, env=kept, stdout=output, stderr=output
        )
    try:
        yield log
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def publish_actions(site: Site, folder: Path) -> dict[str, str]:
    """Put the stand-ins of GitHub's actions on the forge, once; returns the commit of each."""
    if site.url in _published:
        return _published[site.url]
    site.owner.post("orgs", username="actions", visibility="public")
    pins = {}
    for name in _ACTIONS:
        work = folder / name
        shutil.copytree(_STAND_INS / name, work)
        git(work, "init", "--quiet", "--initial-branch=main")
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "-m", name)
        site.adopt(work, "actions", name)
        # What is adopted is private, and the runner clones actions without a token.
        site.owner.patch(f"repos/actions/{name}", private=False)
        pins[f"actions/{name}"] = git(work, "rev-parse", "HEAD").strip()
    _published[site.url] = pins
    return pins


def workflow_runs(repository: ForgeRepository) -> list[dict[str, str]]:
    """The runs of a repository, oldest first."""
    answer = repository.api(OWNER).get(f"{repository.path}/actions/runs")
    return sorted(answer["workflow_runs"] or (), key=lambda run: run["id"])


def job_logs(repository: ForgeRepository) -> str:
    """What the jobs of a repository printed, for a test that fails."""
    answer = repository.api(OWNER).get(f"{repository.path}/actions/jobs")
    path = f"/api/v1/{repository.path}/actions/jobs"
    headers = {"Authorization": f"token {repository.site.token(OWNER)}"}
    client = repository.site.gitea.client
    return "\n".join(
        client.get(f"{path}/{job['id']}/logs", headers=headers).text for job in answer["jobs"]
    )


def _settings(folder: Path, environment: Mapping[str, str]) -> dict[str, object]:
    return {
        "log": {"level": "info"},
        "runner": {
            "file": str(folder / "registration"),
            "capacity": 2,
            "envs": dict(environment),
            "labels": [f"{LABEL}:host"],
            # Nothing to wait for: both ends are on this machine.
            "fetch_interval": "200ms",
            "fetch_interval_max": "500ms",
            "log_report_interval": "1s",
            "log_report_max_latency": "500ms",
            "state_report_interval": "500ms",
        },
        "cache": {"enabled": False},
        "host": {"workdir_parent": str(folder / "jobs")},
    }
