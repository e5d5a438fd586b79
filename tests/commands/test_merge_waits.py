from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.watcher import Watcher
from modelyard.operations.content.new_yard import write_yard, yard_files
from modelyard.operations.content.toolkit_lock import read_wheel

TOOL = (sys.executable, "-m", "modelyard")
SAID_WITHIN = 60.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".gitconfig").write_text("[user]\n  name = Ada\n  email = ada@example.org\n")
    return {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture
def yard(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A yard without models, with a local forge and a pushed branch `more`."""
    folder = tmp_path / "yard"
    write_yard(folder, yard_files(read_wheel(None)))
    script = """
        git init --quiet --bare --initial-branch=main ../forge.git
        git init --quiet --initial-branch=main && git add --all && git commit --quiet -m Yard
        git remote add origin ../forge.git && git push --quiet origin main
        git switch --quiet --create more && echo more > NOTES.md && git add NOTES.md
        git commit --quiet -m More && git push --quiet origin more
    """
    subprocess.run(["bash", "-ec", script], cwd=folder, env=environment, check=True)
    return folder


def test_a_merge_typed_before_the_watcher_reported_waits_for_it_and_merges(
    yard: Path, environment: dict[str, str], tmp_path: Path
):
    opened = [*TOOL, "pr", "open", "more", "--title", "More"]
    subprocess.run(opened, cwd=yard, env=environment, check=True, capture_output=True)
    with subprocess.Popen(
        [*TOOL, "pr", "merge", "1"], cwd=yard, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as merge:  # fmt: skip
        assert merge.stderr is not None
        waiting = merge.stderr.readline()
        watcher = Watcher(yard, tmp_path / "log", environment, lambda _: None)
        try:
            said, failed = merge.communicate(timeout=SAID_WITHIN)
        finally:
            merge.kill()
            watcher.stop()

    assert waiting == (
        "waiting up to 60 s for a watcher to report modelyard/checks and modelyard/promote\n"
    )
    assert (merge.returncode, failed) == (0, "")
    assert said.startswith("pull request 1 is merged as ")
