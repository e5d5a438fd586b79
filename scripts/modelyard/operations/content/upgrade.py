"""Brings a yard to another version of modelyard: one change, and nothing of the team's is lost."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modelyard.adapters.git.names import path_of
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.harmless_text import markdown_code
from modelyard.domain.promotion.change import Change, Purpose
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.content.new_yard import start_idle
from modelyard.operations.content.seed import SEED, is_seeded, seeded_files
from modelyard.operations.content.toolkit_lock import (
    TOOLKIT_LOCK,
    WHEELS,
    Wheel,
    is_wheel,
    toolkit_files,
)
from modelyard.operations.workspace import Workspace

BRANCH = "toolkit/upgrade"

_WORKFLOWS = "workflows/"

Files = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What becomes of the files that came with the toolkit.

    Args:
        documents: The new content by path; None deletes a file.
        conflicts: Files that the team and the toolkit both changed; they stay the team's.
    """

    documents: Mapping[str, bytes | None]
    conflicts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """An upgrade.

    Args:
        before: The version that is pinned.
        after: The version that will be.
        change: The change of the main branch.
        conflicts: See `Merged`.
    """

    before: str
    after: str
    change: Change
    conflicts: tuple[str, ...]


def merge_seeds(current: Files, old: Files, new: Files) -> Merged:
    """What becomes of each file, given what the team has and what both versions brought.

    - A file that the team left as it came is replaced, added or deleted.
    - A file that only the team changed or deleted stays as it is.
    - A file that both changed stays as it is, and is a conflict.
    """
    documents: dict[str, bytes | None] = {}
    conflicts = []
    for path in sorted({*old, *new}):
        mine, before, after = current.get(path), old.get(path), new.get(path)
        if after in {before, mine}:
            continue
        if mine == before:
            documents[path] = after
        else:
            conflicts.append(path)
    return Merged(documents=documents, conflicts=tuple(conflicts))


def decide_upgrade(workspace: Workspace, wheel: Wheel, *, running: str) -> Upgrade | None:
    """The upgrade of the main branch to a wheel; None if that is what it pins already.

    Args:
        workspace: The yard.
        wheel: The wheel to pin.
        running: The version that runs, which renders the platform.

    Raises:
        CannotAnswer: The yard pins no wheel, or one of the wheels cannot be read.
        Refused: Another version runs than the one to pin, or a wheel names a path that no yard has.
    """
    if wheel.version != running:
        raise Refused(
            f"modelyard {running} runs here, and cannot render what {wheel.version} would",
            hint=f"install {wheel.name}, and run the upgrade with it",
        )
    tree = GitTree(workspace.git, workspace.main())
    pinned = _pinned_wheel(tree)
    if pinned.content == wheel.content:
        return None
    old, new = seeds_in(pinned), seeds_in(wheel)
    _refuse_other_files(wheel, new)  # before any of them runs
    named = {
        *old,
        *new,
        TOOLKIT_LOCK,
        f"{WHEELS}{pinned.name}",
        *tree.paths(_WORKFLOWS),
        *tree.paths(WORKFLOW_TEMPLATES),
    }
    current = {path: tree.read(path) for path in named if tree.exists(path)}
    merged = merge_seeds(current, old, new)
    documents = {
        **merged.documents,
        **_rendered(read_specs(tree).catalog, current, merged),
        f"{WHEELS}{pinned.name}": None,
        **toolkit_files(wheel),
    }
    changed = {path: new for path, new in documents.items() if current.get(path) != new}
    body = "\n".join(_page(pinned, wheel, changed, merged.conflicts))
    title = f"Upgrade modelyard from {pinned.version} to {wheel.version}"
    change = Change(purpose=Purpose.SPEC, branch=BRANCH, title=title, body=body, documents=changed)
    return Upgrade(
        before=pinned.version, after=wheel.version, change=change, conflicts=merged.conflicts
    )


def seeds_in(wheel: Wheel) -> dict[str, bytes]:
    """The files that a wheel brings for a yard, as `init` of that version wrote them.

    Raises:
        CannotAnswer: It is no archive.
        Refused: It names a path outside of a yard.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
            found = {
                path_of(name.removeprefix(SEED)): archive.read(name)
                for name in archive.namelist()
                if name.startswith(SEED) and is_seeded(name.removeprefix(SEED))
            }
    except (zipfile.BadZipFile, OSError) as error:
        raise CannotAnswer(f"{wheel.name} cannot be read: {error}") from error
    return start_idle(found)


def _refuse_other_files(wheel: Wheel, found: Files) -> None:
    """Refuse a wheel that is only named as the version that runs: its workflows would run here."""
    here = start_idle(seeded_files())
    other = sorted(path for path in {*here, *found} if here.get(path) != found.get(path))
    if other:
        raise Refused(
            f"{wheel.name} is not the modelyard that runs here: {other[0]} differs",
            hint=f"install {wheel.name}, and run the upgrade with it",
        )


def _pinned_wheel(tree: GitTree) -> Wheel:
    hint = "modelyard init DIR writes a yard that pins one"
    if not tree.exists(TOOLKIT_LOCK):
        raise CannotAnswer(f"the main branch has no {TOOLKIT_LOCK}", hint=hint)
    lock = tree.read(TOOLKIT_LOCK).decode("utf-8", "replace")
    named = re.search(rf"^\./{re.escape(WHEELS)}(\S+)", lock, re.MULTILINE)
    if named is None or not is_wheel(named[1]) or not tree.exists(f"{WHEELS}{named[1]}"):
        raise CannotAnswer(f"{TOOLKIT_LOCK} names no wheel of modelyard in {WHEELS}", hint=hint)
    return Wheel(name=named[1], content=tree.read(f"{WHEELS}{named[1]}"))


def _rendered(catalog: Catalog, current: Files, merged: Merged) -> dict[str, bytes]:
    """The workflows of the platform as this version renders them, from the yard's own files."""
    from modelyard.adapters.specs.documents import dump_documents
    from modelyard.adapters.workflows.sources import rendered_workflows

    files = {path: content for path, content in current.items() if path.startswith(_WORKFLOWS)}
    for path, new in merged.documents.items():
        if path.startswith(_WORKFLOWS):
            files.pop(path, None)
            files |= {path: new} if new is not None else {}
    models = tuple(sorted(name for name, model in catalog.models.items() if model.data.feed))
    with TemporaryDirectory(prefix="modelyard-upgrade-") as name:
        for path, content in files.items():
            (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(name) / path).write_bytes(content)
        image = catalog.repository.server_image
        found = rendered_workflows(Path(name) / "workflows", image=image, models=models)
    return {
        f"{WORKFLOW_TEMPLATES}{each}.yaml": dump_documents([document])
        for each, document in found.items()
    }


def _page(
    before: Wheel, after: Wheel, changed: Mapping[str, bytes | None], conflicts: tuple[str, ...]
) -> Iterator[str]:
    yield f"`{TOOLKIT_LOCK}` pins modelyard {after.version} in place of {before.version}."
    yield "Releases stay as they are: a new renderer or server image reaches an environment only "
    yield "by a promotion."
    if conflicts:
        yield ""
        yield "### Changed by you and by modelyard"
        yield ""
        yield "These stay as you have them. Compare each with the one that `modelyard init` of the"
        yield "new version writes, and take over what you need:"
        yield ""
        yield from (f"- {markdown_code(path)}" for path in conflicts)
    yield ""
    yield "### Files"
    yield ""
    for path, content in sorted(changed.items()):
        yield f"- {markdown_code(path)}{' (deleted)' if content is None else ''}"
