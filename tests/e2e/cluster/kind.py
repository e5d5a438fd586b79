"""A cluster by kind, where Docker answers; never exercised where this was written."""

import json
import subprocess
from dataclasses import replace

from e2e.cluster import controllers, services
from e2e.cluster.archive import write_image
from e2e.cluster.description import describe
from e2e.cluster.layout import ARGOEXEC_IMAGE, IMAGE, REPOSITORY, SERVICES, Layout
from e2e.cluster.processes import names, pid_of, stop
from e2e.cluster.programs import build_programs
from e2e.cluster.progress import say

CLUSTER = "modelyard-e2e"
DNS = "10.96.0.10"


class KindCluster:
    """The node is a container; the controllers and services are processes here, as in `local`.

    They reach pods and Services by two routes through the node, which needs root.
    """

    name = "kind"

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def up(self) -> None:
        """Create it, load the images, start the rest."""
        build_programs(self.layout)
        for folder in (self.layout.state, self.layout.run):
            folder.mkdir(parents=True, exist_ok=True)
        where = ("--name", CLUSTER, "--kubeconfig", str(self.layout.kubeconfig))
        _run("kind", "create", "cluster", *where, "--wait", "120s")
        layout = replace(self.layout, address=_gateway(), dns=DNS)
        node = _run("docker", "inspect", "-f", _ADDRESS, f"{CLUSTER}-control-plane").strip()
        for network in ("10.244.0.0/16", SERVICES):
            _run("ip", "route", "replace", network, "via", node)
        search = "search svc.cluster.local cluster.local"
        (layout.state / "resolv.conf").write_text(f"{search}\nnameserver {DNS}\n")
        self.image()
        archive = layout.state / "argoexec.tar"
        write_image(archive, ARGOEXEC_IMAGE, {"bin/argoexec": layout.bin / "argoexec"})
        _run("kind", "load", "image-archive", str(archive), "--name", CLUSTER)
        services.start_services(layout)
        controllers.install_kinds(layout)
        services.start_prometheus(layout)
        controllers.start_controllers(layout)
        controllers.wait_for_controllers()
        describe(layout, self.name)

    def down(self) -> None:
        """End the processes, then the node."""
        for name in reversed(names(self.layout)):
            stop(self.layout, name, forget=True)
        _run("kind", "delete", "cluster", "--name", CLUSTER)

    def status(self) -> None:
        """One line a program."""
        for name in names(self.layout):
            say(f"{name:34} {pid_of(self.layout, name) or 'not running'}")

    def image(self) -> None:
        """Docker builds it; kind hands it to the node."""
        _run("docker", "build", "--quiet", "--tag", IMAGE, "-f", "Containerfile", str(REPOSITORY))
        _run("kind", "load", "docker-image", IMAGE, "--name", CLUSTER)


_ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"


def _gateway() -> str:
    described = json.loads(_run("docker", "network", "inspect", "kind"))
    networks = described[0]["IPAM"]["Config"]
    return next(network["Gateway"] for network in networks if "." in network["Subnet"])


def _run(*command: str) -> str:
    return subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE, cwd=REPOSITORY
    ).stdout
