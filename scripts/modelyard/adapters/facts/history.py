"""Reads every value that a fact ever had."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from modelyard.adapters.facts.changed_paths import has_filters
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
    if listing.commit is None:
        found = {path: _old_versions(git, listing, path) for path in kinds}
    else:
        found = _versions(git, listing.commit, tuple(kinds))
    contents = git.read_many([name for versions in found.values() for _, name in versions])
    return {
        path: [(at, parse_json(contents[name], kinds[path], f"{path} at {name[:40]}"))
            for at, name in versions]
        for path, versions in found.items()
    }  # fmt: skip


def _versions(git: Git, commit: str, paths: Sequence[str]) -> dict[str, list[tuple[datetime, str]]]:
    """The times and objects of documents, oldest first.

    The branch of a fleet has hundreds of thousands of commits. Git skips those that its filters of
    changed paths exclude, but only if asked for one path; without filters each question is a walk
    through all of them, so that one has to do.
    """
    is_skipping = len(paths) > 1 and has_filters(git, commit)
    found: dict[str, list[tuple[datetime, str]]] = {path: [] for path in paths}
    for asked in ([path] for path in paths) if is_skipping else filter(None, [paths]):
        for at, path, blob in _walk(git, commit, asked):
            if path in found:
                found[path].append((at, blob))
    return found


def _walk(git: Git, commit: str, paths: Sequence[str]) -> Iterator[tuple[datetime, str, str]]:
    """Yield the time, the path and the object of each value, of at least one path."""
    options = ("--first-parent", "--raw", "--no-abbrev", "--no-renames", "--root", "--reverse")
    words = ("log", "-z", *options, "--format=%x01%ct", commit, "--", *paths)
    for block in git.run(*words).stdout.decode("utf-8", "replace").split("\x01")[1:]:
        seconds, *cells = block.split("\0")
        at = datetime.fromtimestamp(int(seconds), UTC)
        for head, path in zip(cells[::2], cells[1::2], strict=False):
            _, _, _, blob, what = head.strip().split(" ")
            if what != "D":
                yield at, path, blob


def _old_versions(git: Git, listing: Listing, path: str) -> list[tuple[datetime, str]]:
    tip, _, document = listing.files.get(path, "").partition(":")
    entries = git.log(tip, first_parent=True)[::-1] if tip else ()
    return [(entry.at, f"{entry.sha}:{document}") for entry in entries]
