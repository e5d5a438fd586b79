"""Argo Workflows, Argo Rollouts and Argo CD: their kinds in the cluster, their programs here."""

import json
import secrets
from pathlib import Path

import yaml

from e2e.cluster.control_plane import answers, kubectl
from e2e.cluster.layout import (
    ARGOEXEC_IMAGE,
    CONTROLLER_PORTS,
    NAMESPACES,
    REDIS_PORT,
    REPO_SERVER_PORT,
    Layout,
)
from e2e.cluster.processes import Program, start
from e2e.cluster.programs import module_folder
from e2e.cluster.progress import wait_until

# What each project installs in a cluster, without its Deployments; files or folders.
KINDS = {
    "github.com/argoproj/argo-workflows/v3@v3.7.3": ["manifests/base/crds/minimal"],
    "github.com/argoproj/argo-rollouts@v1.9.2": ["manifests/crds"],
    "github.com/argoproj/argo-cd/v3@v3.2.6": ["manifests/crds"],
    "github.com/prometheus-operator/prometheus-operator@v0.83.0": [
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ],
}
# What each controller reads about itself, and in which namespace.
SETTINGS = {
    "argo-rollouts": (
        "github.com/argoproj/argo-rollouts@v1.9.2",
        "manifests/base/argo-rollouts-config.yaml",
    ),
    "argocd": ("github.com/argoproj/argo-cd/v3@v3.2.6", "manifests/base/config"),
}
# What answers once a controller works; the last has no health of its own.
HEALTH = {
    "workflow-controller": (CONTROLLER_PORTS["workflow-controller"], "healthz"),
    "rollouts-controller": (CONTROLLER_PORTS["rollouts-controller-healthz"], "healthz"),
    "argocd-repo-server": (CONTROLLER_PORTS["argocd-repo-server"], "healthz"),
    "argocd-application-controller": (
        CONTROLLER_PORTS["argocd-application-controller"],
        "healthz",
    ),
    "argocd-applicationset-controller": (
        CONTROLLER_PORTS["argocd-applicationset-controller"],
        "metrics",
    ),
}


def install_kinds(layout: Layout) -> None:
    """Namespaces, CustomResourceDefinitions and settings, applied in one go."""
    documents = [_namespace(name) for name in NAMESPACES]
    for module, paths in KINDS.items():
        documents += _documents(module, paths)
    for namespace, (module, path) in SETTINGS.items():
        for document in _documents(module, [path]):
            document["metadata"]["namespace"] = namespace
            documents.append(document)
    documents += _own_settings()
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    apply = ("apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-")
    kubectl(layout, *apply, given=text)
    names = [d["metadata"]["name"] for d in documents if d["kind"] == "CustomResourceDefinition"]
    kubectl(layout, "wait", "--for=condition=Established", "--timeout=60s", "crd", *names)


def start_controllers(layout: Layout) -> None:
    """Start them; they find each other on loopback, and the cluster by the kubeconfig."""
    programs = (
        workflow_controller(layout),
        rollouts_controller(layout),
        argocd_repo_server(layout),
        argocd_application_controller(layout),
        argocd_applicationset_controller(layout),
    )
    for program in programs:
        start(layout, program)


def wait_for_controllers() -> None:
    """Wait until each of them says that it is well."""
    for name, (port, path) in HEALTH.items():
        url = f"http://127.0.0.1:{port}/{path}"
        wait_until(f"{name} that is well", 60, lambda url=url: answers(url))


def workflow_controller(layout: Layout) -> Program:
    """Watches every namespace."""
    return Program(
        name="workflow-controller",
        argv=[
            f"{layout.bin}/workflow-controller",
            f"--kubeconfig={layout.kubeconfig}",
            "--namespace=argo",
            f"--executor-image={ARGOEXEC_IMAGE}",
            "--executor-image-pull-policy=IfNotPresent",
            "--qps=50",
            "--burst=100",
        ],
        env={
            "LEADER_ELECTION_DISABLE": "true",
            "LEADER_ELECTION_IDENTITY": "yard",
            "DEFAULT_REQUEUE_TIME": "2s",  # 10 s by default, after every step
        },
        resolves=True,
    )


def rollouts_controller(layout: Layout) -> Program:
    """Its analyses ask Services by name, so it needs the cluster's DNS."""
    return Program(
        name="rollouts-controller",
        argv=[
            f"{layout.bin}/rollouts-controller",
            f"--kubeconfig={layout.kubeconfig}",
            "--namespace=argo-rollouts",
            "--leader-elect=false",
            f"--metricsPort={CONTROLLER_PORTS['rollouts-controller']}",
            f"--healthzPort={CONTROLLER_PORTS['rollouts-controller-healthz']}",
        ],
        resolves=True,
    )


def argocd_repo_server(layout: Layout) -> Program:
    """Clones and renders."""
    return _argocd(
        layout,
        "argocd-repo-server",
        "--disable-tls",
        "--address=127.0.0.1",
        f"--port={REPO_SERVER_PORT}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={CONTROLLER_PORTS['argocd-repo-server']}",
        f"--redis=127.0.0.1:{REDIS_PORT}",
    )


def argocd_application_controller(layout: Layout) -> Program:
    """Compares and syncs."""
    return _argocd(
        layout,
        "argocd-application-controller",
        "--namespace=argocd",
        f"--repo-server=127.0.0.1:{REPO_SERVER_PORT}",
        "--repo-server-plaintext",
        f"--redis=127.0.0.1:{REDIS_PORT}",
        f"--metrics-port={CONTROLLER_PORTS['argocd-application-controller']}",
    )


def argocd_applicationset_controller(layout: Layout) -> Program:
    """Makes an Application of each folder."""
    name = "argocd-applicationset-controller"
    return _argocd(
        layout,
        name,
        "--namespace=argocd",
        f"--argocd-repo-server=127.0.0.1:{REPO_SERVER_PORT}",
        "--repo-server-plaintext",
        f"--metrics-addr=127.0.0.1:{CONTROLLER_PORTS[name]}",
        f"--probe-addr=127.0.0.1:{CONTROLLER_PORTS[f'{name}-probe']}",
        f"--webhook-addr=127.0.0.1:{CONTROLLER_PORTS[f'{name}-webhook']}",
    )


def _argocd(layout: Layout, role: str, *options: str) -> Program:
    folder = layout.state / "argocd"
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    # The binary has no role of its own: these are those of the official image.
    env = {
        "ARGOCD_FAKE_IN_CLUSTER": "true",
        "ARGOCD_GPG_ENABLED": "false",
        "ARGOCD_TLS_DATA_PATH": str(folder),
        "ARGOCD_SSH_DATA_PATH": str(folder),
        "TMPDIR": str(folder / "tmp"),
        "HOME": str(folder),
        "KUBECONFIG": str(layout.kubeconfig),
    }
    argv = [f"{layout.bin}/{role}", *options]
    return Program(name=role, argv=argv, env=env, resolves=True)


def _documents(module: str, paths: list[str]) -> list[dict]:
    found = []
    for path in (module_folder(module) / path for path in paths):
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            found += _read(file)
    return found


def _read(file: Path) -> list[dict]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = yaml.load_all(file.read_text(), loader)
    return [document for document in documents if "metadata" in (document or {})]


def _namespace(name: str) -> dict:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _own_settings() -> list[dict]:
    """No metrics of the workflow controller, whose port is taken; a key for Argo CD."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "workflow-controller-configmap", "namespace": "argo"},
            "data": {"metricsConfig": "enabled: false\n", "telemetryConfig": "enabled: false\n"},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": "argocd-secret",
                "namespace": "argocd",
                "labels": {"app.kubernetes.io/part-of": "argocd"},
            },
            "stringData": {
                "server.secretkey": secrets.token_hex(32),
            },
        },
    ]
