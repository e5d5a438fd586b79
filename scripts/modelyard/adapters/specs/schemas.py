"""Checks documents against the JSON Schemas of the format, and says what is wrong with them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from modelyard.domain.problem import Path as Place
from modelyard.domain.problem import format_path
from modelyard.errors import join_first

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


def schema_folder() -> Path:
    """Where the schemas are: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[2]
    installed = package / "schemas"
    return installed if installed.is_dir() else package.parents[1] / "schemas"


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema of a kind."""
    text = (schema_folder() / f"{FILES[kind]}.schema.json").read_bytes()
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def _validator(kind: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(schema_of(kind), validate_formats=True)


def is_valid(kind: str, document: object) -> bool:
    """Whether the document matches the schema of its kind; fast."""
    return bool(_validator(kind).is_valid(document))


def spec_errors(kind: str, document: object) -> Iterator[tuple[Place, str]]:
    """Every place where the document breaks the schema of its kind, with a sentence about it."""
    for path, sentence in schema_errors(schema_of(kind), document):
        yield path, f"{format_path(path)}: {sentence}" if path else sentence


def schema_errors(rules: dict[str, Any], document: object) -> Iterator[tuple[Place, str]]:
    """Every place where the document breaks a JSON Schema, with a sentence about it.

    Raises:
        ValueError: They are no JSON Schema, or name another one, which is never fetched.
    """
    strict = jsonschema_rs.Draft202012Validator(
        rules, validate_formats=True, retriever=_fetch_nothing
    )
    if strict.is_valid(document):
        return
    # Imported here: it takes a tenth of a second, and documents are nearly always valid.
    from jsonschema import Draft202012Validator, FormatChecker
    from referencing import Registry

    formats = FormatChecker(["date"])
    formats.checks("date-time", ValueError)(_is_moment)  # its own needs another library
    alone: Any = Registry()  # without one it would fetch what is named
    words = Draft202012Validator(rules, registry=alone, format_checker=formats)
    found = [sentence for error in words.iter_errors(document) for sentence in _sentences(error)]
    # Python's `$` overlooks a newline at the end; the strict validator does not.
    yield from found or [(tuple(e.instance_path), e.message) for e in strict.iter_errors(document)]


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(f"{uri} is another schema, and none is fetched")


def _sentences(error: Any) -> Iterator[tuple[Place, str]]:
    """One sentence for each error, or for each key that should not be there."""
    here, rules = tuple(error.absolute_path), error.schema
    if error.validator == "additionalProperties":
        known = sorted(rules.get("properties", {}))
        for key in sorted(error.instance.keys() - set(known)):
            advice = _suggestion(key, known) or f"; known are {join_first(known, _LISTED)}"
            yield (*here, key), f"is not known here{advice}"
    elif error.validator == "required":
        key = error.message.split("'")[1]  # the error has it nowhere else
        meaning = rules["properties"].get(key, {}).get("description", "")
        yield here, f"{key} is missing: {meaning}".removesuffix(": ")
    elif (number := _meant_number(error)) is not None:
        yield here, f"{_shown(error.instance)} is text, not a number: write {number}"
    elif error.validator in _WORDS:
        yield here, f"{_shown(error.instance)} {_WORDS[error.validator](error)}"
    elif error.instance is None and here:
        yield here, f"{error.message.replace('None', 'null')}; leave the key out for its default"
    else:
        yield here, error.message.replace(repr(error.instance), _shown(error.instance), 1)


def _meant_number(error: Any) -> str | None:
    """The number that a text such as `.01` or `1%` stands for, where one belongs."""
    if error.validator != "type" or error.validator_value not in {"number", "integer"}:
        return None
    text = str(error.instance).strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None
    if not isinstance(error.instance, str) or not math.isfinite(number):
        return None
    if error.validator_value == "integer":
        return f"{number:.0f}" if number.is_integer() else None
    return f"{number:g}"


def _is_moment(value: object) -> bool:
    return not isinstance(value, str) or bool(datetime.fromisoformat(value))


def _unlike(error: Any) -> str:
    return f"does not fit: {error.schema.get('description', error.validator_value)}"


def _no_option(error: Any) -> str:
    options = [str(option) for option in error.validator_value]
    return (
        f"is not one of {join_first(options, _LISTED)}{_suggestion(str(error.instance), options)}"
    )


def _repeated(error: Any) -> str:
    items = error.instance
    return f"names {_shown(next(v for n, v in enumerate(items) if v in items[:n]))} twice"


# Where jsonschema's own message leaves out the value, the limit or what would be allowed.
_WORDS: Mapping[str, Callable[[Any], str]] = {
    "const": lambda error: f"must be {error.validator_value}",
    "enum": _no_option,
    "format": _unlike,
    "maxLength": lambda error: f"is too long; at most {error.validator_value} characters",
    "minItems": lambda error: f"has too few items; at least {error.validator_value}",
    "pattern": _unlike,
    "uniqueItems": _repeated,
}


def _suggestion(given: str, known: list[str]) -> str:
    close = get_close_matches(given, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
