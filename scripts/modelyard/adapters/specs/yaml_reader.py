"""Reads YAML as JSON-shaped values; refuses the format's traps and knows every value's line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from modelyard.domain.problem import Path, Problem

MAX_BYTES = 1 << 20
"""Largest document that is read."""

# Far deeper than any spec; every reader recurses as deep as the text.
MAX_DEPTH = 32
"""Deepest nesting that is read."""

LARGEST_INTEGER = 2**53 - 1
"""Every JSON reader keeps integers up to here exactly (RFC 8259, section 6)."""

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""JSON's numbers and no others: `0o17`, `1_000`, `.5`, `12:30` and `.inf` are text."""

_CHECK = "yaml"
_CONFLICT = re.compile(rb"^<{7} ", re.MULTILINE)
"""Where Git left two versions of a part, one below the other."""
# A key that starts with one of these is text, unless it is one of _WORDS.
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NUMBER_STARTS = frozenset("-0123456789")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_DIGITS = 16  # of 2**53 - 1; int() of far more digits would be slow


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A document that was read.

    Args:
        document: Dicts, lists, strings, numbers, booleans, None; None where unreadable.
        problems: Everything that was refused, in reading order, lines included.
        text: The bytes it was read from.
    """

    document: Any
    problems: tuple[Problem, ...]
    text: bytes

    @cached_property
    def _lines(self) -> dict[Path, int]:
        return dict(_positions(self.text))

    def line_of(self, path: Path) -> int:
        """Line, from 1, of the key or list item at `path`, or of the nearest place above it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


def load_yaml(text: bytes, *, name: str) -> Loaded:
    """Read one YAML document as JSON would be read; never raises.

    - Plain scalars are null, true, false or a number where JSON says so, else text: `no`, `on`,
      `2013-01-01` and `1:30` are text.
    - Duplicate keys, keys that are not text, tags, aliases, merge keys, a second document, numbers
      that JSON readers would round and anything above `MAX_BYTES` or `MAX_DEPTH` are refused.

    Args:
        text: UTF-8 bytes.
        name: The file's name, for the problems.
    """
    if len(text) > MAX_BYTES:
        message = f"holds {len(text):,} bytes; at most {MAX_BYTES:,} are read"
        return Loaded(
            document=None,
            problems=(Problem(file=name, message=message, check=_CHECK, line=1),),
            text=b"",
        )
    reader = _Reader(text, name)
    document = reader.document()
    return Loaded(document=document, problems=tuple(reader.problems), text=text)


class _StopReading(Exception):  # noqa: N818 - not an error: the problem is already recorded
    """Nothing after this point can be read."""


class _Reader:
    """One pass over libyaml's events, which is faster and safer than its nodes.

    Composing nodes recurses in C without a limit and expands aliases; constructing them costs
    three times as much again.
    """

    def __init__(self, text: bytes, name: str) -> None:
        self.problems: list[Problem] = []
        self._name = name
        self._text = text
        self._has_gap = False

    def document(self) -> Any:
        # libyaml reads UTF-16 too; other tools that read specs do not.
        if self._text.startswith(_UTF16):
            self._refuse("is not readable text: write it as UTF-8", 1)
            return None
        try:
            self._next: Callable[[], Any] = CParser(self._text).get_event
            value = self._only_document()
        except _StopReading:
            return None
        except yaml.YAMLError as error:
            self._refuse(*_syntax(error, self._text))
            return None
        return None if self._has_gap else value

    def _only_document(self) -> Any:
        self._next()
        if type(self._next()) is StreamEndEvent:
            self._refuse("is empty", 1)
            return None
        value = self._value(self._next(), 1)
        self._next()
        event = self._next()
        if type(event) is DocumentStartEvent:
            self._refuse("holds a second document; one file holds one", _line(event))
        return value

    def _value(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if kind is AliasEvent:
            self._has_gap = True
            message = f"alias *{event.anchor} is not read: write the value where it is needed"
            self._refuse(message, _line(event))
            return None
        if event.tag is not None:
            self._refuse_tag(event)
        if depth > MAX_DEPTH:
            self._refuse(f"is nested deeper than {MAX_DEPTH} levels", _line(event))
            raise _StopReading
        return self._mapping(depth) if kind is MappingStartEvent else self._list(depth)

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        following, scalar = self._next, self._scalar
        while type(event := following()) is not MappingEndEvent:
            # Nearly every key is a plain word and most values are scalars: not calling a method for
            # them saves a tenth of the time.
            if (
                type(event) is not ScalarEvent
                or event.tag is not None
                or (key := event.value) in _WORDS
                or key[0] not in _LETTERS
            ):
                key = self._key(event, depth)
            value = following()
            if key in found:
                self._refuse(f"key {key!r} is there twice", _line(event))
            is_scalar = type(value) is ScalarEvent
            found[key] = scalar(value) if is_scalar else self._value(value, depth + 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while type(event := self._next()) is not SequenceEndEvent:
            found.append(self._value(event, depth + 1))
        return found

    def _key(self, event: Any, depth: int) -> str:
        is_scalar = type(event) is ScalarEvent
        key = self._scalar(event) if is_scalar else self._value(event, depth + 1)
        if key == "<<" and event.implicit[0]:
            self._refuse("merge keys (<<) are not read: write the keys out", _line(event))
        elif type(key) is not str:
            self._refuse("a key that is not text: put it in quotes", _line(event))
        return event.value if is_scalar else ""

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.tag is not None:
            self._refuse_tag(event)
        elif event.implicit[0]:
            if text[:1] in _NUMBER_STARTS and (match := NUMBER.fullmatch(text)):
                return self._number(text, match, event)
            return _WORDS.get(text, text)
        return text

    def _number(self, text: str, match: re.Match[str], event: Any) -> int | float:
        if match[1] is None and match[2] is None and len(text) <= _DIGITS + 1:
            whole = int(text)
            if abs(whole) <= LARGEST_INTEGER:
                return whole
        elif match[1] is not None or match[2] is not None:
            number = float(text)
            if abs(number) != float("inf"):
                return number
        shown = text if len(text) <= _DIGITS + 8 else f"{text[:_DIGITS]}..."
        self._has_gap = True
        self._refuse(f"number {shown} is too large; put text in quotes", _line(event))
        return 0

    def _refuse_tag(self, event: Any) -> None:
        self._refuse(f"tag {event.tag} is not read: values have JSON's types", _line(event))

    def _refuse(self, message: str, line: int) -> None:
        self.problems.append(Problem(file=self._name, message=message, check=_CHECK, line=line))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _syntax(error: yaml.YAMLError, text: bytes) -> tuple[str, int]:
    """What is wrong with the text, in libyaml's words, and the line it is about."""
    if found := _CONFLICT.search(text):
        line = text[: found.start()].count(b"\n") + 1
        return "has an unsettled merge conflict: edit it, then git add it", line
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        context = f" ({error.context})" if error.context else ""
        line = mark.line + 1 if mark is not None else 1
        return f"is not YAML: {error.problem}{context}", line
    position = getattr(error, "position", 0)
    reason = getattr(error, "reason", error)
    return f"is not readable text: {reason}", text[:position].count(b"\n") + 1


def _positions(text: bytes) -> Iterator[tuple[Path, int]]:
    """Every path with its line, as far as the text can be read."""
    try:
        following = CParser(text).get_event
        while event := following():
            if type(event) in {ScalarEvent, MappingStartEvent, SequenceStartEvent}:
                yield from _below(following, event, ())
                return
    except (yaml.YAMLError, _StopReading):
        return


def _below(following: Callable[[], Any], event: Any, path: Path) -> Iterator[tuple[Path, int]]:
    if len(path) > MAX_DEPTH:
        raise _StopReading
    if type(event) is MappingStartEvent:
        while type(key := following()) is not MappingEndEvent:
            place = (*path, str(getattr(key, "value", "")))
            yield place, _line(key)
            yield from _below(following, following(), place)
    elif type(event) is SequenceStartEvent:
        index = 0
        while type(item := following()) is not SequenceEndEvent:
            yield (*path, index), _line(item)
            yield from _below(following, item, (*path, index))
            index += 1
