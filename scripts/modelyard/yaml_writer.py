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
        style = "|" if "\n" in value else None
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
# PyYAML reads these as text, so it would not quote them. YAML 1.1 and Go's reader, which is
# Kubernetes' own, take them for truth values, numbers (`+3e5`, `0o7`, `1_0e5`) or days (2026-1-2).
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[yYnN]\Z"), list("yYnN"))
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""[-+]?(?:
            0[xXoObB][\da-fA-F_]+
            |(?:\.[\d_]+|\d[\d_]*(?:\.[\d_]*)?)(?:[eE][-+]?[\d_]+)?
            |\d{4}-\d\d?-\d\d?
        )\Z""",
        re.VERBOSE | re.ASCII,
    ),
    list("-+.0123456789"),
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
