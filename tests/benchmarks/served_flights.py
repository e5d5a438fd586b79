"""The flight-delay model as an artifact, and the servers that a user would choose between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from modelyard.adapters.specs.documents import read_spec
from modelyard.artifact_digest import artifact_digest
from modelyard.domain.specs.model import Model
from modelyard.serving.artifact import describe_artifact
from modelyard.serving.documents import json_rows, write_golden, write_serving
from modelyard.serving.inputs import tensors_of_rows
from modelyard.serving.predictor import load_predictor

FLIGHTS = Path(__file__).parents[2] / "models" / "flight-delay"
MLSERVER = "1.7.1"
SAMPLE = "sample.parquet"
_GOLDEN_ROWS = 20  # as training keeps
_WEATHER = ("precip", "visib", "wind_speed", "temp")
_FEATURES = ("carrier", "origin", "dest", "distance", "minute", "weekday", *_WEATHER)
_PARAMETERS = {
    "features": _FEATURES,
    "max_iter": 100,
    "monotone": {"precip": 1, "visib": -1, "wind_speed": 1, "temp": -1},
}
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A server to measure.

    Args:
        name: Its name in the results.
        command: Starts it; `{port}` and `{port1}`, `{port2}` stand for ports.
        health: The path of its health check.
        path: The path of inference.
        documents: The body of a request, by its number of rows.
    """

    name: str
    command: Sequence[str]
    health: str
    path: str
    documents: Mapping[int, dict[str, Any]]

    def request(self, rows: int) -> bytes:
        """A whole HTTP request for so many rows."""
        body = json.dumps(self.documents[rows]).encode()
        head = f"POST {self.path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    @property
    def check(self) -> bytes:
        """A whole HTTP request for its health."""
        return f"GET {self.health} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def make_artifact(cache: Path) -> Path:
    """The artifact of a version trained on five months of flights; trained once a cache."""
    folder = cache / "artifact"
    if (folder / "golden.json").is_file() and (cache / SAMPLE).is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    data, out = cache / "data", cache / "out"
    shutil.rmtree(out, ignore_errors=True)
    _run(sys.executable, FLIGHTS / "data" / "prepare.py", data)
    months = [pd.read_parquet(data / f"2013-0{month}.parquet") for month in range(1, 6)]
    rows = pd.concat(months, ignore_index=True).dropna(subset=["arr_delay"])
    rows["label"] = (rows["arr_delay"] > 15).astype("int64")
    (cache / "train").mkdir(exist_ok=True)
    rows.to_parquet(cache / "train" / "train.parquet", index=False)
    (cache / "parameters.json").write_text(json.dumps(_PARAMETERS))
    _run(
        *(sys.executable, FLIGHTS / "trainer" / "train.py", "--data", cache / "train"),
        *("--params", cache / "parameters.json", "--seed", "7", "--out", out),
    )
    folder.mkdir()
    shutil.move(out / "model", folder / "model")
    model = read_spec(Model, (FLIGHTS / "model.yaml").read_bytes(), name="model.yaml")
    write_serving(folder, model=model, inputs=[*describe_artifact(folder).inputs], training=[rows])
    predictor = load_predictor(folder, artifact_digest(folder), model.artifact.trusted_types)
    sample = rows[list(_FEATURES)].sample(1000, random_state=7)
    sample.to_parquet(cache / SAMPLE, index=False)
    write_golden(folder, predictor.golden_of(sample.head(_GOLDEN_ROWS)))
    return folder


def sample_rows(artifact: Path) -> pd.DataFrame:
    """The rows that requests are made of."""
    return pd.read_parquet(artifact.parent / SAMPLE)


def candidates(cache: Path, artifact: Path, names: Sequence[str]) -> list[Candidate]:
    """The servers of these names: `modelyard`, `mlflow`, `mlserver`."""
    model = read_spec(Model, (FLIGHTS / "model.yaml").read_bytes(), name="model.yaml")
    columns = [column for column in model.inputs if column.name in _FEATURES]
    columns.sort(key=lambda column: _FEATURES.index(column.name))
    frame = sample_rows(artifact)[list(_FEATURES)]
    sample = json_rows(frame, _FEATURES)
    tensors = {rows: tensors_of_rows(columns, sample[:rows]) for rows in (1, 20, 1000)}
    splits = {
        rows: {
            "columns": [*_FEATURES],
            "data": [[*row.values()] for row in sample[:rows]],
        }
        for rows in tensors
    }
    digest = artifact_digest(artifact)
    known = {
        "modelyard": Candidate(
            name="modelyard",
            command=[
                *(sys.executable, "-m", "modelyard", "serve", "--model", "flight-delay"),
                *("--version", "v5", "--release", "bench", "--artifact", digest),
                *("--folder", str(artifact), "--port", "{port}"),
                *("--payload-log", str(cache / "payloads")),
                *(f"--trusted-type={name}" for name in model.artifact.trusted_types),
            ],
            health="/v2/health/live",
            path="/v2/models/flight-delay/infer",
            documents={rows: {"inputs": inputs} for rows, inputs in tensors.items()},
        ),
        "mlflow": Candidate(
            name="mlflow",
            command=[
                *(str(Path(sys.executable).parent / "mlflow"), "models", "serve"),
                *("-m", str(artifact / "model"), "--env-manager", "local", "--port", "{port}"),
            ],
            health="/health",
            path="/invocations",
            documents={rows: {"dataframe_split": split} for rows, split in splits.items()},
        ),
    }
    if "mlserver" in names:
        known["mlserver"] = _mlserver(cache, artifact, tensors)
    return [known[name] for name in names]


def _mlserver(cache: Path, artifact: Path, tensors: Mapping[int, Any]) -> Candidate:
    """MLServer with its two lines of batching, in an environment of its own beside this one."""
    folder = cache / "mlserver-settings"
    folder.mkdir(exist_ok=True)
    settings = {
        "name": "flights",
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "parameters": {"uri": str(artifact / "model")},
        "max_batch_size": 32,
        "max_batch_time": 0.005,
    }
    (folder / "model-settings.json").write_text(json.dumps(settings))
    server = {
        "http_port": "{port}", "grpc_port": "{port1}", "metrics_port": "{port2}",
        "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    text = json.dumps(server)
    for port in ("port", "port1", "port2"):
        text = text.replace(f'"{{{port}}}"', f"{{{port}}}")
    (folder / "settings.template").write_text(text)
    documents = {
        rows: {
            "parameters": {"content_type": "pd"},
            "inputs": [
                {**tensor, "parameters": {"content_type": "str"}}
                if tensor["datatype"] == "BYTES"
                else {**tensor, "shape": [rows, 1]}
                for tensor in inputs
            ],
        }
        for rows, inputs in tensors.items()
    }
    python = mlserver_environment(cache)
    return Candidate(
        name="mlserver",
        command=[str(python.parent / "mlserver"), "start", str(folder)],
        health="/v2/health/live",
        path="/v2/models/flights/infer",
        documents=documents,
    )


def mlserver_environment(cache: Path) -> Path:
    """The Python of an environment with MLServer, which cannot be installed beside kserve."""
    folder = cache / f"mlserver-{MLSERVER}"
    python = folder / "bin" / "python"
    if (folder / "bin" / "mlserver").is_file():
        return python
    uv = Path(sys.executable).parent / "uv"
    _run(uv, "venv", "-q", "--clear", "--python", sys.executable, folder)
    # The model's own libraries must be the same, or it is another model.
    shared = ("mlflow", "scikit-learn", "skops", "pandas", "numpy")
    pins = [f"{name}=={version(name)}" for name in shared]
    packages = [f"mlserver=={MLSERVER}", f"mlserver-mlflow=={MLSERVER}", *pins]
    _run(uv, "pip", "install", "-q", "--python", python, *packages)
    return python


def _run(*command: object) -> None:
    subprocess.run(
        [str(word) for word in command], check=True, stdout=sys.stderr, env={**os.environ, **_QUIET}
    )
