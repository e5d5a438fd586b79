from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.adapters.runtimes import environments as runtimes
from modelyard.adapters.runtimes.contents import CONTENTS
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


def test_this_interpreter_fits_no_lock_of_what_is_at_an_address(environments):
    version = importlib.metadata.version("numpy")
    assert environments.own_fits(f"numpy=={version}\n".encode())
    assert not environments.own_fits(b"numpy @ https://example.org/numpy-1.0-py3-none-any.whl\n")


def test_a_lock_is_kept_under_the_digest_of_its_bytes(environments):
    path = environments.keep_lock(b"numpy==2.4.6\n")

    path.write_bytes(b"numpy==1.0\n")
    assert environments.keep_lock(b"numpy==2.4.6\n").read_bytes() == b"numpy==2.4.6\n"
    assert os.listdir(environments.folder) == [path.name]  # noqa: PTH208 - names alone


def _edit(folder: Path) -> None:
    with (_packages(folder) / "borrowed" / "__init__.py").open("a") as file:
        file.write("EDITED = True\n")


def _add(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (_packages(folder) / name).write_text(text)


def _packages(folder: Path) -> Path:
    return next(folder.glob("lib/python*/site-packages"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file that was edited": _edit,
    "a .pth file": _add("own.pth", "import os\n"),
    "a sitecustomize": _add("sitecustomize.py", "EDITED = True\n"),
    "a module without metadata": _add("numpy.py", "EDITED = True\n"),
    "a program": lambda folder: (folder / "bin" / "activate").write_text("exit 1\n"),
    "libraries of the system": lambda folder: (folder / "pyvenv.cfg").write_text(
        (folder / "pyvenv.cfg").read_text().replace("= false", "= true")
    ),
    "an interpreter that is gone": lambda folder: (
        (folder / "bin" / "python").unlink(),
        (folder / "bin" / "python").symlink_to("/opt/python3.9/bin/python"),
    ),
    "a list that is none": lambda folder: (
        (folder / CONTENTS).unlink(),
        (folder / CONTENTS).mkdir(),
    ),
    "a file that is gone": lambda folder: (_packages(folder) / "borrowed/__init__.py").unlink(),
    "a link in its place": lambda folder: (
        (_packages(folder) / "borrowed/__init__.py").unlink(),
        (_packages(folder) / "borrowed/__init__.py").symlink_to("/etc/hostname"),
    ),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_one_in_which_a_file_is_another_is_built_again(environments, change):
    pin = kept(environments)
    folder = environments.get_or_build(pin)
    before = find_files(folder)
    change(folder)
    assert find_files(folder) != before or (folder / CONTENTS).is_dir()

    assert find_files(environments.get_or_build(pin)) == before


def find_files(folder: Path) -> dict[str, object]:
    names = [path for path in folder.rglob("*") if not path.is_dir()]
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in names
        if "__pycache__" not in path.parts and path.name != CONTENTS
    }


@pytest.mark.long
def test_a_disk_that_is_full_leaves_nothing_that_looks_whole(environments, monkeypatch):
    pin = kept(environments)

    def fill(environment: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(environment))

    with monkeypatch.context() as full:
        full.setattr(runtimes, "note_contents", fill)
        with pytest.raises(OSError, match="No space left"):
            environments.get_or_build(pin)
    assert not (environments.folder / pin).exists()
    assert leftovers(environments) == []
    assert packages_of(environments.get_or_build(pin)) == {"borrowed": "1.0"}


def test_a_change_is_named_and_what_an_interpreter_leaves_is_none(environments, caplog):
    pin = kept(environments)
    folder = environments.get_or_build(pin)
    made = folder.stat().st_ino
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache)
    subprocess.run([folder / "bin/python", "-c", "import borrowed"], check=True)
    assert environments.get_or_build(pin).stat().st_ino == made

    _edit(folder)
    environments.get_or_build(pin)
    assert "since it was built: lib/python" in caplog.text
    assert "site-packages/borrowed/__init__.py; it is built again" in caplog.text


def test_an_edit_of_what_uv_unpacked_before_is_not_installed(environments, tmp_path, monkeypatch):
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    folder = environments.get_or_build(kept(environments))
    kept_by_uv = [*(tmp_path / "cache").rglob("borrowed/__init__.py")]
    assert kept_by_uv
    for path in kept_by_uv:
        path.write_text("EDITED = True\n")
    assert find_files(folder) == find_files(environments.get_or_build(kept(environments)))

    shutil.rmtree(folder)
    again = environments.get_or_build(kept(environments))
    assert (_packages(again) / "borrowed" / "__init__.py").read_text() == ""


def test_one_that_noted_nothing_is_used_if_its_packages_know_all_of_it(environments, monkeypatch):
    pin = kept(environments)
    folder = environments.get_or_build(pin)
    made = folder.stat().st_ino
    (folder / CONTENTS).unlink()
    with monkeypatch.context() as without_uv:
        without_uv.setattr(runtimes, "run_uv", None)
        assert environments.get_or_build(pin).stat().st_ino == made
        assert environments.get_or_build(pin).stat().st_ino == made

    (folder / CONTENTS).unlink()
    _add("sitecustomize.py", "")(folder)
    assert environments.get_or_build(pin).stat().st_ino != made


def test_a_changed_one_stays_for_what_runs_in_it_until_another_is_built(environments, monkeypatch):
    pin = kept(environments)
    folder = environments.get_or_build(pin)
    _edit(folder)
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(environments.folder.parent / "empty"))

    with pytest.raises(CannotAnswer, match="uv pip sync ended with exit code"):
        environments.get_or_build(pin)
    assert (_packages(folder) / "borrowed" / "__init__.py").read_text() == "EDITED = True\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [("UV_LINK_MODE", "symlink"), ("UV_VENV_SEED", "1"), ("UV_CONSTRAINT", "constraints.txt")],
)
def test_no_variable_of_uv_says_what_is_installed(environments, monkeypatch, name, value):
    constraints = environments.folder.parent / "constraints.txt"
    constraints.write_text("borrowed==2.0\n")
    monkeypatch.setenv(name, value.replace("constraints.txt", str(constraints)))

    folder = environments.get_or_build(kept(environments))

    assert packages_of(folder) == {"borrowed": "1.0"}
    assert not (_packages(folder) / "borrowed" / "__init__.py").is_symlink()
