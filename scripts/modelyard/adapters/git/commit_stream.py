"""Writes trees and chains of commits with one process of git each, without index and ref."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from modelyard.adapters.git.names import message_bytes, name_and_mail, path_of, revision_of
from modelyard.adapters.git.process import run_git
from modelyard.errors import CannotAnswer

_REPORT = "fast-import: dumping crash report to "
_LEFT = re.compile(r"\S*\bfast_import_crash_\d+|(?<=')[^']*/tmp_(?:pack|idx)_\w+(?=')")


@dataclass(frozen=True, kw_only=True)
class NewCommit:
    """A commit to write.

    Args:
        documents: What it changes by path: new bytes, or the name of a blob that is here; None
            deletes.
        message: The whole message.
        author: `Name` or `Name <mail>`; committer too.
        at: Author and committer time; must have a time zone.
        merged: Further parents, beside the commit it stands on.
        alone: Whether it holds these documents and no others.
    """

    documents: Mapping[str, bytes | str | None]
    message: str
    author: str
    at: datetime
    merged: Sequence[str] = ()
    alone: bool = False


def write_commits(root: Path, base: str | None, commits: Sequence[NewCommit]) -> str:
    """Write commits on top of each other, in the repository only; returns the last one.

    The same commits on the same base give the same names.

    Args:
        root: The repository.
        base: The parent of the first; None makes it a root.
        commits: In order, at least one.
    """
    parent = None if base is None else revision_of(base).encode()
    ref, parts = _unfinished(), list[bytes]()
    for number, commit in enumerate(commits):
        first = parent if number == 0 else None  # later ones follow by themselves
        parts += [b"commit %s\nmark :%d\n" % (ref, number + 1), _commit(commit, first)]
    (written,) = _import(root, ref, [*parts, b"get-mark :%d\n" % len(commits)])
    return written


def write_tree(root: Path, base: str | None, documents: Mapping[str, bytes | None]) -> str:
    """Write a tree, in the repository only; returns its name.

    The commit that git makes on the way is the same for the same tree, and packing removes it.

    Args:
        root: The repository.
        base: The tree it starts from; None for an empty one.
        documents: New bytes by path; None deletes, with all that is below. Deletions come first.
    """
    ref = _unfinished()
    rows = [b"commit %s\n" % ref, b"committer nobody <nobody> 0 +0000\n", _data(b"")]
    rows += [b"M 040000 %s \n" % base.encode()] if base else []
    rows += [b"D %s\n" % _path(path) for path, new in documents.items() if new is None]
    rows += [_file(path, new) for path, new in documents.items() if new is not None]
    _, _, tree = _import(root, ref, [*rows, b'ls ""\n'])[0].split("\t")[0].split(" ")
    return tree


def _unfinished() -> bytes:
    """The name that fast-import needs to work under; it never becomes a ref."""
    return f"refs/modelyard-unfinished/{os.getpid()}-{secrets.token_hex(8)}".encode()


def _import(root: Path, ref: bytes, parts: Sequence[bytes]) -> list[str]:
    """The lines that git answers to the parts of a stream, with the ref reset at its end."""
    stream = [b"feature done\n", *parts, b"reset %s\nfrom %s\n\ndone\n" % (ref, b"0" * 40)]
    try:
        done = run_git(root, "fast-import", "--quiet", "--date-format=raw", stdin=b"".join(stream))
    except CannotAnswer as error:
        _remove_left(root, error.message)
        said = error.message.partition(_REPORT)[0].strip()
        raise type(error)(said, hint=error.hint) from error.__cause__
    if not (lines := done.stdout.decode().splitlines()):
        raise CannotAnswer(f"git fast-import in {root}: wrote nothing")
    return lines


def _remove_left(root: Path, message: str) -> None:
    """Remove what an import that failed names and leaves: on a full disk each adds to the rest."""
    for name in _LEFT.findall(message):
        with suppress(OSError):
            (root / name).unlink()


def _commit(commit: NewCommit, parent: bytes | None) -> bytes:
    name, mail = name_and_mail(commit.author)
    who = f"committer {name} <{mail}> {int(commit.at.timestamp())} +0000\n".encode()
    rows = [who, _data(message_bytes(commit.message))]
    rows += [b"from %s\n" % parent] if parent else []
    rows += [b"merge %s\n" % revision_of(other).encode() for other in commit.merged]
    rows += [b"deleteall\n"] if commit.alone else []
    rows += [_file(path, content) for path, content in commit.documents.items()]
    return b"".join([*rows, b"\n"])


def _file(path: str, content: bytes | str | None) -> bytes:
    if content is None:
        return b"D %s\n" % _path(path)
    if isinstance(content, str):
        return b"M 100644 %s %s\n" % (revision_of(content).encode(), _path(path))
    return b"M 100644 inline %s\n%s" % (_path(path), _data(content))


def _path(path: str) -> bytes:
    raw = path_of(path).removesuffix("/").encode("utf-8", "surrogateescape")
    # Git reads what starts with a quotation mark as a quoted path.
    return b'"%s"' % raw.replace(b'"', b'\\"') if raw.startswith(b'"') else raw


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)
