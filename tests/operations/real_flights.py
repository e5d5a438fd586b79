"""The real flights and their model, released without being trained."""

from __future__ import annotations

import importlib.util
import shutil
from datetime import date
from pathlib import Path

import pytest

from built_once import built_once
from modelyard.adapters.specs.documents import dump_spec, read_spec
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.version import Code, ModelVersion, Runtime, TrainingData
from operations.drift_yard import Yard, delays_yard, pins, release_version

REAL = Path(__file__).parents[2] / "models" / "flight-delay"


@pytest.fixture(scope="module")
def flights() -> Path:
    return prepared_flights()


def prepared_flights() -> Path:
    """The real flights, a file a month; nobody changes them in place."""
    return built_once("flights", _prepare_flights)


def _prepare_flights(folder: Path) -> Path:
    spec = importlib.util.spec_from_file_location("prepare", REAL / "data" / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    folder.mkdir()
    assert prepare.main([str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def contract() -> Model:
    return read_spec(Model, (REAL / "model.yaml").read_bytes(), name="model.yaml")


def real_yard(folder: Path, flights: Path, contract: Model) -> Yard:
    """The real model's v2, trained on January to March, runs in production."""
    yard = delays_yard(folder, contract)
    yard.write("models/flight-delay/model.yaml", (REAL / "model.yaml").read_bytes())
    shutil.copytree(flights, yard.root / "data" / "flight-delay")
    files = pins(yard.root, [f"data/flight-delay/2013-{month:02}.parquet" for month in range(1, 5)])
    april = HeldOut(
        model="flight-delay",
        name="april",
        files=files[3:],
        cluster="date",
        role=Role.RECENT,
        max_looks=20,
        window=Interval(since=date(2013, 4, 1), until=date(2013, 5, 1)),
    )
    features = ["carrier", "origin", "dest", "distance", "minute", "weekday"]
    v2 = ModelVersion(
        model="flight-delay",
        version="v2",
        reason="Add the weather",
        data=TrainingData(
            files=files[:3],
            window=Interval(since=date(2013, 1, 1), until=date(2013, 4, 1)),
        ),
        held_out=("april",),
        code=Code(tree="0" * 40),
        runtime=Runtime(lock="0" * 64),
        parameters={"features": [*features, "precip", "visib", "wind_speed", "temp"]},
    )
    yard.write("models/flight-delay/heldout/april.yaml", dump_spec("HeldOut", april))
    release_version(yard, v2, contract)
    return yard
