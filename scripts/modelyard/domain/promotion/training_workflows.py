"""Which training workflows start, which lost ones are retried, and which records they bring."""

from __future__ import annotations

import re
from collections.abc import Iterator

from modelyard.domain.promotion.actions import (
    GiveUpTraining,
    PlaceHold,
    ProposeRecord,
    RetryTraining,
    StartTraining,
)
from modelyard.domain.promotion.change import Branch, Purpose
from modelyard.domain.promotion.facts import TrainingFacts
from modelyard.domain.promotion.pulls import PullState, is_declined
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.record import Record
from modelyard.domain.verdict import Outcome

MOST_ATTEMPTS = 3
"""Attempts lost to infrastructure before training fails; `retrain` allows as many again."""


def version_order(version: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts v2 before v10: runs of digits compare as numbers."""
    parts = re.findall(r"\d+|\D+", version)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts)


def plan_trainings(world: World) -> Iterator[StartTraining | RetryTraining | GiveUpTraining]:
    """Start what has no workflow, retry what infrastructure lost, and give up in the end.

    A crash of the tool is not infrastructure that comes back: its training is given up at once.
    """
    for spec in world.catalog.versions_of(world.model):
        known = world.model_facts.training.get(spec.version, TrainingFacts())
        if world.record(spec.version) or world.is_held(spec.version) or known.failed:
            continue
        run = world.runs.get(spec.version)
        if run is None:
            yield StartTraining(version=spec.version, attempt=known.attempt)
        elif run.is_over and run.outcome is None and run.crash:
            yield GiveUpTraining(version=spec.version, reason=run.crash)
        elif run.is_over and run.outcome is None:
            # `retrain` goes on with attempt 4, which has two more behind it.
            if known.attempt % MOST_ATTEMPTS:
                yield RetryTraining(version=spec.version, attempt=known.attempt + 1)
            else:
                yield GiveUpTraining(version=spec.version, reason=run.message or "no outcome")


def plan_records(world: World) -> Iterator[ProposeRecord | PlaceHold]:
    """Propose every finished record, the newest that passed with its first release.

    No release comes with a record while a person's promotion into the first environment is open.
    A version is put on hold if a person closed the pull request of its record.
    """
    finished = finished_records(world)
    path = world.catalog.path_to_production()
    newest = (
        None if path and world.requested_promotion(path[0]) else newest_passing(world, finished)
    )
    for record in finished:
        # Without a hold, its next record or release would be proposed in spite of the refusal.
        if closer := _closed_by_person(world, record.version):
            if not world.is_held(record.version):
                reason = f"its record's pull request was closed by {closer}"
                yield PlaceHold(version=record.version, reason=reason)
            continue
        leads = newest is not None and newest.version == record.version
        yield ProposeRecord(record=record, environment=path[0].name if leads else None)


def finished_records(world: World) -> tuple[Record, ...]:
    """The records of finished workflows that the main branch lacks, oldest version first."""
    made = [run.outcome for run in world.runs.values() if run.outcome is not None]
    new = [record for record in made if world.record(record.version) is None]
    return tuple(sorted(new, key=lambda record: version_order(record.version)))


def newest_passing(world: World, finished: tuple[Record, ...]) -> Record | None:
    """The newest record that may be released to the first environment, merged or just finished."""
    path = world.catalog.path_to_production()
    if not path:
        return None
    merged = [r for (model, _), r in world.catalog.records.items() if model == world.model]
    known = {record.version: record for record in (*finished, *merged)}
    passing = [
        record
        for record in known.values()
        if _may_be_released(world, record) and not world.is_held(record.version)
    ]
    current = world.release(path[0].name)
    newest = max(passing, key=lambda r: version_order(r.version), default=None)
    if newest is None or newest.artifact is None:
        return None
    # What was released there before and is gone was taken out; only a person brings it back.
    if world.was_tried(path[0].name, newest.artifact.digest):
        return None
    # After a rollback of v3 to v1, v2 is not released in its place.
    if current and version_order(newest.version) <= version_order(current.version):
        return None
    return newest


def _may_be_released(world: World, record: Record) -> bool:
    """Whether its gate passed, or a person overrides that it is inconclusive."""
    champion = record.champion.version if record.champion else None
    is_overridden = is_inconclusive(record) and world.current_override(
        record.version, record.verdict, champion
    )
    return record.artifact is not None and (record.verdict.passed or bool(is_overridden))


def is_inconclusive(record: Record) -> bool:
    """Whether its gate could not tell; a person may then override it."""
    return record.verdict.outcome is Outcome.INCONCLUSIVE and record.artifact is not None


def _closed_by_person(world: World, version: str) -> str | None:
    """Who closed the record's last pull request, unless its hold was lifted since."""
    lifted = world.model_facts.lifted.get(version)
    branch = str(Branch(purpose=Purpose.RECORD, subject=version, model=world.model))
    for pull in reversed(world.closed_pulls):
        if pull.branch == branch and pull.state is PullState.CLOSED:
            is_forgiven = lifted and pull.closed_at and pull.closed_at <= lifted
            return (
                None if is_forgiven or not is_declined(pull, bot=world.bot) else str(pull.closed_by)
            )
    return None


def training_images(catalog: Catalog, model: str, version: str) -> dict[str, str]:
    """The images that a training is submitted with, by parameter; empty for the platform's.

    A champion of another runtime is scored in a step of its own, in the image that serves it.
    """
    spec, production = catalog.versions[model, version], catalog.production
    found = {"image": spec.runtime.image} if spec.runtime.image else {}
    release = catalog.releases.get((production.name, model)) if production else None
    if release is None or release.version == version:
        return found
    if release.lock is None:  # of before runtimes were measured: the platform's own image serves it
        return {**found, "champion-apart": "yes"} if spec.runtime.image else found
    if release.lock == spec.runtime.lock:
        return found
    return {**found, "champion-apart": "yes", "champion-image": release.server_image}
