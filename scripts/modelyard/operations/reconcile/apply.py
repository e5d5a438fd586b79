"""Applies one action. Each may be applied again, and returns whether it changed anything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch

from modelyard.adapters.forge.hosted.api import urgent
from modelyard.adapters.git.remote_refs import Stale, push_waiting
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
    RemoveAlias,
    RetryTraining,
    RollBack,
    SetAlias,
    SetStatus,
    StartTraining,
)
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.facts import Hold, ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.pulls import (
    PROMOTE,
    REQUIRED,
    MergeAsked,
    PullRequest,
    Status,
    StatusState,
)
from modelyard.domain.promotion.training_workflows import training_images
from modelyard.domain.promotion.world import World
from modelyard.errors import CannotAnswer, Conflict, Refused
from modelyard.operations.reconcile.changes import (
    promotion_change,
    record_change,
    rollback_change,
)
from modelyard.operations.workspace import Workspace
from modelyard.render.resources import step_pods

logger = logging.getLogger(__name__)

TEMPLATE = "train-and-evaluate"

Report = Callable[[str], None]


@singledispatch
def apply_action(action: Action, workspace: Workspace, world: World, report: Report) -> bool:  # noqa: ARG001 - every registered action takes them
    """Apply the action; True if it changed anything."""
    raise TypeError(action)


@apply_action.register
def _(action: StartTraining, workspace: Workspace, world: World, report: Report) -> bool:
    name = world.workflow_name(action.version)
    parameters = {
        "model": world.model,
        "version": action.version,
        "attempt": str(action.attempt),
        "commit": workspace.main(),  # its steps read this commit, whatever is merged after it
        **training_images(world.catalog, world.model, action.version),
        **step_pods(world.catalog.models[world.model], workspace.services.repository),
    }
    workspace.services.orchestrator.submit(name, template=TEMPLATE, parameters=parameters)
    report(f"started workflow {name}")
    return True


@apply_action.register
def _(action: RetryTraining, workspace: Workspace, world: World, report: Report) -> bool:
    report(f"{world.model} {action.version}: attempt {action.attempt} starts, the last was lost")

    def change(before: ModelFacts) -> ModelFacts:
        known = before.training.get(action.version, TrainingFacts())
        if known.attempt >= action.attempt:  # `modelyard retrain` or another reconcile was first
            return before
        facts = replace(known, attempt=action.attempt)
        return replace(before, training={**before.training, action.version: facts})

    workspace.facts.update_model(world.model, change)
    return True


@apply_action.register
def _(action: GiveUpTraining, workspace: Workspace, world: World, report: Report) -> bool:
    again = f"modelyard retrain {world.model} {action.version}"
    report(f"{world.model} {action.version}: training failed for good: {action.reason}")
    report(f"next, once that is mended: {again}")

    def change(before: ModelFacts) -> ModelFacts:
        known = before.training.get(action.version, TrainingFacts())
        facts = replace(known, failed=action.reason)
        return replace(before, training={**before.training, action.version: facts})

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
        pull = workspace.services.pulls.propose(change)
    except Refused as refusal:  # it was merged, or a pull request that cannot be read may hold it
        logger.warning("%s: %s", change.title, refusal.message)
        return False
    # Another reconcile may have made the same proposal since the world was collected.
    if before is not None and _shown(before) == _shown(pull):
        return False
    report(f"#{pull.number} {'opened' if before is None else 'updated'}: {change.title}")
    return True


def _shown(pull: PullRequest) -> tuple[str, str, str]:
    """The parts of a pull request that a person reviews."""
    return pull.head, pull.title, pull.body


@apply_action.register
def _(action: ClosePull, workspace: Workspace, world: World, report: Report) -> bool:  # noqa: ARG001
    try:
        workspace.services.pulls.close(action.number, reason=action.reason)
    except (Refused, Conflict) as error:  # somebody merged it first
        report(f"#{action.number} not closed: {error.message}")
        return False
    report(f"#{action.number} closed: {action.reason}")
    return True


@apply_action.register
def _(action: SetStatus, workspace: Workspace, world: World, report: Report) -> bool:
    status = Status(context=PROMOTE, state=action.state, description=action.description)
    pull = next(each for each in world.open_pulls if each.number == action.number)
    return set_pull_status(workspace, replace(pull, head=action.sha), status, report)


def set_pull_status(
    workspace: Workspace, pull: PullRequest, status: Status, report: Report
) -> bool:
    """Set a status on a pull request's head; False if its earlier statuses cannot be read.

    Such a pull request is not merged, and nothing else waits for it.
    """
    try:
        workspace.services.pulls.set_status(pull, status)
    except Unreadable as error:
        warn_left_out(error)
        return False
    report(f"#{pull.number} {status.context}: {status.state}: {status.description}")
    return True


@apply_action.register
def _(action: Merge, workspace: Workspace, world: World, report: Report) -> bool:  # noqa: ARG001
    return merge_pull(workspace, action.number, sha=action.sha, report=report)


def merge_pull(workspace: Workspace, number: int, *, sha: str, report: Report) -> bool:
    """Merge a pull request, or record that a push brought its changes to the main branch."""
    try:
        answer = workspace.services.pulls.merge(number, sha=sha)
    except (Refused, Conflict) as error:  # it moved, or the forge asks for more than we do
        hint = f" ({error.hint})" if error.hint else ""
        report(f"#{number} not merged: {error.message}{hint}")
        return False
    if isinstance(answer, MergeAsked):
        logger.info("#%d: %s", number, answer.what)
        return False  # the next pass asks again
    report(f"#{number} merged as {answer.commit[:10]}")
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
    """If the pull request moved since the world was collected, everything is read again."""
    target = action.target.release

    def change_facts(before: ReleaseFacts) -> ReleaseFacts:
        return replace(before, rolled_back_to=target.identity)

    # Before the merge: if the run is killed after it, the restored release must not look like a
    # promotion, which could be rolled back in turn.
    workspace.facts.update_release(action.environment, world.model, change_facts)
    change = rollback_change(world, action, git=workspace.git)
    try:
        pull = workspace.services.pulls.propose(change)
    except Refused as refusal:  # another run has restored it
        logger.info("%s: %s", change.title, refusal.message)
        return True
    push_waiting()  # where the head was pushed before, nothing has taken it along
    why = "restores what was verified before, byte for byte"
    try:
        commit = merge_at_once(workspace, pull, why=why)
    except Stale as stale:
        logger.info("%s: %s", change.title, stale.message)
        return True
    _sync_soon(workspace, world, action.environment)
    did = f"rolled {action.environment} back from {action.version} to {target.version}"
    if not action.version:
        did = f"restored {target.version} in {action.environment}"
    report(f"#{pull.number} {did} as {commit[:10]}: {action.reason}")
    return True


def _sync_soon(workspace: Workspace, world: World, environment: str) -> None:
    # The cluster polls Git anyway; this saves users the wait for its next poll.
    try:
        workspace.services.cluster.hurry(
            model=world.model, environment=world.catalog.environments[environment]
        )
    except CannotAnswer as error:
        logger.warning("%s", error.message)


@urgent()
def merge_at_once(workspace: Workspace, pull: PullRequest, *, why: str) -> str:
    """Set both required statuses and merge a rollback, without approvals; returns the commit.

    Raises:
        Conflict: The forge has not merged it yet.
    """
    for context in REQUIRED:
        status = Status(context=context, state=StatusState.SUCCESS, description=why)
        workspace.services.pulls.set_status(pull, status)
    answer = workspace.services.pulls.merge(pull.number, sha=pull.head, bypass=why)
    if isinstance(answer, MergeAsked):
        raise Conflict(f"#{pull.number} is not merged yet: {answer.what}")
    return answer.commit


@apply_action.register
def _(action: SetAlias, workspace: Workspace, world: World, report: Report) -> bool:
    record = world.record(action.version)
    artifact = record.artifact.digest if record and record.artifact else None
    if artifact and not workspace.registry.has_version(world.model, action.version):
        where = workspace.store.uri_of("models", artifact.removeprefix("sha256:"))
        workspace.registry.register_again(
            world.model, version=action.version, artifact=artifact, source=f"{where}/model"
        )
        report(f"registered {world.model} {action.version} again: it was gone from the registry")
    workspace.registry.set_alias(world.model, alias=action.alias, version=action.version)
    report(f"alias {action.alias} of {world.model} points at {action.version}")
    return True


@apply_action.register
def _(action: RemoveAlias, workspace: Workspace, world: World, report: Report) -> bool:
    workspace.registry.remove_alias(world.model, alias=action.alias)
    report(f"alias {action.alias} of {world.model} no longer points at {action.version}")
    return True


@apply_action.register
def _(action: RaiseIncident, workspace: Workspace, world: World, report: Report) -> bool:
    incident = Incident(what=action.what, at=world.now, key=action.key)

    def change(before: ModelFacts) -> ModelFacts:
        # Another reconcile may have raised it since the plan was made.
        if any(known.key == incident.key for known in before.incidents):
            return before
        return replace(before, incidents=(*before.incidents, incident))

    workspace.facts.update_model(world.model, change)
    report(f"INCIDENT {world.model}: {action.what}")
    return True
