"""What the watcher said, and when: where the seconds between a verdict and the end went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from e2e.fork import PLATFORM, Fork

STAGES = {
    "the watcher has seen it": "is out of traffic",
    "the version is on hold": "is on hold",
    "the rollback is merged": "rolled canary back",
    "the alias is set": "alias canary of",
}
"""What a line of each stage of a canary's rollback has, in the order in which they come."""


@dataclass(frozen=True)
class Line:
    """A line of the watcher's log, with when it was written, in seconds since the epoch."""

    at: float
    text: str


def read_lines(fork: Fork, *, since: float) -> tuple[Line, ...]:
    """The lines of all watchers since then, in order; none if they cannot be read."""
    begin = datetime.fromtimestamp(int(since), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    said = fork.kubectl(
        *("-n", PLATFORM, "logs", "--timestamps", "--tail=-1", f"--since-time={begin}"),
        *("-l", "app.kubernetes.io/name=modelyard-watch"),
    )
    return tuple(sorted(_parse(said), key=lambda line: line.at))


def find_stages(lines: tuple[Line, ...], *, since: float) -> dict[str, float]:
    """When each stage of a canary's rollback was first told after a moment."""
    found: dict[str, float] = {}
    for stage, sign in STAGES.items():
        told = (line.at for line in lines if line.at >= since and sign in line.text)
        if (at := next(told, None)) is not None:
            found[stage] = at
    return found


def _parse(said: str) -> Iterator[Line]:
    for row in said.splitlines():
        stamp, _, text = row.partition(" ")
        try:
            yield Line(datetime.fromisoformat(stamp).timestamp(), text)
        except ValueError:  # a message of kubectl
            continue
