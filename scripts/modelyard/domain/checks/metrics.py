"""Metrics of the gate: each fits the task, and no margin is so wide that nothing can be missed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from modelyard.domain.problem import Path, Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.model import Model, Task
from modelyard.domain.specs.paths import model_file

# Not taken from the gate's metrics: they import numpy, which `validate` does without.
METRICS: Mapping[Task, frozenset[str]] = {
    Task.BINARY: frozenset({"auc", "log_loss", "brier", "accuracy"}),
    Task.MULTICLASS: frozenset({"log_loss", "brier", "accuracy"}),
    Task.REGRESSION: frozenset({"mae", "mse", "rmse"}),
}
"""The gate metrics that can be computed for each task."""

CALIBRATED = frozenset({Task.BINARY, Task.MULTICLASS})
"""The tasks whose guards and slices may have the metric `calibration`."""


def gate_metric_fits_the_task(catalog: Catalog) -> Iterator[Problem]:
    """The metrics of the gate and of its guards can be computed for the task."""
    for name, model in catalog.models.items():
        for field, metric, _ in _chosen(model):
            # A constant is calibrated: the gate's own metric must tell models apart.
            more = CALIBRATED & {model.task} and field != ("gate",)
            fitting = METRICS[model.task] | ({"calibration"} if more else set())
            choices = ", ".join(sorted(fitting))
            if metric not in fitting:
                message = f"{metric} is no metric of a {model.task} task; choose {choices}"
                yield Problem(file=model_file(name), path=(*field, "metric"), message=message)
        guards = [guard.metric for guard in model.gate.guards]
        for metric in sorted({metric for metric in guards if guards.count(metric) > 1}):
            message = f"{metric} is there twice; leave one"
            yield Problem(file=model_file(name), path=("gate", "guards"), message=message)


def margins_can_be_missed(catalog: Catalog) -> Iterator[Problem]:
    """No margin is as wide as what a model that knows nothing is worse by than a perfect one."""
    for name, model in catalog.models.items():
        for field, metric, margin in _chosen(model):
            widest = widest_margin(metric, model)
            if margin < widest:
                continue
            message = (
                f"a margin of {margin:g} is too wide for {metric}: a model that knows nothing is "
                f"worse than a perfect one by at most {widest:.3g}; 1 % is written as 0.01"
            )
            yield Problem(file=model_file(name), path=(*field, "margin"), message=message)


def widest_margin(metric: str, model: Model) -> float:
    """What the best constant loses to a perfect model, of labels that are as even as can be.

    A calibration error is a part of the Brier score (Murphy 1973). Errors in the unit of the target
    have no limit.
    """
    classes = max([2, *(len(each.classes) for each in model.outputs if each.primary)])
    # By convention a binary Brier score has one class alone.
    squared = 0.25 if model.task is Task.BINARY else 1 - 1 / classes
    widest = {
        "auc": 0.5,
        "accuracy": 1 - 1 / classes,
        "log_loss": math.log(classes),
        "brier": squared,
        "calibration": squared,
    }
    return widest.get(metric, math.inf)


def _chosen(model: Model) -> Iterator[tuple[Path, str, float]]:
    """Where a metric is chosen, the metric, and its margin."""
    gate = model.gate
    yield ("gate",), gate.metric, gate.margin
    for place, guard in enumerate(gate.guards):
        yield ("gate", "guards", place), guard.metric, guard.margin
    for place, each in enumerate(gate.slices):
        yield ("gate", "slices", place), each.metric or gate.metric, each.margin
