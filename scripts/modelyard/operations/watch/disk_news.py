"""Tells people once that a disk takes no write: the facts, which tell of all else, are on it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from modelyard.adapters.messages import send_message
from modelyard.errors import DiskFault, explain_disk_error

_MEANWHILE = (
    "A release that is bad leaves traffic all the same, as far as this machine can write that down;"
    " Git follows as soon as it can. Nothing else goes forward."
)

_QUIET_SECONDS = 3600.0
"""A disk that is full now and then is news once in that time."""


@dataclass
class DiskNews:
    """What people know of the disks.

    Args:
        lasts: Whether a disk took no write when it was last tried.
        is_told: Whether people were told of that.
        told_at: When they were told last, by the monotonic clock.
        stuck: The releases that they know to be stuck in traffic.
    """

    lasts: bool = False
    is_told: bool = False
    told_at: float = -inf
    stuck: frozenset[tuple[str, str, str]] = frozenset()

    def tell_stuck(self, stuck: Mapping[tuple[str, str], tuple[str, str]]) -> None:
        """Tell of each bad release that could not be taken from traffic, as the facts cannot.

        Args:
            stuck: Its version and why, by environment and model.
        """
        found = {(*place, version): why for place, (version, why) in stuck.items()}
        known = self.stuck.intersection(found)
        for release, why in found.items():
            environment, model, version = release
            title = f"{environment}: {model} {version} is bad and stuck in traffic"
            if release not in known and send_message(title, why):
                known |= {release}
        self.stuck = known

    def tell(self, failures: Iterable[Exception], *, is_whole: bool) -> None:
        """Tell of the first failure that is a disk's, if people do not know of it yet.

        Args:
            failures: What failed in a pass.
            is_whole: Whether it was over all models: only such a pass shows that it is over.
        """
        # No permission is as often that of a file that is read, which says nothing of a disk.
        named = (
            explain_disk_error(failure)
            for failure in failures
            if not isinstance(failure, PermissionError)
        )
        fault = next((each for each in named if isinstance(each, DiskFault)), None)
        now = time.monotonic()
        if fault is None:
            self.lasts = self.lasts and not is_whole
        elif not self.lasts:
            self.lasts, self.is_told = True, now < self.told_at + _QUIET_SECONDS
        if fault is None or self.is_told:
            return
        said = f"{fault.message}. {fault.hint or ''}\n{_MEANWHILE}"
        if send_message("A disk of modelyard takes no write", said):
            self.is_told, self.told_at = True, now
