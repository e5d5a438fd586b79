"""etcd, the API server, the controller manager and the scheduler."""

import shutil
import subprocess
import urllib.error
import urllib.request

from e2e.cluster.layout import (
    API_PORT,
    ETCD_PEER_PORT,
    ETCD_PORT,
    PODS,
    SERVICES,
    Layout,
)
from e2e.cluster.processes import Program, start
from e2e.cluster.progress import wait_until


def start_control_plane(layout: Layout) -> None:
    """Start them and wait until the API server says it is ready."""
    start(layout, etcd(layout))
    start(layout, api_server(layout))
    wait_until("an API server that is ready", 60, lambda: api_ready(layout))
    start(layout, controller_manager(layout))
    start(layout, scheduler(layout))


def etcd(layout: Layout) -> Program:
    """Without fsync: a test may lose its cluster with the machine's power."""
    client, peer = f"http://127.0.0.1:{ETCD_PORT}", f"http://127.0.0.1:{ETCD_PEER_PORT}"
    return Program(
        name="etcd",
        argv=[
            f"{layout.bin}/etcd",
            "--name=yard",
            f"--data-dir={layout.state}/etcd",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=yard={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
    )


def api_server(layout: Layout) -> Program:
    """Its kubelet certificate is what makes `kubectl logs` and `exec` work."""
    pki = layout.state / "pki"
    return Program(
        name="kube-apiserver",
        argv=[
            f"{layout.bin}/kube-apiserver",
            f"--bind-address={layout.address}",
            f"--advertise-address={layout.address}",
            f"--secure-port={API_PORT}",
            f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}",
            f"--service-cluster-ip-range={SERVICES}",
            f"--token-auth-file={pki}/tokens.csv",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={pki}/service-accounts.key",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--profiling=false",
        ],
    )


def controller_manager(layout: Layout) -> Program:
    """Alone, so it elects nobody; and it collects nothing of what tests want to look at."""
    pki = layout.state / "pki"
    return Program(
        name="kube-controller-manager",
        argv=[
            f"{layout.bin}/kube-controller-manager",
            f"--kubeconfig={layout.state}/controller-manager.kubeconfig",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={pki}/service-accounts.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            f"--cluster-cidr={PODS}",
            "--allocate-node-cidrs=false",
            "--configure-cloud-routes=false",
            "--profiling=false",
        ],
    )


def scheduler(layout: Layout) -> Program:
    """The scheduler as it comes."""
    return Program(
        name="kube-scheduler",
        argv=[
            f"{layout.bin}/kube-scheduler",
            f"--kubeconfig={layout.state}/scheduler.kubeconfig",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--profiling=false",
        ],
    )


def api_ready(layout: Layout) -> bool:
    """What /readyz says."""
    try:
        kubectl(layout, "get", "--raw", "/readyz", quiet=True)
    except subprocess.CalledProcessError:
        return False
    return True


def kubectl(layout: Layout, *arguments: str, quiet: bool = False, given: str | None = None) -> str:
    """What kubectl prints, as the cluster's admin."""
    return subprocess.run(
        [
            shutil.which("kubectl") or layout.bin / "kubectl",
            f"--kubeconfig={layout.kubeconfig}",
            *arguments,
        ],
        check=True,
        text=True,
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
    ).stdout


def answers(url: str) -> bool:
    """Whether an HTTP server answers there with anything but an error."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 (our own addresses)
            return True
    except (urllib.error.URLError, OSError):
        return False
