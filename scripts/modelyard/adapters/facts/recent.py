"""Reads what was written to the branch of the facts since a moment, without what is older."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from modelyard.adapters.facts.documents import Fact, kind_of, parse_path
from modelyard.adapters.git.names import revision_of, since_option
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.json_documents import Unreadable, parse_json, warn_left_out


@dataclass(frozen=True, kw_only=True)
class Written:
    """One document that one commit wrote.

    Args:
        path: The document.
        at: When it was written, to the second.
        before: The object before; None if there was none.
        after: The object afterwards; None if it was deleted.
    """

    path: str
    at: datetime
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class FactChange:
    """One value of a fact, with the one before; None where there was none, or it is unreadable."""

    path: str
    at: datetime
    before: Fact | None
    after: Fact


def list_written(git: Git, commit: str, since: datetime) -> tuple[Written, ...]:
    """What was written since then, oldest first; of what is older only the dates are read."""
    options = ("--first-parent", "--raw", "--no-abbrev", "--no-renames", "--root", "--reverse")
    words = ("log", "-z", *options, "--format=%x01%ct", since_option(since))
    blocks = git.run(*words, revision_of(commit)).stdout.decode("utf-8", "replace").split("\x01")
    return tuple(_rows(blocks[1:]))


def _rows(blocks: list[str]) -> Iterator[Written]:
    for block in blocks:
        seconds, *cells = block.split("\0")
        at = datetime.fromtimestamp(int(seconds), UTC)
        for head, path in zip(cells[::2], cells[1::2], strict=False):
            _, _, before, after, _ = head.strip().split(" ")
            yield Written(path=path, at=at, before=_object(before), after=_object(after))


def _object(name: str) -> str | None:
    return name if name.strip("0") else None


def read_fact_changes(git: Git, written: tuple[Written, ...]) -> Iterator[FactChange]:
    """The values of the facts among what was written; warns of those that cannot be read."""
    facts = [each for each in written if each.after and parse_path(each.path)]
    names = dict.fromkeys(name for e in facts for name in (e.before, e.after) if name)
    contents = git.read_many(names) if names else {}

    def value(each: Written, name: str | None) -> Fact | None:
        if name is None:
            return None
        try:
            found: Fact = parse_json(contents[name], kind_of(each.path), f"{each.path} at {name}")
        except Unreadable as error:
            warn_left_out(error)
            return None
        return found

    for each in facts:
        if (after := value(each, each.after)) is not None:
            before = value(each, each.before)
            yield FactChange(path=each.path, at=each.at, before=before, after=after)
