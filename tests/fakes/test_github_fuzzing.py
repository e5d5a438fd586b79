from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from fakes.clients import Api
from fakes.github.contract import document
from schemathesis_program import assert_it_finds_nothing

CHECKS = (
    "not_a_server_error",
    "response_schema_conformance",
    "content_type_conformance",
    "negative_data_rejection",
)


def document_of(values: dict[str, list[object]]) -> dict[str, object]:
    """Return the slice with paths that lead to something, for the names given."""
    narrowed = copy.deepcopy(document())
    listed = list(narrowed["components"]["parameters"].values())
    for operations in narrowed["paths"].values():
        for operation in operations.values():
            listed += [one for one in operation.get("parameters", ()) if "$ref" not in one]
    for parameter in listed:
        if parameter["in"] == "path" and parameter["name"] in values:
            parameter["schema"]["enum"] = values[parameter["name"]]
    return narrowed


@pytest.mark.long
def test_schemathesis_finds_nothing(fake_github, tmp_path: Path):
    token = fake_github.add_person("ada", "admin")
    fake_github.add_team("approvers", "ada")
    fake_github.seed({"a.txt": "one\n", ".github/workflows/w.yml": "on: workflow_dispatch\n"})
    head = fake_github.seed({"a.txt": "ONE\n"}, branch="change")
    rule = fake_github.protect(approvals=1)
    api = Api(fake_github, token)
    api("POST", "~/pulls", {"title": "Change", "head": "change", "base": "main"})
    api("POST", "~/issues", {"title": "Look", "labels": ["held"]})
    comment = api("POST", "~/issues/1/comments", {"body": "/why"}).json()["id"]
    review = {"event": "COMMENT", "body": "hm"}
    reviewed = api("POST", "~/pulls/1/reviews", review).json()["id"]
    deployed = api("POST", "~/deployments", {"ref": "main", "required_contexts": []}).json()["id"]
    api.close()
    values: dict[str, list[object]] = {
        "owner": ["acme"],
        "repo": ["yard"],
        "org": ["acme"],
        "team_slug": ["approvers"],
        "username": ["ada", "nobody"],
        "pull_number": [1, 2, 99],
        "issue_number": [1, 2, 99],
        "comment_id": [comment, 99],
        "review_id": [reviewed, 99],
        "deployment_id": [deployed, 99],
        "ruleset_id": [rule["id"], 99],
        "ref": ["main", "change", head, "heads/main"],
        "branch": ["main", "change"],
        "sha": [head, "1" * 40],
        "commit_sha": [head],
        "basehead": ["main...change"],
        "path": ["a.txt", ".github", "none"],
        "name": ["held", "none"],
        "environment_name": ["production", "none"],
    }
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(document_of(values)), encoding="utf-8")
    assert_it_finds_nothing(
        schema,
        fake_github.url,
        CHECKS,
        {
            "--header": f"Authorization: Bearer {token}",
            "--phases": "examples,fuzzing",
            "--max-examples": "3",
        },
    )
    assert fake_github.calls() > 200
    # Most of its requests are wrong on purpose; a wrong answer would have been a 500.
    fake_github.problems.clear()
