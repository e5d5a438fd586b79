"""Makes a DAG of every rendered workflow: order, parameters, conditions, retries, deadlines.

Airflow 3.3 reads this file, without modelyard in its environment. It reads the folder
`environments/platform/manifests/workflows/`, the very files that Argo Workflows runs, and refuses
by name what it does not translate. These variables of Airflow's environment are read:

- `MODELYARD_ROOT`: the checkout, unless this file is in it.
- `MODELYARD_STEPS`: `processes` (the default) runs steps on the worker, `pods` as the YAML's pods.
- `MODELYARD_NAMESPACE`: the pods' namespace, `modelyard` by default.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import DAG, CronTriggerTimetable, Param, TriggerRule

# Airflow's folder of DAGs may begin further up.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from modelyard_fields import FIELDS, NOT_TOLD, NotTranslatedError, refuse_other_fields
from modelyard_steps import (
    ROOT,
    STEPS,
    TAG,
    ProcessStep,
    RunOutcome,
    Step,
    fill_known_tags,
)

WORKFLOWS = ROOT / "environments/platform/manifests/workflows"
OUTCOME = "outcome"
"""The task after the last step, which says how the run ended."""

START_FAILURES = 2
"""How often Airflow may fail to start a step: these tries are none of the step's."""

_UNITS = {"s": 1, "m": 60, "h": 3600}


def steps_of(spec: Mapping[str, Any], path: str) -> Iterator[Step]:
    """The steps of a workflow, each with the one before it; only a chain is translated.

    A task with `withParam` is left out: nothing is left for it. See `modelyard_fields.NOT_TOLD`.
    """
    templates = {each["name"]: each for each in spec["templates"]}
    known = {"workflow.name", *(f"workflow.parameters.{name}" for name in _params(spec, {}))}
    left: set[str] = set()
    left_out: dict[str, str] = {}
    before = None
    for task in templates[spec["entrypoint"]]["dag"]["tasks"]:
        where = f"{path} task {task['name']}"
        depends = task.get("depends", "")
        depends = left_out.get(depends, depends)
        if "withParam" in task:
            _refuse_other_list(task, templates, before, where)
            left_out[task["name"]] = depends
            continue
        template = _with_inputs(_not_told(templates[task["template"]]), task, where)
        if {term.partition(".")[0] for term in depends.split(" || ")} != {before or ""}:
            raise NotTranslatedError(f"{where} must depend on {before}: steps run one by one")
        retry, outputs = template.get("retryStrategy", {}), template.get("outputs", {})
        step = Step(
            name=task["name"],
            template=template,
            before=before,
            runs_after=frozenset(re.findall(r"\.(\w+)", depends) or ("Succeeded", "Skipped")),
            when=tuple(tuple(each.split(" == ")) for each in task["when"].split(" || "))
            if "when" in task
            else (),
            limit=retry.get("limit", 0),
            outputs={each["name"]: each["valueFrom"] for each in outputs.get("parameters", ())},
        )
        words = {
            "container": [*step.command, *step.environment.values()],
            "podSpecPatch": [template.get("podSpecPatch", "")],
            "when": [word for pair in step.when for word in pair],
        }
        for place, asked in words.items():
            tags = known if place == "podSpecPatch" else known | left
            if unknown := {tag for word in asked for tag in TAG.findall(word)} - tags:
                raise NotTranslatedError(f"{where} {place}: no value for {{{{{min(unknown)}}}}}")
        left |= {f"tasks.{step.name}.outputs.parameters.{name}" for name in step.outputs}
        before = step.name
        yield step


def _refuse_other_list(
    task: Mapping[str, Any], templates: Mapping[str, Any], before: str | None, where: str
) -> None:
    """Refuse a list other than one of the step before, which is empty unless it leaves one."""
    _, name, _, _, output = task["withParam"].strip("{}").split(".")
    outputs = templates[name].get("outputs", {}).get("parameters", ()) if name == before else ()
    empty = {each["name"] for each in outputs if each["valueFrom"].get("default") == "[]"}
    if task.get("depends") != before or output not in empty:
        raise NotTranslatedError(f"{where}: its list must be one of {before}, with default []")


def _not_told(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template without the variable that asks for a list."""

    def cut(container: Mapping[str, Any]) -> dict[str, Any]:
        env = [each for each in container.get("env", ()) if each["name"] != NOT_TOLD]
        return {**container, "env": env} if "env" in container else dict(container)

    found = {**template, "container": cut(template["container"])}
    if "initContainers" in template:
        found["initContainers"] = [cut(each) for each in template["initContainers"]]
    return found


def _with_inputs(
    template: Mapping[str, Any], task: Mapping[str, Any], where: str
) -> Mapping[str, Any]:
    """The template with what its task gives it, which still has tags."""
    found = task.get("arguments", {}).get("parameters", ())
    given = {f"inputs.parameters.{each['name']}": each["value"] for each in found}
    asked = template.get("inputs", {}).get("parameters", ())
    if missing := [n for each in asked if f"inputs.parameters.{(n := each['name'])}" not in given]:
        raise NotTranslatedError(f"{where} gives no {missing[0]}")
    filled: Mapping[str, Any] = fill_known_tags(template, given)
    return filled


def _operator(spec: Mapping[str, Any], step: Step) -> Any:
    backoff = step.template.get("retryStrategy", {}).get("backoff", {})
    arguments = {
        "task_id": step.name,
        "trigger_rule": TriggerRule.ALL_DONE
        if step.runs_after != {"Succeeded", "Skipped"}
        else TriggerRule.NONE_FAILED,
        "retries": step.limit + START_FAILURES,
        "retry_delay": _duration(backoff.get("duration", "5s")),
        "retry_exponential_backoff": float(backoff.get("factor", 1)),
        "max_retry_delay": _duration(backoff.get("cap", "1m")),
    }
    if STEPS != "pods":
        return ProcessStep(**arguments)
    from modelyard_pods import PodStep, pod_of

    task = PodStep(
        **arguments,
        pod_template_dict=pod_of(spec, step),
        base_container_name="main",
        # A step's own deadline does not run while its pod waits for a node.
        startup_timeout_seconds=spec.get("activeDeadlineSeconds", 86_400),
        on_finish_action="delete_succeeded_pod",
    )
    defaults = _params(spec, {}).values()
    task.rendered = frozenset(each["default"] for each in defaults if "default" in each)
    return task


def make_dag(
    name: str,
    spec: Mapping[str, Any],
    path: str,
    given: Mapping[str, str],
    cron: Mapping[str, Any] | None,
) -> DAG:
    """The DAG of a workflow; `cron` is the spec of its schedule, if it has one."""
    deadline = spec.get("activeDeadlineSeconds")
    with DAG(
        dag_id=name,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        is_paused_upon_creation=False,
        dagrun_timeout=timedelta(seconds=deadline) if deadline else None,
        params={k: Param(**v, type="string") for k, v in _params(spec, given).items()},
        tags=["modelyard"],
        schedule=CronTriggerTimetable(cron["schedules"][0], timezone=cron.get("timezone", "UTC"))
        if cron
        else None,
        max_active_runs=1 if cron else 16,
    ) as dag:
        steps, last = list(steps_of(spec, path)), None
        for step in steps:
            task = _operator(spec, step)
            task.step = step
            if cron and step.before is None:
                task.too_late = cron.get("startingDeadlineSeconds")
            last = task if last is None else last >> task
        end = RunOutcome(
            task_id=OUTCOME,
            trigger_rule=TriggerRule.ALL_DONE,
            retries=START_FAILURES,
            retry_delay=timedelta(seconds=5),
        )
        end.names = tuple(step.name for step in steps)
        last >> end
    return dag


def _params(spec: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of each parameter's `Param`; one without a default must be given."""
    declared = {each["name"]: each for each in spec.get("arguments", {}).get("parameters", ())}
    values = {name: each["value"] for name, each in declared.items() if "value" in each}
    values |= given
    return {name: {"default": values[name]} if name in values else {} for name in declared}


def _duration(text: str) -> timedelta:
    return timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])


def make_dags(folder: Path) -> Iterator[DAG]:
    """The DAGs of a folder's workflows.

    Raises:
        NotTranslatedError: A workflow has a field that is not translated.
    """
    files = sorted(folder.glob("*.yaml"))
    documents = {file.name: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}
    templates = {}
    for path, document in documents.items():
        if document["kind"] not in FIELDS:
            raise NotTranslatedError(f"{path}: kind {document['kind']} is not translated")
        refuse_other_fields(document["spec"], FIELDS[document["kind"]], f"{path}: spec")
        if document["kind"] == "WorkflowTemplate":
            templates[document["metadata"]["name"]] = document["spec"]
    for path, document in documents.items():
        name, spec = document["metadata"]["name"], document["spec"]
        if document["kind"] == "WorkflowTemplate":
            yield make_dag(name, spec, path, {}, None)
        else:
            asked = spec["workflowSpec"]
            if len(spec["schedules"]) != 1:
                raise NotTranslatedError(f"{path}: spec.schedules has more than one")
            given = {each["name"]: each["value"] for each in asked["arguments"]["parameters"]}
            template = templates[asked["workflowTemplateRef"]["name"]]
            yield make_dag(name, template, path, given, spec)


for _dag in make_dags(WORKFLOWS):
    globals()[_dag.dag_id] = _dag
