"""Reads a rendered WorkflowTemplate into a plan, or says what in it stands in the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelyard.adapters.workflows.fields import (
    OR_KILLED,
    PASSED_ON,
    Unsupported,
    refuse_other_fields,
)
from modelyard.adapters.workflows.plan import (
    ITEM,
    Output,
    Plan,
    Retry,
    Step,
    fill_known_tags,
    tags_of,
)
from modelyard.domain.problem import Path
from modelyard.errors import Refused

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def read_plan(spec: Mapping[str, Any], given: Mapping[str, str]) -> Plan:
    """Read a workflow's spec.

    Args:
        spec: `spec` of a WorkflowTemplate or a Workflow.
        given: Values of its parameters.

    Raises:
        Unsupported: The spec asks for something the local orchestrator does not do.
        Refused: A parameter is unknown or has no value.
    """
    refuse_other_fields(spec)
    names = [each["name"] for each in spec["templates"]]
    arguments = _arguments(spec, given)
    known = {"workflow.name", *(f"workflow.parameters.{name}" for name in arguments)}
    steps: list[Step] = []
    for task, path in _tasks(spec, names):
        if task["template"] not in names:
            raise Unsupported((*path, "template"), f"no template is named {task['template']!r}")
        index = names.index(task["template"])
        step = _step(task, spec["templates"][index], ("templates", index))
        _refuse_other_order(task, steps, (*path, "depends"))
        left = {f"tasks.{each.name}.outputs.parameters.{o}" for each in steps for o in each.outputs}
        texts = (*step.command, *step.environment.values())
        item = {ITEM} if step.items else set()
        _refuse_unknown_tags(texts, left | known | item, ("templates", index, "container"))
        _refuse_unknown_tags([step.items], left, (*path, "withParam"))
        if step.items and step.outputs:
            where = ("templates", index, "outputs")
            raise Unsupported(where, f"{step.name} runs for each of a list, so it may leave none")
        _refuse_unknown_tags([w for pair in step.when for w in pair], left | known, (*path, "when"))
        steps.append(step)
    return Plan(
        steps=tuple(steps), arguments=arguments, deadline_seconds=spec.get("activeDeadlineSeconds")
    )


def _tasks(spec: Mapping[str, Any], names: list[str]) -> list[tuple[Mapping[str, Any], Path]]:
    """The tasks of the entry point, each with its path."""
    entry = spec["entrypoint"]
    if entry not in names:
        raise Unsupported(("entrypoint",), f"no template is named {entry!r}")
    index = names.index(entry)
    if "dag" not in spec["templates"][index]:
        raise Unsupported(("templates", index), f"{entry} is the entry point but no dag")
    tasks = spec["templates"][index]["dag"]["tasks"]
    return [(task, ("templates", index, "dag", "tasks", n)) for n, task in enumerate(tasks)]


def _step(task: Mapping[str, Any], template: Mapping[str, Any], path: Path) -> Step:
    container = template.get("container")
    if container is None:
        raise Unsupported(path, f"{template['name']} is a task's template but no container")
    depends, when = task.get("depends", ""), task.get("when")
    given = _given(task, template, path)
    words = (*container["command"], *container.get("args", ()))
    return Step(
        name=task["name"],
        command=tuple(fill_known_tags(word, given) for word in words),
        environment={
            each["name"]: fill_known_tags(each["value"], given)
            for each in container.get("env", ())
            if each["name"] in PASSED_ON
        },
        outputs=_outputs(template, f"{container['workingDir'].rstrip('/')}/", path),
        # As Argo: a task without a result after its name has succeeded or was skipped.
        runs_after=frozenset(re.findall(r"\.(\w+)", depends) or ("Succeeded", "Skipped"))
        if depends
        else frozenset(),
        when=tuple(_words(each) for each in when.split(" || ")) if when else (),
        retry=_retry(template.get("retryStrategy")),
        deadline_seconds=template.get("activeDeadlineSeconds"),
        items=task.get("withParam", ""),
    )


def _given(task: Mapping[str, Any], template: Mapping[str, Any], path: Path) -> dict[str, str]:
    """What the task gives each input of its template, still with tags, by the tag of the input."""
    found = task.get("arguments", {}).get("parameters", ())
    given = {each["name"]: each["value"] for each in found}
    asked = [each["name"] for each in template.get("inputs", {}).get("parameters", ())]
    if missing := [name for name in asked if name not in given]:
        where = (*path, "inputs", "parameters")
        raise Unsupported(where, f"the task {task['name']} gives no {missing[0]}")
    return {f"inputs.parameters.{name}": given[name] for name in asked}


def _words(comparison: str) -> tuple[str, str]:
    left, right = comparison.split(" == ")
    return left, right


def _outputs(template: Mapping[str, Any], work: str, path: Path) -> dict[str, Output]:
    outputs = {}
    for n, each in enumerate(template.get("outputs", {}).get("parameters", ())):
        source = each["valueFrom"]
        if not source["path"].startswith(work) or ".." in source["path"].split("/"):
            place = (*path, "outputs", "parameters", n, "valueFrom", "path")
            raise Unsupported(place, f"{source['path']} is not below the workingDir {work}")
        file = source["path"].removeprefix(work)
        outputs[each["name"]] = Output(path=file, default=source.get("default"))
    return outputs


def _retry(strategy: Mapping[str, Any] | None) -> Retry:
    if strategy is None:
        return Retry()
    backoff = strategy["backoff"]
    return Retry(
        limit=strategy["limit"],
        wait_seconds=_seconds(backoff["duration"]),
        factor=backoff["factor"],
        longest_wait_seconds=_seconds(backoff["cap"]),
        after_kill=strategy["expression"] == OR_KILLED,
    )


def _seconds(duration: str) -> float:
    return float(duration[:-1]) * _UNITS[duration[-1]]


def _refuse_other_order(task: Mapping[str, Any], before: list[Step], path: Path) -> None:
    """Refuse all but a chain: steps run one at a time, each after the one written before it."""
    if task["name"] in {step.name for step in before}:
        raise Unsupported(path[:-1], f"two tasks are named {task['name']}")
    # No rendered workflow has branches, so the runner needs no graph.
    found = {term.partition(".")[0] for term in task.get("depends", "").split(" || ")} - {""}
    if found != {step.name for step in before[-1:]}:
        wanted = before[-1].name if before else "nothing"
        message = f"{task['name']} must depend on {wanted}: steps run one after the other"
        raise Unsupported(path, message)


def _refuse_unknown_tags(texts: list[str] | tuple[str, ...], known: set[str], path: Path) -> None:
    """Refuse a tag that no value will be there for when its step's turn comes."""
    if unknown := tags_of(*texts) - known:
        raise Unsupported(path, f"there is no value for {{{{{min(unknown)}}}}}")


def _arguments(spec: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    declared = spec.get("arguments", {}).get("parameters", ())
    values = {each["name"]: each["value"] for each in declared if "value" in each} | dict(given)
    names = [each["name"] for each in declared]
    if unknown := sorted(given.keys() - set(names)):
        raise Refused(f"the workflow has no parameter {unknown[0]}")
    if missing := sorted(set(names) - values.keys()):
        raise Refused(f"the workflow's parameter {missing[0]} has no value")
    return {name: values[name] for name in names}
