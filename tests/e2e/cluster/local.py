"""A whole cluster on this Linux machine: no container engine, no image registry."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

from e2e.cluster import controllers, services
from e2e.cluster.control_plane import api_ready, kubectl, start_control_plane
from e2e.cluster.credentials import write_credentials
from e2e.cluster.description import describe
from e2e.cluster.images import (
    build_project_image,
    forget_old_images,
    import_project_image,
    import_small_images,
)
from e2e.cluster.layout import NODE, Layout
from e2e.cluster.network import close_network, open_network
from e2e.cluster.node import (
    CtrError,
    end_shims,
    remove_containers,
    start_containerd,
    start_containerd_anew,
    start_node,
    unmount,
)
from e2e.cluster.packages import install_packages
from e2e.cluster.processes import names, pid_of, running, start_again, stop
from e2e.cluster.programs import build_programs
from e2e.cluster.progress import NeverCame, say, step, wait_until


class LocalCluster:
    """Processes of this machine: kept running by nobody, ended by `down`."""

    name = "local"

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def up(self) -> None:
        """Build what is missing, take away what a crash left, start everything."""
        if os.geteuid() != 0:
            raise SystemExit("the local cluster makes bridges and mounts: run this as root")
        if self._is_up():
            for name in names(self.layout):
                start_again(self.layout, name)
            say("it is up already")
            return
        install_packages(self.layout)
        build_programs(self.layout)
        image = build_project_image(self.layout)
        with step("cleaned up"):
            self.down()
        self.layout.state.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.layout.logs, ignore_errors=True)
        with step("network and credentials"):
            open_network(self.layout)
            write_credentials(self.layout)
        with ThreadPoolExecutor() as pool:
            started = [pool.submit(self._start_runtime, image), pool.submit(self._start_services)]
            with step("control plane"):
                start_control_plane(self.layout)
            for future in started[::-1]:
                future.result()
            start_node(self.layout)
            services.start_prometheus(self.layout)
            with step("kinds of Argo and Prometheus"):
                controllers.install_kinds(self.layout)
        controllers.start_controllers(self.layout)
        with step("controllers that are well"):
            controllers.wait_for_controllers()
        with step("a node that is Ready"):
            wait_until("a node that is Ready", 60, self._node_ready)
        describe(self.layout, self.name)

    def down(self) -> None:
        """End what was started, in reverse, and take away everything but caches and logs."""
        layout = self.layout
        say(f"ending {len(names(layout))} programs")
        for name in reversed(names(layout)):
            if name == "containerd":
                remove_containers(layout)
            stop(layout, name, forget=True)
        end_shims(layout)
        unmount([layout.state, layout.run, layout.containerd_root])
        close_network()
        for folder in (layout.run, *layout.state.glob("*")):
            if folder.is_dir() and folder != layout.logs:
                shutil.rmtree(folder)
            elif folder.is_file():
                folder.unlink()

    def status(self) -> None:
        """One line a program."""
        for name in names(self.layout):
            pid = pid_of(self.layout, name)
            say(f"{name:34} {f'pid {pid}' if pid else 'not running'}")
        if running(self.layout, "kube-apiserver"):
            say(kubectl(self.layout, "get", "nodes", "--no-headers").strip())

    def image(self) -> None:
        """Build the project's image again; pods made from now on run it."""
        image = build_project_image(self.layout)
        import_project_image(self.layout, image)

    def _start_runtime(self, image: str) -> None:
        try:
            with step("containerd"):
                start_containerd(self.layout)
            self._import_images(image)
        except (CtrError, NeverCame) as error:
            # Its store is a cache: a crash or a copy of it may have left it half there.
            say(f"{error}; all images are imported again into an empty store")
            start_containerd_anew(self.layout)
            self._import_images(image)

    def _import_images(self, image: str) -> None:
        import_small_images(self.layout)
        import_project_image(self.layout, image)
        forget_old_images(self.layout)

    def _start_services(self) -> None:
        with step("Gitea, S3, PostgreSQL, Redis"):
            services.start_services(self.layout)

    def _is_up(self) -> bool:
        """The last step was reached, and the API server still answers."""
        runs = running(self.layout, "kube-apiserver") and running(self.layout, "containerd")
        return runs and self.layout.description.exists() and api_ready(self.layout)

    def _node_ready(self) -> bool:
        path = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        found = kubectl(self.layout, "get", "node", NODE, "--ignore-not-found", "-o", path)
        return found == "True"
