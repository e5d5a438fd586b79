"""Train boosted trees with scikit-learn and leave them as an MLflow model, without pickle."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from threadpoolctl import threadpool_limits

TASK = "binary"
CATEGORIES: tuple[str, ...] = ()
NUMBERS: tuple[str, ...] = ()
LABEL = "label"
PACKAGES = ("mlflow", "scikit-learn", "skops", "numpy", "pandas")

# What a version may set with `--param NAME=JSON`, and what it is otherwise.
PARAMETERS: dict[str, Any] = {
    "features": [*CATEGORIES, *NUMBERS],
    "max_iter": 100,
    "learning_rate": 0.1,
    "max_leaf_nodes": 31,
    "min_samples_leaf": 20,
    "l2_regularization": 0.0,
}


def untrained(chosen: dict[str, Any], seed: int) -> Pipeline:
    """The model before training: categories become the mean label of their rows, then trees.

    A category that is null or was never seen becomes the mean of all rows; a number that is null
    takes the branch that the trees learned for nulls.
    """
    settings = {name: value for name, value in chosen.items() if name != "features"}
    kind = "continuous" if TASK == "regression" else TASK
    encoding = ColumnTransformer(
        [
            ("mean", TargetEncoder(target_type=kind, random_state=seed), among(CATEGORIES, chosen)),
            ("number", "passthrough", among(NUMBERS, chosen)),
        ]
    )
    trees = (
        HistGradientBoostingRegressor if TASK == "regression" else HistGradientBoostingClassifier
    )(early_stopping=False, random_state=seed, **settings)
    return Pipeline([("encoding", encoding), ("trees", trees)])


def among(names: tuple[str, ...], chosen: dict[str, Any]) -> list[str]:
    """Those of the names that are features, in the order of the features."""
    return [name for name in chosen["features"] if name in names]


def inputs_of(rows: pd.DataFrame, chosen: dict[str, Any]) -> pd.DataFrame:
    """The features: categories as text or None, everything else as doubles."""
    features: pd.DataFrame = rows[chosen["features"]]
    return features.astype(dict.fromkeys(among(NUMBERS, chosen), "float64"))


def save(model: Pipeline, chosen: dict[str, Any], folder: Path) -> None:
    """Write an MLflow model that predicts a value, or a probability for each class."""
    # MLflow reads this when it is imported, and a training step has no network to report to. It is
    # imported last because skops, on import, searches every module that is loaded by then.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    types = {name: "string" if name in CATEGORIES else "double" for name in chosen["features"]}
    outputs = ["value"] if TASK == "regression" else [str(each) for each in model.classes_]
    mlflow.sklearn.save_model(
        model,
        folder,
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
        skops_trusted_types=[],  # nothing beyond the library's own list, or saving fails
        signature=ModelSignature(
            inputs=Schema([ColSpec(kind, name) for name, kind in types.items()]),
            outputs=Schema([ColSpec("double", name) for name in outputs]),
        ),
        pyfunc_predict_fn="predict" if TASK == "regression" else "predict_proba",
        # Inferring them starts another interpreter, for the same answer.
        pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
    )


def main() -> int:
    """Train on DATA/train.parquet and leave the model in OUT/model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of train.parquet")
    parser.add_argument("--params", type=Path, required=True, help="JSON file of parameters")
    parser.add_argument("--seed", type=int, required=True, help="seed of everything random")
    parser.add_argument("--out", type=Path, required=True, help="folder to leave model/ in")
    options = parser.parse_args()
    given = json.loads(options.params.read_text(encoding="utf-8"))
    if unknown := sorted(set(given) - set(PARAMETERS)):
        parser.error(f"unknown parameter {', '.join(unknown)}; known are {', '.join(PARAMETERS)}")
    chosen = {**PARAMETERS, **given}
    if strange := sorted(set(chosen["features"]) - {*CATEGORIES, *NUMBERS}):
        parser.error(f"unknown feature {', '.join(strange)}; add it to CATEGORIES or NUMBERS")
    rows = pd.read_parquet(options.data / "train.parquet")
    # At this size a second thread saves nothing, and beside another busy process the two wait for
    # each other in a loop. For millions of rows, leave the limit out.
    with threadpool_limits(limits=1):
        model = untrained(chosen, options.seed).fit(inputs_of(rows, chosen), rows[LABEL])
    save(model, chosen, options.out / "model")
    print(f"{len(rows):,} rows, {len(chosen['features'])} features")
    return 0


if __name__ == "__main__":
    sys.exit(main())
