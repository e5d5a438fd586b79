"""Holds each request and each answer of the fake to a slice of GitHub's OpenAPI document.

jsonschema-rs checks both: a library that reads the whole of OpenAPI takes longer to import than a
test takes, and a third of a second for a page of a hundred pull requests.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from fakes.github.contract.patches import patch

SLICE = Path(__file__).parent / "slice.json"

# A branch or a path may have slashes, which GitHub takes as they come.
GREEDY = {"path": ".*", "ref": ".+", "branch": ".+", "basehead": ".+"}


class BrokenContract(Exception):  # noqa: N818 - what happened, in the words of the tests
    """A request or an answer is not what GitHub's document allows."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation of the document: its method, the template of its path, and its own text."""

    method: str
    template: str
    node: dict[str, Any]


@cache
def document() -> dict[str, Any]:
    """Return the slice."""
    slice_: dict[str, Any] = patch(json.loads(SLICE.read_text(encoding="utf-8")))
    return slice_


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    found = []
    for template in sorted(document()["paths"], key=lambda path: (path.count("{"), -len(path))):
        pattern = "".join(
            f"(?P<{part[1:-1]}>{GREEDY.get(part[1:-1], '[^/]+')})"
            if part.startswith("{")
            else re.escape(part)
            for part in re.split(r"(\{[^}]*\})", template)
        )
        found.append((re.compile(pattern), template))
    return tuple(found)


def find_operation(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """Return the operation that a request is for and the names in its path, or None."""
    for pattern, template in _patterns():
        match = pattern.fullmatch(path)
        node = match and document()["paths"][template].get(method.lower())
        if match and node:
            names = {name: unquote(value) for name, value in match.groupdict().items()}
            return Operation(method=method, template=template, node=node), names
    return None


def check_request(
    operation: Operation, names: dict[str, str], *, query: dict[str, str], body: bytes
) -> None:
    """Check a request.

    Raises:
        BrokenContract: A parameter or the body breaks the document, or the request has a
            parameter or a property that the document does not know: GitHub would ignore it.
    """
    given = {"path": names, "query": query}
    known = {"path": set(), "query": set()}
    for parameter in _parameters(operation):
        name, values = parameter["name"], given[parameter["in"]]
        known[parameter["in"]].add(name)
        if name in values:
            value = _typed(values[name], parameter["schema"])
            _check(_schema_validator(json.dumps(parameter["schema"])), value, f"{name}: ")
        elif parameter.get("required"):
            raise BrokenContract(f"the parameter {name} is missing")
    unknown = query.keys() - known["query"]
    if unknown:
        raise BrokenContract(f"there is no parameter {', '.join(sorted(unknown))}")
    _check_body(operation, body)


def _typed(text: str, schema: dict[str, Any]) -> Any:
    """Return the value that a text in a URL stands for."""
    if schema.get("type") == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return (
        {"true": True, "false": False}.get(text, text)
        if schema.get("type") == "boolean"
        else (text)
    )


def _check_body(operation: Operation, body: bytes) -> None:
    described = operation.node.get("requestBody")
    if not body:
        if described and described.get("required"):
            raise BrokenContract("the body is missing")
        return
    if described is None:
        raise BrokenContract("this operation takes no body")
    schema = described["content"]["application/json"]["schema"]
    value = json.loads(body)
    _check(_schema_validator(json.dumps(schema)), value, "")
    if isinstance(value, dict):
        unknown = value.keys() - _property_names(schema)
        if unknown:
            raise BrokenContract(f"the body has no property {', '.join(sorted(unknown))}")


def _check(validator: jsonschema_rs.Validator, value: Any, before: str) -> None:
    for error in validator.iter_errors(value):
        where = "/".join(str(part) for part in error.instance_path)
        said = error.message  # begins with the value and ends with what is wrong with it
        short = said if len(said) <= 300 else f"{said[:120]} ... {said[-120:]}"
        raise BrokenContract(f"{before}{where or 'it'}: {short}")


def check_answer(operation: Operation, status: int, body: Any) -> None:
    """Check the body of an answer.

    Raises:
        BrokenContract: It breaks the document. A refusal that the document does not list for this
            operation is checked as the refusals that it does list.
    """
    validator = _answer_validator(operation.method.lower(), operation.template, status)
    _check(validator, body, f"answer {status}: ")


@cache
def _answer_validator(method: str, template: str, status: int) -> jsonschema_rs.Validator:
    answers = document()["paths"][template][method]["responses"]
    answer = answers.get(str(status), {})
    if "$ref" in answer:
        answer = document()["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
    schema: Any = answer.get("content", {}).get("application/json", {}).get("schema")
    if schema is None and status >= 400:  # many refusals are not described
        schema = {"$ref": "#/components/schemas/basic-error"}
    elif schema is None:
        schema = {"enum": [None]} if str(status) in answers else {"not": {}}
    return _schema_validator(json.dumps(schema))


@cache
def _schema_validator(schema: str) -> jsonschema_rs.Validator:
    whole = {
        "components": {"schemas": _json_schemas()},
        "allOf": [_json_schema(json.loads(schema))],
    }
    return jsonschema_rs.Draft7Validator(whole, validate_formats=True, ignore_unknown_formats=True)


@cache
def _json_schemas() -> dict[str, Any]:
    return {
        name: _json_schema(schema) for name, schema in document()["components"]["schemas"].items()
    }


def _json_schema(node: Any) -> Any:
    """Return a schema of OpenAPI 3.0 as JSON Schema, which has no `nullable`."""
    if isinstance(node, list):
        return [_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _json_schema(value) for key, value in node.items() if key != "nullable"}
    if node.get("nullable") is True:
        return {"anyOf": [{"type": "null"}, changed]}
    return changed


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    known = document()["components"]["parameters"]
    return [
        known[one["$ref"].rsplit("/", 1)[1]] if "$ref" in one else one
        for one in operation.node.get("parameters", ())
    ]


def _property_names(schema: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return _property_names(
            document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        )
    names = set(schema.get("properties", ()))
    for key in ("oneOf", "anyOf", "allOf"):
        for one in schema.get(key, ()):
            names |= _property_names(one)
    return names
