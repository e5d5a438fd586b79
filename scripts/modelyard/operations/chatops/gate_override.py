"""Records a person's word that a version may go on although its gate is inconclusive."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from modelyard.domain.people import Person, may_approve
from modelyard.domain.promotion.facts import LONGEST_OVERRIDE, GateOverride, ModelFacts
from modelyard.domain.promotion.promote import (
    compared_champion,
    environments_ahead,
    gate_verdict,
)
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.environment import Environment
from modelyard.domain.verdict import Outcome
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.reconcile.collect import collect_world, with_makers
from modelyard.operations.workspace import Workspace


def decide_override(
    workspace: Workspace,
    model: str,
    version: str,
    *,
    reason: str,
    by: Person,
    until: datetime,
    teams: Collection[str] = (),
) -> GateOverride:
    """Return the override of a version's gate to record.

    Args:
        workspace: What to read with.
        model: The model.
        version: The version.
        reason: Why, for everyone who reads it later.
        by: The person who says so.
        until: When it ends.
        teams: The teams that the person is known to be in, as `org/team`.

    Raises:
        CannotAnswer: There is no verdict yet.
        Refused: The gate is not inconclusive, the time is past or too far, or this person may not
            open every environment that is still ahead of the version.
    """
    workspace.catalog(workspace.main()).require_version(model, version)
    world = with_makers(workspace, collect_world(workspace, model, with_registry=False), {version})
    ahead = environments_ahead(world, version)
    if not ahead:
        raise Refused(
            f"production has {model} {version} already: nothing waits for its gate",
            hint=f"modelyard status {model}",
        )
    _check_time(world.now, until)
    _check_person(world, ahead, version, by, teams)
    again = f"modelyard gate {model} {version}"
    verdict = gate_verdict(world, ahead[0], version)
    if verdict is None:
        raise CannotAnswer(f"{model} {version} has no verdict of the gate yet", hint=again)
    if verdict.outcome is not Outcome.INCONCLUSIVE:
        raise Refused(
            "only an inconclusive gate can be overridden; that of "
            f"{model} {version} is {verdict.outcome}: {verdict.reason}",
            hint=again,
        )
    return GateOverride(
        reason=reason,
        by=by.login,
        since=world.now,
        until=until,
        champion=compared_champion(world, ahead[0], version),
        verdict=verdict.reason,
    )


def place_override(workspace: Workspace, model: str, version: str, override: GateOverride) -> None:
    """Record an override; it replaces an earlier one of the version."""

    def change(facts: ModelFacts) -> ModelFacts:
        return replace(facts, overrides={**facts.overrides, version: override})

    workspace.facts.update_model(model, change, by=override.by)


def _check_time(now: datetime, until: datetime) -> None:
    if until <= now:
        raise Refused(f"{until.isoformat()} has passed; it is {now.isoformat(timespec='minutes')}")
    if until > now + LONGEST_OVERRIDE:
        last = (now + LONGEST_OVERRIDE).isoformat(timespec="minutes")
        raise Refused(
            f"{until.isoformat()} is more than {LONGEST_OVERRIDE.days} days ahead",
            hint=f"give a time until {last}",
        )


def _check_person(
    world: World,
    ahead: tuple[Environment, ...],
    version: str,
    by: Person,
    teams: Collection[str],
) -> None:
    """Raise `Refused` unless this person could approve the version wherever it still goes."""
    for environment in ahead:
        asked = environment.approvals
        if not asked.needed:
            continue
        if (did := world.version_makers.get(version, {}).get(by)) is not None:
            raise Refused(f"{by} {did}, so another person has to override its gate")
        if not may_approve(by, asked.approvers, teams):
            raise Refused(
                f"{by} is not among those who approve {environment.name}, which is still ahead of "
                f"{version}: {', '.join(asked.approvers)}"
            )
