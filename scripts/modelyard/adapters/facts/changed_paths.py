"""Tells whether git has filters of changed paths for nearly all of a branch."""

from __future__ import annotations

import mmap
from pathlib import Path

from modelyard.adapters.git.repository import Git

MOST_UNFILTERED = 1_000
"""So many commits of a branch may be newer than the filters: a walk through them is quick."""

_HEADER, _CHUNK = 8, 12
"""Bytes of a commit-graph before its table of chunks, and of each row of the table."""


def has_filters(git: Git, commit: str) -> bool:
    """Whether the filters that `modelyard gc` writes leave out at most `MOST_UNFILTERED` commits.

    Git has no command that tells it. No answer of git depends on it, but for how quick it is.
    """
    words = ("rev-parse", "--verify", "--quiet", f"{commit}~{MOST_UNFILTERED}")
    older = git.run(*words, accept=(0, 1)).stdout.decode().strip()
    folder = git.kept_folder.parent / "objects" / "info"
    graphs = (folder / "commit-graph", *folder.glob("commit-graphs/graph-*.graph"))
    return bool(older) and any(_is_filtered(graph, older) for graph in graphs)


def _is_filtered(path: Path, commit: str) -> bool:
    """Whether a commit-graph has filters, and this commit (see `gitformat-commit-graph`)."""
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as graph,
        ):
            table = range(_HEADER, _HEADER + _CHUNK * graph[6], _CHUNK)
            names = [graph[at : at + 4] for at in table]
            return b"BIDX" in names and graph.find(bytes.fromhex(commit)) >= 0
    except (OSError, ValueError, IndexError):  # none, an empty one, and one that is cut off
        return False
