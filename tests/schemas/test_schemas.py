from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import jsonschema
import pytest

from modelyard.adapters.specs import schemas
from modelyard.adapters.specs.documents import KINDS, document_of, load_yaml
from modelyard.commands.output.schema_reference import render_reference
from modelyard.domain.checks.metrics import METRICS
from modelyard.domain.specs.names import NAME, is_version

HERE = Path(__file__).parent
ALL = [schemas.schema_of(kind) for kind in sorted(KINDS)]
OUTPUTS = sorted((schemas.schema_folder() / "output").glob("*.schema.json"))
HEADER = {"apiVersion", "kind"}
NAMED = {"boolean": bool, "integer": int, "number": float, "string": str}


def resolved(root: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = {**root["$defs"][node["$ref"].removeprefix("#/$defs/")], **node, "$ref": None}
        node = {key: value for key, value in node.items() if value is not None}
    return node


def without_none(hint: Any) -> Any:
    if get_origin(hint) in {Union, UnionType}:
        left = [part for part in get_args(hint) if part is not NoneType]
        assert len(left) == 1
        return left[0]
    return hint


def differences(root: Mapping[str, Any], node: Mapping[str, Any], cls: type, at: str) -> list[str]:
    """Where a schema of an object and a dataclass do not say the same."""
    stated = set(node["properties"]) - (HEADER if at == cls.__name__ else set())
    declared = {field.name: field for field in fields(cls)}
    found = [f"{at}: {name} only in one" for name in sorted(stated ^ set(declared))]
    hints = get_type_hints(cls)
    for name in sorted(stated & set(declared)):
        inner = resolved(root, node["properties"][name])
        place = f"{at}.{name}"
        found += of_type(root, inner, without_none(hints[name]), place)
        found += of_default(inner, declared[name], is_required=name in node["required"], at=place)
    return found


def of_type(root: Mapping[str, Any], node: Mapping[str, Any], hint: Any, at: str) -> list[str]:
    if is_dataclass(hint):
        closed = node.get("additionalProperties") is False
        found = differences(root, {"required": [], **node}, hint, at)
        return found if closed else [*found, f"{at}: is open"]
    if get_origin(hint) is tuple:
        if node["type"] != "array":
            return [f"{at}: no list"]
        return of_type(root, resolved(root, node["items"]), get_args(hint)[0], f"{at}[]")
    return [] if fits(node, hint) else [f"{at}: {node.get('type')} against {hint}"]


def fits(node: Mapping[str, Any], hint: Any) -> bool:
    if get_origin(hint) is Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        options = get_args(hint) or [option.value for option in hint]
        return list(node["enum"]) == list(options)
    if get_origin(hint) is not None:
        return bool(node["type"] == "object")
    if hint is object or (hint is str and "enum" in node):
        return True
    expected = {name for name, cls in NAMED.items() if cls is hint} or {"string"}
    return {node["type"]} == expected


def of_default(
    node: Mapping[str, Any], field: Field[Any], *, is_required: bool, at: str
) -> list[str]:
    has_default = field.default is not MISSING or field.default_factory is not MISSING
    if is_required == has_default:
        return [f"{at}: required in one, optional in the other"]
    value = field.default if field.default is not MISSING else None
    if field.default_factory is not MISSING:
        value = field.default_factory()
        if is_dataclass(value):
            return []
    plain = json.loads(json.dumps(value))
    stated = node.get("default")
    return [] if stated == plain else [f"{at}: default {stated} against {plain}"]


def nodes(node: Any, at: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every property, list item and definition of a schema."""
    for group in ("properties", "$defs"):
        for name, inner in node.get(group, {}).items():
            yield f"{at}/{name}", inner
            yield from nodes(inner, f"{at}/{name}")
    for group in ("items", "additionalProperties"):
        if isinstance(node.get(group), dict):
            yield f"{at}/{group}", node[group]
            yield from nodes(node[group], f"{at}/{group}")


def examples() -> list[Path]:
    return sorted(HERE.glob("*/*/*.yaml"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_schema_and_dataclass_say_the_same(kind: str):
    schema = schemas.schema_of(kind)
    assert schema["properties"]["kind"] == {"description": "What the document is.", "const": kind}
    assert differences(schema, schema, KINDS[kind], kind) == []


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema["title"])
def test_every_part_of_a_schema_is_described(schema: dict[str, Any]):
    assert [at for at, node in nodes(schema) if not node.get("description")] == []


@pytest.mark.parametrize("schema", ALL, ids=lambda schema: schema["title"])
def test_every_object_is_closed_but_those_for_free_use(schema: dict[str, Any]):
    open_ones = [
        at
        for at, node in nodes(schema)
        if node.get("type") == "object" and node.get("additionalProperties") is not False
    ]
    assert set(open_ones) <= {
        "/parameters",
        "/numbers",
        "/server/replicas",
        "/placement/node_selector",
    }


def test_definitions_of_one_name_are_the_same_everywhere():
    seen: dict[str, dict[str, Any]] = {}
    for schema in ALL:
        for name, node in schema.get("$defs", {}).items():
            assert node == seen.setdefault(name, node), (schema["title"], name)


@pytest.mark.parametrize("path", OUTPUTS, ids=lambda path: path.name)
def test_schema_of_an_output_is_a_schema_with_every_part_described(path: Path):
    schema = json.loads(path.read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert [at for at, node in nodes(schema) if not node.get("description")] == []


def test_a_record_is_told_as_its_file_holds_it():
    told = json.loads((schemas.schema_folder() / "output" / "record.schema.json").read_bytes())
    written = schemas.schema_of("Record")
    for part in ("type", "additionalProperties", "required", "properties", "$defs"):
        assert told[part] == written[part]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_schema_is_valid_for_another_implementation(kind: str):
    jsonschema.Draft202012Validator.check_schema(schemas.schema_of(kind))


@pytest.mark.sample(57)
@pytest.mark.parametrize("example", examples(), ids=lambda path: path.relative_to(HERE).as_posix())
def test_another_implementation_gives_the_same_answer(example: Path):
    kind = next(k for k, name in schemas.FILES.items() if name == example.parents[1].name)
    document = load_yaml(example.read_bytes(), name=example.name).document
    checker = jsonschema.FormatChecker(["date"])
    other = jsonschema.Draft202012Validator(schemas.schema_of(kind), format_checker=checker)
    if example.name != "freeze-on-no-day.yaml":  # the other one cannot check times
        assert schemas.is_valid(kind, document) == other.is_valid(document)
    assert schemas.is_valid(kind, document) == (list(schemas.spec_errors(kind, document)) == [])


def test_what_only_the_strict_validator_refuses_still_has_a_reason():
    document = {"apiVersion": "modelyard/v1", "kind": "Environment", "description": "x"}
    document |= {"namespace": "x", "name": "a\n"}
    assert [path for path, _ in schemas.spec_errors("Environment", document)] == [("name",)]


@pytest.mark.parametrize(
    "name", ["a", "a-b", "a1", "-a", "a-", "1a", "A", "", "a.b", "a" * 40, "a" * 41, "ä"]
)
def test_names_are_those_of_the_domain(name: str):
    document = {"apiVersion": "modelyard/v1", "kind": "Environment", "description": "x"}
    document |= {"namespace": "x", "name": name}
    assert schemas.is_valid("Environment", document) == (NAME.fullmatch(name) is not None)


@pytest.mark.parametrize(
    "name", ["v1", "v1.2", "v..1", "v.lock", "v.", "v-", "v.locks", "v.lock.1", ".v", "V", "v" * 41]
)
def test_version_names_are_those_of_the_domain(name: str):
    digest = "0" * 64
    document = {"apiVersion": "modelyard/v1", "kind": "Release", "model": "m", "environment": "e"}
    document |= {"artifact": f"sha256:{digest}", "server_image": "i", "renderer": 1}
    document |= {"manifests": digest, "version": name}
    assert schemas.is_valid("Release", document) == is_version(name)


def test_gate_metrics_are_those_of_the_domain():
    from modelyard.domain.gate.metric import METRICS as COMPUTED

    gate = schemas.schema_of("Model")["properties"]["gate"]["properties"]
    alone = frozenset().union(*METRICS.values())
    assert set(gate["metric"]["enum"]) == alone
    for more in ("guards", "slices"):
        stated = gate[more]["items"]["properties"]["metric"]["enum"]
        assert set(stated) == set(COMPUTED) == alone | {"calibration"}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_default_document_is_what_the_dataclass_writes(kind: str):
    for example in sorted(HERE.glob(f"{schemas.FILES[kind]}/valid/*.yaml")):
        from modelyard.adapters.specs.documents import read_spec

        written = document_of(read_spec(KINDS[kind], example.read_bytes(), name=example.name))
        assert schemas.is_valid(kind, written)


def test_reference_page_is_what_the_schemas_say():
    page = (schemas.schema_folder() / "README.md").read_text(encoding="utf-8")
    assert page == render_reference(
        {name: schemas.schema_of(kind) for kind, name in schemas.FILES.items()}
    )
