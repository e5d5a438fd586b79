"""Files as Git keeps them: the bytes that every clone has, whatever a checkout makes of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelyard.adapters.git.names import revision_of
from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer, Refused

LFS = b"version https://git-lfs.github.com/spec/"
"""How a pointer of Git LFS begins, which Git keeps in place of a file."""

_LINK, _SUBMODULE = "120000", "160000"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One entry of a tree or of the index."""

    mode: str
    object: str
    path: str


def read_kept(git: Git, path: str, *, commit: str | None = None) -> bytes | None:
    """The bytes that Git keeps of a file; None if it keeps none.

    Args:
        git: The repository; a folder that is none keeps nothing.
        path: The path from its root.
        commit: The commit; None for the index, from which the checkout's file must not differ.

    Raises:
        Refused: It is a symbolic link, below one or in a submodule, a pointer of Git LFS, or the
            checkout has another file.
    """
    parts = path.split("/")
    ways = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    found = {each.path: each for each in _listed(git, commit or "HEAD", ways)}
    for way in ways[:-1]:
        if way in found and (fault := _mode_fault(found[way])):
            raise _refusal(path, f"{way} {fault}")
    entry = found.get(path)
    if commit is None:
        entry = _staged(git, path)
    if entry is None:
        return None
    if fault := _mode_fault(entry):
        raise _refusal(path, fault)
    content = git.read_many([entry.object])[entry.object]
    if content is None:
        raise CannotAnswer(f"{path}: its blob {entry.object} is missing", hint="git fetch")
    if content.startswith(LFS):
        raise _pointer(path)
    if commit is None:
        _refuse_changed(git, path)
    return content


def find_unkept(git: Git, tree: str) -> Iterator[str]:
    """What a tree has in place of a file, one sentence each: links, submodules, pointers of LFS."""
    out = git.run("ls-tree", "-r", "-z", "--full-tree", revision_of(tree)).stdout
    entries = list(_entries(out))
    for entry in entries:
        if fault := _mode_fault(entry):
            yield f"{entry.path} {fault}"
    blobs = {each.object: each.path for each in entries if not _mode_fault(each)}
    for blob, content in git.read_many(blobs).items():
        if content is not None and content.startswith(LFS):
            yield f"{blobs[blob]} is a pointer of Git LFS, whose file no other machine may have"


def is_kept(git: Git, path: str) -> bool:
    """Whether Git keeps a file of this path."""
    return _staged(git, path) is not None


def changed_attributes(
    git: Git, paths: Iterable[str], *, text: str, unspecified: bool = True
) -> tuple[str, ...]:
    """The paths whose `text` attribute is another one; outside of a repository there is none.

    Args:
        git: The repository.
        paths: Paths from its root.
        text: The value that the attribute should have: `unset` keeps every byte.
        unspecified: Whether no value is good too: then each person's own settings decide.
    """
    given = "".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape")
    done = git.run("check-attr", "-z", "--stdin", "text", stdin=given, accept=(0, 128))
    words = os.fsdecode(done.stdout).split("\0")[:-1]
    return tuple(
        path
        for path, value in zip(words[::3], words[2::3], strict=True)
        if value != text and not (unspecified and value == "unspecified")
    )


def _listed(git: Git, revision: str, paths: list[str]) -> Iterator[Kept]:
    # Literal: a name may have brackets. 128 is a folder without Git, or without a commit.
    words = ("--literal-pathspecs", "ls-tree", "-z", "--full-tree", revision_of(revision))
    return _entries(git.run(*words, "--", *paths, accept=(0, 128)).stdout)


def _staged(git: Git, path: str) -> Kept | None:
    words = ("--literal-pathspecs", "ls-files", "--stage", "-z", "--full-name", "--", path)
    for row in git.run(*words, accept=(0, 128)).stdout.split(b"\0")[:-1]:
        head, _, name = row.partition(b"\t")
        mode, blob, stage = head.decode().split(" ")
        if os.fsdecode(name) == path and stage == "0":
            return Kept(mode=mode, object=blob, path=path)
    return None


def _entries(out: bytes) -> Iterator[Kept]:
    for row in out.split(b"\0")[:-1]:
        head, _, name = row.partition(b"\t")
        mode, _, blob = head.decode().split(" ")
        yield Kept(mode=mode, object=blob, path=os.fsdecode(name))


def _mode_fault(entry: Kept) -> str | None:
    if entry.mode == _LINK:
        return "is a symbolic link, which leads elsewhere on another machine"
    if entry.mode == _SUBMODULE:
        return "is a submodule, whose files are in another repository"
    return None


def _refuse_changed(git: Git, path: str) -> None:
    words = ("--literal-pathspecs", "status", "--porcelain", "-z", "--untracked-files=no")
    for row in git.run(*words, "--", path).stdout.split(b"\0"):
        # Two letters: what is staged, and what is not.
        if row[1:2].strip():
            raise Refused(
                f"{path}: the file differs from what Git has, so other clones have other bytes",
                hint=f"git add {path}, or git restore {path}; then run this again",
            )


def _refusal(path: str, fault: str) -> Refused:
    reason = fault if fault.startswith(path) else f"{path}: {fault}"
    return Refused(
        f"{reason}, so its bytes cannot be pinned",
        hint=f"git rm --cached {path}, and add the file itself, or keep it in the data store",
    )


def _pointer(path: str) -> Refused:
    return Refused(
        f"{path}: is a pointer of Git LFS, so its bytes cannot be pinned",
        hint=f"git lfs migrate export --include={path}, or keep the file in the data store",
    )
