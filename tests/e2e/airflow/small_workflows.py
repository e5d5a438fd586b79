"""Small workflows that are played through Airflow and through the local runner."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from modelyard.domain.specs.paths import WORKFLOW_TEMPLATES

_ONCE_A_SECOND = {
    "backoff": {"cap": "1s", "duration": "1s", "factor": 1},
    "expression": "asInt(lastRetry.exitCode) == 1",
}
_DECISION = "{{tasks.compare.outputs.parameters.decision}}"


def step(name: str, script: str, *, limit: int = 0, **fields: Any) -> dict[str, Any]:
    container = {"command": ["sh", "-c"], "args": [script], "workingDir": "/work"}
    retry = {"retryStrategy": {**_ONCE_A_SECOND, "limit": limit}} if limit else {}
    return {"name": name, "container": container, **retry, **fields}


def workflow(*steps: dict[str, Any], **tasks: Mapping[str, str]) -> dict[str, Any]:
    """A workflow of these steps, one after the other; `tasks` changes one by its name."""
    names = [each["name"] for each in steps]
    chain = [
        {"name": name, "template": name}
        | ({"depends": before} if before else {})
        | {**tasks.get(name, {})}
        for before, name in zip([None, *names], names, strict=False)
    ]
    return {"entrypoint": "all", "templates": [*steps, {"name": "all", "dag": {"tasks": chain}}]}


def drift(script: str) -> dict[str, Any]:
    """The form of detect-drift."""
    decision = {"name": "decision", "valueFrom": {"path": "/work/decision", "default": "unknown"}}
    compare = step("compare", script, outputs={"parameters": [decision]})
    condition = {
        "depends": "compare.Succeeded || compare.Failed",
        "when": f"{_DECISION} == confirmed || {_DECISION} == none",
    }
    return workflow(compare, step("retrain", "exit 0"), retrain=condition)


_COUNT = "f=$MODELYARD_ROOT/.tries-{{workflow.name}}; echo x >> $f; n=$(wc -l < $f)"
_LEAVES = {"parameters": [{"name": "p", "valueFrom": {"path": "/work/p"}}]}

WORKFLOWS = {
    "all-well": workflow(step("a", "exit 0"), step("b", 'test -n "$MODELYARD_ROOT"')),
    "answers-no": workflow(
        step("a", "echo loading; echo 'error: no such column'; echo 'hint: look'; exit 3", limit=2),
        step("b", "exit 0"),
    ),
    "answers-at-last": workflow(step("a", f"{_COUNT}; test $n -eq 3 || exit 1", limit=2)),
    "never-answers": workflow(step("a", f"{_COUNT}; echo 'error: try' $n; exit 1", limit=1)),
    "is-killed": workflow(step("a", "kill -9 $$", limit=2), step("b", "exit 0")),
    "is-late": workflow(step("a", "sleep 60 & wait", limit=2, activeDeadlineSeconds=1)),
    "leaves-nothing": workflow(step("a", "exit 0", outputs=_LEAVES)),
    "has-no-program": workflow(step("a", "exit 0", container={
        "command": ["no-such-program"], "workingDir": "/work"})),
    "drift-confirmed": drift("echo confirmed > decision; exit 3"),
    "drift-none": drift("echo none > decision"),
    "drift-unknown": drift("exit 1"),
    "drift-undecided": drift("echo undecided > decision"),
    "drift-killed": drift("echo confirmed > decision; kill -9 $$"),
    "drift-in-two-words": drift("echo confirmed or not > decision"),
    "after-a-failure-only": workflow(
        step("a", "exit 0"), step("b", "exit 0"), step("c", "exit 0"), b={"depends": "a.Failed"}
    ),
    "after-one-that-was-skipped": workflow(
        step("a", "echo no > p", outputs=_LEAVES), step("b", "exit 3"), step("c", "exit 0"),
        b={"when": "{{tasks.a.outputs.parameters.p}} == yes"},
    ),
}  # fmt: skip
"""By name; each ends within a second, without the waits of Airflow."""

SLOW = {
    "sleeps": workflow(
        step("a", "sleep {{workflow.parameters.seconds}}", limit=2), step("b", "exit 0")
    )
    | {"arguments": {"parameters": [{"name": "seconds"}]}},
}


def write_workflows(checkout: Path) -> None:
    """Put them beside the rendered ones."""
    for name, spec in (WORKFLOWS | SLOW).items():
        document = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "WorkflowTemplate",
            "metadata": {"name": name},
            "spec": spec,
        }
        (checkout / WORKFLOW_TEMPLATES / f"{name}.yaml").write_text(yaml.safe_dump(document))
