"""Writes YAML that every reader takes for the same values: the one dumper of all that we write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from io import BytesIO
from typing import Any

from yaml._yaml import CEmitter
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from yaml.nodes import ScalarNode
from yaml.representer import SafeRepresenter
from yaml.resolver import Resolver

HEADER = b"# Written by modelyard. Do not edit: change its inputs and run modelyard again.\n"
"""First line of every file that the tool alone writes."""

_WIDTH = 100


class _Scalars(SafeRepresenter, Resolver):
    """The text of values, in quotes where some reader takes it for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def represent_text(scalars: SafeRepresenter, value: str) -> ScalarNode:
    """Text of several lines as a block, other text with quotes only where it needs them."""
    style: str | None = None
    if _OTHER_BREAK.search(value):
        style = '"'  # escaped: YAML 1.1 ends a line there, YAML 1.2 does not
    elif "\n" in value:
        style = "|"
    elif _READ_AS_ANOTHER_TYPE.match(value.replace("_", "")):
        style = "'"
    return scalars.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Scalars.add_representer(str, represent_text)
_OTHER_BREAK = re.compile("[\x85\u2028\u2029]")
# PyYAML reads these as text, so it would not quote them. YAML 1.1 and Go's reader, which is
# Kubernetes' own, take them for truth values, numbers (`+3e5`, `0o7`) or times (2026-1-2), and drop
# every underscore before they look for a number (`1_0e5`, `-_5`).
_READ_AS_ANOTHER_TYPE = re.compile(
    r"""(?:
        [yYnN]
        |[-+]?0[xXoObB][\da-fA-F]+
        |[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?
        |\d{4}-\d\d?-\d\d?(?:[Tt \t].*)?
    )\Z""",
    re.VERBOSE | re.ASCII,
)


def yaml_bytes(documents: Iterable[object], *, sort_keys: bool) -> bytes:
    """The documents as UTF-8; the same values always give the same bytes.

    Args:
        documents: Dicts, lists, text, numbers, booleans and None.
        sort_keys: Whether every mapping is sorted by key; otherwise it keeps its own order.
    """
    whole = list(documents)
    try:
        return "".join(_pieces(whole, sort_keys=sort_keys)).encode()
    except _NeedsLibyaml:
        return _by_libyaml(whole, sort_keys=sort_keys)


class _NeedsLibyaml(Exception):  # noqa: N818 - no error
    """Libyaml alone writes it: a document that is one value, a key that is no short text."""


def _pieces(documents: list[object], *, sort_keys: bool) -> Iterator[str]:
    """The documents as libyaml would write them: it gives each text, and this the lines around it.

    Manifests are short texts in mappings, most of them seen before. An event of libyaml for each
    takes five times as long.
    """
    for document in documents:
        if type(document) not in _HOLDERS or not document:
            raise _NeedsLibyaml
        if len(documents) > 1:
            yield "---\n"
        yield from _lines(document, "", "", sort_keys=sort_keys)


def _lines(value: Any, first: str, rest: str, *, sort_keys: bool) -> Iterator[str]:
    """The lines of a mapping or a list that is not empty.

    Args:
        value: It.
        first: What stands before the first line.
        rest: The spaces before the others.
        sort_keys: See `yaml_bytes`.
    """
    is_mapping = type(value) is dict
    items = (sorted(value.items()) if sort_keys else value.items()) if is_mapping else value
    begin = first
    for each in items:
        key, item = each if is_mapping else (None, each)
        head = f"{begin}{_key_text(key)}:" if is_mapping else f"{begin}-"
        if type(item) not in _HOLDERS:
            text = _text(item) if type(item) in _PLAIN else _text.__wrapped__(item)
            if text is None or (len(head) + len(text) >= _WIDTH and " " in text):
                yield begin + _placed(key, item, len(rest))[len(rest) :]
            else:
                yield f"{head} {text}\n"
        elif not item:
            yield f"{head} {'{}' if type(item) is dict else '[]'}\n"
        elif is_mapping:
            yield f"{head}\n"
            # A list in a mapping stands as far left as its key.
            inner = f"{rest}  " if type(item) is dict else rest
            yield from _lines(item, inner, inner, sort_keys=sort_keys)
        else:
            yield from _lines(item, f"{head} ", f"{rest}  ", sort_keys=sort_keys)
        begin = rest


@lru_cache(maxsize=4096, typed=True)
def _text(value: object) -> str | None:
    """How libyaml writes a value in one line; None if it takes more."""
    text = _by_libyaml([[value]], sort_keys=False).decode().removeprefix("- ").removesuffix("\n")
    return None if "\n" in text else text


@lru_cache(maxsize=4096, typed=True)
def _key_text(key: object) -> str:
    """How libyaml writes a key in one line."""
    if type(key) is not str:
        raise _NeedsLibyaml
    text = _by_libyaml([{key: None}], sort_keys=False).decode().removesuffix(": null\n")
    if "\n" in text:
        raise _NeedsLibyaml
    return text


@lru_cache(maxsize=4096, typed=True)
def _placed(key: str | None, value: object, indent: int) -> str:
    """How libyaml writes a value in several lines, with its key or a dash, so far to the right."""
    document: object = {"k": [value]} if key is None else {key: value}
    for _ in range(indent // 2):
        document = {"k": document}
    lines = _by_libyaml([document], sort_keys=False).decode().split("\n")
    if lines[-2] == "...":  # the value's last lines are empty, and the document ends
        raise _NeedsLibyaml
    return "\n".join(lines[indent // 2 + (key is None) :])


def _by_libyaml(whole: list[object], *, sort_keys: bool) -> bytes:
    """The documents as libyaml writes them."""
    written = BytesIO()
    emitter = CEmitter(written, allow_unicode=True, encoding="utf-8", width=_WIDTH)
    emitter.emit(StreamStartEvent(encoding="utf-8"))
    for document in whole:
        emitter.emit(DocumentStartEvent(explicit=len(whole) > 1))
        _emit(document, emitter.emit, sort_keys=sort_keys)
        emitter.emit(DocumentEndEvent(explicit=False))
    emitter.emit(StreamEndEvent())
    return written.getvalue()


def _emit(value: object, emit: Callable[[Event], None], *, sort_keys: bool) -> None:
    """Send the events of a value to libyaml.

    PyYAML makes a tree of nodes first, and asks of each how it would be read: many times the work.
    """
    if type(value) is dict:
        emit(_MAPPING)
        for key, item in sorted(value.items()) if sort_keys else value.items():
            emit(_scalar(key))
            # Most values are text: not calling this function for them saves a third of the time.
            emit(_scalar(item)) if type(item) is str else _emit(item, emit, sort_keys=sort_keys)
        emit(_MAPPING_END)
    elif type(value) is list or type(value) is tuple:
        emit(_LIST)
        for item in value:
            _emit(item, emit, sort_keys=sort_keys)
        emit(_LIST_END)
    else:  # 0.0 equals -0.0
        emit(_scalar.__wrapped__(value) if type(value) is float else _scalar(value))


@lru_cache(maxsize=4096, typed=True)
def _scalar(value: object) -> ScalarEvent:
    """A scalar, and whether its text is read as the same value plain, and in quotes."""
    node = _SCALARS.represent_data(value)
    plain = _SCALARS.resolve(ScalarNode, node.value, (True, False))
    quoted = _SCALARS.resolve(ScalarNode, node.value, (False, True))
    implicit = (node.tag == plain, node.tag == quoted)
    return ScalarEvent(None, node.tag, implicit, node.value, style=node.style)


_MAPPING = MappingStartEvent(None, None, implicit=True, flow_style=False)
_MAPPING_END = MappingEndEvent()
_LIST = SequenceStartEvent(None, None, implicit=True, flow_style=False)
_LIST_END = SequenceEndEvent()
_SCALARS: Any = _Scalars()
_HOLDERS = frozenset({dict, list, tuple})
_PLAIN = frozenset({str, int, bool, type(None)})
