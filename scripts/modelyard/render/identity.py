"""The names and labels of a release's resources."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from modelyard.domain.labels import ARTIFACT, ENVIRONMENT, MODEL, PREFIX, RELEASE, VERSION
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.release import Release

Document = dict[str, object]
"""One Kubernetes object, or a part of one."""

LONGEST_NAME = 60
"""Names of Services have at most 63 characters; three are left for suffixes."""


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
    def own_name(self) -> str:
        """The name of this environment's own resources, distinct within a shared namespace."""
        return _shortened(f"{self.model}-{self.environment.name}")

    @property
    def workload_name(self) -> str:
        """The rollout's name."""
        return self.own_name if self.environment.joins else self.model

    @property
    def next_name(self) -> str:
        """The Service that a traffic router uses for a release before it is stable."""
        return _shortened(f"{self.model}-{self.environment.name}-next")

    @property
    def shadow_name(self) -> str:
        """The Service at which a canary that joins an environment answers that one's copies."""
        production = self.environment.joins or self.environment.name
        return _shortened(f"{self.model}-{production}-shadow")

    @property
    def shared_selector(self) -> dict[str, str]:
        """Selects the model's pods in all environments of the namespace."""
        return {MODEL: self.model}

    @property
    def own_selector(self) -> dict[str, str]:
        """Selects the pods of this environment only."""
        return {**self.shared_selector, ENVIRONMENT: self.environment.name}

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every resource of this model in this environment."""
        return {
            **self.own_selector,
            "app.kubernetes.io/component": "model-server",
            "app.kubernetes.io/instance": self.workload_name,
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


def release_pins(release: Release) -> tuple[dict[str, str], dict[str, str]]:
    """The release's pins as pod labels and annotations.

    A label has at most 63 characters and a digest 71, so labels hold its first twelve digits.
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


def _shortened(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9].rstrip('-')}-{digest}"
