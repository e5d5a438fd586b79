"""Composes the versions and held-out sets that people add, with every pin filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs import schemas
from modelyard.adapters.specs.documents import dump_spec, load_yaml
from modelyard.domain import checks
from modelyard.domain.drift.regime import excluded_days, held_out_in_use
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.paths import held_out_file, trainer_lock, version_file
from modelyard.domain.specs.version import (
    DataFile,
    IntendedBreak,
    ModelVersion,
    Runtime,
    TrainingData,
)
from modelyard.errors import Refused
from modelyard.operations.runtimes.built import find_image
from modelyard.operations.runtimes.lock import refuse_unlocked
from modelyard.operations.services import repository_of
from modelyard.operations.training.data_root import data_root
from modelyard.operations.training.pins import pin_committed, pin_files, refuse_changed


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A valid spec, not written yet."""

    path: str
    content: bytes


def compose_version(
    root: Path,
    catalog: Catalog,
    *,
    model: str,
    version: str,
    reason: str,
    base: ModelVersion | None,
    data: Sequence[str],
    window: Interval | None,
    held_out: tuple[str, ...],
    parameters: Mapping[str, object],
    seed: int | None,
    breaks: Mapping[str, str] | None = None,
    image: str | None = None,
) -> ModelVersion:
    """Return a version with its data, code and runtime pinned.

    Data, held-out sets and seed that are not given are those of `base`, and so is the image if the
    lock is the same. Where a cluster runs it, the image of the model's own lock is the one that was
    written down when it was built.

    Raises:
        CannotAnswer: Something to be pinned is out of reach.
        Refused: The trainer or the lock is not committed, or a pinned file changed.
    """
    for name in held_out:
        catalog.require_held_out(model, name, where="the checkout")
    refuse_unlocked(root, model, has_grpc=catalog.require_model(model).server.grpc)
    code, runtime = pin_committed(Git(root), model, base=base.runtime if base else None)
    if found := image or runtime.image or _own_image(root, model, runtime):
        runtime = replace(runtime, image=found)
    files = _pin_unchanged(root, catalog, data) if data else base.data.files if base else ()
    sets = catalog.held_out_of(model)
    kept = tuple(each.name for each in held_out_in_use(base, sets)) if base else ()
    return ModelVersion(
        model=model,
        version=version,
        reason=reason,
        parent=base.version if base else None,
        data=TrainingData(files=files, window=window, excludes=excluded_days(window, sets)),
        held_out=held_out or kept,
        code=code,
        runtime=runtime,
        parameters=parameters,
        seed=seed if seed is not None else base.seed if base else 0,
        breaks=tuple(
            IntendedBreak(name=name, reason=reason) for name, reason in (breaks or {}).items()
        ),
    )


def _own_image(root: Path, model: str, runtime: Runtime) -> str | None:
    """The image of the model's own lock; the platform's image has the platform's lock."""
    if not (root / trainer_lock(model)).is_file():
        return None
    return find_image(root, runtime)


def compose_held_out(
    root: Path,
    catalog: Catalog,
    *,
    model: str,
    name: str,
    data: Sequence[str],
    window: Interval | None,
    cluster: str,
    role: str,
    max_looks: int,
) -> HeldOut:
    """Return a held-out set with its files pinned; raises what `compose_version` raises."""
    return HeldOut(
        model=model,
        name=name,
        files=_pin_unchanged(root, catalog, data),
        cluster=cluster,
        role=Role(role),
        max_looks=max_looks,
        window=window,
    )


def draft_spec(
    root: Path, catalog: Catalog, spec: ModelVersion | HeldOut, *, called: str | None = None
) -> Draft:
    """Return the file of a new spec.

    Args:
        root: The checkout's root.
        catalog: Its specs.
        spec: The new one.
        called: What a refusal calls it; by default the path of its file.

    Raises:
        Refused: It would not be valid, or a different file has its name.
    """
    if isinstance(spec, ModelVersion):
        key, path = (spec.model, spec.version), version_file(spec.model, spec.version)
        known: ModelVersion | HeldOut | None = catalog.versions.get(key)
        after = replace(catalog, versions={**catalog.versions, key: spec})
    else:
        key, path = (spec.model, spec.name), held_out_file(spec.model, spec.name)
        known = catalog.held_out.get(key)
        after = replace(catalog, held_out={**catalog.held_out, key: spec})
    # Running the same command twice is fine.
    if known != spec and (root / path).exists():
        hint = f"choose another name, or remove {path}"
        raise Refused(f"{path} exists and differs", hint=hint)
    kind = type(spec).__name__
    content = dump_spec(kind, spec)
    # Parameters come from a person: only the schema and the checks know whether they fit.
    reasons = [
        text for _, text in schemas.spec_errors(kind, load_yaml(content, name=path).document)
    ]
    reasons += [problem.message for problem in checks.find_problems(after) if problem.file == path]
    if reasons:
        raise Refused(f"{called or path} would not be valid: {'; '.join(reasons)}")
    return Draft(path=path, content=content)


def write_draft(root: Path, draft: Draft) -> None:
    """Write the file, unless it is there already: a person may have added comments."""
    file = root / draft.path
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(draft.content)


def _pin_unchanged(root: Path, catalog: Catalog, uris: Sequence[str]) -> tuple[DataFile, ...]:
    files = pin_files(uris, data_root(root, repository_of(root)))
    refuse_changed(files, catalog)
    return files
