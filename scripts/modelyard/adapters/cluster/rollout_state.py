"""Translates a Rollout and its pods into the domain's `RolloutState`; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.adapters.cluster.pod_faults import release_fault
from modelyard.domain.canary.traffic import JUDGED_BAD, RolloutState
from modelyard.domain.labels import ABORT_REASON, ABORTED, ENVIRONMENT, RELEASE
from modelyard.domain.server_fault import ServerFault, infrastructure_fault
from modelyard.domain.specs.environment import Environment

_MOST_SHARE = 0.99
"""A release that is not fully promoted has not all requests, even if no older pod answers."""

_BARE = re.compile(r"(RolloutAborted: )?Rollout aborted update to revision \d+\.?\Z")
"""The message of Argo Rollouts when a person stopped the update."""

_ASKED = 'Metric "judge" assessed Failed'
"""Its message when the AnalysisRun did; see `render.analysis`."""

_UNANSWERED = 'Metric "judge" assessed Error'
"""Its message when the judge did not answer for too long."""

_LATE = "has timed out progressing"
"""Its message when the deadline did."""

MANUAL = "manual: a person aborted the rollout"


def release_of(rollout: Mapping[str, Any]) -> str:
    """Identity of the release that the Rollout's pod template belongs to; empty for none."""
    template = rollout["spec"].get("template", {})
    labels: Mapping[str, str] = template.get("metadata", {}).get("labels") or {}
    return labels.get(RELEASE, "")


def rollout_state_of(
    rollout: Mapping[str, Any], pods: Iterable[Mapping[str, Any]], environment: Environment
) -> RolloutState:
    """The state of the release that the Rollout names.

    It is not ready while the controller has not observed the Rollout's newest generation.

    Args:
        rollout: The Rollout.
        pods: All pods of the model in the namespace, of every environment there.
        environment: Where the Rollout belongs.
    """
    release, status = release_of(rollout), rollout.get("status") or {}
    # Argo Rollouts writes the generation as text, Kubernetes as a number.
    if str(status.get("observedGeneration")) != str(rollout["metadata"].get("generation")):
        return RolloutState(release=release, ready=False, share=0.0)
    pods = tuple(pods)
    fault = release_fault(pod for pod in pods if _is_of(pod, environment, release))
    if (reason := _aborted(rollout, status)) is not None:
        fault = _fault_of_abort(rollout, status, reason, fault)
        if fault is not None and fault.why not in reason:
            reason = f"{reason}: {fault.why}"
        return RolloutState(release=release, ready=False, share=0.0, aborted=reason, fault=fault)
    mine, answering = _answering(pods, environment, release)
    ready = bool(mine) and all(_is_ready(pod) for pod in mine)
    if _is_whole(status) and environment.joins is None:
        wanted = int(rollout["spec"].get("replicas", 1))
        ready = ready and len(mine) >= wanted
        return RolloutState(release=release, ready=ready, share=1.0, fault=None if ready else fault)
    part = sum(map(_is_ready, mine)) / answering if answering else 0.0
    has_stable = bool(status.get("stableRS"))
    return RolloutState(
        release=release,
        ready=ready,
        share=min(part, _MOST_SHARE) if has_stable else part,
        fault=None if ready else fault,
    )


def _fault_of_abort(
    rollout: Mapping[str, Any],
    status: Mapping[str, Any],
    reason: str,
    fault: ServerFault | None,
) -> ServerFault | None:
    """Whose fault an abort is; None for a judge's or a person's, who need no server to say so."""
    notes: Mapping[str, str] = rollout["metadata"].get("annotations") or {}
    message = _message(status)
    if notes.get(ABORTED) == release_of(rollout) or reason in {MANUAL, JUDGED_BAD}:
        return None
    if _is_late(status) or _LATE in message:
        # Without a word of its pods it is not known to be the version's own.
        return fault or infrastructure_fault(reason)
    return infrastructure_fault(reason) if _UNANSWERED in message else None


def _answering(
    pods: Iterable[Mapping[str, Any]], environment: Environment, release: str
) -> tuple[list[Mapping[str, Any]], int]:
    """The release's pods, and how many pods answer the requests it shares in.

    Production's share is of its own requests; a joined release's is of all requests.
    """
    alive = [pod for pod in pods if not _is_over(pod)]
    own = [pod for pod in alive if _label(pod, ENVIRONMENT) == environment.name]
    mine = [pod for pod in own if _label(pod, RELEASE) == release]
    sharing = own if environment.joins is None else alive
    return mine, sum(map(_is_ready, sharing))


def _aborted(rollout: Mapping[str, Any], status: Mapping[str, Any]) -> str | None:
    """Why the release is out of traffic, or None while it is not."""
    is_late = _is_late(status)
    if not status.get("abort") and not is_late:
        return None
    # Our own abort wrote its reason first; see `KubernetesCluster.abort`.
    notes: Mapping[str, str] = rollout["metadata"].get("annotations") or {}
    if notes.get(ABORTED) == release_of(rollout):
        return notes.get(ABORT_REASON) or JUDGED_BAD
    message = _message(status)
    if (_is_whole(status) or not status.get("stableRS")) and (is_late or _LATE in message):
        # Ready pods were lost, or there were none yet: nothing else could run in their place.
        return None
    if is_late:
        return f"not ready within {rollout['spec'].get('progressDeadlineSeconds')} s"
    if not message or _BARE.match(message):
        return MANUAL
    return JUDGED_BAD if _ASKED in message else message.removeprefix("RolloutAborted: ")


def _progress(status: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions = {each.get("type"): each for each in status.get("conditions") or ()}
    found: Mapping[str, Any] = conditions.get("Progressing", {})
    return found


def _is_late(status: Mapping[str, Any]) -> bool:
    return bool(_progress(status).get("reason") == "ProgressDeadlineExceeded")


def _message(status: Mapping[str, Any]) -> str:
    return str(status.get("message") or _progress(status).get("message") or "")


def _is_whole(status: Mapping[str, Any]) -> bool:
    """Whether the release that the Rollout names is the stable one."""
    stable = status.get("stableRS")
    return bool(stable) and stable == status.get("currentPodHash")


def _is_of(pod: Mapping[str, Any], environment: Environment, release: str) -> bool:
    return _label(pod, ENVIRONMENT) == environment.name and _label(pod, RELEASE) == release


def _is_over(pod: Mapping[str, Any]) -> bool:
    """Whether the pod terminates or has ended: an evicted one stays listed for days."""
    phase = (pod.get("status") or {}).get("phase")
    return "deletionTimestamp" in pod["metadata"] or phase in {"Failed", "Succeeded"}


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _label(pod: Mapping[str, Any], name: str) -> str | None:
    labels: Mapping[str, str] = pod["metadata"].get("labels") or {}
    return labels.get(name)
