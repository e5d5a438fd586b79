"""A person takes a version out of an environment, in Git and so in the world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from modelyard.domain.promotion.actions import RaiseIncident, RollBack
from modelyard.domain.promotion.branches import Branch
from modelyard.domain.promotion.change import Change, Purpose
from modelyard.domain.promotion.facts import Hold, ModelFacts
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, Status, StatusState
from modelyard.domain.promotion.rollback import rollbacks, way_back
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import manifests_folder, release_file
from modelyard.domain.specs.release import Release
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.promote import find_environment
from modelyard.operations.reconcile.apply import apply_action
from modelyard.operations.reconcile.changes import rollback_change
from modelyard.operations.reconcile.collect import collect
from modelyard.operations.reconcile.loop import settle
from modelyard.operations.reconcile.pages import escaped, short
from modelyard.operations.workspace import Workspace

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """A release to be taken out.

    Args:
        world: The world once the version is on hold.
        release: What the environment names now.
        hold: The hold to place; one that is there already stays.
        action: The way back to a verified release; None to remove the release.
        change: The commit.
    """

    world: World
    release: Release
    hold: Hold
    action: RollBack | None
    change: Change


def decide_rollback(
    workspace: Workspace, environment: str, model: str, *, reason: str, by: str, remove: bool
) -> Rollback:
    """Return the way from what the environment names to its last verified release, or to none.

    Raises:
        CannotAnswer: There is no such environment or release, or its facts cannot be read.
        Refused: There is nothing to go back to; or with `remove`, there is.
    """
    world = collect(workspace, model, with_registry=False)
    where = find_environment(world, environment)
    release = world.release(environment)
    if release is None:
        raise CannotAnswer(
            f"{environment} names no release of {model}", hint=f"modelyard status {model}"
        )
    hold = Hold(reason=reason, by=by, since=workspace.services.clock.now())
    held = _with_hold(world, release, hold)
    action = None if remove else _way_back(held, where, release)
    if action is None:
        _check_removable(world, release)
        change = _removal(release, held.model_facts.holds[release.version])
    else:
        change = rollback_change(held, action, git=workspace.git)
    return Rollback(world=held, release=release, hold=hold, action=action, change=change)


def follow_ups(workspace: Workspace, rollback: Rollback) -> Iterator[Change | RaiseIncident]:
    """Return what the hold leads to in the other environments."""
    held, release = rollback.world, rollback.release
    here = (release.environment, held.model)
    others = {key: each for key, each in held.catalog.releases.items() if key != here}
    for action in rollbacks(replace(held, catalog=replace(held.catalog, releases=others))):
        if isinstance(action, RollBack):
            yield rollback_change(held, action, git=workspace.git)
        else:
            yield action


def apply_rollback(workspace: Workspace, rollback: Rollback, say: Say) -> None:
    """Hold the version, take it out, and reconcile; killed in between, it may be run again.

    Raises:
        CannotAnswer: The environment still names the release afterwards.
    """
    release = rollback.release
    _place_hold(workspace, rollback, say)
    if rollback.action is None:
        _merge_removal(workspace, rollback, say)
    else:
        _undo_earlier_rollback(workspace, rollback, rollback.action, say)
    settle(workspace, release.model, wait=False, say=say)
    left = workspace.catalog(workspace.main()).releases.get((release.environment, release.model))
    if left == release:
        raise CannotAnswer(
            f"{release.environment} still names {release.version} of {release.model}",
            hint=f"modelyard reconcile {release.model} --dry-run",
        )


def _with_hold(world: World, release: Release, hold: Hold) -> World:
    """Return the world once the version is on hold, in which a rollback may be undone too."""
    holds = {release.version: hold, **world.model_facts.holds}
    where = release.environment
    facts = replace(world.facts_of(where), rolled_back_to=None)
    return replace(
        world,
        model_facts=replace(world.model_facts, holds=holds),
        facts={**world.facts, where: facts},
    )


def _way_back(held: World, where: Environment, release: Release) -> RollBack:
    target = way_back(held, where, release)
    if target is None:
        remove = f"modelyard rollback {where.name} {held.model} --reason ... --remove"
        promote = f"modelyard promote {where.name} {held.model} VERSION"
        raise Refused(
            f"{where.name} has no verified release of {held.model} to go back to from "
            f"{release.version}, or only such that are on hold",
            hint=promote if held.facts_of(where.name).verified else remove,
        )
    reason = f"{release.version} is on hold: {held.model_facts.holds[release.version].reason}"
    return RollBack(environment=where.name, version=release.version, target=target, reason=reason)


def _check_removable(world: World, release: Release) -> None:
    where = release.environment
    verified = world.facts_of(where).verified
    if verified:
        raise Refused(
            f"{where} ran {len(verified)} verified releases of {world.model}; only where "
            f"nothing was ever verified is {release.version} taken away",
            hint=f"modelyard rollback {where} {world.model} --reason ...",
        )


def _removal(release: Release, hold: Hold) -> Change:
    """Return the change that deletes the release and its manifests."""
    model, where, version = release.model, release.environment, release.version
    body = (
        f"**{where}** named {version} (`{short(release.artifact)}`): {escaped(hold.reason)}.\n\n"
        f"Nothing verified ever ran there, so {where} runs nothing of {model} after this. "
        f"`modelyard unhold {model} {version}` lets the version come back.\n"
    )
    return Change(
        purpose=Purpose.ROLLBACK,
        branch=str(Branch(purpose=Purpose.ROLLBACK, subject=where, model=model)),
        title=f"Take {model} {version} out of {where}",
        body=body,
        documents={release_file(where, model): None, manifests_folder(where, model): None},
        trailers={
            "Modelyard-Model": model,
            "Modelyard-Environment": where,
            "Modelyard-Rollback-Of": version,
            "Modelyard-Reason": hold.reason[:300],
        },
        labels=(where, "rollback"),
    )


def _place_hold(workspace: Workspace, rollback: Rollback, say: Say) -> None:
    """Hold the version first, so that automation does not bring it back in between."""
    release, hold = rollback.release, rollback.hold

    def change(before: ModelFacts) -> ModelFacts:
        return replace(before, holds={release.version: hold, **before.holds})

    workspace.facts.update_model(release.model, change)
    say(f"{release.model} {release.version} is on hold: {hold.reason}")


def _merge_removal(workspace: Workspace, rollback: Rollback, say: Say) -> None:
    """Propose and merge at once, as an automatic rollback is; in the person's own name."""
    pulls, change, by = workspace.services.pulls, rollback.change, rollback.hold.by
    pull = pulls.propose(change, author=by)
    word = f"{by} takes it out, where nothing verified ever ran"
    for context in (CHECKS, PROMOTE):
        status = Status(context=context, state=StatusState.SUCCESS, description=word)
        pulls.set_status(pull.head, status)
    commit = pulls.merge(pull.number, sha=pull.head, by=by)
    say(f"#{pull.number} merged as {commit[:10]}: {change.title}")


def _undo_earlier_rollback(
    workspace: Workspace, rollback: Rollback, action: RollBack, say: Say
) -> None:
    """Take out what a rollback had restored; reconcile alone never rolls back a rollback."""
    release = rollback.release
    facts, _ = workspace.facts.read_release(release.environment, release.model)
    if facts.rolled_back_to == release.identity:
        apply_action(action, workspace, rollback.world, say)
