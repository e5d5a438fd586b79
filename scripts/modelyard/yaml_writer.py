"""Writes YAML that every reader takes for the same values: the one dumper of all that we write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

HEADER = b"# Written by modelyard. Do not edit: change its inputs and run modelyard again.\n"
"""First line of every file that the tool alone writes."""

_WIDTH = 100


class _Dumper(yaml.CSafeDumper):
    """Block style without aliases; quotes around text that some reader takes for something else."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_text(self, value: str) -> yaml.ScalarNode:
        """Text of several lines as a block, other text with quotes only where it needs them."""
        style: str | None = None
        if _OTHER_BREAK.search(value):
            style = '"'  # escaped: YAML 1.1 ends a line there, YAML 1.2 does not
        elif "\n" in value:
            style = "|"
        elif _READ_AS_ANOTHER_TYPE.match(value.replace("_", "")):
            style = "'"
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
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
    text: bytes = yaml.dump_all(
        whole,
        Dumper=_Dumper,
        default_flow_style=False,
        allow_unicode=True,
        encoding="utf-8",
        explicit_start=len(whole) > 1,
        sort_keys=sort_keys,
        width=_WIDTH,
    )
    return text
