"""The Rollout: how a release replaces the one before it, and when it is taken back."""

from __future__ import annotations

from modelyard.domain.labels import PREFIX
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.release import Release
from modelyard.render.analysis import analysis_arguments, template_name
from modelyard.render.identity import Document, Identity, release_pins
from modelyard.render.pod import pod_template
from modelyard.render.router import traffic_routing
from modelyard.render.shares import most_judged, one_pod_weight, share_of, weight_percent

HISTORY = 5
"""Releases that can return without the steps, and the replica sets that are kept for them."""


def render_rollout(release: Release, *, model: Model, identity: Identity) -> Document:
    """The release's Rollout.

    Its metadata shows people what runs; the watcher adds the pull request and the commit to it.
    """
    environment = identity.environment
    canary: Document = {
        "maxSurge": most_judged(environment),
        # The release before it answers until this one is ready.
        "maxUnavailable": 0,
        "steps": _steps(release, identity),
    }
    if environment.rollout.router is not None:
        canary |= traffic_routing(identity)
    labels, annotations = release_pins(release)
    metadata = identity.metadata(
        identity.workload_name,
        annotations={**annotations, f"{PREFIX}/share": share_of(environment)},
    )
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {**metadata, "labels": {**identity.labels, **labels}},
        "spec": {
            # Counts only while pods start: pauses and analyses stop its clock.
            "progressDeadlineAbort": True,
            "progressDeadlineSeconds": environment.rollout.ready_within_seconds,
            "replicas": environment.rollout.replicas,
            "revisionHistoryLimit": HISTORY,
            "rollbackWindow": {"revisions": HISTORY},
            "selector": {"matchLabels": identity.own_selector},
            "strategy": {"canary": canary},
            "template": pod_template(release, model=model, identity=identity),
        },
    }


def _steps(release: Release, identity: Identity) -> list[Document]:
    rollout = identity.environment.rollout
    if identity.environment.joins is not None or (rollout.judged and not rollout.steps):
        # One pod next to all that answered before: its share follows from their number.
        walked = [(one_pod_weight(rollout.replicas), sum(s.pause_seconds for s in rollout.steps))]
    else:
        walked = [(weight_percent(step), step.pause_seconds) for step in rollout.steps]
    documents: list[Document] = []
    for percent, pause_seconds in walked:
        documents.append({"setWeight": percent})
        if pause_seconds:
            documents.append({"pause": {"duration": f"{pause_seconds}s"}})
        if rollout.judged:
            templates = [{"templateName": template_name(identity)}]
            documents.append(
                {"analysis": {"templates": templates, "args": analysis_arguments(release)}}
            )
    return documents
