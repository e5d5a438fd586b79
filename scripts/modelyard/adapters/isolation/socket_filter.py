"""Which kinds of sockets a process may make: a seccomp filter, see seccomp(2)."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from modelyard.adapters.isolation.system_calls import PR_SET_SECCOMP, libc_call

UNIX, INET, INET6, NETLINK = 1, 2, 10, 16

_FILTER_MODE = 2
_ALLOW = 0x7FFF0000
_DENY = 0x00050000 | errno.EACCES
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_IO_URING_SETUP = 425  # it makes sockets without calling socket()
_FIRST_X32_NUMBER = 0x40000000


@dataclass(frozen=True)
class _Machine:
    """Its AUDIT_ARCH, and numbers of its system calls; those on keys reach the user's keyring."""

    audit: int
    socket: int
    keys: tuple[int, ...]


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, (248, 249, 250)),
    "aarch64": _Machine(0xC00000B7, 198, (217, 218, 219)),
}


def restrict_sockets(families: Iterable[int]) -> None:
    """Let this thread, and all that it starts, make sockets of these families alone.

    `socketpair` stays as it is: both of its ends are the process's own.

    Raises:
        OSError: The kernel has no seccomp, or this kind of machine is unknown.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(None, f"no system calls known for {platform.machine()}")
    lines = _program(machine, families)
    code = ctypes.create_string_buffer(b"".join(lines))
    program = struct.pack("@HP", len(lines), ctypes.addressof(code))
    libc_call("prctl", PR_SET_SECCOMP, _FILTER_MODE, program, 0, 0)


def _program(machine: _Machine, families: Iterable[int]) -> list[bytes]:
    allow, deny = _line(_RETURN, _ALLOW), _line(_RETURN, _DENY)
    chosen = [line for each in families for line in (_line(_EQUAL, each, 0, 1), allow)]
    socket = [_line(_LOAD, _FIRST_ARGUMENT), *chosen, deny]
    # Another machine's calls, such as those of 32 bits, have other numbers.
    lines = [_line(_LOAD, _MACHINE), _line(_EQUAL, machine.audit, 1, 0), deny, _line(_LOAD, 0)]
    for number in (_IO_URING_SETUP, *machine.keys):
        lines += [_line(_EQUAL, number, 0, 1), deny]
    lines += [_line(_AT_LEAST, _FIRST_X32_NUMBER, 0, 1), deny]
    return [*lines, _line(_EQUAL, machine.socket, 0, len(socket)), *socket, allow]


def _line(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, when_true, when_false, value)
