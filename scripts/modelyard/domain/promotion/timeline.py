"""A model's timeline: the events of the main branch and of the facts, in one order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from itertools import takewhile

from modelyard.domain.promotion.change import (
    ENVIRONMENT,
    MODEL,
    REASON,
    ROLLBACK_OF,
    VERSION,
)
from modelyard.domain.promotion.facts import ModelFacts, ReleaseFacts, TrainingFacts
from modelyard.domain.promotion.pulls import BrokenGlass
from modelyard.domain.signatures import describe_signer
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.verdict import Outcome


class Kind(StrEnum):
    """What happened; the first four are commits of the main branch.

    The last six are about the repository, or tell of a pull request: they are no part of the
    timeline of one model.
    """

    SPEC = "spec"
    RECORD = "record"
    RELEASE = "release"
    ROLLBACK = "rollback"
    SEEN = "seen"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    JUDGED = "judged"
    ABORTED = "aborted"
    VERIFIED = "verified"
    HELD = "held"
    HOLD_LIFTED = "hold-lifted"
    OVERRIDDEN = "overridden"
    RETRIED = "retried"
    TRAINING_FAILED = "training-failed"
    INCIDENT = "incident"
    GLASS_BROKEN = "glass-broken"
    COMMANDED = "commanded"
    MERGED = "merged"
    PUSHED = "pushed"
    PROPOSED = "proposed"
    CLOSED = "closed"
    FROZEN = "frozen"
    UNFROZEN = "unfrozen"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened.

    Args:
        at: When; Git dates commits and refs to the second.
        kind: What it was.
        what: One sentence for a person.
        version: The version it is about; a rollback's is the restored one.
        environment: Where, if in an environment.
        release: Identity of the release that was observed.
        outcome: The verdict's, of the gate or the judge.
        numbers: The verdict's.
        rolled_back: The version that a rollback removed.
        commit: The commit of the main branch.
        pull: Number of the pull request that the forge merged as this commit.
        approved_by: Who had approved it, as the tool wrote when it merged.
        model: The model, where the events of several are told.
    """

    at: datetime
    kind: Kind
    what: str
    version: str | None = None
    environment: str | None = None
    release: str | None = None
    outcome: Outcome | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    rolled_back: str | None = None
    commit: str | None = None
    pull: int | None = None
    approved_by: str | None = None
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class PinChange:
    """A release that a commit changed, without a word of the tool.

    Args:
        environment: Where.
        before: The version before; None if there was none.
        after: The version afterwards; None if it was deleted.
    """

    environment: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Landing:
    """One commit of the main branch's first-parent history.

    Args:
        commit: Its SHA.
        at: When it was made.
        trailers: What it says of models and releases, as far as that may be told.
        pull: Number of the pull request that the forge merged as this commit.
        approved_by: Who had approved it, as the tool wrote when it merged.
        unproven: What only its own words say, which anybody may type.
        specs: Versions of the model whose spec it added.
        records: Versions of the model whose record it added.
        pins: Releases of the model that it changed, and its trailers do not tell.
        author: Whom it names, which anybody may type.
    """

    commit: str
    at: datetime
    trailers: Mapping[str, str] = field(default_factory=dict)
    pull: int | None = None
    approved_by: str | None = None
    unproven: str = ""
    specs: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    pins: tuple[PinChange, ...] = ()
    author: str = ""


def merge_timelines(*sources: Iterable[Event]) -> tuple[Event, ...]:
    """Merge several timelines into one.

    The order of each source is kept, even where its clock went back. Git dates to the second, so
    events of one second are ordered by cause: a release is observed after it was merged, and a
    rollback is merged after the verdict that led to it.
    """
    queues = [deque(source) for source in sources]
    merged = []
    while waiting := [queue for queue in queues if queue]:
        now = min(_second(queue[0]) for queue in waiting)
        next_ones = [queue for queue in waiting if _second(queue[0]) == now]
        free = (queue for queue in next_ones if not _is_led_to(queue, next_ones))
        # If all of them wait for each other, the order of the sources decides.
        merged.append(next(free, next_ones[0]).popleft())
    return tuple(merged)


def _second(event: Event) -> datetime:
    return event.at.replace(microsecond=0)


def _is_led_to(queue: deque[Event], others: Iterable[deque[Event]]) -> bool:
    """Whether an event of the same second, from another queue, led to the queue's first."""
    first = queue[0]
    return any(
        _leads_to(each, first)
        for other in others
        if other is not queue
        for each in takewhile(lambda event: _second(event) == _second(first), other)
    )


def _leads_to(cause: Event, effect: Event) -> bool:
    if effect.kind is Kind.SEEN:
        is_merge = cause.kind in {Kind.RELEASE, Kind.ROLLBACK}
        return is_merge and _place(cause) == _place(effect)
    if effect.kind is Kind.RELEASE:
        return cause.kind is Kind.VERIFIED and cause.version == effect.version
    bad = {Kind.JUDGED, Kind.ABORTED}
    if effect.kind is Kind.HELD:
        return cause.kind in bad and cause.version == effect.version
    if effect.kind is Kind.ROLLBACK:
        return cause.kind in {*bad, Kind.HELD} and cause.version == effect.rolled_back
    return False


def _place(event: Event) -> tuple[str | None, str | None]:
    return event.environment, event.version


def landing_events(model: str, landings: Iterable[Landing], catalog: Catalog) -> Iterator[Event]:
    """The events of a model in the main branch, in the order of its commits.

    Args:
        model: The model.
        landings: The first-parent history, oldest first.
        catalog: Has the reasons of specs and the verdicts of records, which never change.
    """
    for landing in landings:
        for version in landing.specs:
            spec = catalog.versions.get((model, version))
            what = spec.reason if spec else "its spec was deleted or is not valid"
            yield replace(_commit(landing, Kind.SPEC, what), version=version)
        for version in landing.records:
            yield _recorded(landing, catalog, model, version)
        if landing.trailers.get(MODEL) == model:
            yield from _released(landing)
        for pin in landing.pins:
            yield _pinned(landing, pin)


def _recorded(landing: Landing, catalog: Catalog, model: str, version: str) -> Event:
    record = catalog.records.get((model, version))
    if record is None:
        gone = _commit(landing, Kind.RECORD, "its record was deleted or is not valid")
        return replace(gone, version=version)
    verdict = record.verdict
    what = f"gate: {verdict.outcome}: {verdict.reason}"
    if record.artifact is not None and record.artifact.signed_by is not None:
        what = f"{what}; {describe_signer(record.artifact.signed_by)}"
    event = _commit(landing, Kind.RECORD, what)
    return replace(event, version=version, outcome=verdict.outcome, numbers=verdict.numbers)


def _released(landing: Landing) -> Iterator[Event]:
    trailers = landing.trailers
    where, version = trailers.get(ENVIRONMENT), trailers.get(VERSION)
    if where is None:
        return
    if (gone := trailers.get(ROLLBACK_OF)) is None:
        event = _commit(landing, Kind.RELEASE, f"{version} was released to {where}")
    else:
        reason = trailers.get(REASON, "no reason was recorded")
        what = f"{gone} was rolled back to {version}" if version else f"{gone} was removed"
        # Both versions are kept: a rollback is about the one that came and the one that went.
        event = replace(_commit(landing, Kind.ROLLBACK, f"{what}: {reason}"), rolled_back=gone)
    yield replace(event, version=version, environment=where)


def _pinned(landing: Landing, pin: PinChange) -> Event:
    """What a push did, or a person's pull request: seen in the files, as nothing tells it."""
    how = f"by a commit of {landing.author}"
    how += ", with no word of the tool" if landing.pull else ", without a merged pull request"
    where = pin.environment
    if pin.after is None:
        event = _commit(landing, Kind.ROLLBACK, f"{pin.before} was removed {how}")
        event = replace(event, rolled_back=pin.before)
    elif pin.after == pin.before:
        event = _commit(landing, Kind.RELEASE, f"{pin.after} was pinned anew {how}")
    else:
        event = _commit(landing, Kind.RELEASE, f"{pin.after} was released to {where} {how}")
    return replace(event, version=pin.after, environment=where)


def _commit(landing: Landing, kind: Kind, what: str) -> Event:
    said = f"; said by the commit, not proven: {landing.unproven}" if landing.unproven else ""
    return Event(
        at=landing.at,
        kind=kind,
        what=f"{what}{said}",
        commit=landing.commit,
        pull=landing.pull,
        approved_by=landing.approved_by,
    )


def observation_events(
    environment: str,
    history: Iterable[tuple[datetime, ReleaseFacts]],
    before: ReleaseFacts | None = None,
) -> Iterator[Event]:
    """The events of a model in one environment, from every value that its facts had.

    Args:
        environment: Where.
        history: The values, oldest first, with the time each was written.
        before: The value before these; None if there was none.
    """
    before = before or ReleaseFacts()
    for at, after in history:
        for event in changes_of_release(at, before, after):
            yield replace(
                event, environment=environment, version=after.version, release=after.release
            )
        before = after


def changes_of_release(at: datetime, before: ReleaseFacts, after: ReleaseFacts) -> Iterator[Event]:
    """The events between two values of the facts of a model in an environment."""
    # A new release starts from nothing: its predecessor's health and verdict are not its own.
    is_new = after.release is not None and after.release != before.release
    was = ReleaseFacts() if is_new else before
    if is_new:
        yield Event(at=after.seen_at or at, kind=Kind.SEEN, what="its rollout started")
    yield from _health(at, was, after)
    yield from _judged(at, was, after)
    if after.aborted and not was.aborted:
        is_repeated = after.verdict is not None and after.verdict.reason == after.aborted
        what = "taken out of traffic" + ("" if is_repeated else f": {after.aborted}")
        yield Event(at=at, kind=Kind.ABORTED, what=what)
    if after.release in after.verified and after.release not in before.verified:
        yield Event(at=at, kind=Kind.VERIFIED, what="ready, soaked and, if judged here, passed")


def _health(at: datetime, was: ReleaseFacts, after: ReleaseFacts) -> Iterator[Event]:
    if after.healthy_since and not was.healthy_since:
        yield Event(at=after.healthy_since, kind=Kind.HEALTHY, what="ready")
    elif was.healthy_since and not after.healthy_since:
        yield Event(at=at, kind=Kind.UNHEALTHY, what="no longer ready")


def _judged(at: datetime, was: ReleaseFacts, after: ReleaseFacts) -> Iterator[Event]:
    verdict = after.verdict
    if verdict is None or (was.verdict and was.verdict.outcome is verdict.outcome):
        return  # only the wording changed
    yield Event(
        at=after.judged_at or at,
        kind=Kind.JUDGED,
        what=f"{verdict.outcome}: {verdict.reason}",
        outcome=verdict.outcome,
        numbers=verdict.numbers,
    )


def decision_events(
    history: Iterable[tuple[datetime, ModelFacts]], before: ModelFacts | None = None
) -> Iterator[Event]:
    """What was decided about a model, and its incidents, from every value of its own facts.

    Args:
        history: The values, oldest first, with the time each was written.
        before: The value before these; None if there was none.
    """
    before = before or ModelFacts()
    for at, after in history:
        yield from changes_of_model(at, before, after)
        before = after


def changes_of_model(at: datetime, before: ModelFacts, after: ModelFacts) -> Iterator[Event]:
    """The events between two values of a model's own facts."""
    yield from _holds(at, before, after)
    yield from _overrides(before, after)
    for version, training in after.training.items():
        yield from _training(at, version, before.training.get(version), training)
    for incident in after.incidents:
        if incident not in before.incidents:
            yield Event(at=incident.at, kind=Kind.INCIDENT, what=incident.what)


def glass_events(model: str, words: Iterable[BrokenGlass]) -> Iterator[Event]:
    """What was merged without approvals, of this model or of rules, by an admin's word."""
    for each in words:
        if each.model in {"", model}:
            what = f"{each.sha[:10]} without approvals, by {each.login}: {each.reason}"
            followed = f"{what}; followed up in #{each.issue}"
            yield Event(at=each.at, kind=Kind.GLASS_BROKEN, what=followed, pull=each.number)


def _holds(at: datetime, before: ModelFacts, after: ModelFacts) -> Iterator[Event]:
    for version, hold in after.holds.items():
        if before.holds.get(version) != hold:
            what = f"by {hold.by}: {hold.reason}"
            yield Event(at=hold.since, kind=Kind.HELD, what=what, version=version)
    for version in sorted(set(before.holds) - set(after.holds)):
        lifted = after.lifted.get(version, at)
        what = "the hold was lifted"
        yield Event(at=lifted, kind=Kind.HOLD_LIFTED, what=what, version=version)


def _overrides(before: ModelFacts, after: ModelFacts) -> Iterator[Event]:
    for version, override in after.overrides.items():
        if before.overrides.get(version) != override:
            end = override.until.isoformat(timespec="minutes")
            what = f"its inconclusive gate, by {override.by} until {end}: {override.reason}"
            yield Event(at=override.since, kind=Kind.OVERRIDDEN, what=what, version=version)


def _training(
    at: datetime, version: str, before: TrainingFacts | None, after: TrainingFacts
) -> Iterator[Event]:
    # The first attempt needs no event: the merge of the spec starts it.
    was = before or TrainingFacts()
    if after.attempt > was.attempt:
        what = f"attempt {after.attempt} is next"
        yield Event(at=at, kind=Kind.RETRIED, what=what, version=version)
    if after.failed and after.failed != was.failed:
        what = f"for good: {after.failed}"
        yield Event(at=at, kind=Kind.TRAINING_FAILED, what=what, version=version)
