"""Whether scores by class are in another order than the output's classes: as an encoder sorts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelyard.errors import Refused

_STANDARD_ERRORS = 5.0
"""By so many more rows must be right in the sorted order."""

_LEAST_ROWS = 30


def refuse_sorted_scores(
    labels: Sequence[str], scores: npt.NDArray[np.float64], classes: Sequence[str]
) -> None:
    """Raise if the scores fit the classes in sorted order, and not in the order of model.yaml.

    A model that was trained on numbers knows no names, so its scores are taken in the order of
    model.yaml. `LabelEncoder` and its like number names as they sort.

    Args:
        labels: The class of each row.
        scores: Shape (rows, classes).
        classes: The output's classes, as model.yaml lists them.

    Raises:
        Refused: Decidedly more rows are right in sorted order.
    """
    by_name = sorted(classes)
    is_judged = len(labels) >= _LEAST_ROWS and scores.shape == (len(labels), len(classes))
    if by_name == list(classes) or not is_judged:
        return
    likeliest = scores.argmax(axis=1)
    is_right = np.asarray(classes, dtype=object)[likeliest] == np.asarray(labels, dtype=object)
    would_be = np.asarray(by_name, dtype=object)[likeliest] == np.asarray(labels, dtype=object)
    gains = would_be.astype(np.float64) - is_right
    error = float(gains.std()) / len(labels) ** 0.5
    if gains.mean() <= _STANDARD_ERRORS * error:
        return
    raise Refused(
        f"the model's scores are in the order {', '.join(by_name)}, in which"
        f" {would_be.mean():.0%} of the rows are right; model.yaml lists the classes as"
        f" {', '.join(classes)}, in which {is_right.mean():.0%} are",
        hint="train on the names, or number them by their place in model.yaml's `classes`:"
        " LabelEncoder and its like sort them",
    )
