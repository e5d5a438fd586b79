"""The promise: what a model cannot score is the client's fault, unless usual rows fail too."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.domain.specs.contract import Column
from modelyard.serving.documents import Golden, Training, read_serving
from modelyard.serving.inputs import InferenceRequest, frame_of_rows, request_of_rows
from modelyard.serving.outliers import OutlierError, find_outliers
from modelyard.serving.predictor import Predictor, load_predictor
from modelyard.serving.served_model import ServedModel
from serving.artifacts import TRUSTED, flights, shared_artifact


def served(score: Callable[[pd.DataFrame], object], **changes: Any) -> ServedModel:
    known = load_predictor(*shared_artifact(), TRUSTED)
    predictor = Predictor(
        digest=known.digest,
        serving=replace(known.serving, **changes.pop("serving", {})),
        types={**known.types, **changes},
        answer=lambda frame: np.full(len(frame), 0.5),
    )
    rows = frame_rows(flights(3))
    model = ServedModel("late", "v1", predictor, Golden(rows=rows, scores=(0.5, 0.5, 0.5)))
    object.__setattr__(predictor, "answer", score)
    return model


def frame_rows(frame: pd.DataFrame, **changes: object) -> tuple[dict[str, object], ...]:
    names = [column.name for column in read_serving(shared_artifact()[0]).inputs]
    records = frame[names].astype(object).where(frame[names].notna(), None).to_dict("records")
    return tuple({str(k): v for k, v in {**row, **changes}.items()} for row in records)


def asked(**changes: object) -> InferenceRequest:
    return request_of_rows(
        read_serving(shared_artifact()[0]).inputs, frame_rows(flights(3), **changes)
    )


def fails_above(limit: float) -> Callable[[pd.DataFrame], object]:
    def score(frame: pd.DataFrame) -> object:
        if (frame["temp"].abs() > limit).any():
            raise ValueError("Input X contains infinity or a value too large for dtype('float32').")
        return np.full(len(frame), 0.5)

    return score


@pytest.mark.parametrize("answer", [math.nan, math.inf, -math.inf, 1.5])
def test_a_score_that_is_none_is_the_models_fault_on_usual_rows_alone(answer: float):
    def score(frame: pd.DataFrame) -> object:
        return np.full(len(frame), answer)

    def score_overflow(frame: pd.DataFrame) -> object:
        return np.where(frame["temp"].abs() > 1e100, answer, 0.5)

    with pytest.raises(Exception, match=r"not finite|not probabilities") as caught:
        served(score)._scores_of_one(asked())
    assert not isinstance(caught.value, OutlierError)
    with pytest.raises(OutlierError, match=r"input temp: expected .* found 1e\+200 in row 0"):
        served(score_overflow)._scores_of_one(asked(temp=1e200))


def test_a_model_that_fails_on_usual_rows_too_has_no_outlier_to_blame():
    rows = [*frame_rows(flights(3)), *frame_rows(flights(1), temp=1e200)]
    mixed = request_of_rows(read_serving(shared_artifact()[0]).inputs, rows)

    with pytest.raises(ValueError, match="always"):
        served(lambda _: (_ for _ in ()).throw(ValueError("always")))._scores_of_one(mixed)
    with pytest.raises(OutlierError, match="in row 3"):
        served(fails_above(1e39))._scores_of_one(mixed)


@pytest.mark.parametrize(
    ("changes", "types"),
    [
        ({"temp": 3.5e38}, {"temp": "float"}),
        ({"temp": -1.7e308}, {"temp": "float"}),
        ({"minute": 2**31}, {"minute": "integer"}),
        ({"minute": -(2**63)}, {"minute": "integer"}),
    ],
)
def test_a_number_that_the_models_type_cannot_hold_is_the_clients_fault(
    changes: dict[str, object], types: dict[str, str]
):
    def score(frame: pd.DataFrame) -> object:
        if not np.isfinite(frame[["minute", "temp"]].fillna(0)).all(axis=None):
            raise ValueError("infinity")
        return np.full(len(frame), 0.5)

    with pytest.raises(OutlierError):
        served(score, **types)._scores_of_one(asked(**changes))


def test_an_unseen_level_that_the_model_refuses_is_not_the_models_fault():
    def score(frame: pd.DataFrame) -> object:
        if "ZZ" in set(frame["carrier"]):
            raise ValueError("Found unknown categories ['ZZ'] in column 0 during transform")
        return np.full(len(frame), 0.5)

    with pytest.raises(OutlierError, match="carrier: expected a level of training, found 'ZZ'"):
        served(score)._scores_of_one(asked(carrier="ZZ"))


def test_numbers_near_those_of_training_are_no_outliers():
    contract = read_serving(shared_artifact()[0])
    low, high = contract.training.ranges["temp"]

    assert find_outliers(asked(temp=high + 5 * (high - low)).frame, contract) is None
    assert find_outliers(asked(temp=1e9).frame, contract) is not None
    old = replace(
        contract, training=Training(null=contract.training.null, levels=contract.training.levels)
    )
    assert find_outliers(asked(temp=1e9).frame, old) is None
    assert find_outliers(asked(temp=1e31).frame, old) is not None


def test_a_time_in_another_century_and_a_null_unlike_training_are_outliers():
    columns = (
        Column(name="at", type="timestamp", nullable=True),
        Column(name="x", type="number", nullable=True),
    )
    contract = replace(
        read_serving(shared_artifact()[0]),
        inputs=columns,
        training=Training(null={"at": 0.5, "x": 0.0}, levels={}),
    )

    for row, is_odd in (
        ({"at": "2026-01-01", "x": 1.0}, False),
        ({"at": None, "x": 1.0}, False),
        ({"at": "2026-01-01", "x": None}, True),
        ({"at": "1700-01-01", "x": 1.0}, True),
    ):
        found = find_outliers(frame_of_rows(columns, [row]), contract)
        assert (found is not None) is is_odd
