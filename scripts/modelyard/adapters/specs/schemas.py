"""The format reference, asked: is this document of its kind, and if not, why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from modelyard.domain.problem import Path as Place
from modelyard.domain.problem import format_path

FILES: Mapping[str, str] = {
    "Environment": "environment",
    "HeldOut": "held-out",
    "Model": "model",
    "ModelVersion": "model-version",
    "Record": "record",
    "Release": "release",
    "Repository": "repository",
}
"""The schema's file name by kind, without `.schema.json`."""

_SHOWN = 60  # characters of a value in a message
_LISTED = 12  # names in a message


def folder() -> Path:
    """Where the schemas are: inside the installed package, or beside the source in a checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parents[1] / "schemas"


@cache
def schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind."""
    text = (folder() / f"{FILES[kind]}.schema.json").read_bytes()
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def _validator(kind: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema(kind), validate_formats=True)


def accepts(kind: str, document: object) -> bool:
    """Whether the document is of its kind: the quick answer."""
    return bool(_validator(kind).is_valid(document))


def reasons(kind: str, document: object) -> Iterator[tuple[Place, str]]:
    """Every place where the document is not of its kind, with a sentence about it."""
    for path, words in explain(schema(kind), document):
        yield path, f"{format_path(path)}: {words}" if path else words


def explain(rules: dict[str, Any], document: object) -> Iterator[tuple[Place, str]]:
    """Every place where the document breaks a JSON Schema, with a sentence about it."""
    validator = jsonschema_rs.Draft202012Validator(rules, validate_formats=True)
    for error in validator.iter_errors(document):
        node = _node(rules, error.schema_path[:-1])
        yield from _said(error, node, tuple(error.instance_path))


def _said(error: Any, node: Mapping[str, Any], here: Place) -> Iterator[tuple[Place, str]]:
    """One problem an error; one a key for keys that should not be there."""
    if error.kind.name == "additionalProperties":
        for key in error.kind.unexpected:
            yield (*here, key), _unknown(key, sorted(node.get("properties", {})))
    elif error.kind.name == "required":
        key = error.kind.property
        meaning = node.get("properties", {}).get(key, {}).get("description", "")
        yield here, f"{key} is missing: {meaning}" if meaning else f"{key} is missing"
    else:
        words = _WORDS.get(error.kind.name, _otherwise)
        yield here, f"{_shown(error.instance)} {words(error, node)}"


def _unknown(key: str, known: list[str]) -> str:
    close = get_close_matches(key, known, n=1)
    if close:
        return f"is not known here; did you mean {close[0]}?"
    return f"is not known here; known are {_listed(known)}"


def _type(error: Any, _: Mapping[str, Any]) -> str:
    if error.instance is None and error.instance_path:
        return (
            f"stands for nothing, but {_types(error)} is needed; leave the key out for its default"
        )
    return f"is not {_types(error)}"


def _types(error: Any) -> str:
    kinds: list[str] = (
        error.kind.value if isinstance(error.kind.value, list) else [error.kind.value]
    )
    return " or ".join(_TYPES.get(kind, kind) for kind in kinds)


def _enum(error: Any, _: Mapping[str, Any]) -> str:
    options = [str(option) for option in error.kind.value]
    close = get_close_matches(str(error.instance), options, n=1)
    return f"is not one of {_listed(options)}" + (f"; did you mean {close[0]}?" if close else "")


def _pattern(_: Any, node: Mapping[str, Any]) -> str:
    return f"does not fit: {node.get('description', node.get('pattern'))}"


def _otherwise(error: Any, _: Mapping[str, Any]) -> str:
    return f"breaks the rule {error.kind.name}: {error.kind.value}"


_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "nothing",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}

_WORDS: Mapping[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "format": _pattern,
    "const": lambda error, _: f"must be {error.kind.value}",
    "minimum": lambda error, _: f"is too small; at least {error.kind.value}",
    "maximum": lambda error, _: f"is too large; at most {error.kind.value}",
    "exclusiveMinimum": lambda error, _: f"is too small; it must be above {error.kind.value}",
    "minItems": lambda error, _: f"has too few items; at least {error.kind.value}",
    "minLength": lambda error, _: f"is too short; at least {error.kind.value}",
    "maxLength": lambda error, _: f"is too long; at most {error.kind.value} characters",
    "uniqueItems": lambda error, _: f"names {_shown(_repeated(error.instance))} twice",
}


def _repeated(items: list[Any]) -> object:
    return next((item for index, item in enumerate(items) if item in items[:index]), None)


def _node(root: Mapping[str, Any], path: list[str | int]) -> Mapping[str, Any]:
    """The part of the schema that an error points at."""
    node: Any = root
    for step in path:
        node = node[step]
    return node if isinstance(node, dict) else {}


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _listed(names: list[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
