"""The judge's evidence over time against what it needs, as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.domain.pictures.scale import Scale, Tick, time_ticks

WIDTH = 960
_LEFT, _RIGHT, _TOP, _BOTTOM, _LETTERS = 60.0, 720.0, 30.0, 200.0, 15.0
NEEDED = "evidence_needed"
_PREFIX = "evidence_"
STABLE = "evidence_stable_distance"
"""Evidence against stable, not the canary."""

_WORDS = {
    "worse": "errors are worse",
    "not_worse": "errors are not worse",
    "distance": "predictions are others",
    "segment": "predictions of a segment are others",
    "unanswered": "requests stay unanswered",
    "shadow": "shadow answers are others",
    "quality": "losses are larger",
    "stable_distance": "stable's predictions are others",
}
_SUBJECTS = {"refused": "refusals", "slow": "slow answers"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One kind of evidence.

    Args:
        name: What it is evidence for.
        is_good: Whether it is for the canary.
        points: `x,y x,y ...`, as SVG has it.
        last: Its last value: logarithms of the odds at which a fair bet would have been won.
        y: Where its name stands.
    """

    name: str
    is_good: bool
    points: str
    last: float
    y: float


@dataclass(frozen=True, kw_only=True)
class EvidencePicture:
    """The picture, in pixels."""

    bottom: float
    limit: float
    needed: float
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]


def draw_evidence(
    points: Sequence[tuple[datetime, Mapping[str, float]]],
) -> EvidencePicture | None:
    """The picture of a verdict's numbers at several times; None if they tell of no evidence."""
    known = [(at, numbers) for at, numbers in points if NEEDED in numbers]
    if len(known) < 2:  # noqa: PLR2004 - a line
        return None
    names = sorted({name for _, numbers in known for name in evidence_names(numbers)})
    needed = known[-1][1][NEEDED]
    top = max(needed * 1.3, *(numbers.get(name, 0.0) for _, numbers in known for name in names))
    across = Scale(
        low=known[0][0].timestamp(),
        high=max(known[-1][0].timestamp(), known[0][0].timestamp() + 1),
        left=_LEFT,
        right=_RIGHT,
    )
    up = Scale(low=0.0, high=top, left=_BOTTOM, right=_TOP)
    lines = [
        Line(
            name=evidence_in_words(name),
            is_good=is_for_canary(name),
            points=" ".join(
                f"{across.place(at.timestamp())},{up.place(numbers[name])}"
                for at, numbers in known
                if name in numbers
            ),
            last=next(numbers[name] for _, numbers in reversed(known) if name in numbers),
            y=0.0,
        )
        for name in names
    ]
    return EvidencePicture(
        bottom=_BOTTOM,
        limit=up.place(needed),
        needed=needed,
        lines=tuple(_spread(lines, up)),
        ticks=time_ticks(across),
    )


def evidence_names(numbers: Mapping[str, float]) -> list[str]:
    """The numbers of a verdict that are evidence."""
    return [name for name in numbers if name.startswith(_PREFIX) and name != NEEDED]


def is_for_canary(name: str) -> bool:
    """Whether the evidence speaks for the canary."""
    return name.endswith("not_worse")


def evidence_in_words(name: str) -> str:
    """What the evidence with this name in a verdict's numbers is for."""
    rest = name.removeprefix(_PREFIX)
    if rest in _WORDS:
        return _WORDS[rest]
    subject, _, claim = rest.partition("_")
    return f"{_SUBJECTS.get(subject, subject)} are {claim.replace('_', ' ')}"


def _spread(lines: Sequence[Line], up: Scale) -> list[Line]:
    """The lines with places for their names that do not cover each other."""
    placed, lowest = [], _BOTTOM + _LETTERS
    for line in sorted(lines, key=lambda each: each.last):
        y = lowest = min(up.place(line.last), lowest - _LETTERS)
        placed.append(replace(line, y=y))
    return placed
