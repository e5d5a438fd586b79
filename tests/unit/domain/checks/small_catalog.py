"""A small catalog without a problem, and ways to put one in."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from modelyard.domain.checks import find_problems
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.environment import (
    Environment,
    Rollout,
    Step,
)
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
from modelyard.domain.specs.record import Artifact, HeldOutResult, Record
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.domain.verdict import Outcome, Verdict

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)
PASS = Verdict(outcome=Outcome.PASS, reason="Not worse.")
COLUMNS = (
    Column(name="date", type="timestamp"),
    Column(name="carrier", type="category", levels=("AA", "UA")),
    Column(name="distance", type="number", minimum=0.0, maximum=6000.0),
    Column(name="dep_delay", type="number", nullable=True, available_at="later"),
    Column(name="arr_delay", type="number", nullable=True, available_at="later"),
)
MODEL = Model(
    name="m",
    description="Says whether a flight is late.",
    owner=Owner(team="operations", contact="operations@example.org"),
    task=Task.BINARY,
    target=Target(column="arr_delay", above=15.0, delay_days=2),
    outputs=(Output(name="late", kind=OutputKind.PROBABILITY, primary=True),),
    trainer=Trainer(command=("python", "train.py")),
    data=DataContract(columns=COLUMNS, timestamp="date", feed="data/*.parquet"),
    gate=GatePolicy(metric="auc", margin=0.01),
)


def days(since: str, until: str) -> Interval:
    return Interval(since=date.fromisoformat(since), until=date.fromisoformat(until))


HELD_OUT = HeldOut(
    model="m",
    name="april",
    files=(DataFile(uri="data/april.parquet", sha256=TWO),),
    cluster="date",
    role=Role.RECENT,
    max_looks=2,
    window=days("2013-04-03", "2013-05-01"),
)
VERSION = ModelVersion(
    model="m",
    version="v1",
    reason="A first answer.",
    data=TrainingData(
        files=(DataFile(uri="data/spring.parquet", sha256=ONE),),
        window=days("2013-01-01", "2013-04-01"),
    ),
    held_out=("april",),
    code=Code(tree="4" * 40),
    runtime=Runtime(lock=THREE),
    parameters={"features": ["carrier", "distance"]},
)
RECORD = Record(
    model="m",
    version="v1",
    spec=ONE,
    workflow="w",
    attempt=1,
    seed=0,
    lock=THREE,
    threads=2,
    verdict=PASS,
    artifact=Artifact(digest=f"sha256:{ONE}", size=1, format="skops", inputs=("carrier",)),
    held_out=(
        HeldOutResult(
            name="april",
            digest=f"sha256:{TWO}",
            rows=1,
            unlabelled=0,
            clusters=1,
            look=1,
            metrics={"auc": 0.7},
            scores=f"sha256:{THREE}",
            verdict=PASS,
        ),
    ),
)
DEV = Environment(name="dev", description="First.", namespace="dev")
CANARY = Environment(
    name="canary",
    description="Some.",
    namespace="live",
    promotes_from="dev",
    joins="production",
    rollout=Rollout(steps=(Step(share=0.2),)),
)
PRODUCTION = Environment(
    name="production", description="All.", namespace="live", promotes_from="canary"
)
RELEASE = Release(
    model="m",
    environment="dev",
    version="v1",
    artifact=f"sha256:{ONE}",
    server_image="i",
    renderer=1,
    manifests=TWO,
)
GOOD = Catalog(
    models={"m": MODEL},
    versions={
        ("m", "v1"): VERSION,
        ("m", "v2"): replace(VERSION, version="v2", parent="v1"),
    },
    held_out={("m", "april"): HELD_OUT},
    records={("m", "v1"): RECORD},
    environments={"dev": DEV, "canary": CANARY, "production": PRODUCTION},
    releases={("dev", "m"): RELEASE},
    digests={("m", "v1"): ONE, ("m", "v2"): TWO},
)


def said(catalog: Catalog) -> list[tuple[str, str, str]]:
    return [(p.check, p.file.removeprefix("models/m/"), p.message) for p in find_problems(catalog)]


def with_model(**changes: Any) -> Catalog:
    return replace(GOOD, models={"m": replace(MODEL, **changes)})


def with_column(name: str, **changes: Any) -> Catalog:
    columns = tuple(replace(c, **changes) if c.name == name else c for c in COLUMNS)
    return with_model(data=replace(MODEL.data, columns=columns))


def with_pending(**changes: Any) -> Catalog:
    """The good catalog with a changed v2, which has no record yet."""
    spec = replace(GOOD.versions["m", "v2"], **changes)
    return replace(GOOD, versions={**GOOD.versions, ("m", "v2"): spec})


def with_training(**changes: Any) -> Catalog:
    return with_pending(data=replace(VERSION.data, **changes))


def with_held_out(**changes: Any) -> Catalog:
    return replace(GOOD, held_out={("m", "april"): replace(HELD_OUT, **changes)})


def with_environment(name: str, **changes: Any) -> Catalog:
    found = replace(GOOD.environments[name], **changes)
    return replace(GOOD, environments={**GOOD.environments, name: found})
