"""Which fields of a WorkflowTemplate the local orchestrator follows, and which it may ignore."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from modelyard.errors import Refused

# Ignored on purpose: they say where and with which rights a pod runs, and how long a cluster
# remembers it. There are no pods here.
_POD = frozenset(
    {
        "affinity",
        "automountServiceAccountToken",
        "imagePullSecrets",
        "metadata",
        "nodeSelector",
        "podMetadata",
        "priorityClassName",
        "securityContext",
        "serviceAccountName",
        "tolerations",
        "volumes",
    }
)
SPEC = _POD | {
    "activeDeadlineSeconds",
    "archiveLogs",
    "arguments",
    "entrypoint",
    "parallelism",
    "podGC",
    "templates",
    "ttlStrategy",
    "workflowMetadata",
}
# An init container clones the repository; here the checkout is there already.
TEMPLATE = _POD | {
    "activeDeadlineSeconds",
    "container",
    "dag",
    "initContainers",
    "inputs",
    "name",
    "outputs",
    "retryStrategy",
    "timeout",
}
CONTAINER = frozenset(
    {
        "args",
        "command",
        "env",
        "envFrom",
        "image",
        "imagePullPolicy",
        "name",
        "resources",
        "securityContext",
        "volumeMounts",
        "workingDir",
    }
)
DAG = frozenset({"failFast", "tasks"})
TASK = frozenset({"arguments", "continueOn", "depends", "dependencies", "name", "template", "when"})
_BELOW: Mapping[str, frozenset[str]] = {
    "inputs": frozenset({"parameters"}),
    "outputs": frozenset({"parameters"}),
    "arguments": frozenset({"parameters"}),
    "retryStrategy": frozenset({"backoff", "expression", "limit", "retryPolicy"}),
    "backoff": frozenset({"cap", "duration", "factor"}),
    "continueOn": frozenset({"error", "failed"}),
}
_PARAMETER = frozenset({"default", "description", "name", "value", "valueFrom"})
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+\Z")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def refuse_unknown(document: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    """Refuse a field that would be passed over in silence, by its name."""
    for key, value in document.items():
        if key not in known:
            raise Refused(
                f"the local orchestrator does not run {where}.{key}",
                hint="leave it out of the workflow, or set orchestrator: argo in modelyard.yaml",
            )
        if key == "volumes":
            _refuse_lasting_volumes(value, where)
        elif key in _BELOW and isinstance(value, Mapping):
            refuse_unknown(value, _BELOW[key], f"{where}.{key}")


def parameters(holder: Mapping[str, Any], where: str) -> dict[str, Mapping[str, Any]]:
    """The parameters by name, their default taken for their value where they have none."""
    found: dict[str, Mapping[str, Any]] = {}
    for each in holder.get("parameters", ()):
        refuse_unknown(each, _PARAMETER, f"{where}.{each.get('name')}")
        default = {"value": each["default"]} if "default" in each else {}
        found[str(each["name"])] = {**default, **each}
    return found


def seconds(document: Mapping[str, Any], key: str) -> float | None:
    """A number of seconds, or a duration such as `5s` or `1h30m`."""
    value = document.get(key)
    if value is None:
        return None
    text = str(value)
    if text.isdigit():
        return float(text)
    if not _DURATION.match(text):
        raise Refused(f"{key}: {text!r} is no duration: write 30s, 5m or 1h")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def whole_number(document: Mapping[str, Any], key: str) -> int | None:
    """A whole number, written as one or as text."""
    value = document.get(key)
    if value is None:
        return None
    if not str(value).isdigit():
        raise Refused(f"{key}: {value!r} is not a whole number")
    return int(value)


def _refuse_lasting_volumes(volumes: list[Mapping[str, Any]], where: str) -> None:
    for volume in volumes:
        kinds = volume.keys() - {"name", "emptyDir"}
        if kinds:
            field = f"{where}.volumes.{volume.get('name')}.{min(kinds)}"
            raise Refused(f"the local orchestrator does not run {field}")
