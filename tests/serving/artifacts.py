"""A real, small model in the artifact layout, for whoever tests with one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from built_once import built_once
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import (
    ArtifactPolicy,
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
from modelyard.serving.artifact import artifact_digest, describe_artifact
from modelyard.serving.documents import write_golden, write_serving
from modelyard.serving.formats.skops_file import import_skops
from modelyard.serving.predictor import load_predictor

COLUMNS = (
    Column(name="carrier", type="category", description="Airline"),
    Column(name="minute", type="integer", unit="min"),
    Column(name="temp", type="number", unit="degF", nullable=True),
    Column(name="dep_delay", type="number", unit="min", nullable=True),
    Column(name="holiday", type="boolean", default=False),
    Column(name="arr_delay", type="number", unit="min", nullable=True, available_at="later"),
)
TRUSTED = ("numpy.dtype",)
MODEL = Model(
    name="late",
    description="Will it be late?",
    owner=Owner(team="ops", contact="ops@example.org"),
    task=Task.BINARY,
    target=Target(column="arr_delay", above=15.0),
    outputs=(Output(name="probability", kind=OutputKind.PROBABILITY, primary=True),),
    trainer=Trainer(command=("python", "train.py")),
    data=DataContract(columns=COLUMNS),
    gate=GatePolicy(metric="auc", margin=0.01),
    artifact=ArtifactPolicy(trusted_types=TRUSTED),
)
KIND = replace(
    MODEL,
    task=Task.MULTICLASS,
    outputs=(
        Output(name="kind", kind=OutputKind.CLASS, classes=("early", "late", "soon"), primary=True),
    ),
    gate=GatePolicy(metric="log_loss", margin=0.01),
)
MINUTES = replace(
    MODEL,
    task=Task.REGRESSION,
    target=Target(column="arr_delay"),
    outputs=(Output(name="minutes", kind=OutputKind.VALUE, minimum=-60, maximum=60, primary=True),),
    gate=GatePolicy(metric="mae", margin=0.5),
)


def flights(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "carrier": random.choice(["AA", "B6", "UA"], rows).astype(object),
            "minute": random.integers(0, 1440, rows),
            "temp": random.normal(50, 20, rows),
            "dep_delay": random.normal(5, 15, rows),
            "holiday": random.random(rows) < 0.1,
        }
    )
    frame["arr_delay"] = frame["dep_delay"] + random.normal(5, 10, rows)
    frame.loc[::10, "temp"] = np.nan
    return frame


def make_artifact(
    folder: Path,
    *,
    seed: int = 0,
    model: Model = MODEL,
    inputs: tuple[str, ...] = ("carrier", "minute", "temp", "dep_delay", "holiday"),
    golden: bool = True,
    trees: int = 0,
) -> str:
    """Train and save one artifact; returns its digest. With trees it is a forest."""
    import_skops()  # or MLflow does it, in twice the time
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = flights(seed=seed)
    types = {"carrier": "string", "minute": "long", "holiday": "boolean"}
    numbers = [name for name in inputs if name != "carrier"]
    features = frame[list(inputs)].astype(dict.fromkeys(numbers, "float64"))
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["carrier"]),
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
    )
    delay = frame["arr_delay"]
    labels = {
        Task.BINARY: delay > 15,
        Task.MULTICLASS: np.select([delay < 0, delay > 15], ["early", "late"], "soon"),
        Task.REGRESSION: delay,
    }[model.task]
    is_value = model.task is Task.REGRESSION
    estimator = LinearRegression() if is_value else LogisticRegression(random_state=0)
    if trees:
        estimator = RandomForestClassifier(trees, max_depth=4, random_state=0)
    pipeline = make_pipeline(columns, estimator).fit(features, labels)
    mlflow.sklearn.save_model(
        pipeline,
        folder / "model",
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED),
        signature=ModelSignature(
            Schema([ColSpec(types.get(name, "double"), name) for name in inputs]),
            Schema([ColSpec("double", model.primary.name)]),
        ),
        pip_requirements=["scikit-learn"],
        pyfunc_predict_fn="predict" if is_value else "predict_proba",
    )
    write_serving(
        folder, model=model, inputs=tuple(describe_artifact(folder).inputs), training=[frame]
    )
    digest = artifact_digest(folder)
    if golden:
        write_golden(folder, load_predictor(folder, digest, TRUSTED).golden_of(frame.head(12)))
    return artifact_digest(folder)


def shared_artifact(seed: int = 0) -> tuple[Path, str]:
    """One artifact a seed for the whole test run; nobody changes it in place."""

    def build(folder: Path) -> tuple[Path, str]:
        folder.mkdir()
        return folder, make_artifact(folder, seed=seed)

    return built_once(f"artifact-{seed}", build)
