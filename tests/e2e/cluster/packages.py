"""Debian packages the cluster is made of, installed only when missing."""

import os
import shutil
import subprocess
from pathlib import Path

from e2e.cluster.progress import step

# What tells that a package is there: a file of it.
PACKAGES = {
    "buildah": "/usr/bin/buildah",
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "conntrack": "/usr/sbin/conntrack",
    "containerd": "/usr/bin/containerd",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "debootstrap": "/usr/sbin/debootstrap",
    "git": "/usr/lib/git-core/git-http-backend",
    "iproute2": "/usr/sbin/ip",
    "iptables": "/usr/sbin/iptables",
    "openssl": "/usr/bin/openssl",
    "postgresql": "/usr/share/postgresql-common",
    "prometheus": "/usr/bin/prometheus",
    "redis-server": "/usr/bin/redis-server",
    "runc": "/usr/sbin/runc",
}
POLICY = Path("/usr/sbin/policy-rc.d")


def missing_packages() -> list[str]:
    """The packages whose file is not there."""
    return sorted(name for name, path in PACKAGES.items() if not Path(path).exists())


def install_packages() -> None:
    """Install what is missing, without the services the packages would start by themselves."""
    missing = missing_packages()
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
