"""Which cluster the tests use: one that exists, kind where Docker answers, or our own."""

import os
import shutil
import subprocess
from typing import Protocol

from e2e.cluster.existing import ExistingCluster
from e2e.cluster.kind import KindCluster
from e2e.cluster.layout import Layout
from e2e.cluster.local import LocalCluster


class Cluster(Protocol):
    """What every provider can do; each writes the same `cluster.json`."""

    name: str

    def up(self) -> None: ...
    def down(self) -> None: ...
    def status(self) -> None: ...
    def image(self) -> None: ...


def choose(layout: Layout) -> Cluster:
    """MODELYARD_E2E_CLUSTER says `existing`, `kind` or `local`; else kind where Docker answers."""
    known = {"existing": ExistingCluster, "kind": KindCluster, "local": LocalCluster}
    default = "kind" if _docker_answers() and shutil.which("kind") else "local"
    asked = os.environ.get("MODELYARD_E2E_CLUSTER") or default
    if asked not in known:
        raise SystemExit(f"MODELYARD_E2E_CLUSTER is {asked}; known: {', '.join(sorted(known))}")
    return known[asked](layout)


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
