"""How a server counts shadow answers: a pair of bins for one row of each copied request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

from modelyard.domain.canary.prediction_grid import Grid
from modelyard.domain.canary.traffic import Counts, Sample

FAILED = -1
"""The canary's bin of a row for which it had an error of its own, and no answer."""

OTHER = -2
"""The canary's bin of a row for which it has another class than stable, where there are many."""

MOST_CLASSES = 20
"""With more classes it is only counted whether both answers are the same: 300 have 90,000 pairs."""

_WORDS = {FAILED: "failed", OTHER: "other"}


def grid_key(grid: Grid) -> str:
    """Eight digits for the bins: bins of another grid have other rows, and cannot be compared."""
    return f"{crc32(repr((tuple(grid.edges), tuple(grid.classes))).encode()):08x}"


def counted_bin(grid: Grid, stable: int, canary: int) -> int:
    """The canary's bin as it is counted beside stable's."""
    is_many = len(grid.classes) > MOST_CLASSES
    return OTHER if is_many and canary not in {stable, FAILED} else canary


def pair_name(release: str, grid: str, stable: int, canary: int) -> str:
    """The name of a pair in stable's counts.

    Args:
        release: The canary's, which answered.
        grid: The `grid_key` of the bins, those of `segments.cells.segment_grid`.
        stable: The bin of stable's answer.
        canary: The `counted_bin` of the canary's answer, or `FAILED`.
    """
    return f"{release}:{grid}:{stable}:{_WORDS.get(canary, canary)}"


def is_pair_of(name: str, release: str) -> bool:
    """Whether a name is of a pair with this release, on whatever grid."""
    return name.partition(":")[0] == release


def parse_pair(name: str, release: str, grid: str) -> tuple[int, int] | None:
    """Both bins of a name; None for another release or grid, and for what is no such name."""
    other, _, rest = name.partition(":")
    key, _, bins = rest.partition(":")
    stable, _, canary = bins.partition(":")
    if other != release or key != grid or not stable.isdecimal():
        return None
    words = {word: place for place, word in _WORDS.items()}
    if canary in words:
        return int(stable), words[canary]
    return (int(stable), int(canary)) if canary.isdecimal() else None


def keep_pairs_of(samples: Sequence[Sample], release: str) -> tuple[Sample, ...]:
    """The samples without pairs of other canaries, which are read by nobody."""
    return tuple(
        replace(sample, counts={name: _kept(each, release) for name, each in sample.counts.items()})
        for sample in samples
    )


def _kept(counts: Counts, release: str) -> Counts:
    if not counts.shadow:
        return counts
    kept = {name: rows for name, rows in counts.shadow.items() if is_pair_of(name, release)}
    return replace(counts, shadow=kept)
