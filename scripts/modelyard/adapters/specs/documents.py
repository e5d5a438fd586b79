"""Converts specs between bytes of YAML, JSON-shaped documents and frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache, partial
from math import isfinite
from operator import is_
from typing import TYPE_CHECKING, Any, TypeVar

from modelyard.adapters.specs.yaml_reader import LARGEST_INTEGER, Loaded, load_yaml
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import CannotAnswer
from modelyard.yaml_writer import HEADER, yaml_bytes

if TYPE_CHECKING:
    from cattrs import Converter

__all__ = [
    "API_VERSION",
    "KINDS",
    "Loaded",
    "build_spec",
    "document_of",
    "dump_documents",
    "dump_spec",
    "load_yaml",
    "prepare_readers",
    "read_spec",
]

API_VERSION = "modelyard/v1"
"""The format's version, first line of every spec."""

KINDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (Environment, HeldOut, Model, ModelVersion, Record, Release, Repository)
}
"""The class of each `kind`."""

# One writer per file: people write the other kinds, and read no warning in them.
_TOOL_KINDS = frozenset({"Record", "Release"})

T = TypeVar("T")


def build_spec(cls: type[T], document: object) -> T:
    """A frozen dataclass from its JSON-shaped document, with or without `apiVersion` and `kind`.

    Types are strict: `"5"` is no integer, and a date-time needs its time zone. Unknown keys are
    refused.

    Raises:
        CannotAnswer: The document does not have the class's shape.
    """
    fields = _without_header(cls, document)
    try:
        return _converter(detailed=False).structure(fields, cls)
    except Exception:  # noqa: BLE001 - the detailed converter says what went wrong
        return _build_with_reasons(cls, fields)


def document_of(thing: object) -> dict[str, Any]:
    """The JSON-shaped document of a dataclass: fields in order, mappings sorted, defaults left out.

    The seven kinds of spec start with `apiVersion` and `kind`.
    """
    fields: dict[str, Any] = _converter(detailed=False).unstructure(thing)
    kind = type(thing).__name__
    if KINDS.get(kind) is type(thing):
        return {"apiVersion": API_VERSION, "kind": kind, **fields}
    return fields


def read_spec(cls: type[T], text: bytes, *, name: str) -> T:
    """A spec from its bytes, without a check against its schema.

    Raises:
        CannotAnswer: The bytes are not YAML as `load_yaml` reads it, or not of this kind.
    """
    loaded = load_yaml(text, name=name)
    if loaded.problems:
        first = loaded.problems[0]
        raise CannotAnswer(
            f"{name}:{first.line}: {first.message}",
            hint="run `modelyard validate` for all problems",
        )
    try:
        return build_spec(cls, loaded.document)
    except CannotAnswer as error:
        hint = "run `modelyard validate` for all problems"
        raise CannotAnswer(f"{name}: {error.message}", hint=hint) from error


def dump_spec(kind: str, thing: object) -> bytes:
    """The bytes of one spec: the same value gives the same bytes, and `load_yaml` reads it back.

    Records and releases, which only the tool writes, start with `HEADER`.

    Args:
        kind: One of `KINDS`.
        thing: Its dataclass, or a document of it.

    Raises:
        CannotAnswer: A document does not have the kind's shape.
        ValueError: A value that JSON does not have, such as infinity.
    """
    spec = build_spec(KINDS[kind], thing) if isinstance(thing, Mapping) else thing
    body = yaml_bytes([_json_value(document_of(spec))], sort_keys=False)
    return HEADER + body if kind in _TOOL_KINDS else body


def dump_documents(documents: Iterable[Mapping[str, object]]) -> bytes:
    """The bytes of rendered documents: `HEADER`, then one after the other with every key sorted.

    Raises:
        ValueError: A value that JSON does not have, such as infinity.
    """
    return HEADER + yaml_bytes(map(_json_value, documents), sort_keys=True)


def prepare_readers() -> None:
    """Compile the reader of every kind, which takes 0.2 s of CPU time at its first use."""
    for cls in KINDS.values():
        _converter(detailed=False).get_structure_hook(cls)


def _without_header(cls: type, document: object) -> object:
    if not isinstance(document, Mapping) or "kind" not in document:
        return document
    if KINDS.get(cls.__name__) is not cls:
        return document
    if document["kind"] != cls.__name__ or document.get("apiVersion") != API_VERSION:
        found = f"{document.get('apiVersion')} {document['kind']}"
        raise CannotAnswer(f"expected {API_VERSION} {cls.__name__}, found {found}")
    return {key: value for key, value in document.items() if key not in {"apiVersion", "kind"}}


def _build_with_reasons(cls: type[T], fields: object) -> T:
    from cattrs import transform_error

    try:
        return _converter(detailed=True).structure(fields, cls)
    except Exception as error:
        found = transform_error(error, path=cls.__name__, format_exception=_reason)
        reasons = "; ".join(found)
        raise CannotAnswer(f"not the shape of a {cls.__name__}: {reasons}") from error


def _reason(error: BaseException, type_: type | None) -> str:
    from cattrs.v import format_exception

    return str(error) if type(error) in {TypeError, ValueError} else format_exception(error, type_)


@cache
def _converter(*, detailed: bool) -> Converter:
    """A strict converter; only the detailed one says why it failed, and it is slower."""
    from cattrs import Converter
    from cattrs.cols import is_mapping

    converter = Converter(
        detailed_validation=detailed,
        omit_if_default=True,
        forbid_extra_keys=True,
        unstruct_collection_overrides={tuple: list},
    )
    for cls, hook in _SCALARS.items():
        converter.register_structure_hook(cls, hook)
    # Otherwise the hook for str would take every member of an enumeration.
    converter.register_structure_hook(StrEnum, lambda value, cls: cls(value))
    # Parameters hold any JSON value; they stay as they are.
    converter.register_structure_hook_func(partial(is_, object), lambda value, _: value)
    converter.register_unstructure_hook(datetime, _utc_text)
    converter.register_unstructure_hook(date, lambda value: value.isoformat())
    converter.register_unstructure_hook_factory(
        is_mapping,
        lambda _: lambda found: {k: converter.unstructure(found[k]) for k in sorted(found)},
    )
    return converter


def _exactly(cls: type[T]) -> Callable[[object, object], T]:
    def checked(value: object, _: object) -> T:
        if type(value) is not cls:
            raise TypeError(f"{value!r} is not a {cls.__name__}")
        return value

    return checked


def _integer(value: object, _: object) -> int:
    if type(value) is int or (type(value) is float and value.is_integer()):
        return int(value)
    raise TypeError(f"{value!r} is not a whole number")


def _number(value: object, _: object) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    raise TypeError(f"{value!r} is not a number")


def _day(value: object, _: object) -> date:
    if type(value) is not str:
        raise TypeError(f"{value!r} is not a day written as text")
    return date.fromisoformat(value)


def _moment(value: object, _: object) -> datetime:
    if type(value) is not str:
        raise TypeError(f"{value!r} is not a time written as text")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"{value} has no time zone: write {value}Z")
    return moment.astimezone(UTC)


_SCALARS: Mapping[type, Callable[[object, object], object]] = {
    str: _exactly(str),
    bool: _exactly(bool),
    int: _integer,
    float: _number,
    date: _day,
    datetime: _moment,
}


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _json_value(value: object) -> Any:
    """The same value in JSON's types; ValueError where JSON has none."""
    if isinstance(value, Mapping):
        return {_checked_key(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} cannot be written: JSON has no such number")
    if type(value) is int and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"{value} cannot be written: above {LARGEST_INTEGER} JSON readers round")
    if value is None or isinstance(value, (str, bool, int, float)):
        return str(value) if isinstance(value, str) else value
    raise ValueError(f"{value!r} cannot be written: JSON has no {type(value).__name__}")


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"key {key!r} cannot be written: keys are text")  # noqa: TRY004 - one kind for all
    return str(key)
