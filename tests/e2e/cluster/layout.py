"""Where everything of the test cluster lives: folders, addresses and ports."""

import os
from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.specs.repository import Repository

REPOSITORY = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent

BRIDGE = "yard0"
POD_BRIDGE = "cni0"
ADDRESS = "10.240.0.1"
NODE = "yard"
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DOMAIN = "cluster.local"

IMAGE = Repository().server_image
PAUSE_IMAGE = "localhost/pause:e2e"
ARGOEXEC_IMAGE = "localhost/argoexec:v3.7.3"

BUCKET = "models"
DATABASE = "mlflow"
NAMESPACES = (
    "argo",
    "argo-rollouts",
    "argocd",
    "modelyard",
    "models-dev",
    "models-staging",
    "models-production",
)

# Pods use these, on the node's address.
API_PORT = 6443
FORGE_PORT = 8418
S3_PORT = 7070
POSTGRES_PORT = 5432
PROMETHEUS_PORT = 9090

# Only programs of the cluster use these, on loopback where the program lets itself be told.
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
REDIS_PORT = 16379
REPO_SERVER_PORT = 18081
TARGETS_PORT = 18092
KUBELET_PORT = 10250
CONTROLLER_PORTS = {
    "argocd-repo-server": 18084,
    "argocd-application-controller": 18082,
    "argocd-applicationset-controller": 18085,
    "argocd-applicationset-controller-probe": 18086,
    "argocd-applicationset-controller-webhook": 18087,
    "workflow-controller": 6060,
    "rollouts-controller": 18090,
    "rollouts-controller-healthz": 18091,
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders of one cluster.

    - `state` is made by `up` and ended by `down`; only its logs outlive it.
    - `cache` holds what takes minutes to make: programs, images, the image store.
    - `run` holds sockets, whose paths must be short.
    - `address` is where pods find the host, `dns` where everybody asks for cluster names.
    """

    state: Path
    cache: Path
    run: Path = Path("/run/modelyard-e2e")
    address: str = ADDRESS
    dns: str = ADDRESS

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def description(self) -> Path:
        """The addresses the tests read."""
        return self.state / "cluster.json"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        """Images and snapshots: a cache, which is made again when it is damaged."""
        return self.cache / "containerd"

    @property
    def bin(self) -> Path:
        return self.cache / "bin"


def default_layout() -> Layout:
    """The layout of this checkout, or what MODELYARD_E2E_STATE and XDG_CACHE_HOME say instead."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    state = Path(os.environ.get("MODELYARD_E2E_STATE") or REPOSITORY / "build" / "e2e")
    return Layout(state=state.absolute(), cache=cache.absolute() / "modelyard-e2e")
