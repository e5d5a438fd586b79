"""What docs/github.md shows, typed on a fake of GitHub, and its lists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from content.test_readme import ROOT, Typed, section, typed
from fakes.github import FakeGitHub
from modelyard.adapters.forge.github.settings import NEEDED

PAGE = (ROOT / "docs/github.md").read_text(encoding="utf-8")
SHOWN = tuple(typed(section("In five steps", PAGE)))


@pytest.fixture
def checkout(fake_github: FakeGitHub, tmp_path: Path) -> Path:
    """This repository, as its owner cloned it from the fake GitHub."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    there = tmp_path / "yard"
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (there / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, there / name)
    token = fake_github.add_person("olga", "admin")
    bash(
        "git init --quiet -b main && git add --all && git commit --quiet -m 'A fork' && "
        f"git push --quiet {fake_github.repository.git.folder} main && "
        f"git remote add origin {fake_github.git_url(token)}",
        there,
        {},
    )
    return there


def bash(command: str, cwd: Path, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(cwd.parent),
            "GIT_AUTHOR_NAME": "Olga",
            "GIT_AUTHOR_EMAIL": "olga@example.org",
            "GIT_COMMITTER_NAME": "Olga",
            "GIT_COMMITTER_EMAIL": "olga@example.org",
            "COLUMNS": "200",
            **more,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    # A dry run says by its exit code that there is something to do.
    wanted = 3 if "--dry-run" in command else 0
    assert done.returncode == wanted, f"$ {command}\n{done.stdout}{done.stderr}"
    return done


def check_shown(line: Typed, said: str) -> None:
    for shown in line.shown:
        assert re.search(rf"^\s*{re.escape(shown)}$", said, re.MULTILINE), f"{line}\n{said}"


@pytest.mark.long
def test_every_command_of_the_section_does_what_the_page_shows(
    fake_github: FakeGitHub, checkout: Path, tmp_path: Path
):
    app = fake_github.add_app("modelyard", **NEEDED)
    key = tmp_path / "key.pem"
    key.write_text(app.key)
    person = {"MODELYARD_FORGE_TOKEN": "token-of-olga"}
    tool = {
        "MODELYARD_APP_ID": str(app.id),
        "MODELYARD_APP_INSTALLATION": str(app.installation),
        "MODELYARD_APP_KEY_FILE": str(key),
    }
    assert [line.command.split()[:2] for line in SHOWN] == [
        ["modelyard", "init"],
        ["modelyard", "init"],
        ["git", "switch"],
        ["git", "push"],
        ["modelyard", "doctor"],
    ]
    for line in SHOWN:
        is_doctor = line.command == "modelyard doctor"
        if is_doctor:
            url = fake_github.git_url(fake_github.installation_token(app))
            bash(f"git remote set-url origin {url}", checkout, {})
        check_shown(line, bash(line.command, checkout, tool if is_doctor else person).stdout)
    assert fake_github.repository.git.branch("forge")


def test_the_permissions_of_the_page_are_those_that_doctor_asks_for():
    rows = re.findall(r"^  \| ([a-z ]+) \| (read|write) \|", PAGE, re.MULTILINE)

    assert {name.replace(" ", "_"): level for name, level in rows} == NEEDED
