"""The project's own check, `.ci/run`: what it skips on a machine that lacks something, and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frameworks import runtimes
from modelyard.domain.specs.paths import trainer_lock
from modelyard.errors import YardError

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "tests/frameworks/runtimes.py": "test-frameworks-short",
    "tests/infrastructure/programs.py": "infrastructure",
    "tests/e2e/forge/programs.py": "e2e-forge",
}
ALWAYS = ["test", "demo", "e2e-short"]
OFFLINE = {"UV_OFFLINE": "1", "GOPROXY": "off", "GOFLAGS": ""}


@pytest.fixture
def run(tmp_path: Path):
    """Run the check with a make that only notes its targets, and programs that end with a code."""
    stand_in = "#!/bin/sh\n"
    for name, text in {
        ".venv/bin/python": f'{stand_in}[ "$1" = "$ENDING" ] && exit "$CODE"; exit 0\n',
        "bin/make": f"""{stand_in}echo "$1" >> made
[ "$1" = "$ENDING" ] || exit 0
[ "$CODE" = always ] || [ "$(grep -cx "$1" made)" = 1 ] && exit 1 || exit 0
""",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    for tool in ("bash", "sh", "dirname", "grep", "rm"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))

    def ended(ending: str = "", code: int | str = 0) -> tuple[int, list[str]]:
        environment = {
            "PATH": str(tmp_path / "bin"),
            "HOME": str(tmp_path),
            "ENDING": ending,
            "CODE": str(code),
        }
        done = subprocess.run([tmp_path / ".ci/run"], env=environment, check=False)
        return done.returncode, (tmp_path / "made").read_text().split()

    return ended


def test_on_a_whole_machine_nothing_is_skipped(run):
    code, made = run()
    assert (code, sorted(made)) == (0, sorted([*ALWAYS, *PROGRAMS.values()]))


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_not_possible_is_skipped_alone(run, program):
    code, made = run(program, 3)
    wanted = [*ALWAYS, *(target for name, target in PROGRAMS.items() if name != program)]
    assert (code, sorted(made)) == (0, sorted(wanted))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_fails_ends_the_check(run, program):
    code, made = run(program, 1)
    assert (code, PROGRAMS[program] in made) == (1, False)


@pytest.mark.parametrize("target", [*ALWAYS[1:], *PROGRAMS.values()])
def test_what_fails_once_is_tried_once_more(run, target):
    code, made = run(target, "once")
    assert (code, made.count(target)) == (0, 2)


@pytest.mark.parametrize("target", [*ALWAYS[1:], *PROGRAMS.values()])
def test_what_fails_twice_ends_the_check(run, target):
    code, made = run(target, "always")
    assert (code, made.count(target), made[-1]) == (1, 2, target)


def test_the_cluster_s_second_try_starts_with_an_empty_image_store(run, tmp_path: Path):
    store = tmp_path / ".cache/modelyard-e2e/containerd"
    store.mkdir(parents=True)
    _, made = run("e2e-short", "once")
    assert not store.exists()
    assert made[made.index("e2e-short") :][:3] == ["e2e-short", "e2e-down", "e2e-short"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_an_index_and_what_was_kept_of_one_nothing_is_possible_and_it_says_so(
    program, tmp_path: Path
):
    places = {
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "GOMODCACHE": str(tmp_path / "modules"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, ROOT / program, "possible"], env={**os.environ, **OFFLINE, **places},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")
    assert (done.stdout.startswith("skipped: "), done.stdout.count("\n")) == (True, 1)


def test_wishes_that_could_not_be_locked_have_no_lock_of_other_wishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runtimes, "CACHE", tmp_path)
    monkeypatch.setattr(runtimes, "WISHES", {"m": ("no-such-library==1",)})
    for name, value in {**OFFLINE, "UV_CACHE_DIR": str(tmp_path / "uv")}.items():
        monkeypatch.setenv(name, value)
    lock = tmp_path / "wishes" / trainer_lock("m")
    lock.parent.mkdir(parents=True)
    lock.write_text("of-other-wishes==1\n")
    lock.with_name("requirements.in").write_text("of-other-wishes\n")
    with pytest.raises(YardError):
        runtimes.make_runtime("m")
    assert not lock.exists()
