"""Train a classifier of wines and leave it as an MLflow model, without a line of pickle."""

from __future__ import annotations

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

LABEL = "label"
PACKAGES = ("mlflow", "scikit-learn", "skops", "numpy", "pandas")


def classifier(c: float, seed: int) -> Pipeline:
    """The untrained model: scaled columns, multinomial logistic regression.

    Args:
        c: Inverse strength of the penalty on the weights, above 0.
        seed: Seed of everything random.
    """
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, random_state=seed))


def save(model: Pipeline, features: list[str], folder: Path) -> None:
    """Write `model` as an MLflow model that predicts a probability for each class."""
    # MLflow reads this when it is imported, and a training step has no network to report to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.sklearn  # noqa: PLC0415 - see above
    from mlflow.models import ModelSignature  # noqa: PLC0415 - see above
    from mlflow.types.schema import ColSpec, Schema  # noqa: PLC0415 - see above

    mlflow.sklearn.save_model(
        model,
        folder,
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
        skops_trusted_types=[],  # nothing beyond the library's own list, or saving fails
        signature=ModelSignature(
            inputs=Schema([ColSpec("double", name) for name in features]),
            outputs=Schema([ColSpec("double", str(name)) for name in model.classes_]),
        ),
        pyfunc_predict_fn="predict_proba",
        # Inferring them starts another interpreter, for the same answer.
        pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
    )


def main() -> None:
    """Train on DATA/train.parquet with the parameters `features` and `c`, both optional."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of train.parquet")
    parser.add_argument("--params", type=Path, required=True, help="JSON file of parameters")
    parser.add_argument("--seed", type=int, required=True, help="seed of everything random")
    parser.add_argument("--out", type=Path, required=True, help="folder to leave model/ in")
    options = parser.parse_args()
    rows = pd.read_parquet(options.data / "train.parquet")
    chosen = json.loads(options.params.read_text(encoding="utf-8"))
    features = chosen.pop("features", [name for name in rows.columns if name != LABEL])
    c = chosen.pop("c", 1.0)
    if chosen:
        parser.error(f"unknown parameter {', '.join(chosen)}; known are c, features")
    model = classifier(c, options.seed).fit(rows[features].astype("float64"), rows[LABEL])
    save(model, features, options.out / "model")
    print(f"{len(rows)} wines, {len(features)} columns, classes {', '.join(model.classes_)}")


if __name__ == "__main__":
    main()
