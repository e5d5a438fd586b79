from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.adapters.runtimes.environments import Environments, packages_of
from modelyard.errors import CannotAnswer
from runtimes import borrowing_lock, offline_uv


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environments:
    for name, value in offline_uv(tmp_path / "wheels").items():
        monkeypatch.setenv(name, value)
    return Environments(tmp_path / "runtimes")


def kept(environments: Environments, name: str = "borrowed") -> str:
    wheels = environments.folder.parent / "wheels"
    return environments.keep_lock(borrowing_lock(wheels, name, libraries=False)).stem


def leftovers(environments: Environments) -> list[str]:
    return [path.name for path in environments.folder.iterdir() if path.name.startswith(".")]


def test_an_environment_has_what_its_lock_pins_and_says_which_lock(environments):
    pin = kept(environments)

    folder = environments.get_or_build(pin)

    assert packages_of(folder) == {"borrowed": "1.0"}
    assert hashlib.sha256((folder / "requirements.lock").read_bytes()).hexdigest() == pin
    done = subprocess.run([folder / "bin/python", "-c", "import borrowed"], check=False)
    assert done.returncode == 0


def test_it_is_built_once_even_by_two_builders_at_a_time(environments):
    pin = kept(environments)

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: environments.get_or_build(pin).stat().st_ino, range(2)))

    assert made[0] == made[1] == environments.get_or_build(pin).stat().st_ino
    assert leftovers(environments) == []


@pytest.mark.long
def test_one_in_which_something_else_was_installed_is_built_again(environments):
    pin = kept(environments)
    folder = environments.get_or_build(pin)
    info = next(folder.glob("lib/python*/site-packages/borrowed-1.0.dist-info"))
    info.rename(info.with_name("borrowed-2.0.dist-info"))

    assert packages_of(environments.get_or_build(pin)) == {"borrowed": "1.0"}


def test_a_lock_without_its_bytes_is_not_installed(environments):
    pin = kept(environments)
    wheel = next((environments.folder.parent / "wheels").glob("*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"\0")

    with pytest.raises(CannotAnswer, match="uv pip sync ended with exit code"):
        environments.get_or_build(pin)
    assert not (environments.folder / pin).exists()


@pytest.mark.long
def test_a_builder_that_is_killed_leaves_nothing_that_looks_whole(environments, tmp_path):
    pin = kept(environments)
    # A uv that takes for ever once it has started to install.
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import sys, time\n"
        "from pathlib import Path\n"
        "from modelyard.adapters.runtimes import environments\n"
        "real = environments.run_uv\n"
        "def run_uv(arguments, **more):\n"
        "    real(arguments, **more)\n"
        "    if arguments[0] == 'pip':\n"
        "        print('installed', flush=True)\n"
        "        time.sleep(600)\n"
        "environments.run_uv = run_uv\n"
        "environments.Environments(Path(sys.argv[1])).get_or_build(sys.argv[2])\n"
    )
    builder = subprocess.Popen(
        [sys.executable, slow, environments.folder, pin], stdout=subprocess.PIPE
    )
    assert builder.stdout is not None
    assert builder.stdout.readline() == b"installed\n"
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    builder.stdout.close()
    assert not (environments.folder / pin).exists()

    assert packages_of(environments.get_or_build(pin)) == {"borrowed": "1.0"}
    assert leftovers(environments) == []


@pytest.mark.long
def test_one_that_a_process_runs_in_is_not_removed(environments):
    mine, free = kept(environments), kept(environments, "other")
    folder = environments.get_or_build(mine)
    environments.get_or_build(free)
    running = subprocess.Popen([folder / "bin/python", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        while not any(each.processes for each in environments.list_built()):
            time.sleep(0.05)
        assert (environments.remove(mine), environments.remove(free)) == (False, True)
    finally:
        running.communicate(b"\n")

    assert [each.lock for each in environments.list_built()] == [mine]
    assert environments.remove(mine)
    assert environments.list_built() == []


def test_without_uv_the_error_says_how_to_get_it(environments, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(CannotAnswer, match="uv is not installed") as error:
        environments.get_or_build(kept(environments))
    assert "requirements-uv.lock" in (error.value.hint or "")


def test_a_lock_is_kept_under_the_digest_of_its_bytes(environments):
    path = environments.keep_lock(b"numpy==2.4.6\n")

    path.write_bytes(b"numpy==1.0\n")
    assert environments.keep_lock(b"numpy==2.4.6\n").read_bytes() == b"numpy==2.4.6\n"
    assert os.listdir(environments.folder) == [path.name]  # noqa: PTH208 - names alone
