"""A model's story as a picture: which version each environment had when, and what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.domain.pictures.scale import Scale, Tick, time_ticks
from modelyard.domain.promotion.timeline import Event, Kind
from modelyard.domain.verdict import Outcome

WIDTH = 960
_LEFT, _RIGHT, _TOP, _LANE, _BAR = 110.0, 950.0, 10.0, 44.0, 22.0
_LETTER = 7.5  # width of a letter in a bar, about
_REST = 0.12  # of the picture, after the last event: what runs goes on

DECISIONS = "decisions"
"""The lane of what belongs to no environment."""

_MARKS = {
    Kind.SPEC: "note",
    Kind.RECORD: "good",
    Kind.JUDGED: "good",
    Kind.ROLLBACK: "bad",
    Kind.ABORTED: "bad",
    Kind.HELD: "bad",
    Kind.HOLD_LIFTED: "good",
    Kind.OVERRIDDEN: "warn",
    Kind.TRAINING_FAILED: "bad",
    Kind.INCIDENT: "bad",
    Kind.RETRIED: "note",
}


@dataclass(frozen=True, kw_only=True)
class Span:
    """A version in an environment.

    Args:
        version: The version.
        since: Since when the main branch named it there.
        until: Until when; None if it still does.
        is_verified: Whether it was verified there.
        is_rolled_back: Whether a rollback ended it.
    """

    version: str
    since: datetime
    until: datetime | None = None
    is_verified: bool = False
    is_rolled_back: bool = False


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A span, drawn."""

    span: Span
    x: float
    width: float
    kind: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """An event, drawn: `good`, `bad`, `warn` or `note`."""

    event: Event
    x: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class Lane:
    """An environment, or the model's own decisions."""

    name: str
    y: float
    bars: tuple[Bar, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoryPicture:
    """The picture, in pixels."""

    height: float
    bottom: float
    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]


def draw_story(events: Sequence[Event], environments: Iterable[str]) -> StoryPicture | None:
    """The picture of a timeline; None if nothing was released yet."""
    names = tuple(environments)
    times = [event.at.timestamp() for event in events if event.environment in names]
    if not times:
        return None
    # Specs may be years older, from another repository: they stand at the left edge.
    low, high = min(times), max(event.at.timestamp() for event in events)
    rest = max(high - low, 60.0) * _REST
    scale = Scale(low=low - rest / 4, high=max(high, low) + rest, left=_LEFT, right=_RIGHT)
    lanes = [
        Lane(
            name=name,
            y=_TOP + number * _LANE,
            bars=tuple(_bars(find_spans(events, name), scale)),
            marks=tuple(_marks((e for e in events if e.environment == name), scale)),
        )
        for number, name in enumerate(names)
    ]
    own = tuple(_marks((e for e in events if e.environment is None), scale))
    lanes.append(Lane(name=DECISIONS, y=_TOP + len(names) * _LANE, marks=own))
    bottom = _TOP + len(lanes) * _LANE
    return StoryPicture(
        height=bottom + 28, bottom=bottom, lanes=tuple(lanes), ticks=time_ticks(scale)
    )


def find_spans(events: Iterable[Event], environment: str) -> tuple[Span, ...]:
    """The versions that the main branch named in an environment, oldest first."""
    spans: list[Span] = []
    for event in events:
        if event.environment != environment:
            continue
        if event.kind in {Kind.RELEASE, Kind.ROLLBACK}:
            is_back = event.kind is Kind.ROLLBACK
            if spans and spans[-1].until is None:
                spans[-1] = replace(spans[-1], until=event.at, is_rolled_back=is_back)
            if event.version is not None:
                spans.append(Span(version=event.version, since=event.at, is_verified=is_back))
        elif event.kind is Kind.VERIFIED and spans and spans[-1].version == event.version:
            spans[-1] = replace(spans[-1], is_verified=True)
    return tuple(spans)


def _bars(spans: Iterable[Span], scale: Scale) -> Iterator[Bar]:
    for span in spans:
        x = scale.place(span.since.timestamp())
        end = scale.place(span.until.timestamp()) if span.until else scale.right
        width = max(round(end - x, 1), 2.0)
        kind = "bad" if span.is_rolled_back else "good" if span.is_verified else "warn"
        fits = len(span.version) * _LETTER < width
        yield Bar(span=span, x=x, width=width, kind=kind, label=span.version if fits else "")


def _marks(events: Iterable[Event], scale: Scale) -> Iterator[Mark]:
    for event in events:
        kind = _MARKS.get(event.kind)
        if kind is not None:
            by_outcome = {Outcome.FAIL: "bad", Outcome.INCONCLUSIVE: "warn"}
            shown = by_outcome.get(event.outcome, kind) if event.outcome else kind
            yield Mark(event=event, x=scale.place(event.at.timestamp()), kind=shown)
