"""Train boosted trees with LightGBM and leave them as an MLflow model, as text without pickle."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightgbm
import pandas as pd

TASK = "binary"
CLASSES: tuple[str, ...] = ()
CATEGORIES: tuple[str, ...] = ()
NUMBERS: tuple[str, ...] = ()
LABEL = "label"
PACKAGES = ("mlflow-skinny", "lightgbm", "numpy", "pandas")
OBJECTIVES: dict[str, dict[str, Any]] = {
    "binary": {"objective": "binary"},
    "multiclass": {"objective": "multiclass", "num_class": len(CLASSES)},
    "regression": {"objective": "regression"},
}

# What a version may set with `--param NAME=JSON`, and what it is otherwise.
PARAMETERS: dict[str, Any] = {
    "features": [*CATEGORIES, *NUMBERS],
    "num_boost_round": 100,
    "learning_rate": 0.1,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "lambda_l2": 0.0,
}


def trained(rows: pd.DataFrame, chosen: dict[str, Any], seed: int) -> lightgbm.Booster:
    """The trees. A category that is null or was never seen counts as missing, and so does a null.

    One thread and `deterministic`: the same seed gives the same model. For millions of rows, raise
    `num_threads`.
    """
    own = {"features", "num_boost_round"}
    settings = {name: value for name, value in chosen.items() if name not in own}
    quiet = {"seed": seed, "num_threads": 1, "deterministic": True, "force_row_wise": True}
    inputs = inputs_of(rows, chosen)
    inputs.columns = plain_names(list(inputs.columns))
    data = lightgbm.Dataset(inputs, labels_of(rows))
    return lightgbm.train(
        {**OBJECTIVES[TASK], **quiet, "verbose": -1, **settings}, data, chosen["num_boost_round"]
    )


def plain_names(names: list[str]) -> list[str]:
    """The names as LightGBM takes them, all different; a request has those of the signature."""
    plain = [re.sub(r'[\[\]{}":,\s]', "_", name) for name in names]
    return [
        f"{name}_{place}" if plain.count(name) > 1 else name for place, name in enumerate(plain)
    ]


def labels_of(rows: pd.DataFrame) -> pd.Series[Any]:
    """The labels; of classes their places in model.yaml, which is the order of the answer."""
    return rows[LABEL].map(CLASSES.index) if TASK == "multiclass" else rows[LABEL]


def among(names: tuple[str, ...], chosen: dict[str, Any]) -> list[str]:
    """Those of the names that are features, in the order of the features."""
    return [name for name in chosen["features"] if name in names]


def inputs_of(rows: pd.DataFrame, chosen: dict[str, Any]) -> pd.DataFrame:
    """The features: categories as the model keeps them, everything else as doubles."""
    kinds: dict[str, Any] = dict.fromkeys(among(NUMBERS, chosen), "float64")
    for name in among(CATEGORIES, chosen):
        kinds[name] = pd.CategoricalDtype(sorted(rows[name].dropna().unique()))
    features: pd.DataFrame = rows[chosen["features"]]
    return features.astype(kinds)


def save(model: lightgbm.Booster, chosen: dict[str, Any], folder: Path) -> None:
    """Write an MLflow model that predicts a value, or a probability for each class."""
    # MLflow reads this when it is imported, and a training step has no network to report to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.lightgbm
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    types = {name: "string" if name in CATEGORIES else "double" for name in chosen["features"]}
    mlflow.lightgbm.save_model(
        model,
        folder,
        signature=ModelSignature(
            inputs=Schema([ColSpec(kind, name, required=False) for name, kind in types.items()]),
            outputs=Schema([ColSpec("double", name) for name in CLASSES or ("value",)]),
        ),
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
    save(trained(rows, chosen, options.seed), chosen, options.out / "model")
    print(f"{len(rows):,} rows, {len(chosen['features'])} features")
    return 0


if __name__ == "__main__":
    sys.exit(main())
