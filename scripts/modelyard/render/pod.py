"""The pod template: one model server, and nothing in it that does not belong to the release."""

from __future__ import annotations

from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.render.identity import Document, Identity, pins

PORT = 8080
"""Where the server listens."""

SETTINGS = "modelyard"
"""The ConfigMap of a namespace: `artifacts` is the artifact store's URI."""

CREDENTIALS = "modelyard-artifacts"
"""The Secret with the store's credentials, where it needs any; only fetching sees them."""

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
    """What the release's pods are.

    Any change of it starts new pods, and an aborted release once more. So it holds the pins, what
    the server must be told to open the artifact, and constants; never a commit, a pull request or
    a setting of the environment.
    """
    labels, annotations = pins(release)
    return {
        "metadata": {"labels": {**identity.labels, **labels}, "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [_server(release, model)],
            # A variable for each Service of the namespace would come with it.
            "enableServiceLinks": False,
            "initContainers": [_fetch(release)],
            "securityContext": {
                "fsGroup": USER,
                "runAsNonRoot": True,
                "runAsUser": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            # Longer than the wait before it stops listening and its slowest request together.
            "terminationGracePeriodSeconds": 45,
            "volumes": [
                {"name": "artifact", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }


def _server(release: Release, model: Model) -> Document:
    options = {
        "model": release.model,
        "version": release.version,
        "release": release.identity,
        "artifact": release.artifact,
        "folder": f"{_ARTIFACT}/model",
        "host": "0.0.0.0",  # noqa: S104 - pods are reached by their address
        "port": str(PORT),
        "closing-file": _CLOSING,
    }
    accepted = [f"--format={each}" for each in model.artifact.formats]
    accepted += [f"--trusted-type={each}" for each in model.artifact.trusted_types]
    return {
        "name": "server",
        "image": release.server_image,
        "command": ["modelyard"],
        "args": ["serve", *(f"--{key}={value}" for key, value in options.items()), *accepted],
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - an empty volume
        "ports": [{"name": "http", "containerPort": PORT}],
        # A release that starts too slowly is taken back by the Rollout's deadline; this one is
        # longer, so that a pod on a busy node is not killed into starting again.
        "startupProbe": _probe("/v2/health/ready", period=1, failures=300),
        "readinessProbe": _probe("/v2/health/ready", period=1, failures=3),
        "livenessProbe": _probe("/v2/health/live", period=10, failures=3),
        # Services forget a pod some seconds after it was told to stop, and a kept connection never
        # does: the server ends each with its next answer, and is stopped when none is left.
        "lifecycle": {
            "preStop": {"exec": {"command": ["sh", "-c", f"touch {_CLOSING} && sleep 5"]}}
        },
        "resources": {
            "requests": {"cpu": "100m", "memory": "768Mi"},
            "limits": {"memory": "1536Mi"},
        },
        "securityContext": _UNPRIVILEGED,
        "volumeMounts": [
            {"name": "artifact", "mountPath": _ARTIFACT, "readOnly": True},
            _TEMPORARY,
        ],
    }


def _fetch(release: Release) -> Document:
    """Brings the artifact; the server verifies its digest before it opens anything."""
    address: Document = {"configMapKeyRef": {"name": SETTINGS, "key": "artifacts"}}
    return {
        "name": "fetch",
        "image": release.server_image,
        "command": ["modelyard"],
        "args": ["fetch-model", f"--artifact={release.artifact}", f"--folder={_ARTIFACT}/model"],
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


def _probe(path: str, *, period: int, failures: int) -> Document:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 2,
    }
