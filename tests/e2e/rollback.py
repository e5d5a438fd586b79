"""Follows one bad release through the cluster: when it was judged, when all agreed again."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from e2e.fork import Fork, until
from e2e.load import Load
from e2e.measured import Measured
from modelyard.adapters.cluster.kubernetes_api import Resource

ANALYSIS_RUNS = Resource(version="argoproj.io/v1alpha1", plural="analysisruns")
MOST_SECONDS = 240


@dataclass(frozen=True, kw_only=True)
class Told:
    """One round, in seconds since the epoch.

    Args:
        pushed: The commit that names the bad release reached the main branch.
        judged: The verdict: the AnalysisRun, or the watcher, said fail.
        stable: No request was answered by the bad release any more.
        reverted: Git names the release before it.
        synced: Argo CD says Synced and Healthy on a revision with the revert.
        aliased: The registry's alias points at the release before it.
    """

    pushed: float
    judged: float
    stable: float
    reverted: float
    synced: float
    aliased: float

    def into(self, measured: Measured, prefix: str = "") -> None:
        """Add the round's figures."""
        end = max(self.stable, self.reverted, self.synced, self.aliased)
        for name, at in (
            ("traffic on stable", self.stable),
            ("Git reverted", self.reverted),
            ("Argo CD Synced and Healthy on the revert", self.synced),
            ("alias moved", self.aliased),
            ("all of it", end),
        ):
            measured.add(f"{prefix}verdict to {name}", at - self.judged)
        measured.add(f"{prefix}push of the bad release to all of it", end - self.pushed)


def bad_release(fork: Fork, model: str, version: str) -> str | None:
    """Identity of the canary's release on the main branch, if it is this version's."""
    fork.git("fetch", "--quiet", "origin")
    rollout = fork.git("show", f"origin/main:environments/canary/manifests/{model}/rollout.yaml")
    labels: dict[str, str] = yaml.safe_load(rollout)["spec"]["template"]["metadata"]["labels"]
    mine = labels["modelyard.dev/version"] == version
    return labels["modelyard.dev/release"] if mine else None


def agrees(fork: Fork, model: str, environment: str, version: str) -> bool:
    """Whether Git, Argo CD, the Rollout and the registry all say the version."""
    return (
        _named(fork, model, environment) == version
        and _is_synced(fork, model, environment)
        and fork.runs(model, environment) == version
        and fork.alias(model, environment) == version
    )


def followed(
    fork: Fork, model: str, load: Load, release: str, *, pushed_at: float, version: str
) -> Told:
    """Wait until everything is back at a version; returns when each part was.

    Args:
        fork: The fork.
        model: The model.
        load: The requests that are running.
        release: Identity of the bad release.
        pushed_at: When it was pushed.
        version: What must come back.
    """
    seen: dict[str, float] = {}

    def look() -> bool:
        now = time.time()
        for what, holds in (
            ("reverted", lambda: _named(fork, model, "canary") == version),
            ("synced", lambda: "reverted" in seen and _is_synced(fork, model, "canary")
             and fork.runs(model, "canary") == version),
            ("aliased", lambda: fork.alias(model, "canary") == version),
        ):  # fmt: skip
            if what not in seen and holds():
                seen[what] = now
        return len(seen) == 3

    at = until("the bad release is judged", lambda: judged(fork, model, release),
                   seconds=MOST_SECONDS, every=0.3)  # fmt: skip
    until("Git, Argo CD and the registry are back", look, seconds=MOST_SECONDS, every=0.3)
    time.sleep(1.0)
    return Told(
        pushed=pushed_at,
        judged=at,
        **{name: max(moment, at) for name, moment in seen.items()},
        stable=max(load.last_of(release), at),
    )


def judged(fork: Fork, model: str, release: str) -> float | None:
    """When the first of the two that judge said fail."""
    runs = fork.kube.list_objects(ANALYSIS_RUNS, "models-production", labels={})
    for run in runs:
        arguments = {each["name"]: each.get("value") for each in run["spec"].get("args", ())}
        if arguments.get("release") != release:
            continue
        for metric in run.get("status", {}).get("metricResults", ()):
            for said in metric.get("measurements", ()):
                if said["phase"] == "Failed":
                    return datetime.fromisoformat(said["finishedAt"]).timestamp()
    facts = _facts(fork, model)
    if facts.get("release") == release and facts.get("aborted"):
        at = (facts.get("judged_at") or "").replace("Z", "+00:00")
        return datetime.fromisoformat(at).timestamp() if at else time.time()
    return None


def aborted(fork: Fork, model: str) -> bool:
    """Whether Argo Rollouts has put the canary's traffic back on stable."""
    rollout = fork.rollout(model, "canary")
    return bool(rollout and rollout["status"].get("abort"))


def _facts(fork: Fork, model: str) -> dict[str, Any]:
    fork.git("fetch", "--quiet", "origin")
    document = fork.git("show", f"origin/modelyard/state:facts/canary/{model}.json")
    facts: dict[str, Any] = json.loads(document)
    return facts


def _named(fork: Fork, model: str, environment: str) -> str:
    fork.git("fetch", "--quiet", "origin")
    release = fork.git("show", f"origin/main:environments/{environment}/releases/{model}.yaml")
    version: str = yaml.safe_load(release)["version"]
    return version


def _is_synced(fork: Fork, model: str, environment: str) -> bool:
    """Whether Argo CD is at rest at a revision that holds the folder as the main branch does."""
    status = (fork.application(f"{environment}-{model}") or {}).get("status", {})
    revision = status.get("sync", {}).get("revision", "")
    if status.get("sync", {}).get("status") != "Synced":
        return False
    if status.get("health", {}).get("status") != "Healthy" or not revision:
        return False
    folder = f"environments/{environment}/manifests/{model}"
    fork.git("fetch", "--quiet", "origin")  # Argo CD may know a newer commit
    changed = fork.git("diff", "--name-only", revision, "origin/main", "--", folder)
    return not changed.strip()
