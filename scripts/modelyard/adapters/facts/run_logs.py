"""Keeps the logs of typed commands few: who typed one reads its log at once, and nobody later."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_RUNS = 200
"""Logs that the branch of the facts holds at most."""

KEPT_RUNS = 100
"""Logs that stay when there are more; a run whose log is gone ended long ago."""

_LOG = re.compile(r"commands/run-([0-9]+)\.json")


def surplus_logs(written: Iterable[str], there: Iterable[str]) -> dict[str, None]:
    """Return the logs to remove with a commit, by path; none while there are few.

    What was decided stays in the audit log. Without its log, a run that its own starter starts
    again does the same once more, as if they had typed it again.

    Args:
        written: The documents that the commit writes.
        there: Those that the branch has.
    """
    if not any(map(_LOG.fullmatch, written)):
        return {}
    # Forges count the runs up.
    runs = sorted((int(found[1]), found[0]) for found in map(_LOG.fullmatch, there) if found)
    if len(runs) < MOST_RUNS:
        return {}
    return dict.fromkeys(path for _, path in runs[:-KEPT_RUNS])
