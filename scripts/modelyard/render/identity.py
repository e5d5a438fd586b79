"""What a release's resources are called, and the labels that tell them apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from modelyard.domain.labels import ARTIFACT, ENVIRONMENT, MODEL, PREFIX, RELEASE, VERSION
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release

Document = dict[str, object]
"""One Kubernetes object, or a part of one."""

LONGEST_NAME = 60
"""Services take 63 characters; three are left for whoever adds a suffix."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Names and labels of one model in one environment; the same for every release.

    Args:
        model: The model's name.
        environment: Where it runs.
    """

    model: str
    environment: Environment

    @property
    def own(self) -> str:
        """The name of what only this environment has: in a shared namespace it needs a suffix."""
        return _short(f"{self.model}-{self.environment.name}")

    @property
    def workload(self) -> str:
        """The rollout's name."""
        return self.own if self.environment.joins else self.model

    @property
    def next(self) -> str:
        """The Service of a release that a traffic router leads requests to before it is stable."""
        return _short(f"{self.model}-{self.environment.name}-next")

    @property
    def shared_selector(self) -> dict[str, str]:
        """Selects the model's pods, in whichever environment of the namespace they belong."""
        return {MODEL: self.model}

    @property
    def own_selector(self) -> dict[str, str]:
        """Selects the pods of this environment alone."""
        return {**self.shared_selector, ENVIRONMENT: self.environment.name}

    @property
    def labels(self) -> dict[str, str]:
        """What everything of this model in this environment carries."""
        return {
            **self.own_selector,
            "app.kubernetes.io/component": "model-server",
            "app.kubernetes.io/instance": self.workload,
            "app.kubernetes.io/managed-by": "modelyard",
            "app.kubernetes.io/name": "modelyard-server",
            "app.kubernetes.io/part-of": self.model,
        }

    def metadata(self, name: str, **more: object) -> Document:
        """An object's metadata."""
        return {
            "name": name,
            "namespace": self.environment.namespace,
            "labels": self.labels,
            **more,
        }


def pins(release: Release) -> tuple[dict[str, str], dict[str, str]]:
    """What the release pins, as pod labels and annotations.

    A label takes 63 characters and a digest has 71, so labels hold its first twelve digits.
    """
    labels = {
        "app.kubernetes.io/version": release.version,
        ARTIFACT: release.artifact.removeprefix("sha256:")[:12],
        f"{PREFIX}/attempt": str(release.attempt),
        RELEASE: release.identity,
        VERSION: release.version,
    }
    annotations = {
        ARTIFACT: release.artifact,
        f"{PREFIX}/server-image": release.server_image,
    }
    return labels, annotations


def _short(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-')}-{digest}"
