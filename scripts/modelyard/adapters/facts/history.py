"""Reads every value that a fact ever had."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TypeAlias

from modelyard.adapters.facts.documents import Fact, kind_of
from modelyard.adapters.git.documents import Listing
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import parse_json

Values: TypeAlias = "list[tuple[datetime, Fact]]"
"""Values with the times they were written at, oldest first."""


def read_histories(git: Git, listing: Listing, paths: Collection[str]) -> dict[str, Values]:
    """Every value that each of these documents ever had.

    Args:
        git: The checkout, which has the objects of the listing.
        listing: What there is now.
        paths: The documents; `Refused` for one that holds no facts.
    """
    kinds = {path: kind_of(path) for path in paths}
    found = {
        path: _old_versions(git, listing, path)
        if listing.commit is None
        else _versions(git, listing.commit, path)
        for path in paths
    }
    contents = git.read_many([name for versions in found.values() for _, name in versions])
    return {
        path: [(at, parse_json(contents[name], kinds[path], f"{path} at {name[:40]}"))
            for at, name in versions]
        for path, versions in found.items()
    }  # fmt: skip


def _versions(git: Git, commit: str, path: str) -> list[tuple[datetime, str]]:
    """The times and objects of a document, oldest first.

    One path at a time: the filters of changed paths that `modelyard gc` writes are of no use to a
    git that is asked for several, and the branch of a fleet has hundreds of thousands of commits.
    """
    options = ("--first-parent", "--raw", "--no-abbrev", "--no-renames", "--root", "--reverse")
    words = ("log", "-z", *options, "--format=%x01%ct", commit, "--", path)
    found: list[tuple[datetime, str]] = []
    for block in git.run(*words).stdout.decode("utf-8", "replace").split("\x01")[1:]:
        seconds, *cells = block.split("\0")
        at = datetime.fromtimestamp(int(seconds), UTC)
        for head, name in zip(cells[::2], cells[1::2], strict=False):
            _, _, _, blob, what = head.strip().split(" ")
            if what != "D" and name == path:
                found.append((at, blob))
    return found


def _old_versions(git: Git, listing: Listing, path: str) -> list[tuple[datetime, str]]:
    tip, _, document = listing.files.get(path, "").partition(":")
    entries = git.log(tip, first_parent=True)[::-1] if tip else ()
    return [(entry.at, f"{entry.sha}:{document}") for entry in entries]
