"""Debian packages the cluster is made of, installed only when missing."""

import os
import shutil
import subprocess
from pathlib import Path

from e2e.cluster.layout import Layout
from e2e.cluster.progress import step
from e2e.forge.programs import GITEA
from e2e.go_programs import is_possible

# What tells that a package is there: a file of it.
PACKAGES = {
    "buildah": "/usr/bin/buildah",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "conntrack": "/usr/sbin/conntrack",
    "containerd": "/usr/bin/containerd",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "debootstrap": "/usr/sbin/debootstrap",
    "git": "/usr/bin/git",
    "iproute2": "/usr/sbin/ip",
    "iptables": "/usr/sbin/iptables",
    "openssl": "/usr/bin/openssl",
    "postgresql": "/usr/share/postgresql-common",
    "prometheus": "/usr/bin/prometheus",
    "redis-server": "/usr/bin/redis-server",
    "runc": "/usr/sbin/runc",
}
# Gitea's SQLite is C; once it is built, nobody needs them.
COMPILER = {"gcc": "/usr/bin/gcc", "libc6-dev": "/usr/include/stdio.h"}
POLICY = Path("/usr/sbin/policy-rc.d")


def missing_packages(layout: Layout) -> list[str]:
    """The packages whose file is not there."""
    wanted = PACKAGES if is_possible(GITEA, layout.cache) else PACKAGES | COMPILER
    return sorted(name for name, path in wanted.items() if not Path(path).exists())


def install_packages(layout: Layout) -> None:
    """Install what is missing, without the services the packages would start by themselves."""
    missing = missing_packages(layout)
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(f"the local cluster needs root and Debian packages: {' '.join(missing)}")
    with step(f"installed {' '.join(missing)}"):
        policy = POLICY.read_bytes() if POLICY.exists() else None
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
        try:
            subprocess.run(["apt-get", "update", "-qq"], check=True, env=env)
            subprocess.run(install, check=True, env=env, stdout=subprocess.DEVNULL)
        finally:
            if policy is None:
                POLICY.unlink()
            else:
                POLICY.write_bytes(policy)
