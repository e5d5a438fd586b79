"""The cluster role on Kubernetes: Argo CD applies what is in Git, Argo Rollouts moves traffic."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from functools import cached_property

from modelyard.adapters.cluster.kubernetes_api import (
    APPLICATION_SETS,
    APPLICATIONS,
    EVENTS,
    PODS,
    ROLLOUTS,
    KubernetesApi,
    Object,
    Resource,
)
from modelyard.adapters.cluster.kubernetes_changes import KubernetesChanges
from modelyard.adapters.cluster.rollout_state import release_of, rollout_state_of
from modelyard.adapters.git.remote_refs import retry_on_conflict
from modelyard.domain.canary.traffic import RolloutState
from modelyard.domain.labels import (
    ABORT_REASON,
    ABORTED,
    COMMIT,
    ENVIRONMENT,
    MODEL,
    PULL_REQUEST,
)
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.sites import Site
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.ports import Clock

logger = logging.getLogger(__name__)

ARGOCD = "argocd"
"""The namespace of Argo CD, of its Applications and of the ApplicationSet."""

APPLICATION_SET = "modelyard"

_REFRESH = "argocd.argoproj.io/refresh"
_SET_REFRESH = "argocd.argoproj.io/application-set-refresh"
# A refresh lists Git and the cluster; more often would only queue up.
_SECONDS_BETWEEN_REFRESHES = 3.0
# The API server refuses event messages above 1024 characters.
_LONGEST_MESSAGE = 1000


class KubernetesCluster:
    """Observes what Argo makes of Git, and makes it refresh; implements `ports.Cluster`.

    Git alone says what runs, so nothing is applied here: a call makes Argo CD refresh, or Argo
    Rollouts abort, or only reads. No call waits until the cluster has followed.

    Args:
        api: The cluster.
        clock: Dates the events.
    """

    def __init__(self, api: KubernetesApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._refreshed: dict[str, float] = {}

    @cached_property
    def _changes(self) -> KubernetesChanges:
        return KubernetesChanges(self._api)

    def site(self, *, create: bool = False) -> Site | None:
        """The cluster as a site; everybody who talks to it is there."""
        del create  # it has an identity from its first day
        return self._site

    @cached_property
    def _site(self) -> Site:
        identity = self._api.cluster_identity()
        return Site(id=identity, name=f"the Kubernetes cluster {identity[:8]}")

    def sync(
        self, release: Release, *, model: Model, environment: Environment,
        origin: PastRelease | None = None,
    ) -> None:  # fmt: skip
        """Make Argo CD refresh if another release runs; else annotate where this one came from."""
        rollout = self._rollout(model.name, environment)
        if rollout is None or release_of(rollout) != release.identity:
            self._refresh(model.name, environment)
        elif origin is not None:
            self._annotate_origin(rollout, origin)

    def remove(self, *, model: str, environment: Environment) -> None:
        """Leave it running: a model whose folder was lost by mistake goes on answering.

        The ApplicationSet's `preserveResourcesOnDeletion` has the same effect.
        """
        logger.debug("%s: no release names %s any more", environment.name, model)

    def observe(self, *, model: str, environment: Environment) -> RolloutState | None:
        """The state of the Rollout and its pods; None when there is no Rollout."""
        rollout = self._rollout(model, environment)
        if rollout is None:
            return None
        pods = self._api.list_objects(PODS, environment.namespace, labels={MODEL: model})
        return rollout_state_of(rollout, pods, environment)

    def advance(self, release: Release, *, environment: Environment) -> bool:  # noqa: ARG002 - the port's signature
        """Take no step: Argo Rollouts asks the judge and steps by itself."""
        return False

    def abort(self, release: Release, *, environment: Environment, reason: str) -> None:
        """Make Argo Rollouts move traffic back to stable, if this release runs.

        The reason is written first, so that it is there once the rollout is aborted. A fully
        promoted release has no other stable one; then only Git brings back the one before it.
        """
        retry_on_conflict(lambda: self._abort(release, environment, reason))

    def hurry(self, *, model: str, environment: Environment) -> None:
        """Make Argo CD refresh now, instead of at its next poll minutes later."""
        self._refreshed.pop(_application(model, environment), None)
        self._refresh(model, environment)

    def note(self, release: Release, *, environment: Environment, what: str, is_good: bool) -> None:
        """Write an event of the Rollout, for `kubectl describe`."""
        rollout = self._rollout(release.model, environment)
        if rollout is None:
            return
        metadata, now = rollout["metadata"], self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {key: rollout[key] for key in ("apiVersion", "kind")}
        about |= {key: metadata[key] for key in ("name", "namespace", "uid")}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "generateName": f"{metadata['name']}.",
                "namespace": metadata["namespace"],
                "labels": {MODEL: release.model, ENVIRONMENT: environment.name},
            },
            "involvedObject": about,
            "reason": "Release" if is_good else "ReleaseTakenBack",
            "message": f"{release.version} ({release.artifact[:19]}): {what}"[:_LONGEST_MESSAGE],
            "type": "Normal" if is_good else "Warning",
            "source": {"component": "modelyard"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._api.create_object(EVENTS, metadata["namespace"], event)

    def tells_changes(self) -> bool:
        """Whether all streams of changes are open; one that breaks begins with all there is."""
        return self._changes.is_open()

    def changed(self, environments: Iterable[Environment], *, seconds: float) -> frozenset[str]:
        """Wait until an object of a model changes; see `ports.Cluster`."""
        namespaces = {each.namespace for each in environments}
        return self._changes.wait(namespaces, argocd=ARGOCD, seconds=seconds)

    def _rollout(self, model: str, environment: Environment) -> Object | None:
        labels = {MODEL: model, ENVIRONMENT: environment.name}
        found = self._api.list_objects(ROLLOUTS, environment.namespace, labels=labels)
        # The items of a list have no apiVersion and kind.
        kind = {"apiVersion": ROLLOUTS.version, "kind": "Rollout"}
        return {**found[0], **kind} if found else None

    def _refresh(self, model: str, environment: Environment) -> None:
        """Make Argo CD refresh, at most once every few seconds."""
        name, now = _application(model, environment), time.monotonic()
        if (
            now - self._refreshed.get(name, -_SECONDS_BETWEEN_REFRESHES)
            < _SECONDS_BETWEEN_REFRESHES
        ):
            return
        self._refreshed[name] = now
        # A new model has no Application until the ApplicationSet saw its folder.
        if self._api.get_object(APPLICATIONS, ARGOCD, name) is not None:
            self._annotate(APPLICATIONS, name, {_REFRESH: "normal"})
        elif self._api.get_object(APPLICATION_SETS, ARGOCD, APPLICATION_SET) is not None:
            self._annotate(APPLICATION_SETS, APPLICATION_SET, {_SET_REFRESH: "true"})

    def _annotate(self, resource: Resource, name: str, notes: dict[str, str]) -> None:
        self._api.patch_object(resource, ARGOCD, name, {"metadata": {"annotations": notes}})

    def _annotate_origin(self, rollout: Object, origin: PastRelease) -> None:
        """Annotate the Rollout: any change of its pod template would start new pods."""
        wanted = {COMMIT: origin.commit}
        if origin.pull is not None:
            wanted[PULL_REQUEST] = str(origin.pull)
        metadata = rollout["metadata"]
        if _is_missing(metadata, wanted):
            change: Object = {"metadata": {"annotations": wanted}}
            self._api.patch_object(ROLLOUTS, metadata["namespace"], metadata["name"], change)

    def _abort(self, release: Release, environment: Environment, reason: str) -> None:
        rollout = self._rollout(release.model, environment)
        if rollout is None or release_of(rollout) != release.identity:
            return
        metadata, status = rollout["metadata"], rollout.get("status") or {}
        where = (metadata["namespace"], metadata["name"])
        notes = {ABORTED: release.identity, ABORT_REASON: reason}
        version = metadata["resourceVersion"]
        if _is_missing(metadata, notes):
            change: Object = {"metadata": {"annotations": notes, "resourceVersion": version}}
            version = self._api.patch_object(ROLLOUTS, *where, change)["metadata"][
                "resourceVersion"
            ]
        # The resourceVersion makes this a compare-and-swap: it aborts the rollout that was read.
        if not status.get("abort") and status.get("stableRS") != status.get("currentPodHash"):
            stop: Object = {"status": {"abort": True}, "metadata": {"resourceVersion": version}}
            self._api.patch_object(ROLLOUTS, *where, stop, part="status")


def _is_missing(metadata: Object, notes: Mapping[str, str]) -> bool:
    """Whether one of these annotations is missing or has another value."""
    known = metadata.get("annotations") or {}
    return any(known.get(key) != value for key, value in notes.items())


def _application(model: str, environment: Environment) -> str:
    """The name that the ApplicationSet gives the Application of a model in an environment."""
    return f"{environment.name}-{model}"
