"""The order of a model's classes, which is its library's, and the order of the output's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest

from modelyard.domain.specs.model import Task
from modelyard.errors import Refused
from modelyard.serving.formats.answers import find_answer
from modelyard.serving.predictor import load_predictor
from serving.artifacts import KIND, TRUSTED, flights, make_artifact

ROW = pd.DataFrame({"x": [1.0]})
SCORES = np.array([[0.1, 0.2, 0.7]])


def model_of(classes: list[Any]) -> Any:
    """As much of a loaded classifier of scikit-learn as is asked."""
    return SimpleNamespace(
        loader_module="mlflow.sklearn",
        get_raw_model=lambda: SimpleNamespace(classes_=np.array(classes)),
        predict=lambda _: SCORES,
    )


@pytest.mark.parametrize(
    ("trained", "classes", "expected"),
    [
        (["a", "b", "c"], ("a", "b", "c"), [0.1, 0.2, 0.7]),
        (["a", "b", "c"], ("c", "a", "b"), [0.7, 0.1, 0.2]),
        ([3, 5, 10], ("10", "3", "5"), [0.7, 0.1, 0.2]),
        ([0, 1, 2], ("c", "a", "b"), [0.1, 0.2, 0.7]),  # places in the order of model.yaml
    ],
)
def test_probabilities_are_those_of_the_classes_by_name(trained, classes, expected):
    answer = find_answer(model_of(trained), task=Task.MULTICLASS, classes=classes)
    assert np.asarray(answer(ROW)).tolist() == [expected]


def test_a_model_of_other_classes_is_refused_by_their_names():
    with pytest.raises(Refused, match="tells a, b, d apart, the output's classes are a, b, c"):
        find_answer(model_of(["a", "b", "d"]), task=Task.MULTICLASS, classes=("a", "b", "c"))


def test_a_served_classifier_keeps_the_order_of_model_yaml(tmp_path: Path):
    classes = ("soon", "late", "early")
    ordered = replace(KIND, outputs=(replace(KIND.primary, classes=classes),))
    digest = make_artifact(tmp_path, model=ordered, golden=False)
    predictor = load_predictor(tmp_path, digest, TRUSTED)

    frame = flights().dropna().head(5)
    library = mlflow.sklearn.load_model(str(tmp_path / "model"))
    direct = pd.DataFrame(
        library.predict_proba(frame.astype({"minute": "float64", "holiday": "float64"})),
        columns=library.classes_,
    )
    assert predictor.scores(frame) == pytest.approx(direct[list(classes)].to_numpy())
