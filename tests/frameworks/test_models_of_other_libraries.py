"""Models of other libraries, each from its wishes to scores in a runtime of its own."""

from __future__ import annotations

import io
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from built_once import built_once
from frameworks.runtimes import WISHES, make_runtime
from modelyard.adapters.cluster.local_servers import LocalServers, free_port
from modelyard.adapters.cluster.local_state import Server
from modelyard.adapters.runtimes.environments import Runtime, packages_of
from modelyard.adapters.tables.stored_rows import StoredRows
from modelyard.domain.isolation import Unisolated
from modelyard.domain.specs.model import ArtifactPolicy, Model, Trusted
from modelyard.errors import Refused, YardError
from modelyard.operations.runtimes.scoring import Artifact, score_tables
from modelyard.operations.training.train import _seal
from modelyard.operations.training.verify import verify_server
from modelyard.serving.documents import json_rows
from modelyard.serving.inputs import tensors_of_rows
from serving.artifacts import KIND, MINUTES, MODEL, flights

pytestmark = pytest.mark.frameworks

TRAINERS = Path(__file__).with_name("trainers")
ORDERED = replace(KIND.primary, classes=("soon", "early", "late"))
CARRIER, *OTHERS = MODEL.data.columns
COLUMNS = (replace(CARRIER, nullable=True), *OTHERS)
MODELS = {
    model.task.value: replace(model, data=replace(model.data, columns=COLUMNS))
    for model in (MODEL, replace(KIND, outputs=(ORDERED,)), MINUTES)
}
INPUTS = ["carrier", "minute", "temp", "dep_delay", "holiday"]
LIGHTGBM = (
    "collections.OrderedDict",
    "collections.defaultdict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
)
# By library and the way in which a model is saved.
POLICIES = {
    "xgboost": {
        "booster": ArtifactPolicy(formats=("xgboost",)),
        "class": ArtifactPolicy(formats=("xgboost",)),
    },
    "lightgbm": {
        "booster": ArtifactPolicy(formats=("lightgbm",)),
        "class": ArtifactPolicy(formats=("skops",), trusted_types=LIGHTGBM),
    },
    "onnx": {
        "matrix": ArtifactPolicy(formats=("onnx",)),
        "columns": ArtifactPolicy(formats=("onnx",)),
    },
    "catboost": {"class": ArtifactPolicy(formats=("catboost",))},
    "statsmodels": {
        "results": ArtifactPolicy(formats=("pickle",), trusted=Trusted(reason="we train it")),
    },
}
CASES = [
    (name, kind, task)
    for name, kinds in POLICIES.items()
    for kind in kinds
    for task in MODELS
    if (name, task) != ("statsmodels", "multiclass")  # its answers are no frame of classes
]
TRAINED = flights()
TRAINED.loc[::7, "carrier"] = None
TRAINED["arr_delay"] += TRAINED["carrier"].map({"AA": -15, "B6": 0, "UA": 15}).fillna(30)
SINGLES = 4
SCORED = flights(40, seed=1)
# No row that was trained on has this carrier.
SCORED.loc[[1, 20], "carrier"] = "ZZ"
SCORED.loc[[2, 30], "carrier"] = None


def parquet(frame: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


def tables() -> list[Any]:
    """The scored rows as a request, as a table, and the first of them one by one."""
    rows = json_rows(SCORED, INPUTS)
    return [rows, parquet(SCORED), *([row] for row in rows[:SINGLES])]


def train(library: str) -> tuple[Runtime, Path]:
    """The runtime of a library, and the folder in which its trainer left all of its models."""

    def run(folder: Path) -> tuple[Runtime, Path]:
        runtime = make_runtime(library)
        folder.mkdir()
        TRAINED.to_parquet(folder / "train.parquet")
        SCORED.to_parquet(folder / "scored.parquet")
        script = TRAINERS / f"with_{library}.py"
        done = subprocess.run(
            [runtime.python, script, folder], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return runtime, folder

    return built_once(f"trained-{library}", run)


def seal(runtime: Runtime, made: Path, model: Model, folder: Path) -> Artifact:
    """The artifact that the step `train` makes of one of the models that a trainer left."""
    (folder / "out").mkdir(parents=True)
    shutil.copytree(made / "model", folder / "out" / "model")
    job: Any = SimpleNamespace(
        model=model, spec=SimpleNamespace(seed=1), unisolated=Unisolated.REFUSED
    )
    rows = StoredRows(made.parent / "train.parquet", name="train.parquet")
    sealed = _seal(job, folder, folder / "out" / "model", rows, runtime)
    return Artifact(folder=sealed.folder, digest=sealed.digest)


def sealed_model(library: str, folder: Path) -> tuple[Runtime, Artifact, Model]:
    """A binary model of a library as `train` seals it, with the model that it belongs to."""
    runtime, made = train(library)
    kind, policy = next(iter(POLICIES[library].items()))
    model = replace(MODELS["binary"], artifact=replace(policy, max_p95_ms=10_000))
    return runtime, seal(runtime, made / f"binary-{kind}", model, folder), model


def answers_of(library: str) -> dict[str, list[Any]]:
    """What every model of a library answers for each table, or why it has no answer."""

    def run(folder: Path) -> dict[str, list[Any]]:
        runtime, made = train(library)
        answers: dict[str, list[Any]] = {}
        artifacts = {}
        for kind, policy in POLICIES[library].items():
            for task, plain in MODELS.items():
                if (library, kind, task) not in CASES:
                    continue
                case = f"{task}-{kind}"
                model = replace(plain, artifact=policy)
                try:
                    artifacts[case] = seal(runtime, made / case, model, folder / case)
                except YardError as error:
                    answers[case] = [error.message] * len(tables())
        policies = POLICIES[library].values()
        accepted = ArtifactPolicy(
            formats=tuple({name for policy in policies for name in policy.accepted_formats}),
            trusted_types=tuple({name for policy in policies for name in policy.trusted_types}),
            trusted=Trusted(reason="each was sealed by its own policy"),
        )
        places = range(len(tables()))
        for task, plain in MODELS.items():  # what counts as an answer depends on the task
            cases = [case for case in artifacts if case.startswith(f"{task}-")]
            made_of = [artifacts[case] for case in cases]
            scored = score_tables(runtime, made_of, tables(), replace(plain, artifact=accepted))
            for number, case in enumerate(cases):
                answers[case] = [scored.answers[number, place] for place in places]
        return answers

    return built_once(f"answers-{library}", run)


@pytest.mark.parametrize(("library", "kind", "task"), CASES)
def test_a_sealed_model_scores_rows_as_its_library_does(library, kind, task):
    _, made = train(library)
    case = f"{task}-{kind}"
    expected = np.load(made / case / "expected.npy")
    if task == "binary" and expected.ndim == 2:
        expected = expected[:, 1]
    expected = expected if task == "multiclass" else expected.reshape(-1)

    answers = answers_of(library)[case]

    assert [each for each in answers if not isinstance(each, np.ndarray)] == []
    as_request, as_table, *singles = answers
    np.testing.assert_allclose(as_request, expected, rtol=1e-6)
    np.testing.assert_array_equal(as_table, as_request)
    np.testing.assert_allclose(np.concatenate(singles), as_request[:SINGLES], rtol=1e-5)
    assert len(np.unique(expected)) > 5


@pytest.mark.parametrize("library", WISHES)
def test_a_format_that_is_not_listed_is_refused(library, tmp_path):
    runtime, made = train(library)
    model = replace(MODEL, artifact=ArtifactPolicy(formats=("keras",)))
    for kind in POLICIES[library]:
        with pytest.raises(Refused, match=r"its format is .*; accepted: keras"):
            seal(runtime, made / f"binary-{kind}", model, tmp_path / kind)


@pytest.mark.parametrize("library", WISHES)
def test_a_server_in_its_own_runtime_is_verified_and_answers_as_its_library(library, tmp_path):
    runtime, artifact, model = sealed_model(library, tmp_path / "sealed")
    written: dict[str, Any] = {}
    job: Any = SimpleNamespace(
        model=model, model_name=model.name, version="v1",
        store=SimpleNamespace(fetch_model=lambda _, to: shutil.copytree(artifact.folder, to)),
        asked_signature=lambda: None,
        unisolated=Unisolated.REFUSED,
        read_document=lambda _: {"digest": artifact.digest},
        find_runtime=lambda: runtime,
        put_document=written.__setitem__,
        refuse=lambda why, **_: Refused(why),
    )  # fmt: skip
    verify_server(job)
    assert written["server.json"]["golden"] == 20

    server = Server(
        release="r1", version="v1", artifact=artifact.digest, port=free_port(f"{tmp_path}"),
        formats=model.artifact.accepted_formats, trusted_types=model.artifact.trusted_types,
        since=datetime.now(UTC), tried=datetime.now(UTC),
    )  # fmt: skip
    servers = LocalServers(tmp_path / "servers", model=model.name, payloads=tmp_path / "payloads")
    servers.start_server(server, artifact.folder, runtime)
    try:
        deadline = time.monotonic() + 120
        while not servers.ask_readiness(server).ready:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        rows = json_rows(SCORED, INPUTS)
        answer = httpx.post(
            f"http://127.0.0.1:{server.port}/v2/models/{model.name}/infer",
            json={"inputs": tensors_of_rows(model.inputs, rows)},
            timeout=60,
        )
    finally:
        servers.stop_server(server)
    _, made = train(library)
    expected = np.load(made / f"binary-{next(iter(POLICIES[library]))}" / "expected.npy")
    expected = expected[:, 1] if expected.ndim == 2 else expected.reshape(-1)
    np.testing.assert_allclose(answer.json()["outputs"][0]["data"], expected, rtol=1e-6)


@pytest.mark.parametrize(("library", "other"), [("xgboost", "pandas"), ("catboost", "numpy")])
def test_a_runtime_may_have_other_versions_than_the_platform(library, other):
    runtime = make_runtime(library)
    installed = packages_of(runtime.python.parent.parent)
    assert installed[other] != version(other)
