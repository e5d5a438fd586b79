"""A model that never returns from a call, in real servers: who notices, and what is left of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pandas as pd
import pytest

from modelyard.serving.artifact import artifact_digest, describe_artifact
from modelyard.serving.documents import write_golden, write_serving
from modelyard.serving.predictor import load_predictor
from modelyard.serving.workers.pulse import Pulse
from serving.artifacts import MODEL, flights
from serving.running import Running, preloaded_socket, request, serving, until
from serving.test_server import Artifact, counts
from serving.test_workers import total, workers

SLEEPS, KEEPS_THE_LOCK, IS_SLOW = -1000.0, -2000.0, -3000.0
"""Temperatures on which the model does so."""


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))


def save_sticky(folder: Path) -> None:
    """Save a model in Python that gets stuck on some rows, and ends where it cannot load."""
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    class Sticky(mlflow.pyfunc.PythonModel):  # local, so that it is pickled whole
        def load_context(self, context):  # type: ignore[no-untyped-def]
            import os

            if os.path.exists("cannot-load"):  # noqa: PTH110 - in the server's working directory
                os._exit(9)

        # MLflow warns about an input without a type, whatever filters there are.
        def predict(self, context, model_input: pd.DataFrame, params=None):  # type: ignore[no-untyped-def]
            import ctypes
            import time

            import numpy as np

            coldest = model_input["temp"].min()
            if coldest == -1000:
                time.sleep(3600)
            if coldest == -2000:
                ctypes.PyDLL(None).sleep(3600)
            if coldest == -3000:
                time.sleep(2)
            return np.full(len(model_input), 0.5)

    types = {"carrier": "string", "minute": "long", "holiday": "boolean"}
    names = ("carrier", "minute", "temp", "dep_delay", "holiday")
    mlflow.pyfunc.save_model(
        folder,
        python_model=Sticky(),
        signature=ModelSignature(
            Schema([ColSpec(types.get(name, "double"), name) for name in names]),
            Schema([ColSpec("double", MODEL.primary.name)]),
        ),
        pip_requirements=["mlflow"],
    )


@pytest.fixture(scope="module")
def sticky(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("sticky")
    save_sticky(folder / "model")
    frame = flights()
    inputs = tuple(describe_artifact(folder).inputs)
    write_serving(folder, model=MODEL, inputs=inputs, training=[frame])
    predictor = load_predictor(folder, artifact_digest(folder), formats=("cloudpickle",))
    write_golden(folder, predictor.golden_of(frame.head(12)))
    return folder, artifact_digest(folder)


def ask(running: Running, temperature: float) -> int | None:
    """The status of one request on a connection of its own; None if it was never answered."""
    with httpx.Client(base_url=running.client.base_url, timeout=60) as client:
        try:
            return replace(running, client=client).infer(
                request(rows=1, temp=temperature)
            ).status_code  # fmt: skip
        except httpx.TransportError:
            return None


def stuck_count(running: Running) -> float:
    """As a scrape on a connection of its own finds it, of whichever worker; -1 for none."""
    with httpx.Client(base_url=running.client.base_url, timeout=2) as client:
        try:
            return total(counts(replace(running, client=client)), "workers_stuck_total")
        except httpx.TransportError:
            return -1.0


@pytest.mark.parametrize("how", [SLEEPS, KEEPS_THE_LOCK], ids=["sleeps", "keeps the lock"])
def test_a_worker_whose_model_never_returns_is_replaced_and_counted(
    sticky: Artifact, tmp_path: Path, how: float
):
    options = ("--workers", "2", "--stuck-after", "3", "--format", "cloudpickle")
    with serving(sticky, tmp_path, *options) as running, ThreadPoolExecutor(1) as pool:
        first = set(workers(running))
        assert stuck_count(running) == 0
        asked = pool.submit(ask, running, how)
        until(lambda: "is stuck: no sign of life for" in running.log.read_text(), running.process)
        # One whose event loop goes on gives its requests up before it is killed.
        assert asked.result() == (500 if how == SLEEPS else None)
        until(lambda: stuck_count(running) == 1, running.process)
        assert len(set(workers(running)) & first) == 1
        assert {ask(running, 50.0) for _ in range(8)} == {200}
        until(lambda: not total(counts(running), "requests_in_flight"), running.process)
        assert total(counts(running), "requests_total", "5xx") == 1


def test_a_worker_whose_model_is_only_slow_goes_on(sticky: Artifact, tmp_path: Path):
    options = ("--workers", "2", "--stuck-after", "60", "--format", "cloudpickle")
    with serving(sticky, tmp_path, *options) as running:
        first = set(workers(running))
        assert ask(running, IS_SLOW) == 200
        assert set(workers(running)) == first
        assert stuck_count(running) == 0


def test_a_stuck_worker_is_counted_by_the_first_that_loads_the_model_after_it(
    sticky: Artifact, tmp_path: Path
):
    options = ("--workers", "2", "--stuck-after", "3", "--format", "cloudpickle")
    with serving(sticky, tmp_path, *options) as running:
        (tmp_path / "cannot-load").touch()
        assert ask(running, SLEEPS) == 500
        until(lambda: "ended with exit code 9" in running.log.read_text(), running.process)
        (tmp_path / "cannot-load").unlink()
        until(lambda: stuck_count(running) == 1, running.process)


def test_one_process_whose_model_never_returns_is_not_alive_and_counts_whom_it_fails(
    sticky: Artifact, tmp_path: Path
):
    options = ("--stuck-after", "1", "--format", "cloudpickle")
    with serving(sticky, tmp_path, *options) as running, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask, running, SLEEPS) for _ in range(3)]
        assert [each.result() for each in asked] == [500] * 3
        assert not running.is_ready()
        live = running.client.get("/v2/health/live")
        assert ask(running, 50.0) == 503
        found = counts(running)
    assert total(found, "requests_total", "5xx") == 4
    assert total(found, "requests_in_flight") == 0
    assert running.log.read_text().count("3 requests failed") == 1
    assert live.status_code == 503
    assert "model late is not ready: it has not returned from a call for" in live.json()["error"]


def test_a_pulse_is_silent_from_its_first_beat_on_and_only_while_somebody_looks():
    pulse = Pulse()
    looks = [(0, 9.0), (0, 9.0), (1, 9.0), (1, 2.0), (1, 0.5), (2, 1.0), (2, 1.0), (255, 1.0)]

    assert [pulse.silent_seconds(*each) for each in looks] == [0, 0, 0, 2, 2.5, 0, 1, 0]
