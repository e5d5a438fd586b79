"""One cluster and one fork for all tests of this folder, which tell one story in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import wine
from e2e.cluster.layout import default_layout
from e2e.fork import PLATFORM, REPOSITORY, Fork, until
from e2e.measured import Measured
from e2e.new_fork import install_platform, make_fork
from e2e.rollback import agrees

KEEP = "MODELYARD_E2E_KEEP"
"""Set, the cluster stays up afterwards, for the next run or for a person to look around."""

REUSE = "MODELYARD_E2E_REUSE"
"""Set, the fork of an earlier run that was kept is used as it is."""

_SCRIPT = str(REPOSITORY / "tests/e2e/cluster/cluster.py")


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """The cluster's addresses; brought up where it is not, with today's image."""
    layout = default_layout()
    for verb in ("up",) if os.environ.get(REUSE) else ("up", "image"):
        subprocess.run([sys.executable, _SCRIPT, verb], check=True)
    yield json.loads(layout.description.read_text())
    if not os.environ.get(KEEP):
        subprocess.run([sys.executable, _SCRIPT, "down"], check=True)


@pytest.fixture(scope="session")
def measured(cluster: dict[str, str]) -> Iterator[Measured]:
    """Seconds by name, printed in the end and kept beside the logs."""
    measured = Measured(Path(cluster["logs"]).parent.parent / "measured.json")
    yield measured
    measured.write()


@pytest.fixture(scope="session")
def fork(cluster: dict[str, str], measured: Measured) -> Iterator[Fork]:
    """A fork with the wine model, its platform installed by Argo CD and well."""
    fork = Fork(default_layout().state / "fork", cluster)
    if os.environ.get(REUSE):
        yield fork
        return
    with measured.time("platform installed by Argo CD"):
        make_fork(fork, wine.let_a_column_be_null, models=(wine.MODEL, "flight-delay"))
        install_platform(fork)
        until("the platform is Synced and Healthy", lambda: _is_well(fork), seconds=300)
    yield fork
    _keep_logs(fork)


@pytest.fixture(scope="session")
def settled(fork: Fork) -> Fork:
    """The fork once v1 runs in production and v2 was tried: where `test_journey` ends."""
    until("v1 runs everywhere", lambda: agrees(fork, wine.MODEL, "production", "v1"), seconds=60)
    path = f"models/{wine.MODEL}/records/v2.yaml"
    fork.git("fetch", "--quiet", "origin")
    assert fork.git("ls-tree", "--name-only", "origin/main", "--", path), "run test_journey first"
    return fork


def _is_well(fork: Fork) -> bool:
    application = fork.application("modelyard-platform")
    status = (application or {}).get("status", {})
    synced = status.get("sync", {}).get("status") == "Synced"
    return synced and status.get("health", {}).get("status") == "Healthy"


def _keep_logs(fork: Fork) -> None:
    """What the pods said, beside the programs' own logs."""
    logs = Path(fork.cluster["logs"])
    for name in ("modelyard-watch", "modelyard-judge", "mlflow"):
        said = subprocess.run(
            ["kubectl", "-n", PLATFORM, "logs", "--prefix", "--tail=-1", "-l",
             f"app.kubernetes.io/name={name}"],
            env=fork.environment, capture_output=True, check=False,
        )  # fmt: skip
        (logs / f"pod-{name}.log").write_bytes(said.stdout + said.stderr)
    everything = "pods,rollouts,analysisruns,workflows,applications,events"
    said = subprocess.run(
        ["kubectl", "get", everything, "--all-namespaces", "-o", "wide"],
        env=fork.environment, capture_output=True, check=False,
    )  # fmt: skip
    (logs / "kubernetes.log").write_bytes(said.stdout + said.stderr)
