"""A small repository whose data drifts: a clone, its bare remote, and half a year of rows."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from click.testing import CliRunner, Result

from modelyard.adapters.forge.local.forge import LocalForge
from modelyard.adapters.forge.local.pulls import LocalPulls
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.adapters.tables.frames import columns_of
from modelyard.cli import cli
from modelyard.domain.drift.profiling.build import build_profile
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import (
    DataContract,
    DriftPolicy,
    GatePolicy,
    Model,
    Output,
    OutputKind,
    Owner,
    Target,
    Task,
    Trainer,
)
from modelyard.domain.specs.record import Artifact, Record
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import repository_of
from modelyard.operations.workspace import Workspace
from modelyard.ports import Services
from runtimes import OWN_LOCK

NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)
ROWS_A_DAY = 100
JUNE = "data/delays/2026-06.parquet"
ARTIFACT = "sha256:" + "a" * 64
COLUMNS = (
    Column(name="date", type="timestamp"),
    Column(
        name="temp",
        type="number",
        unit="degC",
        minimum=-40.0,
        maximum=60.0,
        nullable=True,
        max_null_share=0.25,
    ),
    Column(name="airline", type="category"),
    Column(name="delay", type="number", unit="min", available_at="later", nullable=True),
)
MODEL = Model(
    name="delays",
    description="Whether a flight is late.",
    owner=Owner(team="flights", contact="flights@example.org"),
    task=Task.BINARY,
    target=Target(column="delay", above=15.0),
    outputs=(Output(name="late", kind=OutputKind.PROBABILITY, primary=True),),
    trainer=Trainer(command=("python", "train.py")),
    data=DataContract(columns=COLUMNS, timestamp="date", feed="data/delays/*.parquet"),
    gate=GatePolicy(metric="auc", margin=0.01),
    drift=DriftPolicy(held_out_days=14, least_rows=200),
)
PRODUCTION = Environment(name="production", description="The world.", namespace="production")


@dataclass
class StoppedClock:
    at: datetime = NOW

    def now(self) -> datetime:
        return self.at

    def even_since(self) -> None:
        return None


@dataclass(frozen=True, kw_only=True)
class Yard:
    """The clone, and the outside world as the commands see it."""

    services: Services

    @property
    def root(self) -> Path:
        return self.services.root

    @property
    def git(self) -> Git:
        return Git(self.root)

    @property
    def clock(self) -> StoppedClock:
        return cast("StoppedClock", self.services.clock)

    @property
    def workspace(self) -> Workspace:
        return workspace_of(self.services)

    def run(self, *words: object) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words], obj=self.services)

    def answer(self, *words: object) -> tuple[int, dict[str, Any]]:
        """The exit code and the JSON of a command."""
        result = self.run(*words, "--output", "json")
        assert result.stdout, result.stderr
        return result.exit_code, json.loads(result.stdout)

    def write(self, path: str, content: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)

    def publish(self, message: str = "Change something") -> None:
        """Commit everything, and push the main branch."""
        self.git.run("add", "-A")
        self.git.run("commit", "-q", "--allow-empty", "-m", message)
        self.git.run("push", "-q", "origin", "main")


def make_yard(folder: Path, files: dict[str, bytes]) -> Yard:
    """A clone of a bare remote that holds these files on its main branch."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder / "remote.git"], check=True)
    root = folder / "clone"
    subprocess.run(["git", "init", "-q", "-b", "main", root], check=True)
    repository = Repository()
    base = {
        "modelyard.yaml": dump_spec("Repository", repository),
        ".gitignore": b".modelyard/\ndata/\n",
        "requirements-runtime.lock": OWN_LOCK,
    }
    git, clock = Git(root), StoppedClock()
    git.run("remote", "add", "origin", str(folder / "remote.git"))
    forge = LocalForge(git, repository, clock)
    absent = cast("Any", None)  # these commands start no workflow and ask no server
    yard = Yard(
        services=Services(
            root=root,
            repository=repository,
            pulls=LocalPulls(git=git, forge=forge, bot=repository.bot),
            desk=forge,
            orchestrator=absent,
            cluster=absent,
            metrics=absent,
            clock=clock,
        )
    )
    for path, content in {**base, **files}.items():
        yard.write(path, content)
    assert repository_of(root) == repository
    yard.publish("Begin")
    return yard


def delays_yard(folder: Path, model: Model = MODEL) -> Yard:
    """A repository with one model, its trainer, and no version yet."""
    files = {
        f"models/{model.name}/model.yaml": dump_spec("Model", model),
        f"models/{model.name}/trainer/train.py": b"print('trained')\n",
        "environments/production/environment.yaml": dump_spec("Environment", PRODUCTION),
    }
    return make_yard(folder, files)


def rows(since: date, until: date, *, warm_from: date = date(2026, 5, 1)) -> pd.DataFrame:
    """A hundred rows a day; from `warm_from` on it is 20 degrees warmer."""
    frames = []
    for number in range((until - since).days):
        day = since + timedelta(days=number)
        rng = np.random.default_rng(day.toordinal())
        frames.append(
            pd.DataFrame(
                {
                    "date": day.isoformat(),
                    "temp": rng.normal(30 if day >= warm_from else 10, 3, ROWS_A_DAY),
                    "airline": rng.choice(["AA", "BB", "CC"], ROWS_A_DAY),
                    "delay": rng.normal(0, 30, ROWS_A_DAY),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def months(root: Path, numbers: range = range(1, 7)) -> list[str]:
    """Write one Parquet file a month of 2026; returns their URIs."""
    (root / "data" / "delays").mkdir(parents=True, exist_ok=True)
    uris = []
    for month in numbers:
        uris.append(f"data/delays/2026-{month:02}.parquet")
        frame = rows(date(2026, month, 1), date(2026, month + 1, 1))
        frame.to_parquet(root / uris[-1], index=False)
    return uris


def pins(root: Path, uris: list[str]) -> tuple[DataFile, ...]:
    return tuple(DataFile(uri=uri, sha256=sha256_of((root / uri).read_bytes())) for uri in uris)


def drifting_yard(folder: Path, model: Model = MODEL) -> Yard:
    """The model's v2, trained on January to March and judged on April, runs in production."""
    yard = delays_yard(folder, model)
    uris = months(yard.root)
    april = HeldOut(
        model=model.name,
        name="april",
        files=pins(yard.root, uris[3:4]),
        cluster="date",
        role=Role.RECENT,
        max_looks=20,
        window=Interval(since=date(2026, 4, 1), until=date(2026, 5, 1)),
    )
    v2 = ModelVersion(
        model=model.name,
        version="v2",
        reason="The first that counts",
        data=TrainingData(
            files=pins(yard.root, uris[:3]),
            window=Interval(since=date(2026, 1, 1), until=date(2026, 4, 1)),
        ),
        held_out=("april",),
        code=Code(tree="0" * 40),
        runtime=Runtime(lock="0" * 64),
        parameters={"depth": 3},
        seed=7,
    )
    yard.write(
        f"models/{model.name}/heldout/april.yaml", b"# Spring.\n" + dump_spec("HeldOut", april)
    )
    release_version(yard, v2, model)
    return yard


def release_version(yard: Yard, spec: ModelVersion, model: Model = MODEL) -> None:
    """Write a version, its record with the profile of its rows, and its release in production."""
    inputs = tuple(cast("list[str]", spec.parameters.get("features", ["temp", "airline"])))
    text = dump_spec("ModelVersion", spec)
    record = Record(
        model=spec.model,
        version=spec.version,
        spec=sha256_of(text),
        workflow=f"{spec.model}-{spec.version}",
        attempt=1,
        seed=spec.seed,
        lock=spec.runtime.lock,
        threads=1,
        verdict=Verdict(outcome=Outcome.PASS, reason="better"),
        artifact=Artifact(digest=ARTIFACT, size=1, format="skops", inputs=inputs),
        profile=put_profile(yard, spec, model, inputs),
    )
    release = Release(
        model=spec.model,
        environment="production",
        version=spec.version,
        artifact=ARTIFACT,
        server_image="localhost/modelyard:1",
        renderer=1,
        manifests="0" * 64,
    )
    yard.write(f"models/{spec.model}/versions/{spec.version}.yaml", text)
    yard.write(f"models/{spec.model}/records/{spec.version}.yaml", dump_spec("Record", record))
    yard.write(f"environments/production/releases/{spec.model}.yaml", dump_spec("Release", release))
    yard.publish(f"Release {spec.version}")


def put_profile(yard: Yard, spec: ModelVersion, model: Model, inputs: tuple[str, ...]) -> str:
    """Keep the profile of a version's training rows as training does; returns its digest."""
    frame = pd.concat([pd.read_parquet(yard.root / file.uri) for file in spec.data.files])
    frame = frame[frame[model.target.column].notna()]
    days = pd.to_datetime(frame["date"])
    blocks = ((days - days.min()).dt.days // model.drift.window_days).to_numpy()
    columns = [column for column in model.inputs if column.name in inputs]
    profile = build_profile(columns_of(frame), columns, blocks, times=days.to_numpy())
    profile = replace(profile, block_days=model.drift.window_days)
    content = json.dumps(profile.to_document(), sort_keys=True).encode()
    return Store(yard.services.repository.artifacts, yard.root).put_evidence(content)


def rewritten(yard: Yard, uri: str, **columns: object) -> None:
    """Write a data file anew with these columns changed; None drops one."""
    frame = pd.read_parquet(yard.root / uri)
    for name, change in columns.items():
        if change is None:
            frame = frame.drop(columns=[name])
        else:
            frame[name] = cast("Any", change)(frame)
    frame.to_parquet(yard.root / uri, index=False)


def with_policy(**fields: Any) -> Model:
    return replace(MODEL, drift=replace(MODEL.drift, **fields))


def in_kelvin(frame: pd.DataFrame) -> Any:
    return frame["temp"] + 273.15
