"""Fills in the pins of a version: data by content, the trainer by tree, the lock by digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.git.repository import Git
from modelyard.adapters.store.artifacts import data_address, read_uri, sha256
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import trainer_folder
from modelyard.domain.specs.version import Code, DataFile, Runtime
from modelyard.errors import CannotAnswer, Refused

LOCK = "requirements.lock"
"""The locked requirements that a trainer runs with."""

_WILD = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class DataRoot:
    """Where relative data URIs are.

    Args:
        base: `data` of modelyard.yaml: an fsspec URI, or a path relative to `root`.
        root: The checkout's root.
    """

    base: str
    root: Path

    def address(self, uri: str) -> str:
        """The full address of a data URI."""
        return data_address(uri, base=self.base, root=self.root)

    def read(self, uri: str) -> bytes:
        """The bytes behind a data URI; `CannotAnswer` when they are out of reach."""
        return read_uri(uri, base=self.base, root=self.root)


def expand_uri(uri: str, data: DataRoot) -> tuple[str, ...]:
    """The files a URI with `*` stands for, sorted, written as it is: relative stays relative.

    Raises:
        CannotAnswer: There is none, or the place is out of reach.
    """
    if not _WILD & set(uri):
        return (uri,)
    from fsspec.core import url_to_fs

    # Everything up to the last folder without a wildcard; file systems spell it their own way.
    head = uri[: min(uri.index(sign) for sign in _WILD & set(uri))].rpartition("/")[0]
    head = f"{head}/" if head else ""
    try:
        filesystem, pattern = url_to_fs(data.address(uri))
        _, folder = url_to_fs(data.address(head))
        found = filesystem.glob(pattern, detail=True)
    except (OSError, ValueError, ImportError) as error:
        raise CannotAnswer(
            f"{uri}: out of reach at {data.address(uri)}: {error}",
            hint="check `data` in modelyard.yaml and its credentials",
        ) from error
    files = [path for path, told in found.items() if told["type"] != "directory"]
    if not files:
        raise CannotAnswer(
            f"{uri}: no file at {data.address(uri)}", hint="check `data` in modelyard.yaml"
        )
    return tuple(sorted(head + path[len(folder.rstrip("/")) + 1 :] for path in files))


def pin_files(uris: Iterable[str], data: DataRoot) -> tuple[DataFile, ...]:
    """Each file with the SHA-256 of its bytes, wildcards expanded, none of them twice."""
    files = dict.fromkeys(file for uri in uris for file in expand_uri(uri, data))
    return tuple(DataFile(uri=uri, sha256=sha256(data.read(uri))) for uri in files)


def refuse_changed(files: Iterable[DataFile], catalog: Catalog) -> None:
    """Refuse a file that is pinned already with other bytes: what it held before is gone.

    Raises:
        Refused: Names the file, who pins it and both digests.
    """
    known: dict[str, tuple[str, str]] = {}
    for (model, name), version in catalog.versions.items():
        known |= {pin.uri: (pin.sha256, f"{model} {name}") for pin in version.data.files}
    for (model, name), held_out in catalog.held_out.items():
        known |= {pin.uri: (pin.sha256, f"{model}'s held-out set {name}") for pin in held_out.files}
    for file in files:
        digest, who = known.get(file.uri, (file.sha256, ""))
        if digest != file.sha256:
            raise Refused(
                f"{file.uri} has SHA-256 {file.sha256[:12]}..., but {who} pins it as "
                f"{digest[:12]}...",
                hint="data that changed needs a new name: restore the file, and add the new one",
            )


def refuse_uncommitted(git: Git, paths: Iterable[str]) -> None:
    """Refuse paths that are not as the last commit has them: only what is committed can be pinned.

    Raises:
        Refused: Names what differs.
    """
    out = git.run("status", "--porcelain", "-z", "--untracked-files=all", "--", *paths).stdout
    changed = sorted(row[3:].decode(errors="replace") for row in out.split(b"\0") if row[3:])
    if changed:
        raise Refused(
            f"{', '.join(changed)}: changed and not committed, so no digest can name it",
            hint=f"git add {changed[0]} && git commit, or git restore it; then run this again",
        )


def code_at(git: Git, commit: str, model: str) -> Code:
    """The trainer's tree in a commit.

    Raises:
        CannotAnswer: It has none.
    """
    folder = trainer_folder(model)
    tree = git.tree_hash(commit, folder)
    if tree is None:
        raise CannotAnswer(
            f"{commit[:10]} has no {folder}: the trainer's code is pinned by its Git tree",
            hint=f"git add {folder} && git commit",
        )
    return Code(tree=tree)


def runtime_at(git: Git, commit: str, *, image: str | None) -> Runtime:
    """The locked requirements of a commit, and the image as it was.

    Raises:
        CannotAnswer: It has no lock.
    """
    content = git.read_many([f"{commit}:{LOCK}"])[f"{commit}:{LOCK}"]
    if content is None:
        raise CannotAnswer(
            f"{commit[:10]} has no {LOCK}: the trainer's runtime is pinned by its SHA-256",
            hint=f"git add {LOCK} && git commit",
        )
    return Runtime(lock=sha256(content), image=image)


def pin_committed(git: Git, model: str, *, image: str | None) -> tuple[Code, Runtime]:
    """The pins of the last commit, once nothing they name differs from it.

    Raises:
        Refused: The trainer or the lock was changed since.
        CannotAnswer: One of them is not committed.
    """
    refuse_uncommitted(git, [trainer_folder(model), LOCK])
    commit = git.rev_parse("HEAD")
    return code_at(git, commit, model), runtime_at(git, commit, image=image)
