"""The metrics that a gate can use, and the value of each row in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelyard.domain.gate.calibration import Miscalibration, miscalibration
from modelyard.domain.gate.inputs import Codes, binary_labels, class_codes, parse_scores
from modelyard.domain.specs.column_values import Floats
from modelyard.errors import CannotAnswer

LEAST_PROBABILITY = 1e-15  # a certain and wrong prediction costs 34.5 nats, not infinity
SUM_TOLERANCE = 1e-3  # class probabilities of a row must sum to 1; a float32 softmax passes


class Kind(Enum):
    """The predictions that a metric takes."""

    RANKS = auto()
    PROBABILITIES = auto()
    VALUES = auto()


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric.

    Args:
        name: As in `gate.metric` of model.yaml.
        greater_is_better: Whether a larger value is better.
        kind: The predictions it takes.
        is_root: Whether it is the square root of a mean over rows; otherwise it is the mean.
        is_of_pairs: Whether it is a mean over pairs of rows: see `calibration`.
        worst: The most that one row can lose between two models; infinite if nothing limits it.
    """

    name: str
    greater_is_better: bool
    kind: Kind
    is_root: bool = False
    is_of_pairs: bool = False
    worst: float = math.inf


METRICS = {
    metric.name: metric
    for metric in (
        Metric(name="auc", greater_is_better=True, kind=Kind.RANKS, worst=1),
        Metric(
            name="log_loss",
            greater_is_better=False,
            kind=Kind.PROBABILITIES,
            worst=-math.log(LEAST_PROBABILITY),
        ),
        # 2 with several classes; a binary one counts half of it.
        Metric(name="brier", greater_is_better=False, kind=Kind.PROBABILITIES, worst=2),
        Metric(name="accuracy", greater_is_better=True, kind=Kind.PROBABILITIES, worst=1),
        Metric(
            name="calibration", greater_is_better=False, kind=Kind.PROBABILITIES, is_of_pairs=True
        ),
        Metric(name="mae", greater_is_better=False, kind=Kind.VALUES),
        Metric(name="mse", greater_is_better=False, kind=Kind.VALUES),
        Metric(name="rmse", greater_is_better=False, kind=Kind.VALUES, is_root=True),
    )
}
"""The metrics that a gate can use, by name."""


def find_metric(name: str) -> Metric:
    """The metric of this name; raises `CannotAnswer` if there is none."""
    if name not in METRICS:
        raise CannotAnswer(f"no metric {name!r}", hint=f"choose one of {', '.join(METRICS)}")
    return METRICS[name]


def row_values(
    metric: Metric, labels: ArrayLike, predictions: ArrayLike, classes: Sequence[Any], model: str
) -> Floats:
    """The value of each row in a metric that is a mean over rows, or the root of such a mean.

    Args:
        metric: Any metric except `auc` and `calibration`.
        labels: Shape (n,), as in `paired_difference`.
        predictions: Shape (n,) or (n, k), as in `paired_difference`.
        classes: The k levels, or empty.
        model: `champion` or `challenger`, for messages.

    Returns:
        Shape (n,); NaN if the prediction is not finite or not a probability.

    Raises:
        CannotAnswer: Shapes differ, or labels cannot be used.
    """
    if metric.kind is Kind.VALUES:
        return _errors_of(metric, _numbers(labels), predictions, model)
    codes = _levels(labels, classes)
    # A classifier without probabilities can be measured by its levels alone.
    if metric.name == "accuracy" and classes and np.ndim(predictions) == 1:
        return _agreement(np.asarray(labels), np.asarray(predictions), model)
    chances = _chances(predictions, codes.size, len(classes), model)
    if metric.name == "log_loss":
        chosen = np.take_along_axis(chances, codes[:, None], axis=1)[:, 0]
        return -np.log(np.maximum(chosen, LEAST_PROBABILITY))
    if metric.name == "accuracy":
        right = (chances.argmax(axis=1) == codes).astype(np.float64)
        return np.where(np.isnan(chances[:, 0]), np.nan, right)
    chances[np.arange(codes.size), codes] -= 1
    # By convention a binary Brier score has the probability of 1 alone, so it ends at 1, not at 2.
    squares: Floats = (chances**2).sum(axis=1) if classes else chances[:, 1] ** 2
    return squares


def miscalibration_of(
    labels: ArrayLike, predictions: ArrayLike, classes: Sequence[Any], codes: Codes, model: str
) -> Miscalibration:
    """The calibration error, with NaN for one whose predictions are not all probabilities.

    Arguments and errors are those of `row_values`.
    """
    levels = _levels(labels, classes)
    chances = _chances(predictions, levels.size, len(classes), model)
    if np.isnan(chances).any():
        return Miscalibration(value=math.nan, influence=np.full(levels.size, math.nan))
    happened = levels[:, None] == np.arange(chances.shape[1])
    # Of two classes the second says all: the first has the same error.
    first = 0 if classes else 1
    return miscalibration(chances[:, first:], happened[:, first:], codes)


def constant_predictions(metric: Metric, labels: ArrayLike, classes: Sequence[Any]) -> Floats:
    """The best constant prediction, repeated for every row in the shape that the metric takes."""
    if metric.kind is Kind.VALUES:
        values = _numbers(labels)
        # The median minimises absolute errors, the mean squared ones.
        return np.full(values.size, np.median(values) if metric.name == "mae" else values.mean())
    codes = _levels(labels, classes)
    if not classes:
        return np.full(codes.size, codes.mean())
    return np.tile(np.bincount(codes, minlength=len(classes)) / codes.size, (codes.size, 1))


def _errors_of(metric: Metric, labels: Floats, predictions: ArrayLike, model: str) -> Floats:
    errors = parse_scores(model, predictions, labels.size) - labels
    errors[~np.isfinite(errors)] = np.nan
    return np.abs(errors) if metric.name == "mae" else errors**2


def _numbers(labels: ArrayLike) -> Floats:
    values = parse_scores("label", labels, np.size(labels))
    if not values.size or not np.isfinite(values).all():
        wrong = values.size - int(np.isfinite(values).sum())
        raise CannotAnswer(f"{wrong} of {values.size} labels are not finite numbers")
    return values


def _levels(labels: ArrayLike, classes: Sequence[Any]) -> Codes:
    if not classes:
        return binary_labels(labels).astype(np.intp)
    return class_codes(labels, classes, "labels")


def _agreement(labels: NDArray[Any], predictions: NDArray[Any], model: str) -> Floats:
    if predictions.shape != labels.shape:
        raise CannotAnswer(f"{model} predictions have shape {predictions.shape}, {labels.shape}")
    return np.asarray(labels == predictions, dtype=np.float64)


def _chances(predictions: ArrayLike, rows: int, classes: int, model: str) -> Floats:
    """A probability for each class, shape (n, k); NaN in rows that are not probabilities."""
    if not classes:
        positive = parse_scores(model, predictions, rows)
        chances = np.column_stack([1 - positive, positive])
    else:
        chances = np.array(predictions, dtype=np.float64)
        if chances.shape != (rows, classes):
            raise CannotAnswer(
                f"{model} predictions have shape {chances.shape}, not ({rows}, {classes})"
            )
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(chances).all(axis=1) & (chances >= 0).all(axis=1)
        sound &= np.abs(chances.sum(axis=1) - 1) <= SUM_TOLERANCE
    chances[~sound] = np.nan
    return chances
