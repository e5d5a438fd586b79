"""The git binary as a few typed calls, none of which touches the working tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from modelyard.adapters.git import process as git_process
from modelyard.adapters.git.names import message_bytes, name_and_mail, path_of, revision_of
from modelyard.adapters.git.objects import (
    LOG_FORMAT,
    Entry,
    LogEntry,
    Memory,
    Merged,
    batch,
    lasting,
    log_entries,
    tree_entries,
)
from modelyard.errors import Conflict

# What is the same whoever asks: a process is too much to pay for it a second time.
_HERE = Memory(4000)
_BLOBS = Memory(4000)
_ANSWERS = Memory(500)
_LARGEST_BLOB = 2**16

T = TypeVar("T")


class Git:
    """One repository, asked through the git binary; about the same objects only once.

    Every call raises `CannotAnswer` with git's own words when git cannot do it.

    Args:
        root: The checkout's root, or a bare repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._place = root.absolute()

    def run(
        self,
        *args: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        accept: Sequence[int] = (0,),
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one git command here; see `git_process.run`."""
        return git_process.run(self.root, *args, stdin=stdin, env=env, accept=accept)

    def rev_parse(self, revision: str) -> str:
        """The object a revision names, in full."""
        return self._line("rev-parse", "--verify", revision_of(revision))

    def user_name(self) -> str | None:
        """The name this person commits under, if git was told."""
        configured = self._line("config", "--get", "user.name", accept=(0, 1))
        return os.environ.get("GIT_AUTHOR_NAME") or configured or None

    def ls_remote(self, remote: str, patterns: Iterable[str]) -> dict[str, str]:
        """The remote's refs that match, with the objects they point at now."""
        out = self.run("ls-remote", "--refs", "--", remote, *patterns).stdout
        return {ref: sha for sha, ref in (row.split("\t") for row in out.decode().splitlines())}

    def fetch(self, remote: str, refspecs: Iterable[str]) -> None:
        """Fetch exactly these refspecs; refs that left the remote leave here too."""
        quiet = ("--quiet", "--no-tags", "--prune", "--no-write-fetch-head", "--refmap=")
        self.run("fetch", *quiet, "--recurse-submodules=no", "--", remote, *refspecs)

    def missing(self, objects: Iterable[str]) -> tuple[str, ...]:
        """Those of the objects that this repository does not have."""
        named = map(revision_of, objects)
        asked = [name for name in named if not _HERE.get((self._place, name))]
        if not asked:
            return ()
        told = "".join(f"{name}\n" for name in asked).encode()
        out = self.run("cat-file", "--batch-check", stdin=told).stdout
        gone = tuple(row[:-8] for row in out.decode().splitlines() if row.endswith(" missing"))
        for name in filter(lasting, set(asked).difference(gone)):
            _HERE.keep((self._place, name), True)
        return gone

    def read(self, commit: str, path: str) -> bytes:
        """One file of a commit."""
        return self.run("cat-file", "blob", f"{revision_of(commit)}:{path}").stdout

    def read_many(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """The blobs of these object names (`sha` or `sha:path`), one process for all.

        None stands for an object that is not there.
        """
        asked = [revision_of(name) for name in names]
        known: dict[str, bytes | None] = {name: _BLOBS.get((self._place, name)) for name in asked}
        if new := [name for name, content in known.items() if content is None]:
            told = "".join(f"{name}\n" for name in new).encode()
            out = self.run("cat-file", "--batch", stdin=told).stdout
            for name, content in zip(new, batch(out), strict=True):
                known[name] = content
                if content is not None and len(content) <= _LARGEST_BLOB and lasting(name):
                    _BLOBS.keep((self._place, name), content)
        return known

    def ls_tree(self, commit: str, prefix: str = "") -> tuple[Entry, ...]:
        """The files of a commit below `prefix` (a folder ends in `/`), by path; no submodules."""
        where = ["--", prefix] if prefix else []
        words = ("ls-tree", "-r", "-z", "--full-tree", revision_of(commit), *where)
        return self._once(words, commit, ask=lambda: tree_entries(self.run(*words).stdout))

    def write_tree(self, base: str | None, documents: Mapping[str, bytes | None]) -> str:
        """The tree of `base` with these documents in it; nothing but objects is written.

        Args:
            base: A commit or tree, or None for an empty one.
            documents: New bytes by path; None deletes, a path ending in `/` deletes the folder.
                Deletions come first, so a deleted folder may be filled anew.
        """
        files = {path_of(path): data for path, data in documents.items()}
        told = repr(sorted(files.items())).encode()
        question = ("write-tree", str(base), hashlib.sha256(told).hexdigest())
        return self._once(
            question, *([base] if base else []), ask=lambda: self._write_tree(base, files)
        )

    def _write_tree(self, base: str | None, documents: Mapping[str, bytes | None]) -> str:
        blobs = {path: data for path, data in documents.items() if data is not None}
        gone = [path for path, data in documents.items() if data is None]
        with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            self.run("read-tree", revision_of(base) if base else "--empty", env=index)
            rows = [f"0 {'0' * 40}\t{path}" for path in self._below(base, gone)]
            shas = self._write_blobs(Path(folder), blobs.values())
            rows += [f"100644 {sha}\t{path}" for path, sha in zip(blobs, shas, strict=True)]
            told = "".join(f"{row}\0" for row in rows).encode("utf-8", "surrogateescape")
            self.run("update-index", "-z", "--index-info", stdin=told, env=index)
            return self._line("write-tree", env=index)

    def write_file_tree(self, name: str, content: bytes) -> str:
        """The tree that holds one file and nothing else, without an index."""
        blob = self._line("hash-object", "-w", "--stdin", stdin=content)
        return self._line("mktree", "-z", stdin=f"100644 blob {blob}\t{path_of(name)}\0".encode())

    def commit_tree(
        self, tree: str, *, parents: Sequence[str], message: str, author: str, at: datetime
    ) -> str:
        """Write a commit of a tree; the same arguments give the same commit.

        Args:
            tree: The tree.
            parents: Parent commits, in order.
            message: The whole message.
            author: `Name` or `Name <mail>`; committer too.
            at: Author and committer time; must have a time zone.
        """
        (name, mail), date = name_and_mail(author), f"{int(at.timestamp())} +0000"
        env = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
               for what, value in (("NAME", name), ("EMAIL", mail), ("DATE", date))}  # fmt: skip
        flags = [word for parent in parents for word in ("-p", revision_of(parent))]
        told = message_bytes(message)
        return self._line("commit-tree", *flags, revision_of(tree), stdin=told, env=env)

    def push(self, remote: str, updates: Mapping[str, tuple[str | None, str | None]]) -> None:
        """Move refs of the remote, all or none, each only from where it was last seen.

        This is the one call that writes where others can see it.

        Args:
            remote: The remote's name.
            updates: `(old, new)` by full ref name; None is "does not exist".

        Raises:
            Conflict: A ref was not at `old`, or somebody else wrote the very same object first.
        """
        if not (moves := {ref: pair for ref, pair in updates.items() if pair[0] != pair[1]}):
            return
        leases = [f"--force-with-lease={ref}:{old or ''}" for ref, (old, _) in moves.items()]
        specs = [f"{new or ''}:{ref}" for ref, (_, new) in moves.items()]
        options = ("--porcelain", "--atomic", "--no-verify", *leases)
        words = ("push", *options, "--", remote, *specs)
        done = self.run(*words, accept=range(256))
        if git_process.lost_the_race(done):
            where = f"{', '.join(moves)} in {remote}"
            raise Conflict(f"somebody else moved {where}: {git_process.words(done)}")
        if done.returncode:
            raise git_process.failure(f"git push to {remote}", words, done)

    def merge_tree(self, main: str, head: str) -> Merged:
        """Merge two commits without a working tree; conflicts are named, not raised.

        A path that would change on main although `head` did not change it is a conflict too: git
        guessed that a file moved, and nobody reviewed the guess.
        """
        sides = (revision_of(main), revision_of(head))
        return self._once(("merge-tree", *sides), *sides, ask=lambda: self._merge_tree(*sides))

    def _merge_tree(self, main: str, head: str) -> Merged:
        options = ("--write-tree", "-z", "--name-only", "--no-messages")
        done = self.run("merge-tree", *options, main, head, accept=(0, 1))
        tree, *paths = os.fsdecode(done.stdout).split("\0")[:-1]
        reviewed = self.diff_names(self.merge_base(main, head), head)
        guessed = set(self.diff_names(main, tree)) - set(reviewed)
        return Merged(tree=tree, conflicts=tuple(sorted({*paths, *guessed})))

    def holds_change(self, main: str, head: str, documents: Mapping[str, bytes | None]) -> bool:
        """Whether `head` is these documents and nothing else, and merging it still gives them.

        Args:
            main: The commit it would be merged into.
            head: The commit.
            documents: See `write_tree`.
        """
        base = self.merge_base(main, head)
        if self.write_tree(base, documents) != self.tree_hash(head):
            return False
        if base == main:
            return True
        merged = self.merge_tree(main, head)
        return not merged.conflicts and self.write_tree(merged.tree, documents) == merged.tree

    def merge_base(self, one: str, other: str) -> str:
        """The last commit two histories share."""
        words = ("merge-base", revision_of(one), revision_of(other))
        return self._once(words, one, other, ask=lambda: self._line(*words))

    def is_ancestor(self, commit: str, of: str) -> bool:
        """Whether `of` already contains `commit`."""
        flags = ("--is-ancestor", revision_of(commit), revision_of(of))
        return self._once(
            flags,
            *flags[1:],
            ask=lambda: self.run("merge-base", *flags, accept=(0, 1)).returncode == 0,
        )

    def log(
        self,
        revisions: str,
        *,
        path: str | None = None,
        first_parent: bool = False,
        limit: int | None = None,
    ) -> tuple[LogEntry, ...]:
        """The commits of a range (`a..b` or a tip), newest first, those that touch `path`."""
        options = ["-z", "--encoding=UTF-8", LOG_FORMAT]
        options += ["--first-parent"] if first_parent else []
        options += [f"--max-count={limit}"] if limit is not None else []
        where = ["--", path] if path else ["--"]
        words = ("log", *options, revision_of(revisions), *where)
        return self._once(words, revisions, ask=lambda: log_entries(self.run(*words).stdout))

    def diff_names(self, old: str, new: str) -> tuple[str, ...]:
        """The paths whose content differs between two commits or trees, sorted."""
        sides = (revision_of(old), revision_of(new))
        words = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", *sides)
        return self._once(words, *sides, ask=lambda: self._paths(*words))

    def tree_hash(self, commit: str, path: str = "") -> str | None:
        """The object of a folder (or file) in a commit, or None when it is not there."""
        name = f"{revision_of(commit)}:{path.rstrip('/')}"
        words = ("rev-parse", "--verify", "--quiet", name)
        return self._once(words, name, ask=lambda: self._line(*words, accept=(0, 1)) or None)

    def _once(self, question: tuple[str, ...], *about: str, ask: Callable[[], T]) -> T:
        """Ask, or say what was said before if it is about objects that never change."""
        if all(lasting(revisions) for revisions in about):
            return _ANSWERS.once((self._place, *question), ask)
        return ask()

    def _paths(self, *args: str) -> tuple[str, ...]:
        return tuple(sorted(os.fsdecode(self.run(*args).stdout).split("\0")[:-1]))

    def _line(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None,
              accept: Sequence[int] = (0,)) -> str:  # fmt: skip
        return self.run(*args, stdin=stdin, env=env, accept=accept).stdout.decode().strip()

    def _below(self, base: str | None, paths: Iterable[str]) -> list[str]:
        """The paths to delete, folders replaced by the files `base` has below them."""
        files: list[str] = []
        for path in paths:
            found = self.ls_tree(base, path) if base and path.endswith("/") else ()
            files += [entry.path for entry in found] if path.endswith("/") else [path]
        return files

    def _write_blobs(self, folder: Path, contents: Iterable[bytes]) -> list[str]:
        """Store blobs by one process, through files since its pipe takes only one."""
        files = [folder / f"blob-{number}" for number, _ in enumerate(contents)]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        told = "".join(f"{file}\n" for file in files).encode()
        return self._line("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=told).split()
