"""How a server counts shadow answers: a pair of bins for one row of each copied request."""

from __future__ import annotations

FAILED = -1
"""The canary's bin of a row for which it had an error of its own, and no answer."""

_FAILED = "failed"


def pair_name(release: str, stable: int, canary: int) -> str:
    """The name of a pair in stable's counts.

    Args:
        release: The canary's, which answered.
        stable: The bin of stable's answer, on `segments.cells.segment_grid`.
        canary: The bin of the canary's answer, or `FAILED`.
    """
    return f"{release}:{stable}:{_FAILED if canary == FAILED else canary}"


def parse_pair(name: str, release: str) -> tuple[int, int] | None:
    """Both bins of a name; None for a pair with another release, and for what is no such name."""
    other, _, bins = name.partition(":")
    stable, _, canary = bins.partition(":")
    if other != release or not stable.isdecimal():
        return None
    if canary == _FAILED:
        return int(stable), FAILED
    return (int(stable), int(canary)) if canary.isdecimal() else None
