"""Carries one action out; each may be carried out again, and says whether it changed anything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch

from modelyard.adapters.git.remote_refs import Stale
from modelyard.adapters.specs.json_documents import Unreadable, warn_left_out
from modelyard.domain.promotion.actions import (
    Action,
    ClosePull,
    GiveUpTraining,
    Merge,
    PlaceHold,
    ProposeRecord,
    ProposeRelease,
    RaiseIncident,
    RetryTraining,
    RollBack,
    SetAlias,
    SetStatus,
    StartTraining,
)
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.facts import Hold, ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullRequest, Status, StatusState
from modelyard.domain.promotion.world import World
from modelyard.errors import CannotAnswer, Conflict, Refused
from modelyard.operations.reconcile.changes import (
    promotion_change,
    record_change,
    rollback_change,
)
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

TEMPLATE = "train-and-evaluate"

Report = Callable[[str], None]


@singledispatch
def apply_action(action: Action, workspace: Workspace, world: World, report: Report) -> bool:  # noqa: ARG001 - every registered action takes them
    """Carry the action out; True if the world is not the same any more."""
    raise TypeError(action)


@apply_action.register
def _(action: StartTraining, workspace: Workspace, world: World, report: Report) -> bool:
    name = world.workflow_name(action.version)
    parameters = {
        "model": world.model,
        "version": action.version,
        "attempt": str(action.attempt),
        "commit": workspace.main(),
    }
    workspace.services.orchestrator.submit(name, template=TEMPLATE, parameters=parameters)
    report(f"started {name}")
    return True


@apply_action.register
def _(action: RetryTraining, workspace: Workspace, world: World, report: Report) -> bool:
    report(f"{world.model} {action.version}: attempt {action.attempt} starts, the last was lost")

    def change(before: ModelFacts) -> ModelFacts:
        known = before.training.get(action.version, TrainingFacts())
        if known.attempt >= action.attempt:  # a person's `retrain`, or another reconcile, was first
            return before
        facts = replace(known, attempt=action.attempt)
        return replace(before, training={**before.training, action.version: facts})

    workspace.facts.update_model(world.model, change)
    return True


@apply_action.register
def _(action: GiveUpTraining, workspace: Workspace, world: World, report: Report) -> bool:
    known = world.model_facts.training.get(action.version, TrainingFacts())
    report(f"{world.model} {action.version}: training failed for good: {action.reason}")
    return _training(workspace, world, action.version, replace(known, failed=action.reason))


def _training(workspace: Workspace, world: World, version: str, facts: TrainingFacts) -> bool:
    def change(before: ModelFacts) -> ModelFacts:
        return replace(before, training={**before.training, version: facts})

    workspace.facts.update_model(world.model, change)
    return True


@apply_action.register
def _(action: ProposeRecord, workspace: Workspace, world: World, report: Report) -> bool:
    image = workspace.services.repository.server_image
    return _propose(workspace, world, record_change(world, action, server_image=image), report)


@apply_action.register
def _(action: ProposeRelease, workspace: Workspace, world: World, report: Report) -> bool:
    image = workspace.services.repository.server_image
    return _propose(workspace, world, promotion_change(world, action, server_image=image), report)


def _propose(workspace: Workspace, world: World, change: Change, report: Report) -> bool:
    before = world.open_pull(change.branch)
    try:
        pull = workspace.services.pulls.propose(change, author=world.bot)
    except Refused as refusal:
        logger.warning("%s: %s", change.title, refusal.message)
        return False
    if before is not None and _shown(before) == _shown(pull):
        return False
    report(f"#{pull.number} {'opened' if before is None else 'updated'}: {change.title}")
    return True


def _shown(pull: PullRequest) -> tuple[str, str, str]:
    """What a person reviews of a pull request."""
    return pull.head, pull.title, pull.body


@apply_action.register
def _(action: ClosePull, workspace: Workspace, world: World, report: Report) -> bool:
    try:
        workspace.services.pulls.close(action.number, by=world.bot, reason=action.reason)
    except (Refused, Conflict) as error:
        report(f"#{action.number} not closed: {error.message}")
        return False
    report(f"#{action.number} closed: {action.reason}")
    return True


@apply_action.register
def _(action: SetStatus, workspace: Workspace, world: World, report: Report) -> bool:
    del world
    status = Status(context=PROMOTE, state=action.state, description=action.description)
    return set_pull_status(workspace, action.number, action.sha, status, report)


def set_pull_status(
    workspace: Workspace, number: int, sha: str, status: Status, report: Report
) -> bool:
    """Set a status on a pull request's head; False if its earlier statuses cannot be read.

    Such a pull request is not merged, and nothing else waits for it.
    """
    try:
        workspace.services.pulls.set_status(sha, status)
    except Unreadable as error:
        warn_left_out(error)
        return False
    report(f"#{number} {status.context}: {status.state}: {status.description}")
    return True


@apply_action.register
def _(action: Merge, workspace: Workspace, world: World, report: Report) -> bool:
    try:
        commit = workspace.services.pulls.merge(action.number, sha=action.sha, by=world.bot)
    except (Refused, Conflict) as error:
        report(f"#{action.number} not merged: {error.message}")
        return False
    report(f"#{action.number} merged as {commit[:10]}")
    return True


@apply_action.register
def _(action: PlaceHold, workspace: Workspace, world: World, report: Report) -> bool:
    hold = Hold(reason=action.reason, by=world.bot, since=world.now)

    def change(before: ModelFacts) -> ModelFacts:
        if action.version in before.holds:
            return before
        return replace(before, holds={**before.holds, action.version: hold})

    workspace.facts.update_model(world.model, change)
    report(f"{world.model} {action.version} is on hold: {action.reason}")
    return True


@apply_action.register
def _(action: RollBack, workspace: Workspace, world: World, report: Report) -> bool:
    """One forward commit; killed in between, the next run finds the same pull request.

    Where its pull request changed meanwhile, the world is another one now, and worth another look.
    """
    target = action.target.release
    restored = target.identity

    def remember(before: ReleaseFacts) -> ReleaseFacts:
        return replace(before, rolled_back_to=restored)

    workspace.facts.update_release(action.environment, world.model, remember)
    change = rollback_change(world, action, git=workspace.git)
    try:
        pull = workspace.services.pulls.propose(change, author=world.bot)
    except Refused as refusal:
        logger.info("%s: %s", change.title, refusal.message)
        return True
    why = "restores what was verified before, byte for byte"
    try:
        commit = merge_at_once(workspace, pull, by=world.bot, why=why)
    except Stale as stale:
        logger.info("%s: %s", change.title, stale.message)
        return True
    _hurry(workspace, world, action.environment)
    report(f"#{pull.number} rolled {action.environment} back from {action.version} to "
        f"{target.version} as {commit[:10]}: {action.reason}")  # fmt: skip
    return True


def _hurry(workspace: Workspace, world: World, environment: str) -> None:
    """Have the cluster follow before anything else is rolled back; it follows anyway, later."""
    try:
        workspace.services.cluster.hurry(
            model=world.model, environment=world.catalog.environments[environment]
        )
    except CannotAnswer as error:
        logger.warning("%s", error.message)


def merge_at_once(workspace: Workspace, pull: PullRequest, *, by: str, why: str) -> str:
    """Set both required statuses and merge; returns the commit. A rollback waits for nobody."""
    for context in (CHECKS, PROMOTE):
        status = Status(context=context, state=StatusState.SUCCESS, description=why)
        workspace.services.pulls.set_status(pull.head, status)
    return workspace.services.pulls.merge(pull.number, sha=pull.head, by=by)


@apply_action.register
def _(action: SetAlias, workspace: Workspace, world: World, report: Report) -> bool:
    workspace.registry.set_alias(world.model, alias=action.alias, version=action.version)
    report(f"alias {action.alias} of {world.model} points at {action.version}")
    return True


@apply_action.register
def _(action: RaiseIncident, workspace: Workspace, world: World, report: Report) -> bool:
    incident = Incident(what=action.what, at=world.now, key=action.key)

    def change(before: ModelFacts) -> ModelFacts:
        if any(known.key == incident.key for known in before.incidents):
            return before
        return replace(before, incidents=(*before.incidents, incident))

    workspace.facts.update_model(world.model, change)
    report(f"INCIDENT {world.model}: {action.what}")
    return True
