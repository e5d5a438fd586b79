"""Builds the document of `modelyard status` from the collected worlds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from modelyard.domain.promotion.actions import RemoveAlias, SetAlias
from modelyard.domain.promotion.facts import ReleaseFacts, TrainingFacts, is_bad
from modelyard.domain.promotion.plan import plan
from modelyard.domain.promotion.promote import Missing, release_command, why_unverified
from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.promotion.rollback import find_unreviewed, is_over, unreviewed_command
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.interval import iso_utc
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.forge.waiting import command_or_page, find_waiting
from modelyard.operations.status.worlds import CollectedWorlds

SECTIONS = ("releases", "retired", "holds", "overrides", "trusted", "incidents", "trainings")
"""The parts of the document whose rows are each about one model."""

Rows: TypeAlias = dict[str, list[dict[str, Any]]]
"""The rows of a model by section, without empty ones."""


def status_report(collected: CollectedWorlds) -> dict[str, Any]:
    """The worlds as a document of schemas/output/status.schema.json."""
    rows = {
        world.model: model_rows(
            world,
            refused=collected.refused.get(world.model),
            has_aliases=collected.has_aliases,
        )
        for world in collected.worlds
    }
    return join_rows(collected, rows)


def join_rows(collected: CollectedWorlds, rows: Mapping[str, Rows]) -> dict[str, Any]:
    """The document of these rows, by model in their order.

    Args:
        collected: What is not about one model, and the worlds of those with open pull requests.
        rows: The rows of all models.
    """
    joined = {
        section: [row for each in rows.values() for row in each.get(section, ())]
        for section in SECTIONS
    }
    return {
        "commit": collected.commit,
        "problems": len(collected.unreadable),
        "unreadable": [
            {
                "file": each.file,
                "line": each.line,
                "what": each.message,
                "stands_in_before": collected.stands_in.get(each.file),
                "next": "modelyard validate",
            }
            for each in collected.unreadable
        ],
        "releases": joined["releases"],
        "retired": joined["retired"],
        "holds": joined["holds"],
        "overrides": joined["overrides"],
        "trusted": joined["trusted"],
        "freezes": list(_freezes(collected)),
        "incidents": joined["incidents"],
        "pushed_rules": [
            {"file": rule.file, "what": str(rule), "commit": rule.commit, "next": rule.command}
            for rule in dict.fromkeys(
                rule for model in rows for rule in collected.rules if rule.concerns(model)
            )
        ],
        "trainings": joined["trainings"],
        "pulls": [_pull(collected, pull) for pull in collected.pulls],
    }


def model_rows(world: World, *, refused: str | None, has_aliases: bool) -> Rows:
    """The rows of one model.

    Args:
        world: Its world.
        refused: What is missing where `collect_world` would raise.
        has_aliases: Whether the registry was asked.
    """
    model, retired = world.catalog.models.get(world.model), world.retired_since
    rows: Rows = {
        "releases": list(_releases(world, has_aliases=has_aliases)),
        "retired": [
            {
                "model": world.model,
                "since": iso_utc(retired),
                "next": f"modelyard status {world.model}",
            }
        ]
        if retired is not None
        else [],
        "holds": [
            {
                "model": world.model,
                "version": version,
                "reason": hold.reason,
                "by": hold.by,
                "since": iso_utc(hold.since),
                "next": f"modelyard unhold {world.model} {version}",
            }
            for version, hold in sorted(world.model_facts.holds.items())
        ],
        "overrides": [
            {
                "model": world.model,
                "version": version,
                "reason": override.reason,
                "by": override.by,
                "until": iso_utc(override.until),
            }
            for version, override in sorted(world.model_facts.overrides.items())
            if override.until > world.now
        ],
        "trusted": [
            {
                "model": model.name,
                "formats": list(model.artifact.code_formats),
                "reason": model.artifact.trusted.reason,
            }
        ]
        if model is not None and model.artifact.trusted is not None
        else [],
        "incidents": [
            {
                "model": world.model,
                "what": incident.what,
                "at": iso_utc(incident.at),
                "next": f"modelyard history {world.model}",
            }
            for incident in world.model_facts.incidents
            if not is_over(world, incident)
        ],
        "trainings": list(_trainings(world, refused)),
    }
    return {section: found for section, found in rows.items() if found}


def _releases(world: World, *, has_aliases: bool) -> Iterator[dict[str, Any]]:
    path = world.catalog.path_to_production()
    others = [each for each in world.catalog.environments.values() if each not in path]
    # The world has what the plan of aliases needs only if the registry was asked.
    planned = plan(world) if has_aliases else ()
    moved = {each.alias for each in planned if isinstance(each, SetAlias | RemoveAlias)}
    for environment in (*path, *others):
        name = environment.name
        alias = {"version": world.aliases.get(name), "agrees": name not in moved}
        yield {
            "model": world.model,
            "environment": name,
            **_release(world, name),
            "alias": alias if has_aliases else None,
        }


def _release(world: World, environment: str) -> dict[str, Any]:
    release, facts = world.release(environment), world.facts_of(environment)
    if release is None:
        return _no_release(world, environment)
    why = why_unverified(world, release)
    verdict = facts.verdict if facts.release == release.identity else None
    return {
        "version": release.version,
        "artifact": release.artifact,
        "attempt": release.attempt,
        "state": _state(why.reason if why else None, verdict, release),
        "verified": why is None,
        "since": iso_utc(_since(facts, release)),
        "verdict": {"outcome": str(verdict.outcome), "reason": verdict.reason} if verdict else None,
        "next": release_command(world, world.catalog.environments[environment]) or None
        if why
        else None,
    }


def _no_release(world: World, environment: str) -> dict[str, Any]:
    where = world.catalog.environments[environment]
    found = find_unreviewed(world, where)
    nothing = dict.fromkeys(("version", "artifact", "attempt"))
    return {
        **nothing,
        "state": f"no release, unreviewed: {found.what}" if found else "no release",
        "verified": False,
        "since": None,
        "verdict": None,
        "next": unreviewed_command(world, where) if found else None,
    }


def _state(why: str | None, verdict: Verdict | None, release: Release) -> str:
    if verdict is not None and verdict.outcome is Outcome.FAIL:
        return f"judged fail: {verdict.reason}"
    if why is not None and verdict is not None and verdict.outcome is Outcome.INCONCLUSIVE:
        # The recorded reason is from the first such verdict; there was more traffic since.
        return f"{why}; why: modelyard judge {release.environment} {release.model}"
    return why or "verified"


def _since(facts: ReleaseFacts, release: Release) -> datetime | None:
    """When the state began; None if the facts do not show it."""
    if facts.release != release.identity:
        return None
    if is_bad(facts, release):
        return facts.judged_at  # it may have been healthy until then
    return facts.healthy_since or facts.seen_at


def _freezes(collected: CollectedWorlds) -> Iterator[dict[str, Any]]:
    for environment in collected.catalog.environments.values():
        if freeze := collected.freezes.get(environment.name):
            yield {
                "environment": environment.name,
                "reason": freeze.reason,
                "by": freeze.by,
                "since": iso_utc(freeze.since),
                "until": iso_utc(freeze.until) if freeze.until else None,
                "next": f"modelyard unfreeze {environment.name}",
            }
        for window in environment.freeze_windows:
            if window.since <= collected.now < window.until:
                yield {
                    "environment": environment.name,
                    "reason": window.reason,
                    "by": None,
                    "since": iso_utc(window.since),
                    "until": iso_utc(window.until),
                    "next": None,
                }


def _trainings(world: World, refused: str | None) -> Iterator[dict[str, Any]]:
    for spec in world.catalog.versions_of(world.model):
        if world.record(spec.version) is None and not world.is_held(spec.version):
            known = world.model_facts.training.get(spec.version, TrainingFacts())
            state, message = _training(world, spec.version, known, refused)
            yield {
                "model": world.model,
                "version": spec.version,
                "attempt": known.attempt,
                "workflow": world.workflow_name(spec.version),
                "state": state,
                "message": message,
                "next": _training_command(world, spec.version, state, refused),
            }


def _training_command(world: World, version: str, state: str, refused: str | None) -> str | None:
    """The command that goes on with a training that does not go on by itself."""
    if refused is not None:
        return "modelyard validate"
    if state == "failed":
        return f"modelyard retrain {world.model} {version}"
    return None if state == "running" else f"modelyard reconcile {world.model}"


def _training(
    world: World, version: str, known: TrainingFacts, refused: str | None
) -> tuple[str, str]:
    run = world.runs.get(version)
    if known.failed:
        return "failed", known.failed
    if run is None:
        return "waiting", refused or "reconcile starts it"
    if not run.is_over:
        return "running", ", ".join(run.steps) or run.message
    if run.outcome is None:
        return "lost", run.message
    return "finished", f"gate: {run.outcome.verdict.outcome}; its record is not merged yet"


def _pull(collected: CollectedWorlds, pull: PullRequest) -> dict[str, Any]:
    lacking = tuple(_lacking(collected, pull))
    command = next((each.command for each in lacking if each.command), None)
    page = collected.addresses.get(pull.number)
    return {
        "number": pull.number,
        "title": pull.title,
        "branch": pull.branch,
        "author": str(pull.author),
        "waits_for": [each.what for each in lacking],
        "next": command_or_page(command, pull, page) if command and page else command,
    }


def _lacking(collected: CollectedWorlds, pull: PullRequest) -> Iterator[Missing]:
    """What an open pull request waits for, with the commands for it."""
    world = next((world for world in collected.worlds if pull in world.open_pulls), None)
    if world is not None and (why := collected.refused.get(world.model)):
        yield Missing(what=why, command="modelyard validate")
        return
    yield from find_waiting(world, pull)
