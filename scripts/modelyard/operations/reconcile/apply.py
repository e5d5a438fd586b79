"""Carries one action out; each may be carried out again, and says whether it changed anything."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch

from modelyard.adapters.git.remote_refs import Stale
from modelyard.adapters.specs.json_documents import Unreadable, leave_out
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
from modelyard.domain.promotion.facts import Hold, Incident, ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullRequest, Status, StatusState
from modelyard.domain.promotion.training import workflow_name
from modelyard.domain.promotion.world import World
from modelyard.errors import CannotAnswer, Conflict, Refused
from modelyard.operations.reconcile.changes import (
    promotion_change,
    record_change,
    rollback_change,
)
from modelyard.operations.reconcile.collect import Desk

logger = logging.getLogger(__name__)

TEMPLATE = "train-and-evaluate"

Say = Callable[[str], None]


@singledispatch
def carry_out(action: Action, desk: Desk, world: World, say: Say) -> bool:  # noqa: ARG001 - every registered action takes them
    """Carry the action out; True if the world is not the same any more."""
    raise TypeError(action)


@carry_out.register
def _(action: StartTraining, desk: Desk, world: World, say: Say) -> bool:
    digest = world.catalog.digests[world.model, action.version]
    name = workflow_name(world.model, action.version, spec=digest, attempt=action.attempt)
    parameters = {
        "model": world.model,
        "version": action.version,
        "attempt": str(action.attempt),
        "commit": desk.main(),
    }
    desk.services.orchestrator.submit(name, template=TEMPLATE, parameters=parameters)
    say(f"started {name}")
    return True


@carry_out.register
def _(action: RetryTraining, desk: Desk, world: World, say: Say) -> bool:
    say(f"{world.model} {action.version}: an attempt was lost, starting attempt {action.attempt}")

    def change(before: ModelFacts) -> ModelFacts:
        known = before.training.get(action.version, TrainingFacts())
        if known.attempt >= action.attempt:  # a person's `retrain`, or another reconcile, was first
            return before
        facts = replace(known, attempt=action.attempt)
        return replace(before, training={**before.training, action.version: facts})

    desk.facts.update_model(world.model, change)
    return True


@carry_out.register
def _(action: GiveUpTraining, desk: Desk, world: World, say: Say) -> bool:
    known = world.model_facts.training.get(action.version, TrainingFacts())
    say(f"{world.model} {action.version}: training failed for good: {action.reason}")
    return _training(desk, world, action.version, replace(known, failed=action.reason))


def _training(desk: Desk, world: World, version: str, facts: TrainingFacts) -> bool:
    def change(before: ModelFacts) -> ModelFacts:
        return replace(before, training={**before.training, version: facts})

    desk.facts.update_model(world.model, change)
    return True


@carry_out.register
def _(action: ProposeRecord, desk: Desk, world: World, say: Say) -> bool:
    image = desk.services.repository.server_image
    return _propose(desk, world, record_change(world, action, server_image=image), say)


@carry_out.register
def _(action: ProposeRelease, desk: Desk, world: World, say: Say) -> bool:
    image = desk.services.repository.server_image
    return _propose(desk, world, promotion_change(world, action, server_image=image), say)


def _propose(desk: Desk, world: World, change: Change, say: Say) -> bool:
    before = world.open_pull(change.branch)
    try:
        pull = desk.services.pulls.propose(change, author=world.bot)
    except Refused as refusal:
        logger.warning("%s: %s", change.title, refusal.message)
        return False
    if before is None:
        say(f"#{pull.number} opened: {change.title}")
    elif before.head != pull.head:
        say(f"#{pull.number} updated: {change.title}")
    return before is None or before.head != pull.head


@carry_out.register
def _(action: ClosePull, desk: Desk, world: World, say: Say) -> bool:
    try:
        desk.services.pulls.close(action.number, by=world.bot, reason=action.reason)
    except (Refused, Conflict) as error:
        say(f"#{action.number} not closed: {error.message}")
        return False
    say(f"#{action.number} closed: {action.reason}")
    return True


@carry_out.register
def _(action: SetStatus, desk: Desk, world: World, say: Say) -> bool:
    del world
    status = Status(context=PROMOTE, state=action.state, description=action.description)
    return say_status(desk, action.number, action.sha, status, say)


def say_status(desk: Desk, number: int, sha: str, status: Status, say: Say) -> bool:
    """Say a word on a pull request's head.

    Where nobody can read what was said of it before, it stays shut, and nothing else waits for it.
    """
    try:
        desk.services.pulls.set_status(sha, status)
    except Unreadable as error:
        leave_out(error)
        return False
    say(f"#{number} {status.context}: {status.state}: {status.description}")
    return True


@carry_out.register
def _(action: Merge, desk: Desk, world: World, say: Say) -> bool:
    try:
        commit = desk.services.pulls.merge(action.number, sha=action.sha, by=world.bot)
    except (Refused, Conflict) as error:
        say(f"#{action.number} not merged: {error.message}")
        return False
    say(f"#{action.number} merged as {commit[:10]}")
    return True


@carry_out.register
def _(action: PlaceHold, desk: Desk, world: World, say: Say) -> bool:
    hold = Hold(reason=action.reason, by=world.bot, since=world.now)

    def change(before: ModelFacts) -> ModelFacts:
        if action.version in before.holds:
            return before
        return replace(before, holds={**before.holds, action.version: hold})

    desk.facts.update_model(world.model, change)
    say(f"{world.model} {action.version} is on hold: {action.reason}")
    return True


@carry_out.register
def _(action: RollBack, desk: Desk, world: World, say: Say) -> bool:
    """One forward commit; killed in between, the next run finds the same pull request.

    Where its pull request changed meanwhile, the world is another one now, and worth another look.
    """
    target = action.target.release
    restored = target.identity

    def remember(before: ReleaseFacts) -> ReleaseFacts:
        return replace(before, rolled_back_to=restored)

    desk.facts.update_release(action.environment, world.model, remember)
    change = rollback_change(world, action, git=desk.git)
    try:
        pull = desk.services.pulls.propose(change, author=world.bot)
    except Refused as refusal:
        logger.info("%s: %s", change.title, refusal.message)
        return True
    try:
        commit = _merge_unasked(desk, pull, by=world.bot)
    except Stale as stale:
        logger.info("%s: %s", change.title, stale.message)
        return True
    _hurry(desk, world, action.environment)
    say(f"#{pull.number} rolled {action.environment} back from {action.version} to "
        f"{target.version} as {commit[:10]}: {action.reason}")  # fmt: skip
    return True


def _hurry(desk: Desk, world: World, environment: str) -> None:
    """Have the cluster follow before anything else is rolled back; it follows anyway, later."""
    try:
        desk.services.cluster.hurry(
            model=world.model, environment=world.catalog.environments[environment]
        )
    except CannotAnswer as error:
        logger.warning("%s", error.message)


def _merge_unasked(desk: Desk, pull: PullRequest, *, by: str) -> str:
    for context in (CHECKS, PROMOTE):
        word = "restores what was verified before, byte for byte"
        status = Status(context=context, state=StatusState.SUCCESS, description=word)
        desk.services.pulls.set_status(pull.head, status)
    return desk.services.pulls.merge(pull.number, sha=pull.head, by=by)


@carry_out.register
def _(action: SetAlias, desk: Desk, world: World, say: Say) -> bool:
    desk.registry.set_alias(world.model, alias=action.alias, version=action.version)
    say(f"alias {action.alias} of {world.model} points at {action.version}")
    return True


@carry_out.register
def _(action: RaiseIncident, desk: Desk, world: World, say: Say) -> bool:
    incident = Incident(what=action.what, at=world.now)

    def change(before: ModelFacts) -> ModelFacts:
        if any(known.what == incident.what for known in before.incidents):
            return before
        return replace(before, incidents=(*before.incidents, incident))

    desk.facts.update_model(world.model, change)
    say(f"INCIDENT {world.model}: {action.what}")
    return True
