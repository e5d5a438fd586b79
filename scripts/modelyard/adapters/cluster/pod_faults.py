"""What keeps the pods of a release from being ready, and whose fault that is; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from modelyard.domain.server_fault import Blame, ServerFault, fault_of_exit, infrastructure_fault

Status = Mapping[str, Any]

_SERVER = "server"
"""The container whose exit code may blame the version; see `render.pod`."""

_STARTING = frozenset({"", "ContainerCreating", "PodInitializing", "CrashLoopBackOff"})
"""Reasons of a waiting container that say nothing yet; a crash has its exit code beside it."""


def release_fault(pods: Iterable[Status]) -> ServerFault | None:
    """The fault of a release's pods; the version's own comes before any other.

    Args:
        pods: The release's pods, those included that ended or were evicted.
    """
    found = [fault for pod in pods for fault in _pod_faults(pod)]
    own = (fault for fault in found if fault.blame is Blame.VERSION)
    return next(own, next(iter(found), None))


def _pod_faults(pod: Status) -> Iterator[ServerFault]:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or ():
        limit = memory_limit(pod, str(container.get("name")))
        yield from _container_faults(
            container, is_server=container.get("name") == _SERVER, limit=limit
        )
    for container in status.get("initContainerStatuses") or ():
        yield from _container_faults(container, is_server=False, limit=None)
    if status.get("reason"):  # Evicted, NodeLost, Preempting, ...
        yield infrastructure_fault(_sentence("pod", status))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield infrastructure_fault(_sentence("pod", condition))


def memory_limit(pod: Status, container: str) -> str | None:
    """The memory that a container of a pod may use, as its spec has it; None without a limit."""
    for each in (pod.get("spec") or {}).get("containers") or ():
        if each.get("name") == container:
            limits = (each.get("resources") or {}).get("limits") or {}
            return str(limits["memory"]) if "memory" in limits else None
    return None


def _container_faults(
    container: Status, *, is_server: bool, limit: str | None
) -> Iterator[ServerFault]:
    name = f"container {container.get('name')}"
    if container.get("ready") is True:
        return
    now, last = container.get("state") or {}, container.get("lastState") or {}
    for ended in (now.get("terminated"), last.get("terminated")):
        if ended and ended.get("exitCode") != 0:
            # Killed for its memory, a server has no say in its exit code; the limit is a setting.
            is_full = ended.get("reason") == "OOMKilled"
            code = None if is_full or not is_server else ended.get("exitCode")
            why = _sentence(name, {**ended, "code": ended.get("exitCode")})
            if is_full and is_server and limit:
                why += f"; it may use {limit}: raise server.resources.memory in model.yaml"
            yield fault_of_exit(code, why)
    waiting = now.get("waiting") or {}
    # ImagePullBackOff, ErrImagePull, CreateContainerConfigError, ...: the container never ran.
    if str(waiting.get("reason") or "") not in _STARTING:
        yield infrastructure_fault(_sentence(name, waiting))


def _sentence(what: str, why: Status) -> str:
    code = f" (exit code {why['code']})" if "code" in why else ""
    message = f": {why['message']}" if why.get("message") else ""
    return f"{what}: {why.get('reason') or 'not started'}{code}{message}"[:500]
