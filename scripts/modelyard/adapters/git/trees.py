"""Read-only trees of files: the working tree, or one commit."""

from __future__ import annotations

import os
import stat
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

from modelyard.adapters.git.names import path_of, safe_line
from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer


class Tree(Protocol):
    """Files by path from the root, with `/` between folders."""

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        """The paths that start with `prefix`, sorted."""
        ...

    def folders(self, folder: str) -> tuple[str, ...]:
        """The names of the folders in a folder, without looking at anything else."""
        ...

    def part(self, places: Collection[str]) -> Tree:
        """The same with only what is at these paths or below them, where nothing else is listed."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file of this path."""
        ...

    def read(self, path: str) -> bytes:
        """A file's bytes; a symbolic link's are its target. `CannotAnswer` when there is none."""
        ...

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Several files' bytes by path; `CannotAnswer` names the first that is not there."""
        ...


class WorkingTree:
    """The files that a commit of everything would hold: tracked, or new and not ignored.

    They are listed once. Outside of Git they are all files of the folder.

    Args:
        root: The checkout's root, or any folder of it; paths are relative to it.
        places: See `Tree.part`; None for everything.
    """

    def __init__(self, root: Path, places: Collection[str] | None = None) -> None:
        self.root = root
        self._places = places

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        """See `Tree`."""
        return _starting(self._order, prefix)

    def folders(self, folder: str) -> tuple[str, ...]:
        """See `Tree`; one with ignored files alone is named, too."""
        try:
            found = [each.name for each in os.scandir(self.root / folder) if each.is_dir()]
        except OSError:
            return ()
        return tuple(sorted(found))

    def part(self, places: Collection[str]) -> WorkingTree:
        """See `Tree`."""
        return WorkingTree(self.root, places)

    def exists(self, path: str) -> bool:
        """See `Tree`."""
        return path in self._listed

    def read(self, path: str) -> bytes:
        """See `Tree`."""
        if path not in self._listed:
            raise _no_file(path, str(self.root))
        file = os.path.join(self.root, path)  # noqa: PTH118 - Path is slow for 10,000 files
        try:
            if self._listed[path]:
                return os.fsencode(os.readlink(file))  # noqa: PTH115 - as above
            with open(file, "rb") as stream:  # noqa: PTH123 - as above
                content = stream.read()
                return self._as_kept(path, content) if b"\r\n" in content else content
        except OSError as error:
            raise CannotAnswer(f"{file}: {error.strerror}") from error

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `Tree`."""
        return {path: self.read(path) for path in paths}

    def _as_kept(self, path: str, content: bytes) -> bytes:
        """The bytes that Git has, if the checkout's differ from them in line endings alone."""
        if path not in self._unchanged:
            return content
        blob = self._unchanged[path]
        return Git(self.root).read_many([blob])[blob] or content

    @cached_property
    def _unchanged(self) -> dict[str, str]:
        """The blob of each file that is as Git has it, by path; asked for only if it matters."""
        git = Git(self.root)
        staged = git.run("ls-files", "--stage", "-z", accept=(0, 128)).stdout.split(b"\0")[:-1]
        rows = (row.partition(b"\t") for row in staged)
        blobs = {os.fsdecode(path): head.split(b" ")[1].decode() for head, _, path in rows}
        # Unlike `diff-files`, `status` looks again at a file whose time alone has changed.
        words = ("status", "--porcelain", "-z", "--no-renames", "--untracked-files=no")
        changed = git.run(*words, accept=(0, 128)).stdout.split(b"\0")[:-1]
        gone = {os.fsdecode(row[3:]) for row in changed if row[1:2].strip()}
        return {path: blob for path, blob in blobs.items() if path not in gone}

    @cached_property
    def _order(self) -> list[str]:
        return list(self._listed)

    @cached_property
    def _listed(self) -> dict[str, bool]:
        """Whether each file is a symbolic link, by path in order."""
        found = {}
        for path in sorted(set(self._tracked_or_new())):
            try:
                mode = os.lstat(os.path.join(self.root, path)).st_mode  # noqa: PTH118 - as above
            except OSError:
                continue  # tracked, and deleted here
            if not stat.S_ISDIR(mode):
                found[path] = stat.S_ISLNK(mode)
        return found

    def _tracked_or_new(self) -> Iterator[str]:
        if not self.root.is_dir():
            raise CannotAnswer(f"{self.root} is not a folder")
        if self._places is not None and not self._places:
            return iter(())
        flags = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--")
        words = ("--literal-pathspecs", *flags, *sorted(self._places or ()))
        done = Git(self.root).run(*words, accept=(0, 128))
        if done.returncode == 0:
            return (os.fsdecode(path) for path in done.stdout.split(b"\0")[:-1])
        if b"not a git repository" in done.stderr:
            return filter(self._is_in_place, _walk(self.root))
        raise CannotAnswer(f"git ls-files in {self.root}: {safe_line(os.fsdecode(done.stderr))}")

    def _is_in_place(self, path: str) -> bool:
        return self._places is None or any(
            path == place or path.startswith(f"{place.rstrip('/')}/") for place in self._places
        )


class GitTree:
    """The files of one commit.

    Args:
        git: The repository.
        commit: A commit or anything that names one.
        places: See `Tree.part`; None for everything.
        listed: The blobs of what is there by path, in order, if that is known.
    """

    def __init__(
        self,
        git: Git,
        commit: str,
        places: Collection[str] | None = None,
        listed: dict[str, str] | None = None,
    ) -> None:
        self.git = git
        self.commit = commit
        self._places = places
        self._listed = listed

    def paths(self, prefix: str = "") -> tuple[str, ...]:
        """See `Tree`."""
        return _starting(self._order, prefix)

    def folders(self, folder: str) -> tuple[str, ...]:
        """See `Tree`."""
        return self.git.list_folders(self.commit, folder)

    def part(self, places: Collection[str]) -> GitTree:
        """See `Tree`."""
        return GitTree(self.git, self.commit, places)

    def exists(self, path: str) -> bool:
        """See `Tree`."""
        return path in self._blobs

    def read(self, path: str) -> bytes:
        """See `Tree`."""
        return self.read_many((path,))[path]

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """See `Tree`."""
        blobs = {path: self._blob(path) for path in paths}
        contents = self.git.read_many(dict.fromkeys(blobs.values()))
        found = {}
        for path, blob in blobs.items():
            content = contents[blob]
            if content is None:
                raise CannotAnswer(f"{self.commit}:{safe_line(path)}: its blob {blob} is missing")
            found[path] = content
        return found

    def _blob(self, path: str) -> str:
        if path not in self._blobs:
            raise _no_file(path, self.commit)
        return self._blobs[path]

    @cached_property
    def _order(self) -> list[str]:
        return list(self._blobs)

    @cached_property
    def _blobs(self) -> dict[str, str]:
        if self._listed is not None:
            return self._listed
        if self._places is not None and not self._places:
            return {}
        listed = self.git.ls_tree(self.commit, *sorted(self._places or ()))
        return {entry.path: entry.blob for entry in sorted(listed, key=lambda entry: entry.path)}


class ListedTree(GitTree):
    """A part of one commit, listed once for all parts of it that are asked for later.

    Args:
        git: The repository.
        commit: The commit.
        places: What is asked for, see `Tree.part`; a part with anything else is listed apart.
    """

    def part(self, places: Collection[str]) -> GitTree:
        """See `Tree`; of what was listed."""
        if not all(map(self._is_listed, places)):
            return super().part(places)
        paths = (path for place in sorted(places) for path in self._at(place))
        return GitTree(self.git, self.commit, places, {path: self._blobs[path] for path in paths})

    def _is_listed(self, place: str) -> bool:
        return self._places is None or any(
            place == each or place.startswith(f"{each.rstrip('/')}/") for each in self._places
        )

    def _at(self, place: str) -> tuple[str, ...]:
        if place.endswith("/"):
            return self.paths(place)
        return (place,) if place in self._blobs else self.paths(f"{place}/")


def _starting(order: list[str], prefix: str) -> tuple[str, ...]:
    """The paths of a sorted list that start with a prefix: they stand beside each other."""
    last = first = bisect_left(order, prefix)
    while last < len(order) and order[last].startswith(prefix):
        last += 1
    return tuple(order[first:last])


def _walk(root: Path) -> Iterator[str]:
    """Every file below a folder that is in no repository."""
    for folder, _, files in os.walk(root):
        for file in files:
            yield Path(folder, file).relative_to(root).as_posix()


def _no_file(path: str, where: str) -> CannotAnswer:
    return CannotAnswer(f"{where}: there is no file {safe_line(path_of(path))!r}")
