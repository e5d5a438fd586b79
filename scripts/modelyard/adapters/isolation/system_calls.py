"""The calls of Linux that Python has no function for; nothing here runs when it is imported."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36
PR_SET_SECCOMP = 22

_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITIES_VERSION_3 = 0x20080522


def libc_call(name: str, *arguments: object) -> int:
    """Call a function of the C library.

    Raises:
        OSError: It returned -1.
    """
    library = ctypes.CDLL(None, use_errno=True)
    result: int = getattr(library, name)(*[_long(each) for each in arguments])
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def system_call(number: int, *arguments: object) -> int:
    """Make a system call by its number.

    Raises:
        OSError: It failed.
    """
    return libc_call("syscall", number, *arguments)


def set_process(option: int, value: int = 1) -> None:
    """`prctl(2)` with one value.

    Raises:
        OSError: The kernel has no such option, or does not allow it.
    """
    libc_call("prctl", option, value, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up what root may do beyond other users; with `no_new_privs` it never comes back.

    Raises:
        OSError: The kernel does not allow it, or this kind of machine is unknown.
    """
    number = _CAPSET.get(platform.machine())
    if number is None:
        raise OSError(None, f"no capset known for {platform.machine()}")
    header = struct.pack("Ii", _CAPABILITIES_VERSION_3, 0)
    system_call(number, header, bytes(24))


def _long(value: object) -> object:
    # A bare int would be passed with 32 bits.
    return ctypes.c_long(value) if isinstance(value, int) else value
