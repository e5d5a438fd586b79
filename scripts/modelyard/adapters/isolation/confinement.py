"""What a closed-in process may reach, and by which means of this machine that is enforced."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.isolation.call_filter import INET, INET6, NETLINK, UNIX, restrict_calls
from modelyard.adapters.isolation.landlock import (
    LEAST_ABI,
    SIGNALS_ABI,
    TCP_ABI,
    landlock_abi,
    restrict_process,
)
from modelyard.adapters.isolation.namespaces import enter_closed_root, enter_user_namespace
from modelyard.adapters.isolation.system_calls import (
    PR_SET_NO_NEW_PRIVS,
    drop_capabilities,
    set_process,
)
from modelyard.domain.isolation import Isolation

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt/nvidia"),
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/etc/timezone", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"),
    *("/etc/hosts", "/etc/resolv.conf", "/etc/services", "/etc/protocols", "/etc/gai.conf"),
    *("/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/ca-certificates"),
    *("/etc/mime.types", "/etc/fonts", "/etc/OpenCL", "/sys/devices", "/sys/fs/cgroup"),
    *("/sys/bus/pci", "/sys/class/drm", "/sys/class/kfd", "/sys/kernel/mm/transparent_hugepage"),
)
"""What programs need of a system; no home, and of /etc no secret that root may read."""

_DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "dri", "kfd")
_PROCESSES = "/proc"
_LEAST_SHARED_MEMORY = 1 << 20
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where the C library keeps the locks of multiprocessing


WAYS = (Isolation.NAMESPACES, Isolation.LANDLOCK)
"""All ways; where the system offers both, both are used."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What a closed-in process may reach.

    Args:
        readable: Files and folders that it may read and run, besides `SYSTEM`.
        writable: Folders that it may change.
        ports: TCP ports that it may connect to; empty for no network at all.
        local_sockets: Whether it may make unix sockets where these cannot be kept inside.
    """

    readable: tuple[str, ...]
    writable: tuple[str, ...]
    ports: tuple[int, ...] = ()
    local_sockets: bool = False


@dataclass(frozen=True, kw_only=True)
class Means:
    """What of the wanted ways this machine offers.

    Args:
        namespaces: Whether a process may have its own files, processes and network.
        abi: The ABI of Landlock that is used; 0 for none.
    """

    namespaces: bool
    abi: int

    @property
    def isolation(self) -> Isolation:
        """The one word for it."""
        if self.abi:
            return Isolation.LANDLOCK
        return Isolation.NAMESPACES if self.namespaces else Isolation.NONE

    @property
    def keeps_signals(self) -> bool:
        """Whether the process can signal nothing but what it started."""
        return self.namespaces or self.abi >= SIGNALS_ABI

    @property
    def gaps(self) -> tuple[str, ...]:
        """What a process that is closed in by these means could still do."""
        if self.namespaces:
            return ()
        if not self.abi:
            return ("read and change what its user may", "signal this user's processes")
        found = ["use shared memory by name"]
        if self.abi < SIGNALS_ABI:
            found.append("signal this user's processes")
        if self.abi < TCP_ABI:
            found.append("connect to any port once trainer.egress lists one")
        return tuple(found)


def find_means(reach: Reach, place: Path, ways: tuple[str, ...] = WAYS) -> Means:
    """Find what this machine offers, by trying it in a process of its own.

    Args:
        reach: What is to be reached.
        place: An empty folder, which stays empty.
        ways: The ways to try.
    """
    abi = landlock_abi() if Isolation.LANDLOCK in ways else 0
    return Means(
        namespaces=Isolation.NAMESPACES in ways and _can_enter(reach, place),
        abi=abi if abi >= LEAST_ABI else 0,
    )


def enter_root(reach: Reach, place: Path, *, shared_memory: int = _LEAST_SHARED_MEMORY) -> None:
    """See only what may be reached: for the first process after `enter_user_namespace`.

    Args:
        reach: What may be reached.
        place: An empty folder.
        shared_memory: The most bytes of named shared memory.

    Raises:
        OSError: The system does not allow it.
    """
    enter_closed_root(
        place,
        readable=(*SYSTEM, *reach.readable),
        writable=reach.writable,
        devices=_devices(),
        network=bool(reach.ports),
        shared_memory=shared_memory,
    )


def confine_process(reach: Reach, means: Means, *, has_socket: bool = False) -> None:
    """Take from this process what it may not do; what it starts then inherits that.

    Args:
        reach: What it may reach.
        means: What enforces that.
        has_socket: Whether it was given a socket of the machine's network, to answer on alone.

    Raises:
        OSError: Something could not be taken. The process must not go on.
    """
    set_process(PR_SET_NO_NEW_PRIVS)
    drop_capabilities()
    if means.abi:
        restrict_process(
            readable=(*SYSTEM, _PROCESSES, *reach.readable),
            writable=(*reach.writable, *_devices(), _SHARED_MEMORY),
            ports=reach.ports,
        )
    restrict_calls(
        socket_families(reach, means),
        may_connect=not has_socket,
        sees_others=not means.namespaces,  # Landlock has no rule about modes and limits
    )


def socket_families(reach: Reach, means: Means) -> list[int]:
    """The kinds of sockets that it may make.

    A unix socket by a name without a file is of a network: with one of its own, or where Landlock
    keeps them in, it reaches nobody else.
    """
    families = [INET, INET6, NETLINK] if reach.ports else []
    keeps_names = not reach.ports or means.abi >= SIGNALS_ABI
    if (means.namespaces and keeps_names) or reach.local_sockets:
        families.append(UNIX)
    return families


def _devices() -> list[str]:
    return sorted(path for name in _DEVICES for path in glob.glob(f"/dev/{name}"))  # noqa: PTH207


def _can_enter(reach: Reach, place: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False

    def try_it() -> None:
        enter_user_namespace()
        if _exit_code(lambda: enter_root(reach, place)):
            raise OSError

    return _exit_code(try_it) == 0


def _exit_code(act: Callable[[], None]) -> int:
    """What a forked process ends with that does this."""
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            act()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
