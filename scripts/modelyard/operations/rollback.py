"""A person takes a release out of an environment, in Git and on the servers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.adapters.forge.hosted.api import urgent
from modelyard.domain.harmless_text import escape_markdown
from modelyard.domain.people import Person
from modelyard.domain.promotion.actions import RaiseIncident, RollBack
from modelyard.domain.promotion.change import Branch, Change, Purpose, rollback_trailers
from modelyard.domain.promotion.facts import Hold, ModelFacts
from modelyard.domain.promotion.rollback import plan_rollbacks, rollback_target
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import manifests_folder, release_file
from modelyard.domain.specs.release import Release
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.promote import find_environment
from modelyard.operations.reconcile.apply import Report, apply_action, merge_at_once
from modelyard.operations.reconcile.changes import rollback_change
from modelyard.operations.reconcile.collect import collect_world
from modelyard.operations.reconcile.loop import reconcile_model
from modelyard.operations.reconcile.pages import short_digest
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """A release to be taken out.

    Args:
        world: The world once the version is on hold.
        release: The release there now.
        hold: The hold to place, unless the version is on hold already.
        action: The way back to a verified release; None to remove the release.
        change: The commit.
    """

    world: World
    release: Release
    hold: Hold
    action: RollBack | None
    change: Change


@urgent()
def decide_rollback(
    workspace: Workspace, environment: str, model: str, *, reason: str, by: str, remove: bool
) -> Rollback:
    """Return the rollback to the last verified release, or with `remove` to no release.

    Raises:
        CannotAnswer: There is no such environment or release, or its facts cannot be read.
        Refused: There is no release to go back to; or with `remove`, there is one.
    """
    world = collect_world(workspace, model, with_registry=False, may_lack_specs=True)
    where = find_environment(world, environment)
    release = world.release(environment)
    if release is None and environment in world.unreviewed and world.unreadable:
        raise CannotAnswer(
            f"the release of {model} in {environment} cannot be read: {world.unreadable}",
            hint=f"modelyard reconcile {model} restores the one before it, if one was verified",
        )
    if release is None:
        raise CannotAnswer(
            f"{environment} has no release of {model}", hint=f"modelyard status {model}"
        )
    hold = Hold(reason=reason, by=by, since=workspace.services.clock.now())
    held = _with_hold(world, release, hold)
    action = None if remove else _way_back(held, where, release)
    if action is None:
        _check_removable(held, where, release)
        change = _removal(release, held.model_facts.holds[release.version])
    else:
        change = rollback_change(held, action, git=workspace.git)
    return Rollback(world=held, release=release, hold=hold, action=action, change=change)


def refuse_newer_release(
    workspace: Workspace, environment: str, model: str, *, asked_at: datetime
) -> None:
    """Refuse a rollback that was asked for before what is there came.

    It names no version. So one that is done late, or again, would take out what the first restored.
    """
    past = workspace.past(environment, model)
    if past and workspace.git.log(past[0].commit, limit=1)[0].at > asked_at:
        raise Refused(
            f"{environment} has {past[0].release.version} of {model} only since after this was "
            "asked for",
            hint=f"look at `modelyard status {model}`, and ask again if that one is meant",
        )


def follow_ups(workspace: Workspace, rollback: Rollback) -> Iterator[Change | RaiseIncident]:
    """Yield what the hold leads to in the other environments."""
    held, release = rollback.world, rollback.release
    # Without this release: its change is printed already.
    here = (release.environment, held.model)
    others = {key: each for key, each in held.catalog.releases.items() if key != here}
    elsewhere = {env: each for env, each in held.unreviewed.items() if env != release.environment}
    catalog = replace(held.catalog, releases=others)
    for action in plan_rollbacks(replace(held, catalog=catalog, unreviewed=elsewhere)):
        if isinstance(action, RollBack):
            yield rollback_change(held, action, git=workspace.git)
        else:
            yield action


@urgent()
def apply_rollback(workspace: Workspace, rollback: Rollback, report: Report) -> None:
    """Put the version on hold, take its release out, and reconcile.

    Raises:
        CannotAnswer: The release is still there afterwards; running it again goes on.
    """
    release = rollback.release
    _place_hold(workspace, rollback, report)
    if rollback.action is None:
        _merge_removal(workspace, rollback, report)
    else:
        _undo_earlier_rollback(workspace, rollback, rollback.action, report)
    # Reconcile rolls back what is on hold, here and in every other environment.
    try:
        reconcile_model(workspace, release.model, wait=False, report=report)
    except Refused as refusal:  # a spec that cannot be read stops no rollback
        logger.warning("%s", refusal.message)
    left = workspace.catalog(workspace.main()).releases.get((release.environment, release.model))
    # Something else may be released there by now; only the same release is a failure.
    if left == release:
        raise CannotAnswer(
            f"{release.environment} still has {release.version} of {release.model}",
            hint=f"modelyard reconcile {release.model} --dry-run",
        )


def _with_hold(world: World, release: Release, hold: Hold) -> World:
    """Return the world once the version is on hold."""
    # An earlier hold stays, with its reason.
    holds = {release.version: hold, **world.model_facts.holds}
    where = release.environment
    # Automation never rolls back what a rollback restored; a person may.
    facts = replace(world.facts_of(where), rolled_back_to=None)
    return replace(
        world,
        model_facts=replace(world.model_facts, holds=holds),
        facts={**world.facts, where: facts},
    )


def _way_back(held: World, where: Environment, release: Release) -> RollBack:
    target = rollback_target(held, where, release)
    if target is None:
        remove = f"modelyard rollback {where.name} {held.model} --reason ... --remove"
        promote = f"modelyard promote {where.name} {held.model} VERSION"
        raise Refused(
            f"{where.name} has no release of {held.model} to go back to from {release.version}: "
            "no other one was verified there, or their versions are on hold",
            # What was verified serves people, so a better version comes first.
            hint=f"{promote}, or, to have none there, {remove}"
            if held.facts_of(where.name).verified
            else remove,
        )
    reason = f"{release.version} is on hold: {held.model_facts.holds[release.version].reason}"
    return RollBack(environment=where.name, version=release.version, target=target, reason=reason)


def _check_removable(held: World, where: Environment, release: Release) -> None:
    target = rollback_target(held, where, release)
    if target is not None:
        raise Refused(
            f"{where.name} can go back to {target.release.version} of {held.model}, which was "
            "verified there; --remove is only for an environment that cannot go back",
            hint=f"modelyard rollback {where.name} {held.model} --reason ...; or first "
            f"modelyard hold {held.model} {target.release.version} --reason ...",
        )


def _removal(release: Release, hold: Hold) -> Change:
    """Return the change that deletes the release and its manifests."""
    model, where, version = release.model, release.environment, release.version
    body = (
        f"**{where}** has {version} (`{short_digest(release.artifact)}`): "
        f"{escape_markdown(hold.reason)}.\n\n"
        f"There is no other verified release of {model} to go back to, so {where} has none after "
        "this. "
        f"`modelyard unhold {model} {version}` allows the version again.\n"
    )
    return Change(
        purpose=Purpose.ROLLBACK,
        branch=str(Branch(purpose=Purpose.ROLLBACK, subject=where, model=model)),
        title=f"Take {model} {version} out of {where}",
        body=body,
        documents={release_file(where, model): None, manifests_folder(where, model): None},
        trailers=rollback_trailers(
            model, where, removed=version, restored=None, reason=hold.reason
        ),
        labels=(where, "rollback"),
    )


def _place_hold(workspace: Workspace, rollback: Rollback, report: Report) -> None:
    """Put the version on hold before anything else: automation must not release it again."""
    release, hold = rollback.release, rollback.hold

    def change(before: ModelFacts) -> ModelFacts:
        return replace(before, holds={release.version: hold, **before.holds})

    workspace.facts.update_model(release.model, change)
    kept = rollback.world.model_facts.holds[release.version]  # an earlier one stays
    report(f"{release.model} {release.version} is on hold: {kept.reason}")


def _merge_removal(workspace: Workspace, rollback: Rollback, report: Report) -> None:
    """Propose the removal for the person who asked, and merge it at once."""
    change, by = rollback.change, rollback.hold.by
    pull = workspace.services.pulls.propose(change, requester=Person.named(by))
    why = f"{by} removes it: there is no verified release to go back to"
    commit = merge_at_once(workspace, pull, why=why)
    report(f"#{pull.number} merged as {commit[:10]}: {change.title}")


def _undo_earlier_rollback(
    workspace: Workspace, rollback: Rollback, action: RollBack, report: Report
) -> None:
    """Roll back a release that a rollback restored: reconcile would only raise an incident."""
    release = rollback.release
    facts = workspace.facts.read_release(release.environment, release.model)
    if facts.rolled_back_to == release.identity:
        apply_action(action, workspace, rollback.world, report)
