"""The orchestrator role on Argo Workflows: submits WorkflowTemplates and follows them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from modelyard.adapters.cluster.kubernetes_api import (
    NAMESPACE,
    PODS,
    WORKFLOWS,
    KubernetesApi,
    Object,
)
from modelyard.adapters.cluster.pod_faults import memory_limit
from modelyard.adapters.workflows.patience import (
    NoWorkflow,
    follow,
    last_error_line,
    shorten_reason,
)
from modelyard.domain.labels import MODEL, VERSION
from modelyard.errors import CannotAnswer
from modelyard.ports import Phase, WorkflowStatus

logger = logging.getLogger(__name__)

_NODE = "workflows.argoproj.io/node-id"
_WORKFLOW = "workflows.argoproj.io/workflow"
# Enough for a traceback; the last error line is taken from it.
_LOG_LINES = 50
# Ends a watch whose connection died without notice.
_STREAM_SECONDS = 240


class ArgoWorkflows:
    """Runs workflows in a cluster; implements `ports.Orchestrator`.

    Args:
        api: The cluster.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def submit(self, name: str, *, template: str, parameters: Mapping[str, str]) -> None:
        """Start the workflow `name`, unless one of that name exists already."""
        labels = {MODEL: parameters.get("model"), VERSION: parameters.get("version")}
        document: Object = {
            "apiVersion": WORKFLOWS.version,
            "kind": "Workflow",
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": {key: value for key, value in labels.items() if value},
            },
            "spec": {
                "workflowTemplateRef": {"name": template},
                "arguments": {
                    "parameters": [{"name": k, "value": v} for k, v in sorted(parameters.items())]
                },
            },
        }
        self._api.create_object(WORKFLOWS, NAMESPACE, document)

    def status(self, name: str) -> WorkflowStatus | None:
        """The workflow's status, or None when there is none of that name.

        The message of a failed one ends with the last error line of the failing step.
        """
        found = self._api.get_object(WORKFLOWS, NAMESPACE, name)
        return None if found is None else self._status_of(found)

    def pulse(self) -> str:
        """Nothing: the cluster tells of its workflows."""
        return ""

    def wait(self, name: str, *, progress: Callable[[WorkflowStatus], None]) -> WorkflowStatus:
        """Follow until it is over, and report every change of a step; a broken stream is resumed.

        Raises:
            NoWorkflow: There is no workflow of that name.
            CannotAnswer: The cluster was out of reach for two minutes.
        """
        return follow(lambda: self._watch(name), progress)

    def _watch(self, name: str) -> Iterable[WorkflowStatus]:
        """The workflow now, and after each of its changes."""
        status = self.status(name)
        if status is None:
            raise NoWorkflow(name)
        yield status
        for changed in self._api.watch_objects(
            WORKFLOWS, NAMESPACE, name=name, seconds=_STREAM_SECONDS
        ):
            yield self._status_of(changed)

    def _status_of(self, workflow: Object) -> WorkflowStatus:
        name, status = workflow["metadata"]["name"], workflow.get("status") or {}
        phase = Phase(status.get("phase") or Phase.PENDING)
        message = str(status.get("message") or "")
        if phase in {Phase.FAILED, Phase.ERROR}:
            message = self._reason(name, status.get("nodes") or {}) or message
        return WorkflowStatus(
            name=name, phase=phase, message=message, steps=steps_of(status.get("nodes") or {})
        )

    def _reason(self, name: str, nodes: Mapping[str, Any]) -> str:
        """The step that failed, how, and the last error line of its log."""
        node = failing_node(nodes)
        if node is None:
            return ""
        what = f"{node['displayName']}: {node.get('message') or node['phase']}"
        full = ""
        try:
            pods = self._api.list_objects(PODS, NAMESPACE, labels={_WORKFLOW: name})
            mine = [pod for pod in pods if _annotation(pod, _NODE) == node["id"]]
            pod = mine[0]["metadata"]["name"] if mine else None
            full = out_of_memory(node, mine[0]) if mine else ""
            log = (
                self._api.read_log(NAMESPACE, pod, container="main", lines=_LOG_LINES)
                if pod
                else ""
            )
        except CannotAnswer as error:
            logger.info("%s", error.message)
            log = ""
        return shorten_reason(what, full or last_error_line(log))


def steps_of(nodes: Mapping[str, Any]) -> dict[str, Phase]:
    """Phase by step, of those that ran; all tries of a step are one step.

    Args:
        nodes: The workflow's `status.nodes`.
    """
    # A Retry node stands for the step; its Pod nodes are the tries.
    tries = {child for node in nodes.values() if node.get("type") == "Retry"
             for child in node.get("children") or ()}  # fmt: skip
    steps = {
        node["displayName"]: node["phase"]
        for key, node in nodes.items()
        if node.get("type") in {"Pod", "Retry"} and key not in tries and node.get("phase")
    }
    return {name: Phase(phase) for name, phase in steps.items() if phase in set(Phase)}


def failing_node(nodes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The pod node that failed last, if one did."""
    bad = [
        node
        for node in nodes.values()
        if node.get("type") == "Pod" and node.get("phase") in {Phase.FAILED, Phase.ERROR}
    ]
    return max(bad, key=lambda node: str(node.get("finishedAt") or ""), default=None)


def out_of_memory(node: Mapping[str, Any], pod: Object) -> str:
    """What to do for a step that was killed for its memory; empty for any other.

    Args:
        node: The step's node of the workflow.
        pod: Its pod.
    """
    if "OOMKilled" not in str(node.get("message") or ""):
        return ""
    step = str(node.get("displayName") or "").partition("(")[0]
    key = {
        **dict.fromkeys(("train", "profile"), "trainer"),
        **dict.fromkeys(("evaluate", "verify"), "server"),
    }.get(step)
    limit = memory_limit(pod, "main") or "what its node has"
    todo = f": raise {key}.resources.memory in model.yaml" if key else ""
    return f"it used more memory than {limit}{todo}"


def _annotation(pod: Object, name: str) -> str | None:
    annotations: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    return annotations.get(name)
