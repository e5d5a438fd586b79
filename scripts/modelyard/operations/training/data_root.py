"""The place of data: which addresses may be read, and the bytes behind them."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.git.kept_files import read_kept
from modelyard.adapters.git.repository import Git
from modelyard.adapters.tables.data_files import (
    copy_uri,
    data_address,
    read_uri,
    sha256_of,
    write_copy,
)
from modelyard.domain.checks.pins import file_path, find_address_fault
from modelyard.domain.specs.repository import DATA_ROOTS, Repository
from modelyard.domain.specs.version import DataFile
from modelyard.errors import CannotAnswer, Refused


@dataclass(frozen=True, kw_only=True)
class DataRoot:
    """What relative data URIs are relative to.

    Args:
        base: `data` of modelyard.yaml: an fsspec URI, or a path below `root`.
        root: The checkout's root.
        roots: `data_roots` of modelyard.yaml.
        commit: The commit whose files are read; None for the index.
    """

    base: str
    root: Path
    roots: tuple[str, ...] = DATA_ROOTS
    commit: str | None = None

    def address(self, uri: str) -> str:
        """Return the full address of a data URI.

        Raises:
            Refused: It leads outside of `data` and of the places in `data_roots`.
        """
        self._refuse_outside(uri)
        return data_address(uri, base=self.base, root=self.root)

    def read(self, uri: str) -> bytes:
        """Return the bytes of a data URI: those that Git keeps, if it keeps the file.

        Raises:
            CannotAnswer: They are out of reach.
            Refused: The address may not be read, or Git keeps something else in its place.
        """
        content = self.read_kept(uri)
        return self._read_file(uri) if content is None else content

    def read_kept(self, uri: str) -> bytes | None:
        """Return the bytes that Git keeps of a data URI, or None; see `read`."""
        self._refuse_outside(uri)
        path = self.path_in_repository(uri)
        return None if path is None else read_kept(Git(self.root), path, commit=self.commit)

    def read_pinned(self, file: DataFile, *, version: str | None = None) -> bytes:
        """Return the bytes that a pin names, of a version if that is worth to know.

        Raises:
            CannotAnswer: They are out of reach.
            Refused: The file has other bytes.
        """
        return self._pinned_bytes(file, self.read(file.uri), version)

    def _pinned_bytes(self, file: DataFile, content: bytes, version: str | None = None) -> bytes:
        if sha256_of(content) == file.sha256:
            return content
        # Version 0.1 pinned the checkout's bytes, in which Git may have changed line endings.
        try:
            here = self._read_file(file.uri)
        except CannotAnswer:
            here = content
        if sha256_of(here) == file.sha256:
            return here
        pinned = f"{version} pins" if version else "expected"
        raise _changed(file, sha256_of(content), pinned)

    def copy_pinned(self, file: DataFile, target: Path) -> None:
        """Copy the bytes that a pin names to this disk; see `read_pinned`.

        What Git does not keep is never in memory as a whole.

        Raises:
            CannotAnswer: They are out of reach, or there is no room.
            Refused: The file has other bytes.
        """
        kept = self.read_kept(file.uri)
        if kept is not None:
            write_copy(self._pinned_bytes(file, kept), target)
            return
        found = copy_uri(file.uri, base=self.base, root=self.root, target=target)
        if found != file.sha256:
            raise _changed(file, found, "expected")

    def copy(self, uri: str, target: Path) -> str:
        """Copy the bytes of a data URI to this disk; returns their SHA-256. See `read`.

        Raises:
            CannotAnswer: They are out of reach, or there is no room.
            Refused: The address may not be read, or Git keeps something else in its place.
        """
        kept = self.read_kept(uri)
        if kept is None:
            return copy_uri(uri, base=self.base, root=self.root, target=target)
        write_copy(kept, target)
        return sha256_of(kept)

    def _read_file(self, uri: str) -> bytes:
        return read_uri(uri, base=self.base, root=self.root)

    def path_in_repository(self, uri: str) -> str | None:
        """Return the path from the checkout's root, or None for an address elsewhere."""
        if "://" in uri or "://" in self.base or self.base.startswith("/"):
            return None
        path = posixpath.normpath(posixpath.join(self.base, uri))
        return None if path.startswith(("../", "/")) or path == ".." else path

    def _refuse_outside(self, uri: str) -> None:
        places = Repository(data=self.base, data_roots=self.roots)
        # The checkout's own folder is a place that only this machine knows.
        here = self._local(self.base)
        fault = find_address_fault(
            uri, places, wildcards=True, here=None if here is None else str(here)
        )
        if fault:
            raise Refused(f"{uri!r} {fault}")
        file = self._local(
            uri if "://" in uri else data_address(uri, base=self.base, root=self.root)
        )
        if file is None:
            return
        # Where the file really is: a symbolic link may lead anywhere.
        allowed = [here, *(self._local(root) for root in self.roots)]
        real = file.resolve()
        if not any(real.is_relative_to(each.resolve()) for each in allowed if each is not None):
            raise Refused(
                f"{uri!r} is at {real}, outside of `data` and of `data_roots` in modelyard.yaml",
                hint="copy the file, or list its folder in data_roots as file:///FOLDER",
            )

    def _local(self, uri: str) -> Path | None:
        """Return the path of an address on this machine, or None for one elsewhere."""
        if "://" not in uri:
            return self.root / uri
        path = file_path(uri)
        return None if path is None else Path(path)


def _changed(file: DataFile, found: str, pinned: str) -> Refused:
    return Refused(
        f"{file.uri}: {pinned} SHA-256 {file.sha256}, found {found}",
        hint="restore the file: data that changed needs a new name",
    )


def data_root(root: Path, repository: Repository, *, commit: str | None = None) -> DataRoot:
    """Return the place of data that modelyard.yaml names."""
    return DataRoot(base=repository.data, root=root, roots=repository.data_roots, commit=commit)
