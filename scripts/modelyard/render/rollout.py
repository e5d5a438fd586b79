"""The Rollout: how a release takes over from the one before it, and when it is taken back."""

from __future__ import annotations

from modelyard.domain.environment import Environment, Step
from modelyard.domain.model import Model
from modelyard.domain.release import Release
from modelyard.render.analysis import judged_by, template_name
from modelyard.render.identity import PREFIX, Document, Identity
from modelyard.render.pod import pod_template

HISTORY = 5
"""Releases that can come back without walking the steps, and replica sets kept for them."""


def rollout(release: Release, *, model: Model, identity: Identity) -> Document:
    """The release's Rollout."""
    environment = identity.environment
    canary: Document = {
        "maxSurge": "25%",
        # The release before it answers until this one can.
        "maxUnavailable": 0,
        "steps": _steps(release, identity),
    }
    share = {"annotations": {f"{PREFIX}/share": share_of(environment)}}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": identity.metadata(identity.workload, **share),
        "spec": {
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


def share_of(environment: Environment) -> str:
    """The part of the model's requests its pods answer, in words.

    Without a traffic router a Service spreads requests over pods, so pods are the share.
    """
    pods = environment.rollout.replicas
    if environment.joins is None:
        return f"all, but for the pods of environments that join {environment.name}"
    return f"{pods} / ({pods} + pods of {environment.joins})"


def real_share(joining: Environment, joined: Environment) -> float:
    """The part of the requests that `joining` answers: its pods / all pods, 0 to 1."""
    pods = joining.rollout.replicas
    return pods / (pods + joined.rollout.replicas)


def _steps(release: Release, identity: Identity) -> list[Document]:
    rollout = identity.environment.rollout
    # Beside the environment it joins, all of its pods are new; its share is theirs.
    steps = [Step(share=1.0, pause_seconds=sum(s.pause_seconds for s in rollout.steps))]
    if rollout.steps and identity.environment.joins is None:
        steps = list(rollout.steps)
    elif not rollout.judged and not rollout.steps:
        return []
    documents: list[Document] = []
    for step in steps:
        documents.append({"setWeight": max(1, round(step.share * 100))})
        if step.pause_seconds:
            documents.append({"pause": {"duration": f"{step.pause_seconds}s"}})
        if rollout.judged:
            templates = [{"templateName": template_name(identity)}]
            documents.append({"analysis": {"templates": templates, "args": judged_by(release)}})
    return documents
