"""Says in words, as one document, what `modelyard status` saw."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from modelyard.domain.promotion.facts import ReleaseFacts, TrainingFacts, is_bad
from modelyard.domain.promotion.plan import missing_of
from modelyard.domain.promotion.promote import unproven
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullRequest, StatusState
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.interval import iso_utc
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.status.outlook import Outlook, workflow_of
from modelyard.ports import Phase


def report(seen: Outlook) -> dict[str, Any]:
    """What was seen, as schemas/output/status.schema.json describes it."""
    worlds = seen.worlds
    return {
        "commit": seen.commit,
        "problems": seen.problems,
        "releases": [row for world in worlds for row in _releases(seen, world)],
        "holds": [
            {
                "model": world.model,
                "version": version,
                "reason": hold.reason,
                "by": hold.by,
                "since": iso_utc(hold.since),
            }
            for world in worlds
            for version, hold in sorted(world.model_facts.holds.items())
        ],
        "freezes": list(_freezes(worlds[0])) if worlds else [],
        "incidents": [
            {"model": world.model, "what": incident.what, "at": iso_utc(incident.at)}
            for world in worlds
            for incident in world.model_facts.incidents
        ],
        "trainings": [row for world in worlds for row in _trainings(seen, world)],
        "pulls": [_pull(seen, pull) for pull in seen.pulls],
    }


def _releases(seen: Outlook, world: World) -> Iterator[dict[str, Any]]:
    path = world.catalog.path_to_production()
    beside = [each for each in world.catalog.environments.values() if each not in path]
    for environment in (*path, *beside):
        yield {
            "model": world.model,
            "environment": environment.name,
            **_release(world, environment.name),
            "alias": _alias(seen, environment.name, world.model),
        }


def _release(world: World, environment: str) -> dict[str, Any]:
    release, facts = world.release(environment), world.facts_of(environment)
    if release is None:
        named = dict.fromkeys(("version", "artifact", "attempt"))
        return {**named, "state": "no release", "verified": False, "since": None, "verdict": None}
    why = unproven(world, release)
    said = facts.verdict if facts.release == release.identity else None
    return {
        "version": release.version,
        "artifact": release.artifact,
        "attempt": release.attempt,
        "state": _state(why, said, release),
        "verified": why is None,
        "since": iso_utc(_since(facts, release)),
        "verdict": {"outcome": str(said.outcome), "reason": said.reason} if said else None,
    }


def _state(why: str | None, said: Verdict | None, release: Release) -> str:
    if said is not None and said.outcome is Outcome.FAIL:
        return f"judged fail: {said.reason}"
    if why is not None and said is not None and said.outcome is Outcome.INCONCLUSIVE:
        # What was written down is its first reason; traffic went on since.
        return f"{why}; why: modelyard judge {release.environment} {release.model}"
    return why or "verified"


def _since(facts: ReleaseFacts, release: Release) -> datetime | None:
    """When the state began, as far as facts say."""
    if facts.release != release.identity:
        return None
    if is_bad(facts, release):
        return facts.judged_at
    return facts.healthy_since or facts.seen_at


def _alias(seen: Outlook, environment: str, model: str) -> dict[str, Any] | None:
    key = (environment, model)
    if key not in seen.aliases:
        return None
    return {"version": seen.aliases[key], "agrees": key not in seen.wrong}


def _freezes(world: World) -> Iterator[dict[str, Any]]:
    for environment in world.catalog.environments.values():
        if freeze := world.freezes.get(environment.name):
            yield {
                "environment": environment.name,
                "reason": freeze.reason,
                "by": freeze.by,
                "since": iso_utc(freeze.since),
                "until": None,
            }
        for window in environment.freeze_windows:
            if window.since <= world.now < window.until:
                yield {
                    "environment": environment.name,
                    "reason": window.reason,
                    "by": None,
                    "since": iso_utc(window.since),
                    "until": iso_utc(window.until),
                }


def _trainings(seen: Outlook, world: World) -> Iterator[dict[str, Any]]:
    for spec in world.catalog.versions_of(world.model):
        if world.record(spec.version) is None and not world.is_held(spec.version):
            known = world.model_facts.training.get(spec.version, TrainingFacts())
            state, message = _training(seen, world, spec.version, known)
            yield {
                "model": world.model,
                "version": spec.version,
                "attempt": known.attempt,
                "workflow": workflow_of(world, spec.version),
                "state": state,
                "message": message,
            }


def _training(seen: Outlook, world: World, version: str, known: TrainingFacts) -> tuple[str, str]:
    status = seen.workflows.get((world.model, version))
    if known.failed:
        return "failed", known.failed
    if status is None:
        return "waiting", "reconcile starts it"
    if not status.phase.is_over:
        steps = [name for name, phase in status.steps.items() if phase is Phase.RUNNING]
        return "running", ", ".join(steps)
    outcome = world.runs[version].outcome
    if outcome is None:
        return "lost", status.message
    return "finished", f"gate: {outcome.verdict.outcome}; its record is not merged yet"


def _pull(seen: Outlook, pull: PullRequest) -> dict[str, Any]:
    return {
        "number": pull.number,
        "title": pull.title,
        "branch": pull.branch,
        "author": pull.author,
        "waits_for": list(_waits_for(seen, pull)),
    }


def _waits_for(seen: Outlook, pull: PullRequest) -> Iterator[str]:
    world = next((world for world in seen.worlds if pull in world.pulls), None)
    if world is not None and world.model in seen.unsound:
        yield "valid specs on the main branch: modelyard validate"
        return
    lacking = missing_of(world, pull) if world else None
    if lacking is None:
        yield from _unfinished(pull)
        yield "a person to merge it"
    elif lacking:
        yield from (each.what for each in lacking)
    else:
        yield "reconcile to merge it"


def _unfinished(pull: PullRequest) -> Iterator[str]:
    for context in (CHECKS, PROMOTE):
        status = pull.statuses.get(context)
        if status is None:
            yield f"{context}, which has not answered for {pull.head[:10]}"
        elif status.state is not StatusState.SUCCESS:
            yield f"{context}: {status.description}"
