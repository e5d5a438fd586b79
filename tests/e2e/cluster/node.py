"""One node: containerd, the kubelet, kube-proxy and the cluster's DNS."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from e2e.cluster.layout import (
    DOMAIN,
    KUBELET_PORT,
    NODE,
    PAUSE_IMAGE,
    POD_BRIDGE,
    PODS,
    Layout,
)
from e2e.cluster.processes import Program, running, start, stop
from e2e.cluster.progress import say, wait_until


def start_containerd(layout: Layout) -> None:
    """Start it, and take away what an earlier cluster left in it, before anybody asks it."""
    if not running(layout, "containerd"):
        # A running one watches this folder, and would not see it replaced.
        _write_containerd_config(layout)
    start(layout, containerd(layout))
    _wait_for_containerd(layout)
    if left := _containers(layout):
        say(f"removing {len(left)} containers of an earlier cluster")
        remove_containers(layout)
        stop(layout, "containerd")
        start(layout, containerd(layout))
        _wait_for_containerd(layout)


def start_containerd_anew(layout: Layout) -> None:
    """Start it with an empty store: images and snapshots are made again by who needs them."""
    stop(layout, "containerd")
    end_shims(layout)
    unmount([layout.run, layout.containerd_root])
    shutil.rmtree(layout.containerd_root)
    start_containerd(layout)


def start_node(layout: Layout) -> None:
    """The kubelet registers the node; it is Ready once the pod network is configured."""
    folder = layout.state / "node"
    folder.mkdir(exist_ok=True)
    _write(folder / "kubelet.yaml", _kubelet_config(layout))
    _write(folder / "proxy.yaml", _proxy_config(layout))
    (folder / "Corefile").write_text(_corefile(layout))
    start(layout, kubelet(layout))
    start(layout, kube_proxy(layout))
    start(layout, coredns(layout))


def containerd(layout: Layout) -> Program:
    """Our own containerd; its root is in the cache, so that images are imported once."""
    return Program(name="containerd", argv=["containerd", "--config", f"{layout.run}/config.toml"])


def kubelet(layout: Layout) -> Program:
    """The kubelet, with a root below the state folder."""
    return Program(
        name="kubelet",
        argv=[
            f"{layout.bin}/kubelet",
            f"--config={layout.state}/node/kubelet.yaml",
            f"--kubeconfig={layout.state}/kubelet.kubeconfig",
            f"--root-dir={layout.state}/kubelet",
            f"--cert-dir={layout.state}/kubelet/pki",
            f"--hostname-override={NODE}",
            f"--node-ip={layout.address}",
            "--v=1",
        ],
    )


def kube_proxy(layout: Layout) -> Program:
    """Services by iptables rules."""
    config = f"--config={layout.state}/node/proxy.yaml"
    return Program(name="kube-proxy", argv=[f"{layout.bin}/kube-proxy", config])


def coredns(layout: Layout) -> Program:
    """The cluster's names, and no other: nothing here looks anything up outside."""
    return Program(
        name="coredns", argv=[f"{layout.bin}/coredns", "-conf", f"{layout.state}/node/Corefile"]
    )


def remove_containers(layout: Layout) -> None:
    """End every container and forget it; images stay."""
    if not running(layout, "containerd"):
        return
    tasks = ctr(layout, "tasks", "list", "-q").split()
    for task in tasks:
        ctr(layout, "tasks", "delete", "--force", task, check=False)
    if left := _containers(layout):
        ctr(layout, "containers", "delete", *left, check=False)


def end_shims(layout: Layout) -> None:
    """Shims outlive containerd; ours are those that name our socket."""
    ours = f"{layout.containerd_socket}\0"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if "containerd-shim" in command.split("\0")[0] and ours in command:
            _end_with_children(int(folder.name))


def unmount(folders: Iterable[Path]) -> None:
    """Unmount everything below these folders, the newest mount first."""
    below = tuple(f"{folder}/" for folder in folders)
    lines = Path("/proc/self/mounts").read_text().splitlines()
    mounted = [line.split()[1] for line in lines]
    for path in reversed([path for path in mounted if path.startswith(below)]):
        subprocess.run(["umount", "--lazy", path], check=False)


class CtrError(Exception):
    """What ctr said of a call it refused."""


def ctr(layout: Layout, *arguments: str, check: bool = True) -> str:
    """What ctr prints, in the namespace Kubernetes uses."""
    command = ["ctr", "--address", str(layout.containerd_socket), "--namespace", "k8s.io"]
    ended = subprocess.run([*command, *arguments], check=False, text=True, capture_output=True)
    if check and ended.returncode:
        raise CtrError(f"ctr {' '.join(arguments)}: {ended.stderr.strip()}")
    return ended.stdout


def _containers(layout: Layout) -> list[str]:
    return ctr(layout, "containers", "list", "-q").split()


def _end_with_children(pid: int) -> None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (*map(int, children), pid):
        try:
            os.kill(process, 9)
        except ProcessLookupError:
            continue


def _wait_for_containerd(layout: Layout) -> None:
    command = ["ctr", "--address", str(layout.containerd_socket), "version"]
    wait_until(
        "containerd that answers",
        30,
        lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0,
    )


def _write_containerd_config(layout: Layout) -> None:
    layout.run.mkdir(parents=True, exist_ok=True)
    network = layout.run / "net.d"
    shutil.rmtree(network, ignore_errors=True)
    network.mkdir()
    (layout.run / "config.toml").write_text(_CONTAINERD.format(layout=layout, pause=PAUSE_IMAGE))
    bridge = {
        "type": "bridge",
        "bridge": POD_BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(layout.run / "leases"),
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    config = {"cniVersion": "0.4.0", "name": "yard", "plugins": plugins}
    (network / "10-yard.conflist").write_text(json.dumps(config, indent=1))


# Without restrict_oom_score_adj no sandbox starts where the machine forbids lowering the score.
_CONTAINERD = """\
version = 2
root = "{layout.containerd_root}"
state = "{layout.run}/containerd"
[grpc]
  address = "{layout.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{layout.run}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _kubelet_config(layout: Layout) -> dict:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.address,
        "port": KUBELET_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": f"{layout.state}/pki/ca.crt"},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "clusterDNS": [layout.dns],
        "clusterDomain": DOMAIN,
        "resolvConf": f"{layout.state}/resolv.conf",
        "localStorageCapacityIsolation": False,
        # Images come by import: one that is deleted for space would never come back.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%"},
        "serializeImagePulls": False,
        "maxPods": 100,
        "kubeAPIQPS": 50,
        "kubeAPIBurst": 100,
        "enforceNodeAllocatable": [],
        "shutdownGracePeriod": "0s",
    }


def _proxy_config(layout: Layout) -> dict:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        "bindAddress": layout.address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {"kubeconfig": f"{layout.state}/proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "min": 0},
        # Without bridge netfilter, an answer between two pods would bypass the rules.
        "iptables": {"masqueradeAll": not Path("/proc/sys/net/bridge").exists()},
    }


def _corefile(layout: Layout) -> str:
    return f"""\
{DOMAIN} in-addr.arpa {{
  bind {layout.address}
  errors
  kubernetes {DOMAIN} in-addr.arpa {{
    kubeconfig {layout.kubeconfig}
    ttl 2
  }}
}}
. {{
  bind {layout.address}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def _write(path: Path, document: dict) -> None:
    path.write_text(yaml.safe_dump(document))
