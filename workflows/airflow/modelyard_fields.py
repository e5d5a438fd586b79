"""Which fields of a rendered workflow Airflow follows; any other is refused by name."""

from __future__ import annotations

import re
from typing import Any

FOLLOWED, POD, OTHERWISE = "followed", "part of the pod", "Airflow has its own"
LEFT_OUT = "its task is left out: the step before is not told that it may leave a list"

_PARAMETERS = {"parameters": {"name": FOLLOWED, "value": FOLLOWED}}
_TASK = {
    "arguments": _PARAMETERS,
    **dict.fromkeys(("name", "template", "depends", "when"), FOLLOWED),
    "withParam": LEFT_OUT,
}
_TEMPLATE = {
    "activeDeadlineSeconds": FOLLOWED,
    "container": {
        **dict.fromkeys(("args", "command", "workingDir"), FOLLOWED),
        **dict.fromkeys(("env", "envFrom", "image", "resources"), POD),
        **dict.fromkeys(("securityContext", "volumeMounts"), POD),
    },
    "dag": {"tasks": _TASK},
    "initContainers": POD,
    "inputs": {"parameters": {"name": FOLLOWED}},
    "metadata": POD,
    "name": FOLLOWED,
    "podSpecPatch": POD,
    "outputs": {
        "parameters": {"name": FOLLOWED, "valueFrom": {"path": FOLLOWED, "default": FOLLOWED}}
    },
    "retryStrategy": {
        "backoff": dict.fromkeys(("cap", "duration", "factor"), FOLLOWED),
        "expression": FOLLOWED,
        "limit": FOLLOWED,
    },
    "volumes": POD,
}
FIELDS: dict[str, Any] = {
    "WorkflowTemplate": {
        "activeDeadlineSeconds": FOLLOWED,
        "arguments": _PARAMETERS,
        "entrypoint": FOLLOWED,
        "podGC": {"strategy": FOLLOWED},
        "securityContext": POD,
        "serviceAccountName": POD,
        "templates": _TEMPLATE,
        "ttlStrategy": OTHERWISE,  # `airflow db clean` removes old runs
        "volumes": POD,
    },
    "CronWorkflow": {
        "concurrencyPolicy": FOLLOWED,
        "failedJobsHistoryLimit": OTHERWISE,
        "schedules": FOLLOWED,
        "startingDeadlineSeconds": FOLLOWED,
        "successfulJobsHistoryLimit": OTHERWISE,
        "timezone": FOLLOWED,
        "workflowSpec": {"arguments": _PARAMETERS, "workflowTemplateRef": {"name": FOLLOWED}},
    },
}
"""Every field of a workflow's `spec`, and who follows it; any other one is refused."""

PASSED_ON = ("MODELYARD_INPUTS", "MODELYARD_LEFT", "MODELYARD_SUBMITTED")
"""The variables of a container that a step gets as a process too; others are of its pod."""

NOT_TOLD = "MODELYARD_SHARDS"
"""The variable that lets a step leave a list for a task with `withParam`; without it, none is."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
_WORD = r"(?:\{\{[\w.-]+\}\}|[A-Za-z_]\w*)"
_FORMS = {
    "name": _NAME,
    "depends": rf"{_NAME}|{_NAME}\.(?:Succeeded|Failed)(?: \|\| {_NAME}\.(?:Succeeded|Failed))*",
    "when": rf"{_WORD} == {_WORD}(?: \|\| {_WORD} == {_WORD})*",
    "expression": re.escape("asInt(lastRetry.exitCode) == 1")
    + "|"
    + re.escape(
        "asInt(lastRetry.exitCode) in [-1, 1, 137, 143]"
        " and not (lastRetry.message contains 'specified deadline')"
    ),  # of what is left out
    "withParam": r"\{\{tasks\.[\w-]+\.outputs\.parameters\.[\w-]+\}\}",
    "strategy": "OnWorkflowSuccess",
    "concurrencyPolicy": "Forbid",
    **dict.fromkeys(("cap", "duration"), r"\d+[smh]"),
}


class NotTranslatedError(Exception):
    """A workflow asks for something that no DAG is made of here."""


def refuse_other_fields(value: Any, table: Any, path: str) -> None:
    """Refuse the first field that is not in the table, or not written as it must be."""
    if isinstance(table, dict) and isinstance(value, list):
        for number, each in enumerate(value):
            refuse_other_fields(each, table, f"{path}[{number}]")
    elif isinstance(table, dict):
        for key, each in value.items() if isinstance(value, dict) else [("", value)]:
            if key not in table:
                raise NotTranslatedError(f"{path}.{key} is not translated for Airflow")
            refuse_other_fields(each, table[key], f"{path}.{key}")
    elif (form := _FORMS.get(path.rpartition(".")[2])) and not re.fullmatch(form, str(value)):
        raise NotTranslatedError(f"{path}: {value!r} is not translated for Airflow")
