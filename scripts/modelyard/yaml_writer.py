"""Writes YAML that every reader takes for the same values: the one dumper of all that we write."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
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
    whole, written = list(documents), BytesIO()
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
