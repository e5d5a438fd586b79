"""One yard and one Airflow for all tests of this folder."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from e2e.airflow.airflow import LONGEST_START, ROOT, USER, Airflow, named
from e2e.airflow.small_workflows import SLOW, WORKFLOWS, write_workflows
from modelyard.adapters.workflows.airflow import AirflowWorkflows
from modelyard.adapters.workflows.airflow_api import AirflowApi

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def _git(*arguments: str, cwd: Path, environment: dict[str, str]) -> None:
    subprocess.run(["git", *arguments], cwd=cwd, env=environment, check=True, capture_output=True)


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the shell of somebody who plays the tour has."""
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("[user]\n  name = Ada Example\n  email = ada@example.org\n")
    return {"PATH": PATH, "HOME": str(home), "COLUMNS": "200", "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory, shell: dict[str, str]) -> Iterator[Airflow]:
    """A running Airflow, whose checkout is the tour's yard with `workflows: airflow`.

    Afterwards nothing of it runs, and it prints what it cost.
    """
    began, folder = time.monotonic(), tmp_path_factory.mktemp("airflow")
    made = Airflow(folder / "home", folder / "yard", PATH)
    _make_yard(folder, made.uri, shell)
    write_workflows(made.checkout)
    try:
        made.migrate()
        made.start()
        shell |= made.exports()
        _print(f"Airflow answers after {time.monotonic() - began:.0f} s")
        yield made
    finally:
        made.stop()
        made.database.stop()
        _end_all_of(shell["HOME"])
    assert list(made.processes()) == []
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    _print(
        f"{time.monotonic() - began:.0f} s, {spent.ru_utime + spent.ru_stime:.0f} s of CPU, "
        f"at most {made.largest / 2**20:.0f} MiB"
    )


def _make_yard(folder: Path, uri: str, shell: dict[str, str]) -> None:
    """A fork of the working tree whose settings name this Airflow, its forge and a checkout."""
    fork, listed = folder / "fork", ["git", "ls-files", "-z", "-co", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (fork / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, fork / name)
    with (fork / "modelyard.yaml").open("a") as settings:
        settings.write(named(uri))
    _git("init", "--quiet", "-b", "main", cwd=fork, environment=shell)
    _git("add", "--all", cwd=fork, environment=shell)
    _git("commit", "--quiet", "-m", "A fork", cwd=fork, environment=shell)
    _git("clone", "--quiet", "--bare", ".", "../forge.git", cwd=fork, environment=shell)
    _git("clone", "--quiet", "forge.git", "yard", cwd=folder, environment=shell)


def _end_all_of(home: str) -> None:
    """End the servers of a tour that did not reach its last command, which stops them."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOME") == home:
                process.kill()


def _print(line: str) -> None:
    sys.stderr.write(f"\n  {line}\n")


@pytest.fixture(scope="session")
def api(airflow: Airflow) -> Any:
    made = AirflowApi(airflow.uri, user=USER, password=airflow.password)
    deadline = time.monotonic() + LONGEST_START
    while made.get(f"/dags/{[*WORKFLOWS, *SLOW][-1]}") is None:  # all are of one file
        assert time.monotonic() < deadline, "Airflow reads no DAGs"
        time.sleep(1.0)
    return made


@pytest.fixture(scope="session")
def workflows(airflow: Airflow, api: AirflowApi) -> AirflowWorkflows:
    return AirflowWorkflows(api, airflow.checkout)
