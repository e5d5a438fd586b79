"""Which system calls a process may make, and for which sockets: a seccomp filter, see seccomp(2).

Calls that can only reach outside of what a process is given are refused. What asks for a right
that the process keeps for its own files alone, and cannot be told apart from one on others' files,
does nothing.
"""

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
_ERROR = 0x00050000
_DENY = _ERROR | errno.EACCES
_DO_NOTHING = _ERROR  # the error 0: the caller is told that it was done
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_HAS_BITS = 0x45
_NUMBER, _MACHINE = 0, 4  # offsets in struct seccomp_data
_FIRST_ARGUMENT, _THIRD_ARGUMENT, _FOURTH_ARGUMENT = 16, 32, 40
_PROTOCOLS = (0, 6, 17)  # the family's own for its type, TCP and UDP
_FAST_OPEN = 0x20000000
_IO_URING_SETUP = 425  # it makes sockets without calling socket()
_FIRST_X32_NUMBER = 0x40000000
_CLONE3 = 435  # its flags are in memory, where no filter can look
_NEW_USER = 0x10000000
_ANY_BIT = 0xFFFFFFFF


@dataclass(frozen=True)
class _Machine:
    """Its AUDIT_ARCH, and numbers of its system calls.

    Args:
        audit: Its AUDIT_ARCH.
        socket: `socket`.
        connect: `connect`.
        sends: `sendto`, `sendmsg` and `sendmmsg`.
        keys: Those on the user's keyring.
        shared: Shared memory, semaphores and queues of System V and queues of POSIX, by name: they
            outlast their makers, and are of no process whose memory could be counted.
        kernel: `userfaultfd` and `bpf`, which are made of what programs attack kernels with.
        makes: `clone` and `unshare`, whose first argument can ask for a new user.
        limits: `prlimit64`, whose first argument is a process; a limit of CPU time ends it.
        modes: What changes modes, owners and times, of a file that can only be read too.
        attributes: What changes extended attributes.
    """

    audit: int
    socket: int
    connect: int
    sends: tuple[int, int, int]
    keys: tuple[int, ...]
    shared: tuple[int, ...]
    kernel: tuple[int, ...]
    makes: tuple[int, int]
    limits: int
    modes: tuple[int, ...]
    attributes: tuple[int, ...]


_EVERYWHERE_MODES = (452, 469)  # fchmodat2, file_setattr
_EVERYWHERE_ATTRIBUTES = (463, 466)  # setxattrat, removexattrat
_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        socket=41,
        connect=42,
        sends=(44, 46, 307),
        keys=(248, 249, 250),
        shared=(29, 64, 68, 240),
        kernel=(323, 321),
        makes=(56, 272),
        limits=302,
        modes=(*(90, 91, 92, 93, 94, 132, 235, 260, 261, 268, 280), *_EVERYWHERE_MODES),
        attributes=(*(188, 189, 190, 197, 198, 199), *_EVERYWHERE_ATTRIBUTES),
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        socket=198,
        connect=203,
        sends=(206, 211, 269),
        keys=(217, 218, 219),
        shared=(194, 190, 186, 180),
        kernel=(282, 280),
        makes=(220, 97),
        limits=261,
        modes=(*(52, 53, 54, 55, 88), *_EVERYWHERE_MODES),
        attributes=(*(5, 6, 7, 14, 15, 16), *_EVERYWHERE_ATTRIBUTES),
    ),
}


def restrict_calls(
    families: Iterable[int], *, may_connect: bool = True, sees_others: bool = False
) -> None:
    """Let this thread, and all that it starts, make no call that reaches beyond what it is given.

    It can make sockets of these families alone. It cannot make a user namespace, or anything beside
    its files that outlasts it. `socketpair` stays as it is: both of its ends are the process's own.

    Args:
        families: The families of sockets.
        may_connect: Whether sockets may connect, also one that it was given.
        sees_others: Whether paths and numbers may lead to files and processes of others. Then
            nothing changes modes, owners and times of files, and who tries is told that it was
            done: programs that copy files do so without need, and would fail. Nor does anything
            change the limits of a process that it names.

    Raises:
        OSError: The kernel has no seccomp, or this kind of machine is unknown.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(None, f"no system calls known for {platform.machine()}")
    lines = _program(machine, families, may_connect=may_connect, sees_others=sees_others)
    code = ctypes.create_string_buffer(b"".join(lines))
    program = struct.pack("@HP", len(lines), ctypes.addressof(code))
    libc_call("prctl", PR_SET_SECCOMP, _FILTER_MODE, program, 0, 0)


def _program(
    machine: _Machine, families: Iterable[int], *, may_connect: bool, sees_others: bool
) -> list[bytes]:
    allow, deny = _line(_RETURN, _ALLOW), _line(_RETURN, _DENY)
    socket = _socket_program(frozenset(families), allow, deny)
    # Another machine's calls, such as those of 32 bits, have other numbers.
    lines = [_line(_LOAD, _MACHINE), _line(_EQUAL, machine.audit, 1, 0), deny, _line(_LOAD, 0)]
    lines += _answers(machine, may_connect=may_connect, sees_others=sees_others)
    lines += [_line(_AT_LEAST, _FIRST_X32_NUMBER, 0, 1), deny]
    places = (_FOURTH_ARGUMENT, _THIRD_ARGUMENT, _FOURTH_ARGUMENT)
    # With this flag sending connects, and nobody asks whether the port is listed.
    flags = [(number, at, _FAST_OPEN) for number, at in zip(machine.sends, places, strict=True)]
    # In namespaces of its own a process may mount, and sees what nobody counts.
    flags += [(number, _FIRST_ARGUMENT, _NEW_USER) for number in machine.makes]
    # 0 is the process itself.
    flags += [(machine.limits, _FIRST_ARGUMENT, _ANY_BIT)] if sees_others else []
    for number, at, flag in flags:
        call = [_line(_LOAD, at), _line(_HAS_BITS, flag, 0, 1), deny, allow]
        lines += [_line(_EQUAL, number, 0, len(call)), *call]
    return [*lines, _line(_EQUAL, machine.socket, 0, len(socket)), *socket, allow]


def _answers(machine: _Machine, *, may_connect: bool, sees_others: bool) -> list[bytes]:
    """What is said to calls that are not made, whatever their arguments are."""
    denied = (_IO_URING_SETUP, *machine.keys, *machine.shared, *machine.kernel)
    said = dict.fromkeys(denied, _DENY)
    # The C library takes this for an older kernel, and calls `clone`.
    said[_CLONE3] = _ERROR | errno.ENOSYS
    if not may_connect:
        said[machine.connect] = _DENY
    if sees_others:
        said |= dict.fromkeys(machine.modes, _DO_NOTHING)
        said |= dict.fromkeys(machine.attributes, _ERROR | errno.EOPNOTSUPP)
    return [
        line
        for number, answer in said.items()
        for line in (_line(_EQUAL, number, 0, 1), _line(_RETURN, answer))
    ]


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
