"""Landlock: how a process of Linux gives up its rights on files, ports and signals for good.

See landlock(7). Each ABI of the kernel adds rights that can be given up; those that the running
kernel does not know are left out, so a caller asks `landlock_abi` first.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress

from modelyard.adapters.isolation.system_calls import system_call

LEAST_ABI = 3
"""Before it, a process could still empty files that it may only read (kernel 6.2)."""

TCP_ABI = 4
"""From it on, TCP ports are restricted (kernel 6.7)."""

SIGNALS_ABI = 6
"""From it on, signals and abstract sockets stay inside (kernel 6.12)."""

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_RULE, _PORT_RULE = 1, 2

_FILE_READ = 1 << 0 | 1 << 2  # execute, read_file
_FILE_WRITE = 1 << 1 | 1 << 14 | 1 << 15  # write_file, truncate, ioctl_dev
_READ = _FILE_READ | 1 << 3  # read_dir
_BITS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15}
_MOST_BITS = 16
_BIND, _CONNECT = 1, 2
_SCOPES = 1 | 2  # abstract sockets, signals


def landlock_abi() -> int:
    """The kernel's ABI, or 0 where Landlock is missing, switched off or blocked."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return system_call(_CREATE, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict_signals() -> None:
    """Let this process and all that it starts signal each other alone.

    Raises:
        OSError: The kernel refused; its ABI is below `SIGNALS_ABI`.
    """
    _restrict(_create(0, 0, _SCOPES))


def restrict_process(
    *, readable: Iterable[str], writable: Iterable[str], ports: Iterable[int] | None
) -> None:
    """Leave this thread, and all that it starts, only these rights.

    Args:
        readable: Files and folders that may be read and run; those that are missing are left out.
        writable: Files and folders that may be changed too.
        ports: TCP ports that it may connect to; None leaves TCP alone.

    Raises:
        OSError: The kernel refused.
    """
    abi = landlock_abi()
    every = (1 << _BITS_OF_ABI.get(abi, _MOST_BITS)) - 1
    net = _BIND | _CONNECT if abi >= TCP_ABI and ports is not None else 0
    ruleset = _create(every, net, _SCOPES if abi >= SIGNALS_ABI else 0)
    for paths, rights in ((readable, _READ), (writable, every)):
        for path in paths:
            with suppress(FileNotFoundError):
                _allow_path(ruleset, path, rights & every)
    if net:
        for port in ports or ():
            system_call(_ADD_RULE, ruleset, _PORT_RULE, struct.pack("QQ", _CONNECT, port), 0)
    _restrict(ruleset)


def _create(files: int, net: int, scopes: int) -> int:
    attributes = struct.pack("QQQ", files, net, scopes)
    # An older kernel takes the longer structure as long as what it does not know is zero.
    return system_call(_CREATE, attributes, len(attributes), 0)


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE_READ | _FILE_WRITE
        rule = struct.pack("=Qi", rights, descriptor)
        system_call(_ADD_RULE, ruleset, _PATH_RULE, rule, 0)
    finally:
        os.close(descriptor)


def _restrict(ruleset: int) -> None:
    try:
        system_call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
