"""Reads a rendered WorkflowTemplate into a plan, or says which field stands in the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelyard.adapters.workflows import expressions as argo_expressions
from modelyard.adapters.workflows.fields import (
    CONTAINER,
    DAG,
    SPEC,
    TASK,
    TEMPLATE,
    parameters,
    refuse_unknown,
    seconds,
    whole_number,
)
from modelyard.adapters.workflows.plan import Output, Plan, Retry, Step, refuse_unknown_tags
from modelyard.errors import Refused

_TASK_NAME = re.compile(r"[A-Za-z0-9][\w-]*\Z")
_PLACES = frozenset({"HOME", "MODELYARD_ROOT"})  # of the container's file system


def planned(spec: Mapping[str, Any], given: Mapping[str, str], *, at_once: int = 2) -> Plan:
    """Read a workflow's spec.

    Args:
        spec: `spec` of a WorkflowTemplate.
        given: Values of its parameters.
        at_once: Most steps at the same time.

    Raises:
        Refused: The spec asks for something the local orchestrator does not do, by name.
    """
    refuse_unknown(spec, SPEC, "spec")
    templates = {each.get("name"): each for each in spec.get("templates", ())}
    for name, template in templates.items():
        refuse_unknown(template, TEMPLATE, str(name))
    entry = spec.get("entrypoint")
    if entry not in templates:
        raise Refused(f"spec.entrypoint names no template: {entry!r}")
    dag, tasks = _tasks(templates[entry])
    steps = _in_order([_step(task, templates) for task in tasks])
    plan = Plan(
        steps=steps,
        arguments=_arguments(spec, given),
        fails_fast=dag.get("failFast", True),
        deadline_seconds=seconds(spec, "activeDeadlineSeconds"),
        at_once=min(at_once, int(spec.get("parallelism") or at_once)),
    )
    refuse_unknown_tags(plan)
    return plan


def _tasks(entry: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    if "dag" not in entry:
        only = {"name": entry["name"], "template": entry["name"]}
        _checked_name(only)
        return {}, [only]
    dag = entry["dag"]
    refuse_unknown(dag, DAG, f"{entry['name']}.dag")
    for task in dag["tasks"]:
        _checked_name(task)
        refuse_unknown(task, TASK, str(task.get("name")))
    return dag, dag["tasks"]


def _checked_name(task: Mapping[str, Any]) -> str:
    name = str(task.get("name"))
    if not _TASK_NAME.match(name):
        raise Refused(f"a task cannot be named {name!r}: letters, digits, - and _")
    return name


def _step(task: Mapping[str, Any], templates: Mapping[str | None, Mapping[str, Any]]) -> Step:
    template = templates.get(task.get("template"))
    if template is None:
        raise Refused(f"{task['name']}.template names no template: {task.get('template')!r}")
    name = str(template["name"])
    container = template.get("container")
    if container is None:
        raise Refused(f"the local orchestrator does not run {name}: it is not a container")
    refuse_unknown(container, CONTAINER, f"{name}.container")
    if not container.get("command"):
        raise Refused(f"{name}.container has no command, and images say none here")
    return Step(
        name=task["name"],
        command=(*container["command"], *container.get("args", ())),
        environment=_environment(name, container),
        inputs=_inputs(task, template),
        outputs=_outputs(template, container.get("workingDir")),
        depends=_depends(task),
        when=task.get("when"),
        continues_on=_phases(task.get("continueOn", {})),
        retry=_retry(template.get("retryStrategy")),
        deadline_seconds=_deadline(template),
    )


def _environment(name: str, container: Mapping[str, Any]) -> dict[str, str]:
    values = {}
    for each in container.get("env", ()):
        if each["name"] in _PLACES:
            continue
        if "valueFrom" in each:
            variable = f"{name}.container.env.{each['name']}.valueFrom"
            raise Refused(f"the local orchestrator does not run {variable}")
        values[each["name"]] = each.get("value", "")
    return values


def _inputs(task: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, str]:
    given = parameters(task.get("arguments", {}), f"{task['name']}.arguments")
    declared = parameters(template.get("inputs", {}), f"{template['name']}.inputs")
    if unknown := sorted(given.keys() - declared.keys()):
        raise Refused(f"{task['name']}.arguments: {template['name']} has no input {unknown[0]}")
    values = {name: given.get(name) or each for name, each in declared.items()}
    for name, each in values.items():
        if "value" not in each:
            raise Refused(f"{task['name']}.arguments: input {name} has no value")
    return {name: str(each["value"]) for name, each in values.items()}


def _outputs(template: Mapping[str, Any], work: str | None) -> dict[str, Output]:
    outputs = {}
    where = f"{template['name']}.outputs"
    for name, each in parameters(template.get("outputs", {}), where).items():
        source = each.get("valueFrom", {})
        refuse_unknown(source, frozenset({"path", "default"}), f"{where}.{name}.valueFrom")
        inside = f"{(work or '').rstrip('/')}/"
        path = str(source.get("path"))
        if work is None or not path.startswith(inside) or ".." in path.split("/"):
            raise Refused(f"{where}.{name}: {path} is not below its workingDir {work}")
        outputs[name] = Output(path=path.removeprefix(inside), default=source.get("default"))
    return outputs


def _depends(task: Mapping[str, Any]) -> str:
    """Argo's own reading of `dependencies`; what goes on in spite of its phase is known later."""
    if "depends" in task:
        return str(task["depends"])
    return " && ".join(task.get("dependencies", ()))


def _phases(continue_on: Mapping[str, bool]) -> frozenset[str]:
    names = {"failed": "Failed", "error": "Error"}
    return frozenset(names[key] for key, wanted in continue_on.items() if wanted)


def _retry(strategy: Mapping[str, Any] | None) -> Retry:
    if strategy is None:
        return Retry()
    backoff = strategy.get("backoff", {})
    expression = strategy.get("expression")
    policy = strategy.get("retryPolicy") or ("Always" if expression else "OnFailure")
    phases = {"Always": {"Failed", "Error"}, "OnFailure": {"Failed"}, "OnError": {"Error"}}
    if policy not in phases:
        raise Refused(f"the local orchestrator does not run retryPolicy {policy}")
    if expression:
        argo_expressions.retries(expression, exit_code=0, status="Failed")
    return Retry(
        limit=whole_number(strategy, "limit"),
        on=frozenset(phases[policy]),
        expression=expression,
        wait_seconds=seconds(backoff, "duration") or 0.0,
        factor=whole_number(backoff, "factor") or 1,
        longest_wait_seconds=seconds(backoff, "cap"),
    )


def _deadline(template: Mapping[str, Any]) -> float | None:
    limits = [seconds(template, "activeDeadlineSeconds"), seconds(template, "timeout")]
    return min((each for each in limits if each is not None), default=None)


def _arguments(spec: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    declared = parameters(spec.get("arguments", {}), "spec.arguments")
    if unknown := sorted(given.keys() - declared.keys()):
        raise Refused(f"the workflow has no parameter {unknown[0]}")
    values = {name: each["value"] for name, each in declared.items() if "value" in each}
    values |= given
    if missing := sorted(declared.keys() - values.keys()):
        raise Refused(f"the workflow's parameter {missing[0]} has no value")
    return {name: str(value) for name, value in values.items()}


def _in_order(steps: list[Step]) -> tuple[Step, ...]:
    """Each after those it depends on, else as written."""
    names = [step.name for step in steps]
    if len(set(names)) != len(names):
        raise Refused(f"two tasks have one name: {', '.join(sorted(names))}")
    for step in steps:
        if unknown := [name for name in step.before if name not in names]:
            raise Refused(f"{step.name} depends on {unknown[0]}, which is no task")
    ordered: list[Step] = []
    while left := [step for step in steps if step not in ordered]:
        done = {step.name for step in ordered}
        ready = [step for step in left if done.issuperset(step.before)]
        if not ready:
            raise Refused(f"tasks wait for each other: {', '.join(step.name for step in left)}")
        ordered += ready
    return tuple(ordered)
