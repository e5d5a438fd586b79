"""Removes the oldest logs of typed commands: a log is read once, right after its command."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from modelyard.domain.chatops.log import CommandLog

MOST_RUNS = 200
"""Logs that the branch of the facts holds at most."""

KEPT_RUNS = 100
"""Logs that stay when there are more; a run whose log is gone ended long ago."""

YOUNGEST = timedelta(days=1)
"""A younger log stays, however many there are: its command may still be asked about."""

_LOG = re.compile(r"commands/run-[0-9]+\.json")


def surplus_logs(
    written: Iterable[str],
    there: Iterable[str],
    read: Callable[[Iterable[str]], Mapping[str, object]],
    now: datetime,
) -> dict[str, None]:
    """Return the logs to remove with a commit, by path; none while there are few.

    What was decided stays in the audit log. Without its log, a run that its own starter starts
    again does the same once more, as if they had typed it again.

    Args:
        written: The documents that the commit writes.
        there: Those that the branch has.
        read: Reads documents of the branch, by path.
        now: When the commit is made.
    """
    if not any(map(_LOG.fullmatch, written)):
        return {}
    logs = [path for path in there if _LOG.fullmatch(path)]
    if len(logs) < MOST_RUNS:
        return {}
    # Not by the runs' numbers: another forge counts from 1 again.
    last = {path: max(entry.at for entry in log.entries) for path, log in read(logs).items()
            if isinstance(log, CommandLog) and log.entries}  # fmt: skip
    oldest = sorted(last, key=lambda path: (last[path], path))
    surplus = oldest[: len(logs) - KEPT_RUNS]
    return dict.fromkeys(path for path in surplus if last[path] <= now - YOUNGEST)
