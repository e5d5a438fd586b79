"""Namespaces: a process of Linux that sees only the files, processes and networks it is given.

Any user may make them where the system allows it; see user_namespaces(7) and pivot_root(2).
"""

from __future__ import annotations

import os
import platform
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from modelyard.adapters.isolation.system_calls import libc_call, system_call

_NEW_FILES, _NEW_IPC, _NEW_USER = 0x00020000, 0x08000000, 0x10000000
_NEW_PROCESSES, _NEW_NETWORK = 0x20000000, 0x40000000

_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_PROGRAMS = 1, 2, 4, 8
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_DETACH = 2
_MOUNT_SETATTR = 442
_AT_RECURSIVE = 0x8000
_HERE = -100
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def enter_user_namespace() -> None:
    """Become a user without rights outside; the next child is the first process of its own table.

    Raises:
        OSError: The system does not allow it, or this process has threads.
    """
    user, group = os.geteuid(), os.getegid()
    libc_call("unshare", _NEW_USER | _NEW_PROCESSES)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def enter_closed_root(
    place: Path,
    *,
    readable: Iterable[str],
    writable: Iterable[str],
    devices: Iterable[str],
    network: bool,
    shared_memory: int,
) -> None:
    """See nothing but these files, at their own paths, and without `network` no network at all.

    Args:
        place: An empty folder, on which the new root is built.
        readable: Files and folders; those that are missing are left out.
        writable: Files and folders that may be changed too.
        devices: Devices that may be used.
        network: Whether it shares the network of this machine.
        shared_memory: The most bytes in /dev/shm.

    Raises:
        OSError: The system does not allow it.
    """
    libc_call("unshare", _NEW_FILES | _NEW_IPC | (0 if network else _NEW_NETWORK))
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)
    _mount("tmpfs", str(place), "tmpfs", _NO_SUID | _NO_DEVICES, "mode=755")
    root = _Root(place)
    for path in sorted(readable):
        root.show(path, _READ_ONLY | _NO_SUID | _NO_DEVICES)
    for path in sorted(writable):
        root.show(path, _NO_SUID | _NO_DEVICES)
    for path in sorted(devices):
        root.show(path, _NO_SUID)
    shared = root.make_folder("/dev/shm")  # noqa: S108 - a new one of its own
    _mount("tmpfs", shared, "tmpfs", _NO_SUID | _NO_DEVICES, f"mode=1777,size={shared_memory}")
    processes = root.make_folder("/proc")
    # Settings of the kernel are in it too, and those of the machine belong to root: also to a root
    # that has no capabilities and sees nothing else.
    _mount("proc", processes, "proc", _READ_ONLY | _NO_SUID | _NO_DEVICES | _NO_PROGRAMS)
    _set_attributes(str(place), _READ_ONLY, 0)
    _pivot(place)


class _Root:
    """The new root while it is built."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.shown: dict[Path, int] = {}

    def show(self, path: str, attributes: int) -> None:
        """Show a file or folder of the old root at its own path, links on the way included."""
        found = Path("/")
        parts = Path(path).parts[1:]
        for number, part in enumerate(parts):
            found /= part
            if found.is_symlink():
                self._copy_link(found)
                target = os.path.normpath(found.parent / found.readlink())
                return self.show(str(Path(target, *parts[number + 1 :])), attributes)
        if found.exists() and not self._is_shown(found, attributes):
            target = self._make_target(found)
            _mount(str(found), target, None, _BIND | _RECURSIVE)
            _set_attributes(target, attributes, _AT_RECURSIVE)
            self.shown[found] = attributes
        return None

    def make_folder(self, path: str) -> str:
        """Make a folder of the new root, and return its path in the old one."""
        folder = Path(f"{self.place}{path}")
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def _is_shown(self, path: Path, attributes: int) -> bool:
        return any(self.shown.get(each) == attributes for each in (path, *path.parents))

    def _copy_link(self, link: Path) -> None:
        copy = Path(self.make_folder(str(link.parent))) / link.name
        if not copy.is_symlink():
            copy.symlink_to(link.readlink())

    def _make_target(self, path: Path) -> str:
        if path.is_dir():
            return self.make_folder(str(path))
        target = Path(self.make_folder(str(path.parent))) / path.name
        if not target.exists():
            target.touch()
        return str(target)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    of_kind = None if kind is None else kind.encode()
    libc_call("mount", os.fsencode(source), os.fsencode(target), of_kind, flags, options.encode())


def _set_attributes(path: str, attributes: int, flags: int) -> None:
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    system_call(_MOUNT_SETATTR, _HERE, os.fsencode(path), flags, wanted, len(wanted))


def _pivot(place: Path) -> None:
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None or not sys.platform.startswith("linux"):
        raise OSError(None, f"no pivot_root known for {platform.machine()}")
    os.chdir(place)
    # The old root is stacked on the new one and taken away; see pivot_root(2).
    system_call(number, b".", b".")
    libc_call("umount2", b".", _DETACH)
    os.chdir("/")
