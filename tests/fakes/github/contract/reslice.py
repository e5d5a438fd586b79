"""Cuts the operations that the fake serves out of GitHub's OpenAPI document.

    python tests/fakes/github/contract/reslice.py api.github.com.json

The document is `generated/api.github.com.json` of the npm package that NOTICE names. What no
request or answer is checked against is left out: descriptions, examples, and the schemas that no
operation here refers to.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SLICE = Path(__file__).parent / "slice.json"

REPOSITORY = "/repos/{owner}/{repo}"
PULL = f"{REPOSITORY}/pulls/{{pull_number}}"
ISSUE = f"{REPOSITORY}/issues/{{issue_number}}"
COMMENT = f"{REPOSITORY}/issues/comments/{{comment_id}}"
POLICIES = f"{REPOSITORY}/environments/{{environment_name}}/deployment-branch-policies"
TEAM = "/orgs/{org}/teams/{team_slug}"

# Methods by path, a subject a block.
OPERATIONS: dict[str, str] = {
    "/meta": "get",
    "/rate_limit": "get",
    "/app": "get",
    "/apps/{app_slug}": "get",
    "/app/installations": "get",
    "/app/installations/{installation_id}": "get",
    "/app/installations/{installation_id}/access_tokens": "post",
    "/installation/token": "delete",
    f"{REPOSITORY}/installation": "get",
    "/user": "get",
    "/user/{account_id}": "get",
    "/users/{username}": "get",
    TEAM: "get",
    f"{TEAM}/members": "get",
    f"{TEAM}/memberships/{{username}}": "get",
    f"{REPOSITORY}/collaborators": "get",
    f"{REPOSITORY}/collaborators/{{username}}/permission": "get",
    REPOSITORY: "get",
    f"{REPOSITORY}/activity": "get",
    f"{REPOSITORY}/branches": "get",
    f"{REPOSITORY}/branches/{{branch}}": "get",
    f"{REPOSITORY}/contents/{{path}}": "get",
    f"{REPOSITORY}/git/ref/{{ref}}": "get",
    f"{REPOSITORY}/git/matching-refs/{{ref}}": "get",
    f"{REPOSITORY}/commits": "get",
    f"{REPOSITORY}/commits/{{ref}}": "get",
    f"{REPOSITORY}/commits/{{commit_sha}}/pulls": "get",
    f"{REPOSITORY}/compare/{{basehead}}": "get",
    f"{REPOSITORY}/pulls": "get post",
    PULL: "get patch",
    f"{PULL}/files": "get",
    f"{PULL}/commits": "get",
    f"{PULL}/reviews": "get post",
    f"{PULL}/reviews/{{review_id}}": "get",
    f"{PULL}/reviews/{{review_id}}/dismissals": "put",
    f"{PULL}/merge": "get put",
    f"{PULL}/merge-async": "put",
    f"{PULL}/merge-async/{{uuid}}": "get",
    f"{PULL}/update-branch": "put",
    f"{REPOSITORY}/statuses/{{sha}}": "post",
    f"{REPOSITORY}/commits/{{ref}}/status": "get",
    f"{REPOSITORY}/commits/{{ref}}/statuses": "get",
    f"{REPOSITORY}/commits/{{ref}}/check-runs": "get",
    f"{REPOSITORY}/check-runs": "post",
    f"{REPOSITORY}/check-runs/{{check_run_id}}": "get patch",
    f"{REPOSITORY}/check-runs/{{check_run_id}}/annotations": "get",
    f"{REPOSITORY}/issues": "get post",
    ISSUE: "get patch",
    f"{ISSUE}/comments": "get post",
    f"{ISSUE}/events": "get",
    f"{REPOSITORY}/issues/comments": "get",
    COMMENT: "get patch delete",
    f"{COMMENT}/reactions": "get post",
    f"{COMMENT}/reactions/{{reaction_id}}": "delete",
    f"{ISSUE}/labels": "get post put delete",
    f"{ISSUE}/labels/{{name}}": "delete",
    f"{REPOSITORY}/labels": "get post",
    f"{REPOSITORY}/labels/{{name}}": "get patch",
    f"{REPOSITORY}/deployments": "get post",
    f"{REPOSITORY}/deployments/{{deployment_id}}": "get",
    f"{REPOSITORY}/deployments/{{deployment_id}}/statuses": "get post",
    f"{REPOSITORY}/environments": "get",
    f"{REPOSITORY}/environments/{{environment_name}}": "get put",
    POLICIES: "get post",
    f"{POLICIES}/{{branch_policy_id}}": "delete",
    f"{REPOSITORY}/rules/branches/{{branch}}": "get",
    f"{REPOSITORY}/rulesets": "get post",
    f"{REPOSITORY}/rulesets/{{ruleset_id}}": "get put delete",
    f"{REPOSITORY}/hooks": "get post",
    f"{REPOSITORY}/hooks/{{hook_id}}": "get patch delete",
    f"{REPOSITORY}/dispatches": "post",
    f"{REPOSITORY}/actions/permissions": "get put",
    f"{REPOSITORY}/actions/workflows": "get",
    f"{REPOSITORY}/actions/workflows/{{workflow_id}}": "get",
    f"{REPOSITORY}/actions/workflows/{{workflow_id}}/enable": "put",
    f"{REPOSITORY}/actions/workflows/{{workflow_id}}/dispatches": "post",
    f"{REPOSITORY}/actions/runs": "get",
    f"{REPOSITORY}/actions/runs/{{run_id}}": "get",
}

OMITTED = frozenset(
    {"description", "summary", "example", "examples", "externalDocs", "tags", "title", "headers"}
)


def sliced(document: dict[str, Any]) -> dict[str, Any]:
    """Return the operations with everything that they refer to, and nothing else."""
    paths = {
        path: {
            method: _stripped(document["paths"][path][method], inside="operation")
            for method in methods.split()
        }
        for path, methods in OPERATIONS.items()
    }
    components: dict[str, dict[str, Any]] = {}
    waiting = sorted(_references(paths))
    while waiting:
        _, _, kind, name = waiting.pop().split("/")
        if name not in components.setdefault(kind, {}):
            components[kind][name] = _stripped(document["components"][kind][name], inside=kind)
            waiting += sorted(_references(components[kind][name]))
    return {
        "openapi": document["openapi"],
        "info": {
            "title": "A slice of GitHub's REST API",
            "version": document["info"]["version"],
            "license": document["info"]["license"],
        },
        "servers": [{"url": "https://api.github.com"}],
        "paths": paths,
        "components": {
            kind: dict(sorted(named.items())) for kind, named in sorted(components.items())
        },
    }


def _stripped(node: Any, *, inside: str) -> Any:
    """Return a part of the document without prose; names of properties are not prose."""
    if isinstance(node, list):
        return [_stripped(item, inside="") for item in node]
    if not isinstance(node, dict):
        return node
    if inside == "properties":
        return {name: _stripped(schema, inside="") for name, schema in node.items()}
    return {
        key: _stripped(value, inside=key)
        for key, value in node.items()
        if key not in OMITTED and not key.startswith("x-")
        # An `enum` of one link's text and the like stay; only OpenAPI's own words are left out.
    }


def _references(node: Any) -> set[str]:
    """Return every `$ref` in a part of the document."""
    if isinstance(node, list):
        return set().union(*(_references(item) for item in node))
    if not isinstance(node, dict):
        return set()
    here = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return here.union(*(_references(value) for value in node.values()))


def text_of(slice_: dict[str, Any]) -> str:
    """Return the slice as it is committed: a line an operation or a component."""
    lines = []
    for key, value in slice_.items():
        if key == "paths":
            inner = [f"  {json.dumps(path)}: {_compact(ops)}" for path, ops in value.items()]
            lines.append(f' "paths": {{\n{_joined(inner)}\n }}')
        elif key == "components":
            kinds = []
            for kind, named in value.items():
                inner = [f"   {json.dumps(name)}: {_compact(node)}" for name, node in named.items()]
                kinds.append(f"  {json.dumps(kind)}: {{\n{_joined(inner)}\n  }}")
            lines.append(f' "components": {{\n{_joined(kinds)}\n }}')
        else:
            lines.append(f" {json.dumps(key)}: {_compact(value)}")
    return f"{{\n{_joined(lines)}\n}}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _joined(lines: list[str]) -> str:
    return ",\n".join(lines)


if __name__ == "__main__":
    whole = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    SLICE.write_text(text_of(sliced(whole)), encoding="utf-8")
