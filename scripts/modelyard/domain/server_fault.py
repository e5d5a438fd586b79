"""Whose fault it is that a server does not start: the version's, or the infrastructure's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from modelyard.errors import VersionFault

FAULT_HEADER = "x-modelyard-fault"
"""With it a server that is not ready says whose fault that is."""

_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


class Blame(StrEnum):
    """Who is to blame. Only the version's own behaviour puts it on hold."""

    VERSION = "version"
    INFRASTRUCTURE = "infrastructure"


@dataclass(frozen=True, kw_only=True)
class ServerFault:
    """What keeps a release's servers from being ready.

    Args:
        blame: Who is to blame.
        why: The reason, for a person.
    """

    blame: Blame
    why: str

    def is_like(self, other: ServerFault | None) -> bool:
        """Whether both say the same, but for numbers that change with each attempt."""
        return other is not None and _without_numbers(self) == _without_numbers(other)


def fault_of_exit(code: int | None, why: str) -> ServerFault:
    """The fault of a server that ended by itself.

    The version is to blame only for the one exit code that says so. Its artifact then had the
    pinned digest, and the model in it failed when it was opened or when it scored its golden rows.
    All that comes before is the infrastructure: the bytes, the disk, the image, the port, memory.

    Args:
        code: Its exit code; None if it left none, such as one that was killed.
        why: What it reported.
    """
    is_own = code == VersionFault.exit_code
    return ServerFault(blame=Blame.VERSION if is_own else Blame.INFRASTRUCTURE, why=why)


def infrastructure_fault(why: str) -> ServerFault:
    """A fault of the machine, the cluster, the store or the network."""
    return ServerFault(blame=Blame.INFRASTRUCTURE, why=why)


def _without_numbers(fault: ServerFault) -> tuple[Blame, str]:
    return fault.blame, _NUMBERS.sub("", fault.why)
