"""Writes a chain of commits with one process of git, without an index and without a ref."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelyard.adapters.git.names import message_bytes, name_and_mail, path_of, revision_of
from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer


@dataclass(frozen=True, kw_only=True)
class NewCommit:
    """A commit to write.

    Args:
        documents: What it changes by path: new bytes, or the name of a blob that is here.
        message: The whole message.
        author: `Name` or `Name <mail>`; committer too.
        at: Author and committer time; must have a time zone.
    """

    documents: Mapping[str, bytes | str]
    message: str
    author: str
    at: datetime


def write_commits(git: Git, base: str | None, commits: Sequence[NewCommit]) -> str:
    """Write commits on top of each other, in the repository only; returns the last one.

    The same commits on the same base give the same names.

    Args:
        git: The repository.
        base: The parent of the first; None makes it a root.
        commits: In order, at least one.
    """
    # fast-import needs a name to work under; reset to nothing at the end, it never becomes a ref.
    ref = f"refs/modelyard-unfinished/{os.getpid()}-{secrets.token_hex(8)}".encode()
    parent = None if base is None else revision_of(base).encode()
    parts = [b"feature done\n"]
    for number, commit in enumerate(commits):
        first = parent if number == 0 else None  # later ones follow by themselves
        parts += [b"commit %s\nmark :%d\n" % (ref, number + 1), _commit(commit, first)]
    parts += [b"get-mark :%d\n" % len(commits), b"reset %s\nfrom %s\n\ndone\n" % (ref, b"0" * 40)]
    done = git.run("fast-import", "--quiet", "--date-format=raw", stdin=b"".join(parts))
    written = done.stdout.decode().strip()
    if not written:
        raise CannotAnswer(f"git fast-import in {git.root}: wrote no commit")
    return written


def _commit(commit: NewCommit, parent: bytes | None) -> bytes:
    name, mail = name_and_mail(commit.author)
    who = f"committer {name} <{mail}> {int(commit.at.timestamp())} +0000\n".encode()
    rows = [who, _data(message_bytes(commit.message))]
    rows += [b"from %s\n" % parent] if parent else []
    for path, content in commit.documents.items():
        where = path_of(path).encode("utf-8", "surrogateescape")
        if isinstance(content, str):
            rows.append(b"M 100644 %s %s\n" % (revision_of(content).encode(), where))
        else:
            rows.append(b"M 100644 inline %s\n%s" % (where, _data(content)))
    return b"".join([*rows, b"\n"])


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)
