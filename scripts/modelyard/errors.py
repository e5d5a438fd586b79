"""Every error that a person may read, by what they should do next.

- YardError
  - CannotAnswer   exit 1: something needed is missing or broken; fix it and run again
    - OtherBase    the pull request goes to another branch than main
    - VersionFault exit 4: a model that has the pinned bytes fails by itself; only servers say so
    - DiskFault    a disk takes no write
      - NoRoom     it is full, or its quota is used up
    - StepCrash    exit 5: a step of training has a defect, so a retry is no use; only steps say so
  - Refused        exit 3: the question was answered, and the answer is no
    - OverLimit    a file is larger than a setting allows, which is no fault of its version
  - Conflict       exit 1: somebody else changed it first; run again
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

EXIT_CODES = (
    "0 done, 1 could not answer, 2 wrong usage, "
    "3 the answer is no: refused, invalid, stale or drifted"
)
"""The one wording, of `--help` and of the README."""


NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a write fails with where a disk has no block, no inode or no quota left."""

_ROOM = "make room and run it again; modelyard doctor names the disks that are nearly full"
_RIGHTS = "there, or set another place in modelyard.yaml"
_DISK = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit on the size of files, such as ulimit -f, and run it again",
    errno.EIO: "the disk fails; look into the log of the system (dmesg) before you go on",
    errno.EROFS: f"let this user write {_RIGHTS}",
    errno.EACCES: f"let this user read and write {_RIGHTS}",
}


class YardError(Exception):
    """An error that a person can act on; printed without a traceback.

    Args:
        message: What happened, with the file, the value and the limit.
        hint: The next command or edit, if there is one.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CannotAnswer(YardError):  # noqa: N818 - reads as the outcome it is
    """The question could not be answered: evidence, a service or a file is missing or broken."""


class LostAnswer(CannotAnswer):
    """No answer came, or one that an earlier answer contradicts: whoever may wait asks again."""


class OtherBase(CannotAnswer):
    """The pull request does not go to the main branch, so it is none of the tool's."""


class VersionFault(CannotAnswer):
    """A model of the pinned bytes fails when it is opened, or when it scores its golden rows.

    Everything else that keeps a server from starting is the infrastructure's fault; see
    `modelyard.domain.server_fault`.
    """

    exit_code = 4


class DiskFault(CannotAnswer):
    """A disk takes no write; what failed succeeds once it does."""


class NoRoom(DiskFault):
    """A disk is full, or the quota of this user is used up."""


class StepCrash(CannotAnswer):
    """A step of training failed by a defect of the tool, which a retry would meet again."""

    exit_code = 5


class Conflict(YardError):  # noqa: N818 - the field's word for a lost compare-and-swap
    """Somebody else changed the same ref or document first; read it again."""


class Refused(YardError):  # noqa: N818 - reads as the outcome it is
    """The question was answered, and the answer is no."""

    exit_code = 3


class OverLimit(Refused):
    """A file is larger than a setting allows; with another setting the same file is read."""


def explain_disk_error(error: Exception) -> Exception:
    """The error, or what a person can do about it if a disk is full or may only be read.

    Any write may meet one, so it is named where errors are printed.
    """
    if not isinstance(error, OSError) or error.errno not in _DISK:
        return error
    where = f"{error.filename}: " if error.filename else ""
    kind = NoRoom if error.errno in NO_ROOM else DiskFault
    return kind(f"{where}{error.strerror}", hint=_DISK[error.errno])


def join_first(texts: Iterable[str], most: int, *, between: str = ", ") -> str:
    """The first texts, and how many more there are: `a, b and 1,204 more`."""
    every = list(texts)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return between.join(every[:most]) + more
