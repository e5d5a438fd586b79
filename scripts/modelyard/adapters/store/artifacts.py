"""The artifact store: models and evidence by content, workflow files by name, on any fsspec URI."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from modelyard.adapters.file_systems import (
    PART_BYTES,
    not_writable,
    options_of,
    reason_of,
    unreachable_errors,
)
from modelyard.artifact_digest import artifact_digest, file_digests, manifest_digest
from modelyard.domain.signatures import find_differences
from modelyard.errors import NO_ROOM, CannotAnswer, Refused, YardError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_ASIDE = ".writing"

_MODELS = "models"

_OWN_DISK = NO_ROOM | {errno.EFBIG, errno.EROFS}

COMPLETE = ".complete"
"""Written last into an artifact's folder: without it the folder is not whole."""


class Store:
    """The artifact store at an fsspec URI.

    Layout: `models/<hex>/...` (folders by artifact digest), `models/signatures/<hex>/...` (their
    signatures by what these name), `evidence/<hex>` (files by SHA-256),
    `runs/<workflow>/...` (files that the steps of one workflow pass on).

    Args:
        uri: An fsspec URI; a plain path is relative to `root`.
        root: The checkout's root.
    """

    def __init__(self, uri: str, root: Path) -> None:
        self._uri = uri if "://" in uri else str(root / uri)

    @cached_property
    def _place(self) -> tuple[AbstractFileSystem, str]:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(self._uri, **options_of(self._uri))
        return filesystem, path.rstrip("/")

    def uri_of(self, *parts: str) -> str:
        """The full URI of a path in the store."""
        return "/".join([self._uri.rstrip("/"), *parts])

    def put_evidence(self, content: bytes) -> str:
        """Keep bytes under their own digest, once; returns `sha256:<hex>`.

        What is there already is read, and written again if a disk or a person changed it.
        """
        name = f"evidence/{hashlib.sha256(content).hexdigest()}"
        if not self._exists(name) or self.read_content(name) != content:
            self._write(name, content)
        return f"sha256:{name.rpartition('/')[2]}"

    def read_evidence(self, digest: str) -> bytes:
        """The bytes of a digest, checked against it.

        Raises:
            CannotAnswer: They are out of reach.
            Refused: They do not have this digest.
        """
        content = self.read_content(f"evidence/{_hex(digest)}")
        if hashlib.sha256(content).hexdigest() != _hex(digest):
            raise Refused(f"{self.uri_of('evidence', _hex(digest))} does not match its digest")
        return content

    def put_model(self, folder: Path, digest: str) -> str:
        """Keep an artifact folder under its digest, whole or not at all; returns its URI.

        A copy that is there already is read. Files that have other bytes are written again, and
        files that are none of the artifact's are removed: a disk or a person may have changed it.

        Raises:
            CannotAnswer: The folder has another digest, the store is out of reach, or its copy has
                a file too many that may not be removed.
        """
        target = _model_folder(digest)
        kept = self._model_files(target)
        if COMPLETE in kept and _manifest_digest(kept) == digest:
            return self.uri_of(target)
        if not _has_digest(folder, digest):
            raise CannotAnswer(
                f"{folder}: its files do not have the digest {digest}, and {self.uri_of(target)} "
                "does not have them either",
                hint="run it again with an unchanged folder",
            )
        wanted = file_digests(folder)
        for name in sorted(kept.keys() - wanted.keys() - {COMPLETE}):
            self._remove(target, name)
        for name, content in sorted(wanted.items()):
            if kept.get(name) != content:
                self._write(f"{target}/{name}", (folder / name).read_bytes())
        self._write(f"{target}/{COMPLETE}", b"")
        return self.uri_of(target)

    def _model_files(self, target: str) -> dict[str, str]:
        """The SHA-256 of each file that the store keeps in an artifact's folder, by name."""
        filesystem, base = self._place
        source = f"{base}/{target}"
        try:
            return {
                name[len(source) :].lstrip("/"): self._digest_of(name)
                for name in filesystem.find(source)
            }
        except unreachable_errors() as error:
            raise _out_of_reach(self.uri_of(target), error) from error

    def _digest_of(self, name: str) -> str:
        filesystem, _ = self._place
        digest = hashlib.sha256()
        with filesystem.open(name, "rb") as file:
            while part := file.read(PART_BYTES):
                digest.update(part)
        return digest.hexdigest()

    def _remove(self, target: str, name: str) -> None:
        """Remove a file of an artifact's folder, and the folders in there that it alone was in."""
        filesystem, base = self._place
        relative = f"{target}/{name}"
        try:
            filesystem.rm_file(f"{base}/{relative}")
            if "file" in filesystem.protocol:
                with contextlib.suppress(OSError):  # the first that has more in it
                    for inner in PurePosixPath(name).parents[:-1]:  # not the artifact's own
                        Path(base, target, inner).rmdir()
        except FileNotFoundError:
            return  # another process was first
        except unreachable_errors() as error:
            raise CannotAnswer(
                f"{self.uri_of(relative)}: is none of the artifact's files, and cannot be "
                f"removed: {reason_of(error)}",
                hint="let somebody who may delete in the store remove it",
            ) from error

    def fetch_model(
        self, digest: str, folder: Path, *, signed: Mapping[str, str] | None = None
    ) -> Path:
        """The folder on this machine that holds the artifact of this digest.

        A folder that is there already is kept if it has the digest. Else it is copied again: a disk
        or a person may have changed it.

        Args:
            digest: The artifact's digest.
            folder: Where it is to be.
            signed: The SHA-256 of each of its files by name, where a signature says so.

        Raises:
            CannotAnswer: The artifact is out of reach, was never stored completely, or the store's
                own copy has another digest.
            Refused: The store's own copy has other files than were signed.
        """
        if _has_digest(folder, digest):
            return folder
        kept = _model_folder(digest)
        if not self._exists(f"{kept}/{COMPLETE}"):
            raise self._lacks(kept, "no such artifact")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            # In the same folder: a rename across file systems is a copy.
            beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        except OSError as error:
            raise not_writable(folder, error) from error
        try:
            self._copy_model(digest, beside / "new", signed)
            _put_in_place(beside / "new", folder, beside / "old", digest)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        return folder

    def _copy_model(self, digest: str, folder: Path, signed: Mapping[str, str] | None) -> None:
        """Copy the store's artifact into a new folder, and verify the copy."""
        filesystem, base = self._place
        kept = _model_folder(digest)
        source = f"{base}/{kept}"
        try:
            names = filesystem.find(source)
        except unreachable_errors() as error:
            raise _out_of_reach(self.uri_of(kept), error) from error
        for name in names:
            relative = name[len(source) :].lstrip("/")
            if relative != COMPLETE:
                self._copy_file(name, folder / relative)
        if _has_digest(folder, digest):
            return
        restore = (
            "restore it from a copy of the store, or from a machine that served it: "
            f".modelyard/cluster/artifacts/{_hex(digest)}"
        )
        if signed is not None:
            differences = find_differences(signed, file_digests(folder))
            raise Refused(
                f"{self.uri_of(kept)}: not the files that were signed: {'; '.join(differences)}",
                hint=restore,
            )
        raise CannotAnswer(
            f"{self.uri_of(kept)}: its files do not have the digest {digest}", hint=restore
        )

    def _copy_file(self, name: str, target: Path) -> None:
        filesystem, _ = self._place
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            filesystem.get_file(name, str(target))
        except OSError as error:
            if error.errno in _OWN_DISK:
                raise not_writable(target, error) from error
            raise _out_of_reach(name, error) from error
        except unreachable_errors() as error:
            raise _out_of_reach(name, error) from error

    def read_model_file(self, digest: str, name: str) -> bytes:
        """One file of an artifact; `CannotAnswer` when it is out of reach."""
        return self.read_content(f"{_model_folder(digest)}/{name}")

    def put_signature(self, digest: str, subject: str, content: bytes) -> str:
        """Keep the signature of an artifact for what it names; returns its URI."""
        self._write(_signature_file(digest, subject), content)
        return self.signature_uri(digest, subject)

    def read_signature(self, digest: str, subject: str) -> bytes | None:
        """The signature of an artifact for what it names, or None."""
        name = _signature_file(digest, subject)
        return self.read_content(name) if self._exists(name) else None

    def signature_uri(self, digest: str, subject: str) -> str:
        """Where it is."""
        return self.uri_of(_signature_file(digest, subject))

    def put_run_file(self, workflow: str, name: str, content: bytes) -> None:
        """Store a file for the later steps of a workflow."""
        self._write(f"runs/{workflow}/{name}", content)

    def copy_run_file(self, workflow: str, name: str, source: Path) -> str:
        """Store such a file from this disk, part by part; returns its SHA-256."""
        self._write(f"runs/{workflow}/{name}", source)
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read_run_file(self, workflow: str, name: str) -> bytes:
        """A file that an earlier step stored; `CannotAnswer` when there is none."""
        return self.read_content(f"runs/{workflow}/{name}")

    def fetch_run_file(self, workflow: str, name: str, target: Path) -> str:
        """Copy such a file to this disk, part by part; returns its SHA-256."""
        relative = f"runs/{workflow}/{name}"
        if not self._exists(relative):
            raise self._lacks(relative, "out of reach")
        self._copy_file(f"{self._place[1]}/{relative}", target)
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read_run_document(self, workflow: str, name: str) -> dict[str, Any] | None:
        """A JSON document that an earlier step stored, or None."""
        if not self._exists(f"runs/{workflow}/{name}"):
            return None
        document: dict[str, Any] = json.loads(self.read_run_file(workflow, name))
        return document

    def read_content(self, relative: str) -> bytes:
        """The bytes at a path in the store; `CannotAnswer` when they are out of reach."""
        filesystem, base = self._place
        try:
            content: bytes = filesystem.cat_file(f"{base}/{relative}")
        except FileNotFoundError as error:
            raise self._lacks(relative, "out of reach") from error
        except unreachable_errors() as error:
            raise _out_of_reach(self.uri_of(relative), error) from error
        return content

    def _lacks(self, relative: str, what: str) -> CannotAnswer:
        """The error that something is not in the store, or that this clone has no store at all."""
        filesystem, base = self._place
        if "file" in filesystem.protocol and not Path(base).exists():
            return CannotAnswer(
                f"{self.uri_of(relative)}: {what}: this checkout has no artifact store",
                hint="run it in the checkout that trained the version, or let both use one store: "
                "`artifacts` in modelyard.yaml",
            )
        return CannotAnswer(
            f"{self.uri_of(relative)}: {what}: the store does not have it",
            hint="check `artifacts` in modelyard.yaml, or train the version again",
        )

    def _exists(self, relative: str) -> bool:
        filesystem, base = self._place
        try:
            return bool(filesystem.exists(f"{base}/{relative}"))
        except unreachable_errors() as error:
            raise _out_of_reach(self.uri_of(relative), error) from error

    def _write(self, relative: str, content: bytes | Path) -> None:
        """Write to a temporary file and rename it; object stores write whole objects anyway.

        The temporary file is outside of every folder that is ever listed: what a killed process
        leaves there cannot become part of an artifact.

        Args:
            relative: The path in the store.
            content: The bytes, or a file of this disk that has them.
        """
        filesystem, base = self._place
        path = f"{base}/{relative}"
        if "file" not in filesystem.protocol:
            try:
                if isinstance(content, Path):
                    filesystem.put_file(str(content), path)
                else:
                    filesystem.pipe_file(path, content)
            except unreachable_errors() as error:
                raise _out_of_reach(self.uri_of(relative), error) from error
            return
        aside = Path(base, _ASIDE, secrets.token_hex(16))
        try:
            filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            aside.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, aside)
            else:
                aside.write_bytes(content)
            aside.replace(path)
        except OSError as error:
            with suppress(OSError):  # what refuses the write may refuse this, too
                aside.unlink()  # on a full disk its bytes are missed
            raise not_writable(Path(path), error) from error


def _out_of_reach(uri: str, error: Exception) -> CannotAnswer:
    return CannotAnswer(
        f"{uri}: out of reach: {reason_of(error)}",
        hint="check `artifacts` in modelyard.yaml and its credentials",
    )


def _has_digest(folder: Path, digest: str) -> bool:
    """Whether the folder holds exactly these bytes; what cannot be read does not."""
    try:
        return artifact_digest(folder) == digest
    except YardError:
        return False


def _put_in_place(new: Path, folder: Path, old: Path, digest: str) -> None:
    """Rename the verified copy to its place; what was there before is moved aside."""
    try:
        if os.path.lexists(folder):
            folder.replace(old)
        new.replace(folder)
    except OSError as error:
        if not _has_digest(folder, digest):  # else another process copied the same bytes first
            raise not_writable(folder, error) from error


def _manifest_digest(kept: Mapping[str, str]) -> str:
    """The digest of an artifact of these files."""
    return manifest_digest((name, kept[name]) for name in kept if name != COMPLETE)


def _model_folder(digest: str) -> str:
    return f"{_MODELS}/{_hex(digest)}"


def _signature_file(digest: str, subject: str) -> str:
    # Not in the artifact's folder, whose digest is of all its files; but where its readers read.
    return f"{_MODELS}/signatures/{_hex(digest)}/{subject}.json"


def _hex(digest: str) -> str:
    name, _, value = digest.partition(":")
    if name != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):  # noqa: PLR2004 - hexadecimal digits of a SHA-256
        raise Refused(f"{digest!r} is not a digest; expected sha256:<64 hexadecimal digits>")
    return value
