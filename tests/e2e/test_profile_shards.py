"""The drift profile in eight pods of Argo Workflows, one of which is lost, and in one piece.

The workflows are submitted by hand, of commits that no pull request brings to the main branch: so
the model of this scene is nobody else's, and nothing of it is proposed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from threading import Event
from typing import Any

import pytest

from e2e.fork import PLATFORM, Fork
from e2e.measured import Measured
from modelyard.adapters.cluster.kubernetes_api import WORKFLOWS, Object
from modelyard.adapters.specs.documents import dump_spec, read_spec
from modelyard.adapters.workflows.argo import ArgoWorkflows
from modelyard.domain.specs.version import ModelVersion
from modelyard.ports import Phase, WorkflowStatus

VERSION = "v1"
LOST = "profile(4:5-of-8)"
"""The shard whose first pod is deleted, as if its node went away."""


class Scene:
    """The model of wines by another name, whose version reads all 13 columns."""

    def __init__(self, fork: Fork, shards: int) -> None:
        self.fork, self.shards = fork, shards
        self.model = self.workflow = f"cellar-{shards}"
        self.lost: list[str] = []

    def push(self) -> str:
        """Push a branch with the model; returns its commit."""
        fork, models = self.fork, self.fork.folder / "models"
        fork.git("fetch", "--quiet", "origin")
        fork.git("switch", "--quiet", "--force-create", self.model, "origin/main")
        ignored = shutil.ignore_patterns("records", "__pycache__", "v[!1]*.yaml")
        shutil.copytree(models / "wine", models / self.model, ignore=ignored)
        for path in (models / self.model).rglob("*.yaml"):
            text = path.read_text().replace("name: wine\n", f"name: {self.model}\n")
            path.write_text(text.replace("model: wine\n", f"model: {self.model}\n"))
        with (models / self.model / "model.yaml").open("a") as settings:
            settings.write(f"drift: {{profile_shards: {self.shards}}}\n")
        version = models / self.model / "versions" / f"{VERSION}.yaml"
        spec = read_spec(ModelVersion, version.read_bytes(), name=VERSION)
        version.write_bytes(dump_spec("ModelVersion", replace(spec, parameters={})))
        fork.git("add", "--all", "models")
        fork.git("commit", "--quiet", "-m", f"Profile the wines in {self.shards}")
        fork.git("push", "--quiet", "--force", "origin", self.model)
        return fork.git("rev-parse", "HEAD").strip()

    def play(self, *, losing: str | None = None) -> WorkflowStatus:
        """Train, and delete the first pod of a step once it runs."""
        commit = self.push()
        self._kubectl("delete", "workflow", self.workflow, "--ignore-not-found")
        runs, ended = ArgoWorkflows(self.fork.kube), Event()
        parameters = {"model": self.model, "version": VERSION, "attempt": "1", "commit": commit}
        runs.submit(self.workflow, template="train-and-evaluate", parameters=parameters)
        with ThreadPoolExecutor() as beside:
            deed = beside.submit(self._lose_pod, losing, ended) if losing else None
            try:
                status = runs.wait(self.workflow, progress=lambda _: None)
            finally:
                ended.set()
            if deed is not None:
                deed.result()
            return status

    def _lose_pod(self, step: str, ended: Event) -> None:
        # Argo makes one that it has not seen running anew, and does not count it as a try.
        while not ended.wait(0.2) and not self.lost:
            found = json.loads(self._kubectl("get", "workflow", self.workflow, "-o", "json"))
            for node in found.get("status", {}).get("nodes", {}).values():
                if (node["displayName"], node["phase"]) == (f"{step}(0)", "Running"):
                    self._delete_pod(node["id"])

    def _delete_pod(self, node: str) -> None:
        label = f"workflows.argoproj.io/workflow={self.workflow}"
        for pod in json.loads(self._kubectl("get", "pods", "-l", label, "-o", "json"))["items"]:
            name, marks = pod["metadata"]["name"], pod["metadata"].get("annotations", {})
            if marks.get("workflows.argoproj.io/node-id") == node:
                self._kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
                self.lost.append(name)

    def _kubectl(self, *arguments: str) -> str:
        return self.fork.kubectl("-n", PLATFORM, *arguments)

    @cached_property
    def nodes(self) -> Mapping[str, Object]:
        """What Argo says of the workflow, by the name of a step."""
        found = self.fork.kube.get_object(WORKFLOWS, PLATFORM, self.workflow)
        assert found is not None
        return {node["displayName"]: node for node in found["status"]["nodes"].values()}

    def document(self, name: str) -> dict[str, Any]:
        """A file that a step left in the store."""
        folder = f"{self.fork.cluster['s3_bucket']}/artifacts/runs/{self.workflow}"
        found: dict[str, Any] = json.loads(self.fork.store.cat_file(f"{folder}/{name}"))
        return found


@pytest.fixture(scope="module")
def colleague(fork: Fork) -> Fork:
    """A checkout of its own, as other tests work in the first."""
    return fork.colleague("profile-checkout")


@pytest.fixture(scope="module")
def whole(colleague: Fork, measured: Measured) -> Scene:
    """The training whose profile is built by the pod that trains."""
    scene = Scene(colleague, 1)
    with measured.time("train-and-evaluate, its profile in one piece"):
        status = scene.play()
    assert (status.phase, status.message) == (Phase.SUCCEEDED, "")
    return scene


def test_a_model_that_asks_for_no_shards_has_no_pods_for_them(whole: Scene):
    assert whole.nodes["profile"]["type"] == "Skipped"
    assert not [name for name in whole.nodes if name.startswith("profile(")]
    assert "profile" in whole.document("artifact.json")


def test_eight_pods_one_of_them_lost_leave_the_profile_of_one_piece(
    colleague: Fork, whole: Scene, measured: Measured
):
    scene = Scene(colleague, 8)
    with measured.time("train-and-evaluate, its profile in eight pods"):
        status = scene.play(losing=LOST)
    assert (status.phase, status.message) == (Phase.SUCCEEDED, "")

    shards = {name: scene.nodes[f"profile({name})"] for name in words(8)}
    assert {node["type"] for node in shards.values()} == {"Retry"}
    tries = {name: len(node["children"]) for name, node in shards.items()}
    assert len(scene.lost) == 1
    assert tries == {name: 1 + (f"profile({name})" == LOST) for name in words(8)}

    assert "profile" not in scene.document("artifact.json")
    assert [scene.document(f"profile-{n}-of-8.json").keys() for n in range(1, 9)] == [{"part"}] * 8
    assert scene.document("outcome.json")["profile"] == whole.document("outcome.json")["profile"]


def words(count: int) -> tuple[str, ...]:
    """What Argo names the nodes of a list after."""
    return tuple(f"{number}:{number + 1}-of-{count}" for number in range(count))
