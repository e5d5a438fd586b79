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
_HAS_BITS = 0x45
_NUMBER, _MACHINE = 0, 4  # offsets in struct seccomp_data
_FIRST_ARGUMENT, _THIRD_ARGUMENT, _FOURTH_ARGUMENT = 16, 32, 40
_PROTOCOLS = (0, 6, 17)  # the family's own for its type, TCP and UDP
_FAST_OPEN = 0x20000000
_IO_URING_SETUP = 425  # it makes sockets without calling socket()
_FIRST_X32_NUMBER = 0x40000000


@dataclass(frozen=True)
class _Machine:
    """Its AUDIT_ARCH, and numbers of its system calls.

    Those that send are sendto, sendmsg and sendmmsg; those on keys reach the user's keyring.
    """

    audit: int
    socket: int
    connect: int
    sends: tuple[int, int, int]
    keys: tuple[int, ...]


_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, 42, (44, 46, 307), (248, 249, 250)),
    "aarch64": _Machine(0xC00000B7, 198, 203, (206, 211, 269), (217, 218, 219)),
}


def restrict_sockets(families: Iterable[int], *, may_connect: bool = True) -> None:
    """Let this thread, and all that it starts, make sockets of these families alone.

    `socketpair` stays as it is: both of its ends are the process's own.

    Args:
        families: The families.
        may_connect: Whether sockets may connect, also one that it was given.

    Raises:
        OSError: The kernel has no seccomp, or this kind of machine is unknown.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(None, f"no system calls known for {platform.machine()}")
    lines = _program(machine, families, may_connect=may_connect)
    code = ctypes.create_string_buffer(b"".join(lines))
    program = struct.pack("@HP", len(lines), ctypes.addressof(code))
    libc_call("prctl", PR_SET_SECCOMP, _FILTER_MODE, program, 0, 0)


def _program(machine: _Machine, families: Iterable[int], *, may_connect: bool) -> list[bytes]:
    allow, deny = _line(_RETURN, _ALLOW), _line(_RETURN, _DENY)
    socket = _socket_program(frozenset(families), allow, deny)
    # Another machine's calls, such as those of 32 bits, have other numbers.
    lines = [_line(_LOAD, _MACHINE), _line(_EQUAL, machine.audit, 1, 0), deny, _line(_LOAD, 0)]
    denied = (_IO_URING_SETUP, *machine.keys, *(() if may_connect else (machine.connect,)))
    for number in denied:
        lines += [_line(_EQUAL, number, 0, 1), deny]
    lines += [_line(_AT_LEAST, _FIRST_X32_NUMBER, 0, 1), deny]
    places = (_FOURTH_ARGUMENT, _THIRD_ARGUMENT, _FOURTH_ARGUMENT)
    for number, flags in zip(machine.sends, places, strict=True):
        # With this flag sending connects, and nobody asks whether the port is listed.
        send = [_line(_LOAD, flags), _line(_HAS_BITS, _FAST_OPEN, 0, 1), deny, allow]
        lines += [_line(_EQUAL, number, 0, len(send)), *send]
    return [*lines, _line(_EQUAL, machine.socket, 0, len(socket)), *socket, allow]


def _socket_program(families: frozenset[int], allow: bytes, deny: bytes) -> list[bytes]:
    """What socket() may make: of the internet's families TCP and UDP alone.

    Landlock's rules about ports are about TCP, and not about its multipath form.
    """
    internet = sorted(families & {INET, INET6})
    others = sorted(families - {INET, INET6})
    lines = [_line(_LOAD, _FIRST_ARGUMENT)]
    lines += [line for each in others for line in (_line(_EQUAL, each, 0, 1), allow)]
    lines += [_line(_EQUAL, each, len(internet) - at, 0) for at, each in enumerate(internet)]
    lines += [deny, _line(_LOAD, _THIRD_ARGUMENT)]
    return [*lines, *(x for p in _PROTOCOLS for x in (_line(_EQUAL, p, 0, 1), allow)), deny]


def _line(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, when_true, when_false, value)
