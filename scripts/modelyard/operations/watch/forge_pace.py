"""How often a watcher asks its forge what moved."""

from __future__ import annotations

from modelyard.adapters.git.repository import Git
from modelyard.errors import YardError

FAR_SECONDS = 2.0
"""Between two questions: each is one git process, and on a hosted forge one request."""

NEAR_SECONDS = 0.5
"""Between two questions to a folder of this machine, which answers in milliseconds."""

LONGEST_SHARE = 0.05
"""The largest part of its time for which a watcher asks: the folder of a fleet has many refs."""


def first_pause(git: Git, remote: str) -> float:
    """The seconds until the first question: a folder of this machine is asked sooner."""
    try:
        is_near = (git.root / git.remote_url(remote)).is_dir()
    except YardError:
        is_near = False
    return NEAR_SECONDS if is_near else FAR_SECONDS


def next_pause(pause: float, took: float) -> float:
    """The seconds until the next question, by how long the last one took."""
    return min(FAR_SECONDS, max(pause, took / LONGEST_SHARE))
