"""Frozen dataclasses as JSON documents, checked when they come back."""

from __future__ import annotations

import json
import logging
import time
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from modelyard.domain.people import Person
from modelyard.errors import CannotAnswer, YardError

if TYPE_CHECKING:
    from cattrs.preconf.json import JsonConverter

T = TypeVar("T")

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_WARNINGS = 20.0
"""One pass reads the same documents many times."""

HINT = "a newer modelyard may have written it: upgrade, or restore the ref's last commit"

_warned: dict[str, float] = {}


class Unreadable(CannotAnswer):
    """A document exists but cannot be understood; reading it again does not help."""


def dump_json(value: object, kind: object) -> bytes:
    """The JSON document of a value: sorted keys, every field, ISO 8601 times, a last newline.

    Args:
        value: The value.
        kind: Its type; may be a union with None.
    """
    plain = _converter().unstructure(value, kind)
    return (json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def parse_json(
    document: bytes | None, kind: type[T] | object, where: str, *, hint: str = HINT
) -> T:
    """The value a document holds.

    Args:
        document: JSON bytes; None when there is none.
        kind: The type it must be.
        where: What the document is, for the message.
        hint: What a person can do about one that cannot be read.

    Raises:
        Unreadable: It is not JSON, or not of this type: damaged, or a newer modelyard wrote it.
    """
    if document is None:
        raise Unreadable(f"{where}: holds no document", hint=hint)
    try:
        return cast("T", _converter().structure(json.loads(document), cast("Any", kind)))
    except Exception as error:
        from cattrs import transform_error

        # cattrs raises groups of errors; json raises ValueError with a message of its own.
        why = "; ".join(transform_error(error)) if not isinstance(error, ValueError) else str(error)
        raise Unreadable(f"{where}: {why[:500]}", hint=hint) from error


def warn_left_out(error: YardError) -> None:
    """Warn that an unreadable document is left out, and do not repeat it for a while."""
    now = time.monotonic()
    if now - _warned.get(error.message, -SECONDS_BETWEEN_WARNINGS) < SECONDS_BETWEEN_WARNINGS:
        return
    _warned[error.message] = now
    logger.warning("left out, %s (%s)", error.message, error.hint)


@cache
def _converter() -> JsonConverter:
    """One converter for all: it compiles a function per type, and its import takes 50 ms."""
    from cattrs.preconf.json import make_converter

    # An unknown field is refused: it would vanish at the next write.
    converter = make_converter(forbid_extra_keys=True)
    # A name is all that is stored of a person.
    converter.register_unstructure_hook(Person, str)
    converter.register_structure_hook(Person, lambda name, _: Person.named(_text(name)))
    return converter


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a name")
    return value
