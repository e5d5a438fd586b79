"""The node's own network: an address, forwarding, and rules that keep pods inside."""

import re
import subprocess
from pathlib import Path

from e2e.cluster.layout import (
    ADDRESS,
    BRIDGE,
    CONTROLLER_PORTS,
    DOMAIN,
    POD_BRIDGE,
    PODS,
    REPO_SERVER_PORT,
    Layout,
)

INSIDE = "MODELYARD-E2E-INSIDE"
CLOSED = "MODELYARD-E2E-CLOSED"
# Chains of kube-proxy, the kubelet and the portmap plugin: nothing else on a machine uses them.
_CHAIN = re.compile(r"^:(KUBE-\S+|CNI-\S+|MODELYARD-E2E-\S+) ", re.MULTILINE)


def open_network(layout: Layout) -> None:
    """A bridge with the node's address; pods reach it and each other, and nothing else."""
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    for name in ("ipv4/ip_forward", "bridge/bridge-nf-call-iptables"):
        path = Path("/proc/sys/net") / name
        if path.exists():
            path.write_text("1")
    _run("iptables", "-w", "-N", INSIDE)
    _run("iptables", "-w", "-A", INSIDE, "-s", PODS, "!", "-o", POD_BRIDGE, "-j", "REJECT")
    for side in ("-s", "-d"):
        _run("iptables", "-w", "-A", INSIDE, side, PODS, "-j", "ACCEPT")
    _run("iptables", "-w", "-I", "FORWARD", "-j", INSIDE)
    # Some controllers can only listen on every address.
    ports = ",".join(map(str, (*CONTROLLER_PORTS.values(), REPO_SERVER_PORT)))
    _run("iptables", "-w", "-N", CLOSED)
    for bridge in ("lo", BRIDGE, POD_BRIDGE):
        _run("iptables", "-w", "-A", CLOSED, "-i", bridge, "-j", "RETURN")
    closed = ["-p", "tcp", "-m", "multiport", "--dports", ports, "-j", "REJECT"]
    _run("iptables", "-w", "-A", CLOSED, *closed)
    _run("iptables", "-w", "-I", "INPUT", "-j", CLOSED)
    search = " ".join(f"{suffix}{DOMAIN}" for suffix in ("svc.", ""))
    text = f"search {search}\nnameserver {layout.dns}\noptions ndots:5\n"
    (layout.state / "resolv.conf").write_text(text)


def close_network() -> None:
    """Take away the bridges and every rule that was made for them."""
    for bridge in (POD_BRIDGE, BRIDGE):
        if Path("/sys/class/net", bridge).exists():
            _run("ip", "link", "delete", bridge)
    for version in ("iptables", "ip6tables"):
        for table in ("nat", "filter", "mangle"):
            _clean(version, table)


def _clean(version: str, table: str) -> None:
    command = [f"{version}-save", "-t", table]
    saved = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = _CHAIN.findall(saved.stdout)
    if not ours:
        return
    kept = [
        line
        for line in saved.stdout.splitlines()
        if not any(re.search(rf"(^:|-A |-j |-g ){re.escape(chain)}( |$)", line) for chain in ours)
    ]
    restore = [f"{version}-restore", "-w", "-T", table]
    subprocess.run(restore, input="\n".join(kept) + "\n", text=True, check=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
