"""Leaves out of a spec what an older reader refuses, where a step does without it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.adapters.specs import schemas
from modelyard.domain.problem import Path as Place
from modelyard.domain.problem import format_path

_MODEL = frozenset({("canary",), ("description",), ("drift",), ("owner",), ("server",)})

LEFT_OUT: Mapping[str, frozenset[Place]] = {
    "Environment": frozenset({()}),
    "Model": _MODEL,
    "Record": frozenset({()}),
    "Release": frozenset({()}),
    "Repository": frozenset(
        (name,)
        for name in (
            *("bot", "forge", "forge_repository", "forge_uri", "metrics", "metrics_uri"),
            *("orchestrator", "placements", "reviewed_rules", "server_image", "unreviewed"),
            *("workflows", "workflows_uri"),
        )
    ),
}
"""The places of which no step of an older image needs a key that it does not know; () is all.

A new key elsewhere changes what training, evaluation or the artifact's check do, so an image that
does not know it must not run them.
"""

CHAMPION = _MODEL | {("data",), ("gate",), ("trainer",)}
"""The same of a model for the step `champion`: scoring needs task, target, outputs and artifact."""

_ANY = -1  # any item of a list

_NEEDED: Mapping[str, frozenset[Place]] = {
    # The order of environments says which one is production.
    "Environment": frozenset({("joins",), ("name",), ("promotes_from",)}),
    # Segments become a part of the artifact, and of the scores; windows are those of the profile.
    "Model": frozenset({("canary", "segments"), ("drift", "window_days")}),
    # A version that is left out of a held-out set would not count as one that was judged on it.
    "Record": frozenset({("held_out", _ANY, "name"), ("model",), ("version",)}),
    "Release": frozenset({("artifact",), ("environment",), ("model",), ("version",)}),
}
"""The exceptions from `LEFT_OUT`."""


@dataclass(frozen=True, kw_only=True)
class Readable:
    """What an older reader can be given.

    Args:
        document: The document without what it refuses.
        left_out: The places that were left out.
        refused: The first thing that it refuses and a step needs; None if it reads the document.
    """

    document: Any
    left_out: tuple[str, ...] = ()
    refused: str | None = None


def make_readable(
    kind: str,
    document: Any,
    rules: dict[str, Any],
    *,
    left_out: Collection[Place] | None = None,
) -> Readable:
    """A document as a reader with these rules takes it.

    Args:
        kind: The document's kind.
        document: The document, which is valid by today's schema.
        rules: The older JSON Schema of its kind.
        left_out: Instead of `LEFT_OUT`.
    """
    free = LEFT_OUT.get(kind, frozenset()) if left_out is None else left_out
    found, places = copy.deepcopy(document), list[str]()
    while True:  # ends: each round takes something away
        errors = schemas.schema_errors(rules, found)
        place, sentence = next(errors, ((), ""))
        if not sentence:
            return Readable(document=found, left_out=tuple(places))
        if not place or not _is_free(kind, place, found, free):
            what = f"{format_path(place)}: {sentence}" if place else sentence
            return Readable(document=document, refused=what)
        _take_away(found, place)
        places.append(format_path(place))


def _is_free(kind: str, place: Place, document: Any, free: Collection[Place]) -> bool:
    if not any(place[: len(each)] == each for each in free):
        return False
    # Neither a needed place, nor one with a needed one inside that says something.
    here = tuple(_ANY if isinstance(step, int) else step for step in place)
    return not any(
        here[: len(each)] == each
        or (each[: len(here)] == here and _is_there(document, (*place, *each[len(here) :])))
        for each in _NEEDED.get(kind, ())
    )


def _is_there(document: Any, place: Place) -> bool:
    for number, step in enumerate(place):
        if step == _ANY and isinstance(document, list):
            return any(_is_there(each, place[number + 1 :]) for each in document)
        try:
            document = document[step]
        except (LookupError, TypeError):
            return False
    return True


def _take_away(document: Any, place: Place) -> None:
    for step in place[:-1]:
        document = document[step]
    del document[place[-1]]
