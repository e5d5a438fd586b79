"""Renders the format reference, one page for people, from the schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Node = Mapping[str, Any]

_HEADER = """\
<!-- Written by modelyard. Do not edit: change schemas/*.schema.json and run \
`modelyard schemas --write`. -->
# The formats

Each file of a checkout is one YAML document of one kind. The JSON Schemas in this folder are the
reference; this page shows them as tables. A key that is not listed is refused. A key that is left
out has its default. A key in **bold** is required if its parent is given. `[]` is each item of a
list.

Values are those of JSON: `no` and `2013-01-01` are text. Aliases, tags and duplicate keys are
refused. A document has at most 1 MiB and 32 levels.
"""


_TYPE_NAMES = {
    "boolean": "true or false",
    "integer": "whole number",
    "object": "mapping",
    "string": "text",
}


def render_reference(schemas: Mapping[str, Node]) -> str:
    """Return the page from the JSON Schema of each kind, by file name without its ending."""
    parts = [_HEADER, _overview(schemas)]
    parts += [_section(name, schema) for name, schema in sorted(schemas.items())]
    return "\n".join(parts)


def _overview(schemas: Mapping[str, Node]) -> str:
    rows = ["| Kind | File | Schema |", "| --- | --- | --- |"]
    for name, schema in sorted(schemas.items()):
        title, file = schema["title"], _parts(schema)[1]
        rows.append(f"| [{title}](#{title.lower()}) | `{file}` | [{name}]({name}.schema.json) |")
    return "\n".join(rows) + "\n"


def _section(name: str, schema: Node) -> str:
    meaning, file = _parts(schema)
    rows = [
        f"## {schema['title']}\n",
        f"{meaning}\n\nFile: `{file}`. Schema: [{name}.schema.json]({name}.schema.json).\n",
        "| Key | Value | Default | Meaning |",
        "| --- | --- | --- | --- |",
    ]
    rows += [_row(schema, *found) for found in _properties(schema, schema, "")]
    return "\n".join(rows) + "\n"


def _parts(schema: Node) -> tuple[str, str]:
    """Return what a kind is, and where its files are."""
    meaning, _, file = schema["description"].rpartition(" File: ")
    return meaning, file.rstrip(".")


def _properties(root: Node, node: Node, prefix: str) -> Iterator[tuple[str, Node, bool]]:
    """Yield every key below a node: its path, its resolved schema, and whether it is required."""
    required = node.get("required", ())
    for key, stated in node.get("properties", {}).items():
        found = _resolved(root, stated)
        yield f"{prefix}{key}", found, key in required
        yield from _properties(root, found, f"{prefix}{key}.")
        if "items" in found:
            yield from _properties(root, _resolved(root, found["items"]), f"{prefix}{key}[].")


def _resolved(root: Node, node: Node) -> Node:
    """Return the node merged with what it refers to; its own keys win."""
    if "$ref" not in node:
        return node
    target = root["$defs"][node["$ref"].removeprefix("#/$defs/")]
    beside = {key: value for key, value in node.items() if key != "$ref"}
    # A definition describes its values; the property that refers to it, their meaning.
    fits = {"fits": target["description"]} if "description" in target else {}
    return {**_resolved(root, target), **fits, **beside}


def _row(root: Node, path: str, node: Node, is_required: bool) -> str:  # noqa: FBT001 - a column
    key = f"**`{path}`**" if is_required else f"`{path}`"
    default = f"`{json.dumps(node['default'])}`" if "default" in node else ""
    cells = (key, _value(root, node), default, node.get("description", ""))
    # A backslash: Python 3.11 allows none inside an f-string's braces.
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _value(root: Node, node: Node) -> str:
    """Return the values that are allowed, in few words."""
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{option}`" for option in node["enum"])
    if "fits" in node:
        return str(node["fits"])
    if node.get("type") == "array":
        item = _resolved(root, node["items"])
        return "list" if "properties" in item else f"list: {_value(root, item)}"
    kinds: list[str] = node["type"] if isinstance(node["type"], list) else [node["type"]]
    return " or ".join(_TYPE_NAMES.get(kind, kind) for kind in kinds) + _limits(node)


def _limits(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if "exclusiveMinimum" in node:
        return f" above {node['exclusiveMinimum']}" + (f", at most {high}" if high else "")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", at least {low}"
    return f", at most {high}" if high is not None else ""
