"""Turns an action into a `Change`: documents, branch, title and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.actions import ProposeRecord, ProposeRelease, RollBack
from modelyard.domain.promotion.change import (
    Branch,
    Change,
    Purpose,
    rollback_trailers,
    version_trailers,
)
from modelyard.domain.promotion.promote import find_override
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.paths import manifests_folder, record_file, release_file
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.errors import CannotAnswer
from modelyard.operations.reconcile.pages import (
    promotion_page,
    record_page,
    rollback_page,
    trusted_note,
)
from modelyard.render.tree import rendered_tree, tree_digest


def record_change(world: World, action: ProposeRecord, *, server_image: str) -> Change:
    """The change that adds a record, and its first release if the action has an environment."""
    record = action.record
    documents: dict[str, bytes | None] = {
        record_file(record.model, record.version): dump_spec("Record", record)
    }
    # Labels are for people: the plan reads the record and the pin at the head.
    labels = [record.version, f"gate:{record.verdict.outcome}"]
    if action.environment is not None:
        release = new_release(world, action.environment, record, server_image=server_image)
        documents |= release_documents(world, release)
        labels.append("release")
    champion = record.champion.version if record.champion else None
    override = None
    if action.environment is not None and not record.verdict.passed:
        override = world.current_override(record.version, record.verdict, champion)
    into = f", release it to {action.environment}" if action.environment else ""
    return Change(
        purpose=Purpose.RECORD,
        branch=_branch(Purpose.RECORD, record.version, world.model),
        title=f"Record {world.model} {record.version}: {record.verdict.outcome}{into}",
        body=record_page(record, action.environment, override) + _trusted(world),
        documents=documents,
        trailers=version_trailers(world.model, record.version, action.environment),
        labels=tuple(labels),
    )


def promotion_change(world: World, action: ProposeRelease, *, server_image: str) -> Change:
    """The change that releases a version to an environment: its pin and its manifests."""
    record = world.record(action.version)
    if record is None:
        raise CannotAnswer(f"{world.model} {action.version} has no record on the main branch")
    release = new_release(
        world, action.environment, record, server_image=server_image, attempt=action.attempt
    )
    environment = world.catalog.environments[action.environment]
    before = world.release(action.environment)
    return Change(
        purpose=Purpose.PROMOTE,
        branch=_branch(Purpose.PROMOTE, action.environment, world.model),
        title=f"Promote {world.model} {action.version} to {action.environment}",
        body=promotion_page(
            record,
            environment,
            before=before,
            release=release,
            makers=world.version_makers.get(action.version, {}),
            override=find_override(world, environment, action.version),
        )
        + _trusted(world),
        documents=release_documents(world, release),
        trailers=version_trailers(world.model, action.version, action.environment),
        labels=(action.version, action.environment),
    )


def rollback_change(world: World, action: RollBack, *, git: Git) -> Change:
    """The change that restores a release and its manifests byte for byte, as in their commit."""
    release = world.release(action.environment)
    folder = manifests_folder(action.environment, world.model)
    paths = [
        release_file(action.environment, world.model),
        *(entry.path for entry in git.ls_tree(action.target.commit, folder)),
    ]
    contents = git.read_many([f"{action.target.commit}:{path}" for path in paths])
    # Manifests that only the bad release has must go, so the folder is emptied first.
    documents: dict[str, bytes | None] = {folder: None}
    documents |= {path: contents[f"{action.target.commit}:{path}"] for path in paths}
    to, where = action.target.release.version, action.environment
    title = f"Roll {world.model} in {where} back from {action.version} to {to}"
    return Change(
        purpose=Purpose.ROLLBACK,
        branch=_branch(Purpose.ROLLBACK, where, world.model),
        title=title if action.version else f"Restore {world.model} {to} in {where}",
        body=rollback_page(release, action.target, action.reason) + _trusted(world),
        documents=documents,
        trailers=rollback_trailers(
            world.model,
            where,
            removed=action.version or None,
            restored=to,
            reason=action.reason,
        ),
        labels=(to, where, "rollback"),
    )


def new_release(
    world: World, environment: str, record: Record, *, server_image: str, attempt: int = 1
) -> Release:
    """The pin of a release, with the digest of its rendered manifests.

    A new server image comes to the first environment alone. Later environments get the image that
    the environment before them verified.
    """
    if record.artifact is None:
        raise CannotAnswer(f"{record.model} {record.version} has no artifact")
    before = world.catalog.environments[environment].promotes_from
    source = world.release(before) if before else None
    # The manifests do not contain their own digest, so it can be filled in after rendering.
    release = Release(
        model=world.model,
        environment=environment,
        version=record.version,
        artifact=record.artifact.digest,
        server_image=_server_image(world, record.version, source) or server_image,
        renderer=RENDERER,
        manifests="",
        attempt=attempt,
        lock=record.runtime.lock if record.runtime else None,
    )
    return replace(release, manifests=tree_digest(_manifests(world, release)))


def _server_image(world: World, version: str, source: Release | None) -> str | None:
    """The image that the version pins, else what the environment before it verified."""
    spec = world.catalog.versions.get((world.model, version))
    if spec is not None and spec.runtime.image is not None:
        return spec.runtime.image
    return source.server_image if source else None


def release_documents(world: World, release: Release) -> dict[str, bytes | None]:
    """The pin and the rendered manifests, which replace the whole folder."""
    folder = manifests_folder(release.environment, release.model)
    documents: dict[str, bytes | None] = {
        release_file(release.environment, release.model): dump_spec("Release", release),
        folder: None,
    }
    return documents | {folder + name: text for name, text in _manifests(world, release).items()}


def _manifests(world: World, release: Release) -> Mapping[str, bytes]:
    return rendered_tree(
        release,
        model=world.catalog.models[release.model],
        environment=world.catalog.environments[release.environment],
    )


def _branch(purpose: Purpose, subject: str, model: str) -> str:
    return str(Branch(purpose=purpose, subject=subject, model=model))


def _trusted(world: World) -> str:
    # A rollback must work where model.yaml is gone or cannot be read.
    model = world.catalog.models.get(world.model)
    return "" if model is None else trusted_note(model)
