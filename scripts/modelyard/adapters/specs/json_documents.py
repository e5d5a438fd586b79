"""Frozen dataclasses as JSON documents, checked when they come back."""

from __future__ import annotations

import json
import logging
import time
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from modelyard.errors import CannotAnswer, YardError

if TYPE_CHECKING:
    from cattrs.preconf.json import JsonConverter

T = TypeVar("T")

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_WARNINGS = 20.0
"""One look reads the same documents many times."""

HINT = "a newer modelyard may have written it: upgrade, or restore the ref's last commit"

_warned: dict[str, float] = {}


class Unreadable(CannotAnswer):
    """A document is there, and what it says is unknown; asking again does not help."""


def dumped(value: object, kind: object) -> bytes:
    """The document of a value: sorted keys, every field, times in ISO 8601, a newline at the end.

    Args:
        value: The value.
        kind: Its type; may be a union with None.
    """
    told = _converter().unstructure(value, kind)
    return (json.dumps(told, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def loaded(document: bytes | None, kind: type[T] | object, where: str) -> T:
    """The value a document holds.

    Args:
        document: JSON bytes; None when there is none.
        kind: The type it must be.
        where: What the document is, for the message.

    Raises:
        Unreadable: It is not JSON, or not of this type: damaged, or a newer modelyard wrote it.
    """
    if document is None:
        raise Unreadable(f"{where}: holds no document", hint=HINT)
    try:
        return cast("T", _converter().structure(json.loads(document), cast("Any", kind)))
    except Exception as error:
        from cattrs import transform_error

        why = "; ".join(transform_error(error)) if not isinstance(error, ValueError) else str(error)
        raise Unreadable(f"{where}: {why[:500]}", hint=HINT) from error


def leave_out(error: YardError) -> None:
    """Warn that what cannot be read is left out, and not again for a while."""
    now = time.monotonic()
    if now - _warned.get(error.message, -SECONDS_BETWEEN_WARNINGS) < SECONDS_BETWEEN_WARNINGS:
        return
    _warned[error.message] = now
    logger.warning("left out, %s (%s)", error.message, error.hint)


@cache
def _converter() -> JsonConverter:
    """One for all: it compiles a function a type, and importing it costs 50 ms."""
    from cattrs.preconf.json import make_converter

    # A field nobody here knows must not vanish at the next write.
    return make_converter(forbid_extra_keys=True)
