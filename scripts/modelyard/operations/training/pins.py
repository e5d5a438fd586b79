"""Pins data by SHA-256, the trainer by its Git tree and its packages by the lock's digest."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from modelyard.adapters.git.kept_files import find_unkept
from modelyard.adapters.git.repository import Git
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import PLATFORM_LOCK, trainer_folder, trainer_lock
from modelyard.domain.specs.version import Code, DataFile, Runtime
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.training.data_root import DataRoot
from modelyard.runtime_measure import lock_pins

_WILD = frozenset("*?[")


def expand_uri(uri: str, data: DataRoot) -> tuple[str, ...]:
    """Return the files that a URI with `*` matches, sorted; a relative URI gives relative ones.

    Raises:
        CannotAnswer: There is none, or they are out of reach.
    """
    if not _WILD & set(uri):
        return (uri,)
    from fsspec.core import url_to_fs

    # The folders before the first wildcard. fsspec returns paths in the form of the file system,
    # so the part below that folder is put behind the part as it was given.
    head = uri[: min(uri.index(sign) for sign in _WILD & set(uri))].rpartition("/")[0]
    head = f"{head}/" if head else ""
    try:
        filesystem, pattern = url_to_fs(data.address(uri))
        _, folder = url_to_fs(data.address(head))
        found = filesystem.glob(pattern, detail=True)
    except (OSError, ValueError, ImportError) as error:
        why = getattr(error, "strerror", None) or error
        raise CannotAnswer(
            f"{uri}: out of reach at {data.address(uri)}: {why}",
            hint="check `data` in modelyard.yaml and its credentials",
        ) from error
    files = [path for path, info in found.items() if info["type"] != "directory"]
    if not files:
        raise CannotAnswer(
            f"{uri}: no file at {data.address(uri)}", hint="check `data` in modelyard.yaml"
        )
    return tuple(sorted(head + path[len(folder.rstrip("/")) + 1 :] for path in files))


def pin_files(uris: Iterable[str], data: DataRoot) -> tuple[DataFile, ...]:
    """Return each file once, wildcards expanded, with the SHA-256 of its bytes."""
    files = dict.fromkeys(file for uri in uris for file in expand_uri(uri, data))
    return tuple(DataFile(uri=uri, sha256=sha256_of(data.read(uri))) for uri in files)


def refuse_changed(files: Iterable[DataFile], catalog: Catalog) -> None:
    """Refuse a file that is pinned already with other bytes: the pinned ones are lost.

    Raises:
        Refused: A file changed.
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
                hint="restore the file, and give the new data another name",
            )


def refuse_uncommitted(git: Git, paths: Iterable[str]) -> None:
    """Refuse paths that differ from the last commit: only what is committed can be pinned.

    Raises:
        Refused: A path differs.
    """
    # Untracked files too: the pinned tree would not have them. A row is two letters, a blank and
    # the path.
    out = git.run("status", "--porcelain", "-z", "--untracked-files=all", "--", *paths).stdout
    changed = sorted(row[3:].decode(errors="replace") for row in out.split(b"\0") if row[3:])
    if changed:
        it = "it" if len(changed) == 1 else "them"
        raise Refused(
            f"{', '.join(changed)}: changed and not committed, so it cannot be pinned",
            hint=f"git add {shlex.join(changed)} && git commit, or git restore {it};"
            " then run this again",
        )


def code_at(git: Git, commit: str, model: str) -> Code:
    """Return the tree of the trainer in a commit.

    Raises:
        CannotAnswer: The commit has no trainer.
        Refused: A file of it is elsewhere: a link, a submodule or a pointer of LFS.
    """
    folder = trainer_folder(model)
    tree = git.tree_hash(commit, folder)
    if tree is None:
        raise CannotAnswer(
            f"{commit[:10]} has no {folder}: the trainer's code is pinned by its Git tree",
            hint=f"git add {folder} && git commit",
        )
    for fault in find_unkept(git, tree):
        raise Refused(
            f"{folder}/{fault}, so the trainer cannot be pinned",
            hint="put the file itself into the trainer's folder, and commit it",
        )
    return Code(tree=tree)


def lock_path(git: Git, commit: str, model: str) -> str:
    """Return the path of the lock that the model has in a commit: its own, or the platform's."""
    own = trainer_lock(model)
    return own if git.tree_hash(commit, own) is not None else PLATFORM_LOCK


def runtime_at(git: Git, commit: str, model: str, *, base: Runtime | None) -> Runtime:
    """Return the runtime of a model in a commit; the image is the base's if the lock is, too.

    Raises:
        CannotAnswer: The commit has no lock.
    """
    path = lock_path(git, commit, model)
    lock = _lock_digest(git, commit, path)
    return Runtime(lock=lock, image=base.image if base and base.lock == lock else None)


def platform_runtime(root: Path, commit: str) -> str:
    """Return the SHA-256 of the platform's lock in a commit.

    Raises:
        CannotAnswer: The commit has none.
    """
    return _lock_digest(Git(root), commit, PLATFORM_LOCK)


def _lock_digest(git: Git, commit: str, path: str) -> str:
    """Return the SHA-256 of a lock, once each of its lines is known to pin something."""
    content = git.read_many([f"{commit}:{path}"])[f"{commit}:{path}"]
    if content is None:
        raise CannotAnswer(
            f"{commit[:10]} has no {path}: the runtime is pinned by its SHA-256",
            hint=f"make lock && git add {path} && git commit",
        )
    lock_pins(content)
    return sha256_of(content)


def pin_committed(git: Git, model: str, *, base: Runtime | None) -> tuple[Code, Runtime]:
    """Return the pins of the last commit.

    Raises:
        Refused: The trainer or the lock changed since.
        CannotAnswer: One of them is not committed.
    """
    refuse_uncommitted(git, [trainer_folder(model), PLATFORM_LOCK])
    commit = git.rev_parse("HEAD")
    return code_at(git, commit, model), runtime_at(git, commit, model, base=base)
