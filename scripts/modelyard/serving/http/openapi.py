"""The server described as an OpenAPI document, with the columns of its contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.domain.specs.contract import Column, ColumnType
from modelyard.serving.documents import Serving
from modelyard.serving.http.invocations import INPUTS, INSTANCES, RECORDS, SPLIT
from modelyard.serving.tensor import DATATYPES, MAX_ROWS

REQUEST_HEADER = "x-modelyard-request"
"""The id that a request without one was given; MLflow's protocol has no other place for it."""

_INT64 = 2**63
_TYPES: dict[ColumnType, dict[str, Any]] = {
    "number": {"type": "number"},
    "integer": {"type": "integer", "minimum": -_INT64, "maximum": _INT64 - 1},
    "category": {"type": "string"},
    "boolean": {"type": "boolean"},
    "timestamp": {"type": "string", "format": "date-time"},
}
_REFUSALS = {
    "400": "The request breaks the protocol or the contract.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is of a type or an encoding that is not read.",
    "422": "The model has no score for a row unlike those of training.",
    "429": "Too many bytes of requests are being read.",
    "500": "The model fails, or does not return from the call.",
    "503": "The model is not ready, or too many requests wait.",
}
_TEXT = {"type": "string"}


def openapi_document(serving: Serving, *, model: str, version: str) -> dict[str, Any]:
    """The document of one server.

    Args:
        serving: The contract.
        model: The model's name.
        version: The version's name.
    """
    path = f"/v2/models/{model}"
    infer = _inference(_tensors(serving), _infer_answer(), _object({"error": _TEXT}))
    paths: dict[str, Any] = {
        "/v2": {"get": _get("The server.", {"name": _TEXT})},
        "/v2/health/live": {"get": _live()},
        "/v2/health/ready": {"get": _ready()},
        "/v2/models": {"get": _get("The models.", {"models": {"type": "array"}})},
        "/metrics": {"get": _plain("The counters, for Prometheus.", "text/plain")},
        "/ping": {
            "get": {**_ready(), "summary": "Whether the model is ready, for MLflow's clients."}
        },
        "/invocations": {
            "post": _inference(
                _invocations(serving),
                _object({"predictions": {"type": "array"}}),
                _object({"error_code": _TEXT, "message": _TEXT}),
            )
        },
    }
    for each in (path, f"{path}/versions/{version}"):
        paths[each] = {"get": _get("The model.", {"name": _TEXT, "inputs": {"type": "array"}})}
        paths[f"{each}/ready"] = {"get": _ready()}
        paths[f"{each}/infer"] = {"post": infer}
    info = {"title": f"modelyard: {model}", "version": version}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _object(properties: Mapping[str, Any], **others: object) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*properties],
        **others,
    }


def _list(items: object, **others: object) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": MAX_ROWS, **others}


def _json(description: str, schema: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _get(summary: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _json(summary, _object(properties))}}


def _plain(summary: str, kind: str) -> dict[str, Any]:
    answer = {"description": summary, "content": {kind: {"schema": _TEXT}}}
    return {"summary": summary, "responses": {"200": answer}}


def _live() -> dict[str, Any]:
    answers = _get("Whether the server answers, and its model too.", {"live": {}})
    why = _object({"live": {"const": False}, "error": _TEXT})
    stuck = {"503": _json("The model does not return from a call.", why)}
    return {**answers, "responses": {**answers["responses"], **stuck}}


def _ready() -> dict[str, Any]:
    why = _object({"name": _TEXT, "ready": {"const": False}, "error": _TEXT})
    ready = {"description": "Ready.", "content": {"application/json": {}}}
    return {
        "summary": "Whether the model is ready.",
        "responses": {"200": ready, "503": _json("Not ready.", why)},
    }


def _inference(request: object, answer: object, error: object) -> dict[str, Any]:
    given = "The id under which a request without one is logged, for labels that arrive later."
    scores = _json("The scores.", answer)
    scores["headers"] = {REQUEST_HEADER: {"description": given, "schema": _TEXT}}
    return {
        "summary": "Scores of rows.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": scores,
            **{status: _json(text, error) for status, text in _REFUSALS.items()},
        },
    }


def _value(column: Column) -> dict[str, Any]:
    kind = _TYPES[column.type]
    return {**kind, "type": [kind["type"], "null"]} if column.nullable else kind


def _tensors(serving: Serving) -> dict[str, Any]:
    kinds = [
        _object(
            {
                "name": {"const": column.name},
                "datatype": {"const": DATATYPES[column.type]},
                "shape": {"type": "array", "items": {"type": "integer"}},
                "data": _list(_value(column)),
            }
        )
        for column in serving.inputs
    ]
    return _object({"inputs": {"type": "array", "items": {"anyOf": kinds}}})


def _infer_answer() -> dict[str, Any]:
    tensor = _object(
        {"name": _TEXT, "datatype": _TEXT, "shape": {"type": "array"}, "data": {"type": "array"}}
    )
    fields = {"model_name": _TEXT, "model_version": _TEXT, "id": _TEXT}
    return _object({**fields, "outputs": {"type": "array", "items": tensor}})


def _invocations(serving: Serving) -> dict[str, Any]:
    columns = {column.name: _value(column) for column in serving.inputs}
    row = _object(columns, additionalProperties=False)
    split = {
        "columns": {"const": [*columns]},
        "data": _list(
            {"type": "array", "prefixItems": [*columns.values()], "items": False,
             "minItems": len(columns)}
        ),
    }  # fmt: skip
    by_form = {
        SPLIT: _object(split, additionalProperties=False),
        RECORDS: _list(row),
        INPUTS: _list(row),
        INSTANCES: _list(row),
    }
    forms = [_object({form: kind}, additionalProperties=False) for form, kind in by_form.items()]
    return {"oneOf": forms}
