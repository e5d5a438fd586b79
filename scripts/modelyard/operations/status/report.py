"""Says in words, as one document, what `modelyard status` saw."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from modelyard.domain.promotion.actions import SetAlias
from modelyard.domain.promotion.facts import ReleaseFacts, TrainingFacts, is_bad
from modelyard.domain.promotion.plan import find_missing_for_pull, plan
from modelyard.domain.promotion.promote import why_unverified
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullRequest, StatusState
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.interval import iso_utc
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.reconcile.collect import Worlds


def status_report(seen: Worlds) -> dict[str, Any]:
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


def _releases(seen: Worlds, world: World) -> Iterator[dict[str, Any]]:
    path = world.catalog.path_to_production()
    beside = [each for each in world.catalog.environments.values() if each not in path]
    planned = plan(world) if seen.has_aliases else ()
    moved = {each.alias for each in planned if isinstance(each, SetAlias)}
    for environment in (*path, *beside):
        name = environment.name
        alias = {"version": world.aliases.get(name), "agrees": name not in moved}
        yield {
            "model": world.model,
            "environment": name,
            **_release(world, name),
            "alias": alias if seen.has_aliases else None,
        }


def _release(world: World, environment: str) -> dict[str, Any]:
    release, facts = world.release(environment), world.facts_of(environment)
    if release is None:
        named = dict.fromkeys(("version", "artifact", "attempt"))
        return {**named, "state": "no release", "verified": False, "since": None, "verdict": None}
    why = why_unverified(world, release)
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


def _trainings(seen: Worlds, world: World) -> Iterator[dict[str, Any]]:
    for spec in world.catalog.versions_of(world.model):
        if world.record(spec.version) is None and not world.is_held(spec.version):
            known = world.model_facts.training.get(spec.version, TrainingFacts())
            state, message = _training(seen, world, spec.version, known)
            yield {
                "model": world.model,
                "version": spec.version,
                "attempt": known.attempt,
                "workflow": world.workflow_name(spec.version),
                "state": state,
                "message": message,
            }


def _training(seen: Worlds, world: World, version: str, known: TrainingFacts) -> tuple[str, str]:
    run = world.runs.get(version)
    if known.failed:
        return "failed", known.failed
    if run is None:
        return "waiting", seen.refused.get(world.model, "reconcile starts it")
    if not run.is_over:
        return "running", ", ".join(run.steps) or run.message
    if run.outcome is None:
        return "lost", run.message
    return "finished", f"gate: {run.outcome.verdict.outcome}; its record is not merged yet"


def _pull(seen: Worlds, pull: PullRequest) -> dict[str, Any]:
    return {
        "number": pull.number,
        "title": pull.title,
        "branch": pull.branch,
        "author": pull.author,
        "waits_for": list(_waits_for(seen, pull)),
    }


def _waits_for(seen: Worlds, pull: PullRequest) -> Iterator[str]:
    world = next((world for world in seen.worlds if pull in world.pulls), None)
    if world is not None and (why := seen.refused.get(world.model)):
        yield why
        return
    lacking = find_missing_for_pull(world, pull) if world else None
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
