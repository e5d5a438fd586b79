"""What the judge saw of a version over time, computed again from the servers' counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.traffic import Sample
from modelyard.domain.pictures.evidence import EvidencePicture, draw_evidence
from modelyard.domain.promotion.timeline import Event, Kind
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release
from modelyard.errors import YardError
from modelyard.operations.judge.evidence import is_promised, slow_ms_of, with_promises
from modelyard.operations.workspace import Workspace

MOST_POINTS = 16

Missed: TypeAlias = Callable[[YardError], None]

_ENDS = (Kind.RELEASE, Kind.ROLLBACK)


@dataclass(frozen=True, kw_only=True)
class CanaryStory:
    """One release under the judge.

    Args:
        environment: Where.
        since: When it was first seen.
        stable: The version it was compared with; None for a first release.
        picture: The evidence over time.
    """

    environment: str
    since: datetime
    stable: str | None
    picture: EvidencePicture


def read_canaries(
    workspace: Workspace,
    catalog: Catalog,
    model: str,
    version: str,
    events: Sequence[Event],
    *,
    missed: Missed,
) -> tuple[CanaryStory, ...]:
    """Every release of a version that was judged, as far as its counts are still kept.

    Args:
        workspace: What to read from.
        catalog: The specs.
        model: The model.
        version: The version.
        events: The model's whole timeline.
        missed: Called with what is out of reach; the rest is shown without it.
    """
    judged = {each.name: each for each in catalog.environments.values() if each.rollout.judged}
    seen = [e for e in events if e.kind is Kind.SEEN and e.version == version]
    stories = (
        _story(workspace, catalog, model, judged[event.environment], event, events, missed)
        for event in seen
        if event.environment in judged
    )
    return tuple(story for story in stories if story is not None)


def _story(
    workspace: Workspace,
    catalog: Catalog,
    model: str,
    environment: Environment,
    event: Event,
    events: Sequence[Event],
    missed: Missed,
) -> CanaryStory | None:
    after = (e for e in events if e.environment == environment.name and e.at > event.at)
    until = next((e.at for e in after if e.kind in _ENDS), None)
    try:
        samples = workspace.services.metrics.samples(model, since=event.at, keep=False)
    except YardError as error:
        missed(error)
        return None
    kept = tuple(each for each in samples if until is None or each.at <= until)
    stable = _stable(environment, event, events)
    evidence = _evidence(workspace, catalog, model, environment, event, stable, missed)
    policy = catalog.models[model].canary
    points = [
        (part[-1].at, judge_canary(replace(evidence, samples=part), policy).numbers)
        for part in _parts(kept)
    ]
    picture = draw_evidence(points)
    if picture is None:
        return None
    return CanaryStory(
        environment=environment.name,
        since=event.at,
        stable=stable.version if stable else None,
        picture=picture,
    )


def _evidence(
    workspace: Workspace,
    catalog: Catalog,
    model: str,
    environment: Environment,
    event: Event,
    stable: Event | None,
    missed: Missed,
) -> CanaryEvidence:
    """What the judge decides from but the samples; without what is out of reach."""
    release = Release(
        model=model,
        environment=event.environment or "",
        version=event.version or "",
        artifact="",
        server_image="",
        renderer=0,
        manifests="",
    )
    champion = stable.version if stable else None
    counts = CanaryEvidence(
        samples=(),
        canary=event.release or "",
        stable=stable.release if stable else None,
        is_first=stable is None,
        share=environment.exact_share,
        slow_ms=slow_ms_of(catalog, model, champion),
        is_promised=is_promised(catalog, release, champion),
    )
    return with_promises(workspace, catalog, release, champion, counts, on_missing=missed)


def _stable(environment: Environment, event: Event, events: Iterable[Event]) -> Event | None:
    """The release that answered the other requests then."""
    where = environment.joins or environment.name
    before = [
        e for e in events if e.kind is Kind.SEEN and e.environment == where and e.at < event.at
    ]
    return before[-1] if before else None


def _parts(samples: tuple[Sample, ...]) -> Iterator[tuple[Sample, ...]]:
    """Growing beginnings of the samples, the last of them all."""
    count = len(samples)
    ends = sorted({round(count * (n + 1) / MOST_POINTS) for n in range(MOST_POINTS)})
    for end in ends:
        if end > 1:  # the first sample is where counting starts
            yield samples[:end]
