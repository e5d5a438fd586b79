"""Typed calls of the git binary; none touches the working tree."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from modelyard.adapters.git import process as git_process
from modelyard.adapters.git.commit_stream import write_tree
from modelyard.adapters.git.names import message_bytes, name_and_mail, revision_of
from modelyard.adapters.git.object_reader import Found, ask_git, ask_git_anew
from modelyard.adapters.git.objects import (
    LOG_FORMAT,
    AnswerCache,
    Entry,
    LogEntry,
    Merged,
    is_permanent,
    log_entries,
    tree_entries,
)
from modelyard.errors import CannotAnswer, Conflict

# What is known about objects that never change: a process for each question is too slow.
_HERE = AnswerCache(4000)
_BLOBS = AnswerCache(4000)
_ANSWERS = AnswerCache(500)
# What this process fetched: the same again brings only what came since, and may take less time.
_FETCHED: set[tuple[Path, str, tuple[str, ...]]] = set()
# Specs and documents are smaller; data files would fill the cache.
_LARGEST_BLOB = 2**16

T = TypeVar("T")


class Git:
    """One repository, read and written through the git binary; answers about objects are cached.

    Every call raises `CannotAnswer` with git's own message when git fails.

    Args:
        root: The checkout's root, or a bare repository.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._place = root.absolute()
        self._listed: tuple[bytes, Mapping[str, str]] | None = None

    @cached_property
    def kept_folder(self) -> Path:
        """Where answers are kept between processes: no commit can bring a file into it."""
        return self.root / self._line("rev-parse", "--git-common-dir") / "modelyard"

    def run(
        self,
        *args: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        accept: Sequence[int] = (0,),
    ) -> subprocess.CompletedProcess[bytes]:
        """Run one git command here; see `git_process.run_git`."""
        return git_process.run_git(self.root, *args, stdin=stdin, env=env, accept=accept)

    def rev_parse(self, revision: str) -> str:
        """The object a revision names, in full."""
        return self._line("rev-parse", "--verify", revision_of(revision))

    def user_name(self) -> str | None:
        """The name this person commits under, if it is configured."""
        configured = self._line("config", "--get", "user.name", accept=(0, 1))
        return os.environ.get("GIT_AUTHOR_NAME") or configured or None

    def remote_url(self, remote: str, *, push: bool = False) -> str:
        """The URL that a remote is fetched from, or with `push` the one it is pushed to.

        Raises:
            CannotAnswer: There is no such remote.
        """
        way = ("--push",) if push else ()
        url = self._line("remote", "get-url", *way, remote, accept=(0, 2, 128))
        if not url:
            raise CannotAnswer(f"there is no remote {remote}", hint=f"git remote add {remote} URL")
        return url

    def current_branch(self) -> str | None:
        """The branch that is checked out; None for a commit without one, or no repository."""
        done = self.run("symbolic-ref", "--quiet", "--short", "HEAD", accept=(0, 1, 128))
        return done.stdout.decode("utf-8", "replace").strip() or None

    def is_shallow(self) -> bool:
        """Whether commits before some depth were left out when this repository was cloned."""
        return self.read_cut() is not None

    def read_cut(self) -> str | None:
        """The commits whose parents were left out, one a line; None if all commits are here."""
        try:
            return (self.kept_folder.parent / "shallow").read_text()
        except FileNotFoundError:
            return None

    def ls_remote(self, remote: str, patterns: Iterable[str]) -> Mapping[str, str]:
        """The remote's refs that match, with the objects they point at now."""
        out = self.run("ls-remote", "--refs", "--", remote, *patterns).stdout
        # A fleet has tens of thousands, and most of the time none has moved.
        if self._listed is None or self._listed[0] != out:
            rows = (row.split("\t") for row in out.decode().splitlines())
            self._listed = out, {ref: sha for sha, ref in rows}
        return self._listed[1]

    def fetch(self, remote: str, refspecs: Iterable[str]) -> None:
        """Fetch exactly these refspecs; refs that left the remote leave here too."""
        what = (self._place, remote, tuple(refspecs))
        is_again = what in _FETCHED
        _FETCHED.discard(what)  # until it succeeds: what took too long may have been large
        # No tags, no FETCH_HEAD, no configured refspecs: only what is asked for.
        alone = ("--progress", "--no-tags", "--prune", "--no-write-fetch-head", "--refmap=")
        words = (*alone, "--recurse-submodules=no", "--", remote, *what[-1])
        git_process.run_git(self.root, "fetch", *words, is_again=is_again)
        _FETCHED.add(what)

    def missing_objects(self, objects: Iterable[str]) -> tuple[str, ...]:
        """The objects among these that this repository does not have."""
        named = map(revision_of, objects)
        asked = [name for name in named if not _HERE.get((self._place, name))]
        if not asked:
            return ()
        found = self.find_objects(asked)
        gone = tuple(name for name in asked if found[name] is None)
        for name in filter(is_permanent, set(asked).difference(gone)):
            _HERE.remember((self._place, name), True)
        return gone

    def find_objects(self, names: Iterable[str]) -> dict[str, Found | None]:
        """The objects of these names (`sha` or `sha:path`), without contents; None if missing."""
        asked = [revision_of(name) for name in names]
        return dict(zip(asked, self._ask("info", asked), strict=True))

    def _ask(self, word: str, names: Sequence[str]) -> list[Found | None]:
        commands = [f"{word} {name}".encode("utf-8", "surrogateescape") for name in names]
        if not commands:
            return []
        # A process that runs for long may not see at once where a branch points now.
        ask = ask_git if all(map(is_permanent, names)) else ask_git_anew
        return ask(self._place, commands)

    def read_file(self, commit: str, path: str) -> bytes:
        """One file of a commit."""
        name = f"{revision_of(commit)}:{path}"
        found = self._ask("contents", [name])[0]
        if found is not None and found.kind == "blob":
            return found.content
        return self.run("cat-file", "blob", name).stdout  # it says what is wrong

    def read_many(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """The blobs of these names (`sha` or `sha:path`), read by one process; None if missing."""
        asked = [revision_of(name) for name in names]
        known: dict[str, bytes | None] = {name: _BLOBS.get((self._place, name)) for name in asked}
        if new := [name for name, content in known.items() if content is None]:
            for name, found in zip(new, self._ask("contents", new), strict=True):
                content = found.content if found is not None and found.kind == "blob" else None
                known[name] = content
                if content is not None and len(content) <= _LARGEST_BLOB and is_permanent(name):
                    _BLOBS.remember((self._place, name), content)
        return known

    def ls_tree(self, commit: str, *places: str) -> tuple[Entry, ...]:
        """The files of a commit, or those at these places (a folder ends in `/`); no submodules."""
        where = ["--", *places] if places else []
        words = ("ls-tree", "-r", "-z", "--full-tree", revision_of(commit), *where)
        return self._once(words, commit, ask=lambda: tree_entries(self.run(*words).stdout))

    def list_folders(self, commit: str, folder: str) -> tuple[str, ...]:
        """The names of the folders in a folder of a commit, which ends in `/`; sorted."""
        words = ("ls-tree", "-d", "-z", "--name-only", "--full-tree", revision_of(commit))
        paths = self._once((*words, folder), commit, ask=lambda: self._paths(*words, "--", folder))
        return tuple(path.removeprefix(folder) for path in paths)

    def list_children(
        self, commit: str, folder: str, *, with_submodules: bool = True
    ) -> dict[str, str]:
        """The object of each file and folder in a folder of a commit, which ends in `/`."""
        words = ("ls-tree", "-z", "--full-tree", revision_of(commit), "--", folder)
        rows = (row.partition("\t") for row in os.fsdecode(self.run(*words).stdout).split("\0"))
        return {
            path.removeprefix(folder): head.split(" ")[2]
            for head, _, path in rows
            if path and (with_submodules or " commit " not in head)
        }

    def write_tree(self, base: str | None, documents: Mapping[str, bytes | None]) -> str:
        """The tree of `base` with these documents in it; writes objects only.

        Args:
            base: A commit or tree, or None for an empty one.
            documents: New bytes by path; None deletes, a path ending in `/` deletes the folder.
                Deletions come first, so a deleted folder may get new files.
        """
        content = repr(sorted(documents.items())).encode()
        question = ("write-tree", str(base), hashlib.sha256(content).hexdigest())

        def ask() -> str:
            tree = None if base is None else self.tree_hash(base)
            if base is not None and tree is None:
                raise CannotAnswer(f"git in {self.root}: there is no tree {base}")
            return write_tree(self.root, tree, documents)

        return self._once(question, *([base] if base else []), ask=ask)

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
        text = message_bytes(message)
        return self._line("commit-tree", *flags, revision_of(tree), stdin=text, env=env)

    def push(self, remote: str, updates: Mapping[str, tuple[str | None, str | None]]) -> None:
        """Move refs of the remote, all or none, each only from its old commit.

        This is the one call that changes the remote.

        Args:
            remote: The remote's name.
            updates: `(old, new)` by full ref name; None is "does not exist".

        Raises:
            Conflict: A ref was not at `old`, or another writer pushed the very same object first.
        """
        if not (moves := {ref: pair for ref, pair in updates.items() if pair[0] != pair[1]}):
            return
        # An empty lease means that the ref must not exist.
        leases = [f"--force-with-lease={ref}:{old or ''}" for ref, (old, _) in moves.items()]
        specs = [f"{new or ''}:{ref}" for ref, (_, new) in moves.items()]
        options = ("--porcelain", "--atomic", "--no-verify", *leases)
        words = ("push", *options, "--", remote, *specs)
        done = self.run(*words, accept=range(256))
        if git_process.lost_the_race(done):
            where, why = f"{', '.join(moves)} in {remote}", git_process.git_message(done)
            if lock := git_process.lock_in_the_way(why):
                # A killed git leaves it for ever, and each later one says that another is at work.
                raise Conflict(
                    f"{lock} keeps {where} from moving",
                    hint=git_process.hint_of_lock(lock),
                )
            raise Conflict(f"another writer moved {where}: {why}")
        if done.returncode:
            raise git_process.git_failure(f"git push to {remote}", words, done)

    def merge_tree(self, main: str, head: str) -> Merged:
        """Merge two commits without a working tree; conflicts are returned, not raised.

        A path that would change on main although `head` did not change it is a conflict too: git
        guessed that a file moved, and no person reviewed the guess.
        """
        sides = (revision_of(main), revision_of(head))
        return self._once_of_history(
            ("merge-tree", *sides), *sides, ask=lambda: self._merge_tree(*sides)
        )

    def _merge_tree(self, main: str, head: str) -> Merged:
        if self._is_only_parent(main, head):
            return Merged(tree=self.tree_hash(head) or "", conflicts=())
        options = ("--write-tree", "-z", "--name-only", "--no-messages")
        done = self.run("merge-tree", *options, main, head, accept=(0, 1))
        tree, *paths = os.fsdecode(done.stdout).split("\0")[:-1]
        reviewed = self.diff_names(self.merge_base(main, head), head)
        guessed = set(self.diff_names(main, tree)) - set(reviewed)
        return Merged(tree=tree, conflicts=tuple(sorted({*paths, *guessed})))

    def holds_change(self, main: str, head: str, documents: Mapping[str, bytes | None]) -> bool:
        """Whether `head` changes exactly these documents, and merging it still gives them.

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

        def ask() -> str:
            return one if self._is_only_parent(one, other) else self._line(*words)

        return self._once_of_history(words, one, other, ask=ask)

    def _is_only_parent(self, one: str, other: str) -> bool:
        """Whether a commit has this one parent alone, as most heads of the tool have main.

        Asked of the process that reads objects: one of its own would take longer than the answer.
        """
        if not (is_permanent(one) and is_permanent(other)):
            return False
        (found,) = self._ask("contents", [other])
        if found is None or found.kind != "commit":
            return False
        header = found.content.partition(b"\n\n")[0].splitlines()
        return [row[7:] for row in header if row.startswith(b"parent ")] == [one.encode()]

    def parents(self, commit: str) -> tuple[str, ...]:
        """The parents of a commit, the first one first."""
        return tuple(self._line("rev-parse", f"{commit}^@").split())

    def is_ancestor(self, commit: str, of: str) -> bool:
        """Whether `of` already contains `commit`."""
        flags = ("--is-ancestor", revision_of(commit), revision_of(of))
        return self._once_of_history(
            flags,
            *flags[1:],
            ask=lambda: self.run("merge-base", *flags, accept=(0, 1)).returncode == 0,
        )

    def log(
        self,
        revisions: str,
        *,
        path: str | Sequence[str] = (),
        first_parent: bool = False,
        limit: int | None = None,
    ) -> tuple[LogEntry, ...]:
        """The commits of a range (`a..b` or a tip), newest first, those that touch a `path`."""
        options = ["-z", "--encoding=UTF-8", LOG_FORMAT]
        options += ["--first-parent"] if first_parent else []
        options += [f"--max-count={limit}"] if limit is not None else []
        where = ["--", *([path] if isinstance(path, str) else path)]
        words = ("log", *options, revision_of(revisions), *where)
        return self._once_of_history(
            words, revisions, ask=lambda: log_entries(self.run(*words).stdout)
        )

    def log_of(self, commits: Sequence[str]) -> tuple[LogEntry, ...]:
        """These commits, in this order."""
        words = ("log", "--stdin", "--no-walk=unsorted", "-z", "--encoding=UTF-8", LOG_FORMAT)
        named = "\n".join(map(revision_of, commits)).encode()
        return log_entries(self.run(*words, stdin=named).stdout) if commits else ()

    def diff_names(self, old: str, new: str) -> tuple[str, ...]:
        """The paths whose content differs between two commits or trees, sorted."""
        sides = (revision_of(old), revision_of(new))
        # Not what a .gitmodules asks to leave out.
        options = ("--name-only", "--no-renames", "--ignore-submodules=none")
        words = ("diff-tree", "-r", "-z", *options, *sides)
        return self._once(words, *sides, ask=lambda: self._paths(*words))

    def tree_hash(self, commit: str, path: str = "") -> str | None:
        """The object of a folder (or file) in a commit, or None when it is not there."""
        name = f"{revision_of(commit)}:{path.rstrip('/')}"

        def ask() -> str | None:
            found = self.find_objects([name])[name]
            return found.name if found else None

        return self._once(("tree-hash", name), name, ask=ask)

    def _once(self, question: tuple[str, ...], *about: str, ask: Callable[[], T]) -> T:
        """The cached answer if the question is about objects that never change; else ask."""
        if all(is_permanent(revisions) for revisions in about):
            return _ANSWERS.get_or_ask((self._place, *question), ask)
        return ask()

    def _once_of_history(self, question: tuple[str, ...], *about: str, ask: Callable[[], T]) -> T:
        """As `_once`, where a shallow clone answers differently once older commits are fetched."""
        cut = self.read_cut()
        return self._once(question if cut is None else (*question, cut), *about, ask=ask)

    def _paths(self, *args: str) -> tuple[str, ...]:
        return tuple(sorted(os.fsdecode(self.run(*args).stdout).split("\0")[:-1]))

    def _line(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None,
              accept: Sequence[int] = (0,)) -> str:  # fmt: skip
        return self.run(*args, stdin=stdin, env=env, accept=accept).stdout.decode().strip()
