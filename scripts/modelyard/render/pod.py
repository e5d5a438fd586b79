"""The pod template: one model server, from nothing but the release and its model."""

from __future__ import annotations

from typing import Any

from modelyard.domain.machines.placement import GPU, Placement, find_placement
from modelyard.domain.server_arguments import GRPC_PORT, server_arguments, server_variables
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import environment_file
from modelyard.domain.specs.release import Release
from modelyard.render.identity import Document, Identity, release_pins
from modelyard.render.resources import container_resources, pod_placement

PORT = 8080
"""The port that the server listens on."""

SETTINGS = "modelyard"
"""The ConfigMap of each namespace, whose key `artifacts` is the artifact store's URI."""

CREDENTIALS = "modelyard-artifacts"
"""The Secret with the store's credentials, if it needs any; only the init container gets them."""

SERVICE_ACCOUNT = "modelyard-server"
"""The ServiceAccount of each namespace, to which a cloud can give the right to read artifacts."""

PRE_STOP_SECONDS = 5
TERMINATION_SECONDS = 60
"""Longer than the preStop wait, the slowest request and the end of the payload log together."""

USER = 10001
_ARTIFACT = "/artifact"
_CLOSING = "/tmp/closing"  # noqa: S108 - in an empty volume
_UNPRIVILEGED: Document = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
_TEMPORARY: Document = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - an empty volume


def pod_template(release: Release, *, model: Model, identity: Identity) -> Document:
    """The template of the release's pods.

    Any change to it starts new pods, and starts an aborted release again. So it contains only the
    pins, the model's policies for artifact and server, the nodes they name and constants; never a
    commit or a pull request.

    Raises:
        CannotAnswer: The model names a class of nodes that the environment does not list.
    """
    labels, annotations = release_pins(release)
    placement = find_placement(
        identity.environment.placements,
        model.server.placement,
        where=environment_file(identity.environment.name),
    )
    return {
        "metadata": {"labels": {**identity.labels, **labels}, "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": False,  # no server calls the Kubernetes API
            "containers": [_server(release, model, identity, placement)],
            # Else each Service of the namespace would add its variables.
            "enableServiceLinks": False,
            "initContainers": [_fetch(release, model)],
            "serviceAccountName": SERVICE_ACCOUNT,
            "securityContext": {
                "fsGroup": USER,
                "runAsNonRoot": True,
                "runAsUser": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationGracePeriodSeconds": TERMINATION_SECONDS,
            "volumes": [
                {"name": "artifact", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
            ],
            **pod_placement(placement),
        },
    }


def _server(
    release: Release, model: Model, identity: Identity, placement: Placement | None
) -> Document:
    lock: dict[str, Any] = {"lock": release.lock} if release.lock else {}
    arguments = server_arguments(
        model=release.model,
        version=release.version,
        release=release.identity,
        artifact=release.artifact,
        folder=f"{_ARTIFACT}/model",
        formats=model.artifact.accepted_formats,
        trusted_types=model.artifact.trusted_types,
        queue=model.server.queue,
        host="0.0.0.0",  # noqa: S104 - pods are reached by their address
        port=str(PORT),
        closing_file=_CLOSING,
        **lock,
    )
    variables = server_variables(
        workers=model.server.workers,
        stuck_after=model.server.stuck_after_seconds,
        shadow=model.canary.shadow if identity.environment.joins is None else 0.0,
        shadow_to=_canaries(identity),
        grpc_port=GRPC_PORT if model.server.grpc else None,
    )
    more_ports = [{"name": "grpc", "containerPort": GRPC_PORT}] if model.server.grpc else []
    return {
        "name": "server",
        "image": release.server_image,
        "command": ["modelyard"],
        "args": arguments,
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - an empty volume
            *({"name": name, "value": value} for name, value in variables.items()),
        ],
        "ports": [{"name": "http", "containerPort": PORT}, *more_ports],
        # Longer than the Rollout's deadline, which takes a slow release back: a probe that killed
        # a pod on a busy node would only make it start from the beginning.
        "startupProbe": _probe("/v2/health/ready", period=1, failures=300),
        "readinessProbe": _probe("/v2/health/ready", period=1, failures=3),
        "livenessProbe": _probe("/v2/health/live", period=10, failures=3),
        # Services route to a pod for some seconds after it was asked to stop, and kept connections
        # stay. So the server first ends each connection with its next answer, then it is stopped.
        "lifecycle": {
            "preStop": {
                "exec": {"command": ["sh", "-c", f"touch {_CLOSING} && sleep {PRE_STOP_SECONDS}"]}
            }
        },
        "resources": container_resources(
            model.server.resources,
            gpu=GPU if placement is None else placement.gpu,
            default={
                "requests": {"cpu": "100m", "memory": "768Mi"},
                "limits": {"memory": "1536Mi"},
            },
        ),
        "securityContext": _UNPRIVILEGED,
        "volumeMounts": [
            {"name": "artifact", "mountPath": _ARTIFACT, "readOnly": True},
            _TEMPORARY,
        ],
    }


def _canaries(identity: Identity) -> list[str]:
    """Where releases answer copies of this one's requests: those that join, and a router's next."""
    # Without a router no Service has only the pods of this environment's own next release.
    names = [identity.shadow_name]
    if identity.environment.rollout.router is not None:
        names.append(identity.next_name)
    return [f"http://{name}" for name in names]


def _fetch(release: Release, model: Model) -> Document:
    """Fetches the artifact once its signature is checked; the server verifies its digest."""
    address: Document = {"configMapKeyRef": {"name": SETTINGS, "key": "artifacts"}}
    return {
        "name": "fetch",
        "image": release.server_image,
        "command": ["modelyard"],
        "args": [
            "fetch-model",
            f"--artifact={release.artifact}",
            f"--folder={_ARTIFACT}/model",
            *_signature(release, model.artifact.signed_by),
        ],
        "env": [
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - an empty volume
            {"name": "MODELYARD_ARTIFACTS", "valueFrom": address},
        ],
        "envFrom": [{"secretRef": {"name": CREDENTIALS, "optional": True}}],
        "resources": {
            "requests": {"cpu": "50m", "memory": "256Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": _UNPRIVILEGED,
        "volumeMounts": [{"name": "artifact", "mountPath": _ARTIFACT}, _TEMPORARY],
    }


def _signature(release: Release, keys: tuple[str, ...]) -> list[str]:
    # Without keys there is no argument, so that manifests without one stay as they are.
    named = [f"--model={release.model}", f"--version={release.version}"] if keys else []
    return [*named, *(f"--signed-by={key}" for key in keys)]


def _probe(path: str, *, period: int, failures: int) -> Document:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 2,
    }
