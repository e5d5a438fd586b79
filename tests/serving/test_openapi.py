"""schemathesis asks the server what its own OpenAPI document says that it answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemathesis_program import assert_it_finds_nothing
from serving.running import Running, request
from serving.test_server import counts, gained

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)


def described(server: Running) -> dict[str, dict[str, dict[str, object]]]:
    document = server.client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    paths: dict[str, dict[str, dict[str, object]]] = document["paths"]
    return paths


def test_the_server_describes_every_path_that_it_answers(server: Running):
    paths = described(server)
    for path, methods in paths.items():
        (method,) = methods
        answer = server.client.request(method.upper(), path, json=request(rows=1))
        known = methods[method]["responses"]
        assert isinstance(known, dict)
        assert str(answer.status_code) in known, path
    assert {"/invocations", "/v2/models/late/infer", "/v2/models/late/versions/v1"} <= paths.keys()


@pytest.mark.long
def test_schemathesis_finds_nothing(server: Running, tmp_path: Path):
    before = counts(server)
    schema = tmp_path / "schema.json"
    schema.write_text(server.client.get("/openapi.json").text, encoding="utf-8")
    assert_it_finds_nothing(
        schema,
        str(server.client.base_url).rstrip("/"),
        CHECKS,
        {"--phases": "examples,coverage,fuzzing", "--max-examples": "30"},
    )
    counted = gained(before, counts(server))
    assert json.loads(schema.read_text())["info"]["version"] == "v1"
    assert counted["modelyard_requests_total", "2xx"] > 10
    assert counted["modelyard_requests_total", "4xx"] > 50
    assert ("modelyard_requests_total", "5xx") not in counted
