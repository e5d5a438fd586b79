"""Pipelines of scikit-learn in ONNX, of every task: numbers in one matrix, or columns with text."""

from __future__ import annotations

import mlflow.onnx
import numpy as np
import onnxruntime
from rows import (
    INPUTS,
    KIND,
    KINDS,
    LATE,
    MINUTES,
    NUMBER_OF_KIND,
    NUMBERS,
    REQUIREMENTS,
    SCORED,
    TRAIN,
    expect,
    place,
    signature,
)
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

TARGETS = {"binary": LATE, "multiclass": KIND, "regression": MINUTES}
NO_CARRIER = {"carrier": ""}  # text of ONNX has no null
DOUBLES = dict.fromkeys(NUMBERS, "double")
FLOATS = dict.fromkeys(NUMBERS, "float64")


def save(case, made, types):
    """Save a model by MLflow."""
    mlflow.onnx.save_model(made, place(case), signature=signature(types), **REQUIREMENTS)


def scores(made, feeds):
    """What onnxruntime itself says: the second output is the probabilities."""
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)[-1]


for task, target in TARGETS.items():
    is_value = task == "regression"
    numbered = NUMBER_OF_KIND if task == "multiclass" else target
    estimator = LinearRegression() if is_value else LogisticRegression(random_state=0)
    cleaned = make_pipeline(SimpleImputer(), StandardScaler())

    case = f"{task}-matrix"
    model = make_pipeline(cleaned, estimator).fit(
        TRAIN[NUMBERS].astype("float64").to_numpy(), numbered
    )
    options = None if is_value else {id(model): {"zipmap": False}}
    one = [("rows", FloatTensorType([None, len(NUMBERS)]))]
    made = to_onnx(model, initial_types=one, options=options)
    save(case, made, DOUBLES)
    matrix = SCORED[NUMBERS].astype("float64").to_numpy(dtype=np.float32)
    expect(case, scores(made, {"rows": matrix}))

    case = f"{task}-columns"
    encoded = (OneHotEncoder(handle_unknown="ignore"), ["carrier"])
    columns = make_column_transformer(encoded, (cleaned, NUMBERS))
    model = make_pipeline(columns, estimator).fit(
        TRAIN[INPUTS].fillna(NO_CARRIER).astype(FLOATS), target
    )
    each = [(name, FloatTensorType([None, 1])) for name in NUMBERS]
    # With a map from class to probability for each row, as skl2onnx does it by itself.
    made = to_onnx(model, initial_types=[("carrier", StringTensorType([None, 1])), *each])
    save(case, made, {"carrier": "string", **DOUBLES})
    feeds = {name: SCORED[[name]].to_numpy(dtype=np.float32) for name in NUMBERS}
    feeds["carrier"] = SCORED[["carrier"]].fillna(NO_CARRIER).to_numpy(dtype=object)
    answer = scores(made, feeds)
    rows = (
        answer
        if is_value
        else [[row[name] for name in (KINDS if task == "multiclass" else (0, 1))] for row in answer]
    )
    expect(case, rows)
