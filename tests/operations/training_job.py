"""A training job over files of a temporary checkout, with its run files in memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modelyard.adapters.git.repository import Git
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import (
    DataContract,
    GatePolicy,
    Model,
    Output,
    OutputKind,
    Owner,
    Target,
    Task,
    Trainer,
)
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.operations.training.job import Job

ALWAYS = Interval(since=date.min, until=date.max)


@dataclass
class Shelf:
    """An artifact store in memory."""

    files: dict[str, bytes] = field(default_factory=dict)

    def put_run_file(self, workflow: str, name: str, content: bytes) -> None:
        self.files[f"{workflow}/{name}"] = content

    def copy_run_file(self, workflow: str, name: str, source: Path) -> str:
        self.put_run_file(workflow, name, source.read_bytes())
        return sha256_of(source.read_bytes())

    def read_run_file(self, workflow: str, name: str) -> bytes:
        return self.files[f"{workflow}/{name}"]

    def fetch_run_file(self, workflow: str, name: str, target: Path) -> str:
        content = self.read_run_file(workflow, name)
        target.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def read_run_document(self, workflow: str, name: str) -> Any:
        content = self.files.get(f"{workflow}/{name}")
        return None if content is None else json.loads(content)


def make_checkout(root: Path) -> tuple[Path, str]:
    """A repository that ignores data/: its root, and the tree of an empty trainer."""
    git = Git(root)
    git.run("init", "--quiet")
    (root / ".git/info").mkdir()
    (root / ".git/info/exclude").write_text("/data/\n")
    return root, git.write_tree(None, {"train.py": b""})


def model_of(data: DataContract, target: Target, task: Task) -> Model:
    return Model(
        name="m",
        description="",
        owner=Owner(team="t", contact="t@example.org"),
        task=task,
        target=target,
        outputs=(Output(name="o", kind=OutputKind.VALUE, primary=True),),
        trainer=Trainer(command=("python", "train.py")),
        data=data,
        gate=GatePolicy(metric="rmse", margin=0.01),
    )


def job_of(
    root: Path,
    tree: str,
    model: Model,
    uris: list[str],
    *,
    held_out: list[str] | None = None,
    cluster: str = "row",
    champion: list[str] | None = None,
) -> Job:
    """A job of v2, trained on files and judged on files, which are the same ones if it has days.

    Args:
        root: The checkout.
        tree: The trainer's tree.
        model: The model.
        uris: The files to train on.
        held_out: The files of the held-out set; None for those of training, if the model has days.
        cluster: The cluster of the held-out set.
        champion: The files that v1, which production runs, trained on; None for no champion.
    """
    window = ALWAYS if model.data.timestamp else None
    judged = held_out if held_out is not None else uris if window else []
    sets = {}
    if judged:
        sets["m", "h"] = HeldOut(
            model="m", name="h", files=_pins(root, judged), cluster=cluster,
            role=Role.RECENT, max_looks=1, window=window,
        )  # fmt: skip
    versions = {
        ("m", "v2"): _version(root, tree, "v2", uris, window, held_out=tuple(n for _, n in sets))
    }
    catalog: dict[str, Any] = {}
    if champion is not None:
        versions["m", "v1"] = _version(root, tree, "v1", champion, window, held_out=())
        where = Environment(name="production", description="", namespace="production")
        release = Release(
            model="m", environment="production", version="v1", artifact="sha256:" + "a" * 64,
            server_image="i", renderer=1, manifests="0" * 64,
        )  # fmt: skip
        catalog = {
            "environments": {"production": where},
            "releases": {("production", "m"): release},
        }
    services = SimpleNamespace(root=root, repository=Repository())
    job = Job(services, Shelf(), "m", "v2", 1, "0" * 40, "w")  # type: ignore[arg-type]
    digests = dict.fromkeys(versions, "0" * 64)
    vars(job)["catalog"] = Catalog(
        models={"m": model}, versions=versions, held_out=sets, digests=digests, **catalog
    )
    return job


def _pins(root: Path, uris: list[str]) -> tuple[DataFile, ...]:
    return tuple(DataFile(uri=uri, sha256=sha256_of((root / uri).read_bytes())) for uri in uris)


def _version(
    root: Path,
    tree: str,
    name: str,
    uris: list[str],
    window: Interval | None,
    *,
    held_out: tuple[str, ...],
) -> ModelVersion:
    return ModelVersion(
        model="m",
        version=name,
        reason="",
        data=TrainingData(files=_pins(root, uris), window=window),
        held_out=held_out,
        code=Code(tree=tree),
        runtime=Runtime(lock="0" * 64),
        parameters={},
        seed=0,
    )
