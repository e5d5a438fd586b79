"""A model that was trained on sorted numbers is told from one that is in model.yaml's order."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest

from modelyard.domain.gate.class_order import refuse_sorted_scores
from modelyard.errors import Refused

CLASSES = ("soon", "early", "late")


def rows(order: tuple[str, ...], *, count: int = 300, right: float = 0.8, seed: int = 1):
    """Labels, and scores whose columns are in this order and are right for a share of the rows."""
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, count)
    told = np.where(random.random(count) < right, labels, random.choice(CLASSES, count))
    scores = np.array([[0.6 if name == each else 0.2 for name in order] for each in told])
    return labels.tolist(), scores


@pytest.mark.parametrize("right", [0.3, 0.6, 1.0])
def test_scores_in_the_order_of_a_sorting_encoder_are_refused_with_both_orders(right: float):
    labels, scores = rows(("early", "late", "soon"), right=right)
    said = r"the order early, late, soon, in which \d+% .* as soon, early, late, in which \d+%"
    with pytest.raises(Refused, match=said) as refusal:
        refuse_sorted_scores(labels, scores, CLASSES)
    assert "LabelEncoder" in str(refusal.value.hint)


@pytest.mark.parametrize("right", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("count", [1, 20, 3000])
def test_scores_in_the_order_of_model_yaml_pass_however_bad_they_are(right: float, count: int):
    refuse_sorted_scores(*rows(CLASSES, count=count, right=right), CLASSES)


def test_where_names_are_sorted_both_orders_are_one():
    labels, scores = rows(("soon", "late", "early"))
    refuse_sorted_scores(labels, scores, ("early", "late", "soon"))


def test_few_rows_decide_nothing_and_no_rows_are_no_error():
    labels, scores = rows(("early", "late", "soon"), right=1.0)
    for count in (0, 1, 29):
        refuse_sorted_scores(labels[:count], scores[:count], CLASSES)


@pytest.mark.parametrize(("gained", "is_refused"), [(23, False), (24, True)])
def test_five_standard_errors_more_rows_must_be_right_in_the_sorted_order(gained, is_refused):
    # Of 300 rows p gain 1, so the mean over its error is sqrt(300 p / (1 - p)): 4.99, and 5.11.
    labels = ["early"] * gained + ["late"] * (300 - gained)
    scores = np.tile([0.6, 0.2, 0.2], (300, 1))
    with pytest.raises(Refused) if is_refused else nullcontext():
        refuse_sorted_scores(labels, scores, CLASSES)
