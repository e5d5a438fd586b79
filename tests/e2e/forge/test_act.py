"""content.yml as act runs it: a pull request that is sound, and some that are not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.forge.programs import ACT, program
from e2e.forge.seed import git, write_seed
from e2e.forge.workflow_copy import ChangedLine, make_readable

STAND_INS = Path(__file__).parent / "stand_ins"
MODELYARD = Path(sys.executable).parent / "modelyard"
OF_OTHERS = re.compile(r"uses: ([\w-]+/(setup-python|configure-aws-credentials)@[0-9a-f]{40})")
OWN = ChangedLine("      - uses: $/.github/actions/setup", "      - uses: ./.github/actions/setup")
QUEUE = ChangedLine("      queue: max", None)


@dataclass(frozen=True)
class Ran:
    """What act did: the exit code, and the outcome of each step that it ran."""

    code: int
    steps: dict[str, str]
    output: str


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository whose workflows act can read."""
    folder = tmp_path_factory.mktemp("act")
    git(folder, "clone", "--quiet", str(write_seed(folder)), str(folder / "work"))
    make_readable(folder / "work")
    git(folder / "work", "commit", "--quiet", "--all", "-m", "As act reads it")
    git(folder, "clone", "--quiet", "--bare", str(folder / "work"), str(folder / "forge.git"))
    return folder / "forge.git"


@pytest.fixture
def run_content(forge: Path, tmp_path: Path) -> Callable[[Callable[[Path], None]], Ran]:
    """Open a pull request with a change, and have act run content.yml on it."""

    def run(change: Callable[[Path], None]) -> Ran:
        work = tmp_path / "work"
        git(tmp_path, "clone", "--quiet", str(forge), str(work))
        git(work, "checkout", "--quiet", "-b", "a-change")
        change(work)
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "-m", "A change")
        event = tmp_path / "event.json"
        event.write_text(json.dumps(pull_event(git(work, "rev-parse", "HEAD").strip())))
        return run_act(work, event)

    return run


def pull_event(sha: str) -> dict[str, object]:
    repository = {"full_name": "acme/yard", "default_branch": "main"}
    return {
        "action": "opened",
        "number": 1,
        "repository": repository,
        "pull_request": {
            "number": 1,
            "user": {"login": "ann"},
            "head": {"ref": "a-change", "sha": sha, "repo": repository},
            "base": {"ref": "main", "repo": repository},
        },
    }


def run_act(work: Path, event: Path) -> Ran:
    files = (".github/actions/setup/action.yml", ".github/workflows/content.yml")
    pinned = [found for file in files for found in OF_OTHERS.findall((work / file).read_text())]
    stand_ins = [f"--local-repository={action}={STAND_INS / name}" for action, name in pinned]
    done = subprocess.run(
        [
            *(program(ACT), "pull_request", "-W", ".github/workflows/content.yml", "-e", event),
            *("-P", "ubuntu-24.04=-self-hosted", "--container-daemon-socket", "-", "--json"),
            *stand_ins,
            *("--env", f"MODELYARD_E2E_PROGRAM={MODELYARD}", "--no-cache-server"),
            *("--action-cache-path", work.parent / "cache", "--use-gitignore=false"),
        ],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    steps = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("stage") == "Main" and "stepResult" in entry:
            steps[entry["step"]] = entry["stepResult"]
    return Ran(done.returncode, steps, done.stdout + done.stderr)


def test_the_copy_differs_only_in_what_act_cannot_read(tmp_path: Path):
    git(tmp_path, "clone", "--quiet", str(write_seed(tmp_path)), str(tmp_path / "copy"))
    assert make_readable(tmp_path / "copy") == {
        ".github/workflows/chatops.yml": [OWN, QUEUE, OWN],
        ".github/workflows/content.yml": [OWN],
        ".github/workflows/drift.yml": [ChangedLine("  queue: max", None), OWN],
        ".github/workflows/images.yml": [OWN],
        ".github/workflows/reconcile.yml": [OWN],
        ".github/workflows/release.yml": [OWN, OWN],
        ".github/workflows/toolkit.yml": [OWN, OWN, OWN, OWN, OWN, OWN, OWN],
    }
    counted = git(tmp_path / "copy", "diff", "--numstat")
    assert [line.split() for line in counted.splitlines()] == [
        ["2", "3", ".github/workflows/chatops.yml"],
        ["1", "1", ".github/workflows/content.yml"],
        ["1", "2", ".github/workflows/drift.yml"],
        ["1", "1", ".github/workflows/images.yml"],
        ["1", "1", ".github/workflows/reconcile.yml"],
        ["2", "2", ".github/workflows/release.yml"],
        ["7", "7", ".github/workflows/toolkit.yml"],
    ]


def test_a_sound_pull_request_is_green(run_content):
    def add_a_version(work: Path) -> None:
        parent = work / "models/wine/versions/v1.yaml"
        version = ["version", "new", "wine", "v2", "--parent", "v1", "--param", "c=0.5"]
        command = [MODELYARD, "--root", work, *version, "--reason", "A stronger penalty"]
        subprocess.run(command, check=True, capture_output=True)
        assert parent.with_name("v2.yaml").exists()

    ran = run_content(add_a_version)
    assert ran.code == 0, ran.output
    assert {step: result for step, result in ran.steps.items() if "modelyard" in step} == {
        ".venv/bin/modelyard check-pull": "success",
        ".venv/bin/modelyard validate --output github --changed-since origin/main": "success",
        ".venv/bin/modelyard render --check": "success",
        ".venv/bin/modelyard render --check --platform": "success",
        ".venv/bin/modelyard gate --check --changed-since origin/main": "success",
    }


def break_a_spec(work: Path) -> None:
    path = work / "models/wine/model.yaml"
    path.write_text(path.read_text().replace("task: ", "tusk: "))


def write_a_release(work: Path) -> None:
    path = work / "environments/production/releases/wine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("version: v1\n")


def edit_what_is_rendered(work: Path) -> None:
    path = work / "environments/platform/manifests/workflows/detect-drift.yaml"
    path.write_text(path.read_text().replace("detect-drift", "detect-nothing"))


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (break_a_spec, "validate"),
        (write_a_release, "check-pull"),
        (edit_what_is_rendered, "render --check --platform"),
    ],
)
def test_a_broken_pull_request_is_red_at_the_step_that_finds_it(run_content, change, failed):
    ran = run_content(change)
    assert ran.code == 1
    (red,) = [step for step, result in ran.steps.items() if result == "failure"]
    assert red.startswith(f".venv/bin/modelyard {failed}")
