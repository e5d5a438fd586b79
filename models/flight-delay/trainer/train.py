"""Train a classifier of late flights and leave it as an MLflow model, without a line of pickle."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import skops.io
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

CATEGORIES = ("carrier", "origin", "dest")
NUMBERS = (
    *("distance", "minute", "weekday"),
    *("precip", "visib", "wind_speed", "temp"),
    "dep_delay",
)
LABEL = "label"
PACKAGES = ("mlflow", "scikit-learn", "skops", "numpy", "pandas")


class WrongParameters(Exception):  # noqa: N818 - reads as what happened
    """The parameters cannot be used as they are: mend the version."""


class WrongData(Exception):  # noqa: N818 - reads as what happened
    """The training rows cannot be used as they are."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What a version may choose.

    Args:
        features: Columns the model reads, in the order of its signature.
        max_iter: Number of trees.
        max_leaf_nodes: Most leaves of a tree.
        min_samples_leaf: Least rows in a leaf.
        learning_rate: Weight of each tree.
        l2_regularization: Penalty on the values of leaves.
        monotone: By numeric feature, 1 where more of it never makes late less likely, -1 where it
            never makes it more likely.
    """

    features: tuple[str, ...]
    max_iter: int = 100
    max_leaf_nodes: int = 31
    min_samples_leaf: int = 20
    learning_rate: float = 0.1
    l2_regularization: float = 0.0
    monotone: Mapping[str, int] = field(default_factory=dict)

    @property
    def categories(self) -> list[str]:
        """The features that are categories, in order."""
        return [name for name in self.features if name in CATEGORIES]

    @property
    def numbers(self) -> list[str]:
        """The features that are numbers, in order."""
        return [name for name in self.features if name in NUMBERS]


# The least value of each parameter that is a number, and whether it must be whole.
LEAST = {
    "max_iter": (1, int),
    "max_leaf_nodes": (2, int),
    "min_samples_leaf": (1, int),
    "learning_rate": (1e-6, float),
    "l2_regularization": (0.0, float),
}


def parameters(text: str) -> Parameters:
    """Parameters from their JSON.

    Raises:
        WrongParameters: It is no JSON object, a name is unknown, or a value is not what it takes.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise WrongParameters(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise WrongParameters(f"parameters must be an object, not {json.dumps(document)}")
    known = sorted(parameter.name for parameter in fields(Parameters))
    for name in document:
        if name not in known:
            raise WrongParameters(f"unknown parameter {name!r}; known are {', '.join(known)}")
    features = _features(document.get("features"))
    numbers = {name: _number(name, document[name]) for name in LEAST if name in document}
    monotone = _monotone(document.get("monotone", {}), features)
    return Parameters(features=features, monotone=monotone, **numbers)


def _features(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise WrongParameters(f"features must be a list of at least one, not {json.dumps(value)}")
    for name in value:
        if name not in (*CATEGORIES, *NUMBERS):
            known = ", ".join((*CATEGORIES, *NUMBERS))
            raise WrongParameters(f"unknown feature {json.dumps(name)}; known are {known}")
    if len(set(value)) < len(value):
        raise WrongParameters(f"a feature is there twice in {json.dumps(value)}")
    return tuple(value)


def _number(name: str, value: Any) -> Any:
    least, kind = LEAST[name]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))) or not value >= least:
        noun = "a whole number" if kind is int else "a number"
        raise WrongParameters(f"{name} must be {noun} of {least} or more, not {json.dumps(value)}")
    return value


def _monotone(value: Any, features: tuple[str, ...]) -> dict[str, int]:
    if not isinstance(value, dict):
        raise WrongParameters(f"monotone must be an object, not {json.dumps(value)}")
    for name, direction in value.items():
        if name not in features or name not in NUMBERS:
            raise WrongParameters(f"monotone names {name!r}, which is no numeric feature")
        if direction not in (-1, 0, 1) or isinstance(direction, bool):
            raise WrongParameters(f"monotone {name} must be -1, 0 or 1, not {direction!r}")
    return value


def training_rows(path: Path, chosen: Parameters) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """The features, categories as text and numbers as doubles, and the labels.

    Raises:
        WrongData: A column is missing, a label is not 0 or 1, or only one of them occurs.
    """
    wanted = [*chosen.features, LABEL]
    missing = [name for name in wanted if name not in pq.read_schema(path).names]
    if missing:
        raise WrongData(f"{path}: no column {', '.join(missing)}")
    rows = pd.read_parquet(path, columns=wanted)
    labels = rows.pop(LABEL)
    if set(labels.unique()) != {0, 1}:
        found = ", ".join(str(value) for value in labels.unique()[:5]) or "none"
        raise WrongData(f"{path}: {LABEL} must hold both 0 and 1 and nothing else, found {found}")
    return rows.astype(dict.fromkeys(chosen.numbers, "float64")), labels.to_numpy(dtype=np.int64)


def classifier(chosen: Parameters, seed: int) -> Pipeline:
    """The untrained model: categories become their share of late flights, then boosted trees.

    A category that is null or was never seen becomes the mean share; a number that is null takes
    the branch that the trees learned for nulls.
    """
    encoding = ColumnTransformer(
        [
            ("share", TargetEncoder(target_type="binary", random_state=seed), chosen.categories),
            ("number", "passthrough", chosen.numbers),
        ]
    )
    directions = [0] * len(chosen.categories)
    directions += [chosen.monotone.get(name, 0) for name in chosen.numbers]
    trees = HistGradientBoostingClassifier(
        max_iter=chosen.max_iter,
        max_leaf_nodes=chosen.max_leaf_nodes,
        min_samples_leaf=chosen.min_samples_leaf,
        learning_rate=chosen.learning_rate,
        l2_regularization=chosen.l2_regularization,
        monotonic_cst=directions,
        # Its validation rows are drawn at random, not by day, so it stops on leaked weather.
        early_stopping=False,
        random_state=seed,
    )
    return Pipeline([("encoding", encoding), ("trees", trees)])


def save(model: Pipeline, chosen: Parameters, folder: Path) -> None:
    """Write `model` as an MLflow model whose pyfunc predicts [P(on time), P(late)] a row."""
    # MLflow reads this when it is imported, and a training step has no network to report to. It is
    # imported last because skops, on import, searches every module that is loaded by then.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.sklearn  # noqa: PLC0415 - see above
    from mlflow.models import ModelSignature  # noqa: PLC0415 - see above
    from mlflow.types.schema import ColSpec, Schema  # noqa: PLC0415 - see above

    # A trainer of this repository runs where there is no pip, and nobody installs conda.yaml.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    types = {name: "string" if name in CATEGORIES else "double" for name in chosen.features}
    inputs = Schema([ColSpec(kind, name) for name, kind in types.items()])
    outputs = Schema([ColSpec("double", name) for name in ("on_time", "late")])
    mlflow.sklearn.save_model(
        model,
        folder,
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
        # Nothing beyond what skops trusts itself, or saving fails. The trees' own
        # `categorical_features` would need functools.partial here; target encoding does not.
        skops_trusted_types=[],
        signature=ModelSignature(inputs=inputs, outputs=outputs),
        pyfunc_predict_fn="predict_proba",
        # Inferring them starts another interpreter, for the same answer.
        pip_requirements=[f"{package}=={version(package)}" for package in PACKAGES],
    )


def train(data: Path, chosen: Parameters, seed: int, out: Path) -> None:
    """Train on `data`/train.parquet and leave the model in `out`/model.

    Raises:
        WrongData: The rows cannot be trained on, or there is a model already.
    """
    folder = out / "model"
    if folder.exists():
        raise WrongData(f"{folder}: there is a model already; name an empty folder")
    rows, labels = training_rows(data / "train.parquet", chosen)
    print(f"{len(rows):,} rows, {labels.mean():.1%} late, features {', '.join(chosen.features)}")
    # At this size a second thread saves nothing, and beside another busy process the two wait for
    # each other in a loop: 29 s instead of 1.
    with threadpool_limits(limits=1):
        model = classifier(chosen, seed).fit(rows, labels)
    save(model, chosen, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    untrusted = skops.io.get_untrusted_types(file=folder / "model.skops")
    print(f"{folder}: {size:,} bytes, skops types to trust: {', '.join(untrusted) or 'none'}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, required=True, help="folder of train.parquet")
    arguments.add_argument("--params", type=Path, required=True, help="JSON file of parameters")
    arguments.add_argument("--seed", type=int, required=True, help="seed of everything random")
    arguments.add_argument("--out", type=Path, required=True, help="folder to leave model/ in")
    return arguments


def main(arguments: list[str] | None = None) -> int:
    """Train as the command line says.

    Args:
        arguments: The command line without the script's name; None for this process's own.

    Returns:
        The exit code: 0 trained, 1 the data cannot be used, 2 the parameters cannot.
    """
    options = parser().parse_args(arguments)
    try:
        chosen = parameters(options.params.read_text(encoding="utf-8"))
        train(options.data, chosen, options.seed, options.out)
    except WrongParameters as error:
        print(f"train.py: {options.params}: {error}", file=sys.stderr)
        return 2
    except (WrongData, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
