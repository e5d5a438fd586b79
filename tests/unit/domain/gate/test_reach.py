from __future__ import annotations

import numpy as np
import pytest

from modelyard.domain.gate.reach import find_undecided
from modelyard.domain.specs.model import GatePolicy, Slice

ROWS = 400
ROW = np.arange(ROWS)
LABELS, DAYS = ROW % 2, ROW // 10
"""40 days of 10 rows."""


def undecided(names=None, *slices, **policy):
    gate = GatePolicy(**{"metric": "auc", "margin": 0.01, "slices": slices, **policy})
    return list(find_undecided(gate, LABELS, DAYS, names or {}))


def test_enough_clusters_in_all_slices_can_be_decided():
    names = {"by place": np.where(ROW % 4 < 2, "place = A", "place = B")}
    assert undecided(names, Slice(by="place", margin=0.1)) == []


def test_more_clusters_than_there_are_decide_nothing():
    assert undecided(least_clusters=41) == [
        "40 clusters, but gate.least_clusters of model.yaml asks for 41: hold out more with "
        "`modelyard version held-out`, or lower it"
    ]
    assert undecided(least_clusters=40) == []


def test_a_slice_of_few_clusters_is_named_with_its_rows_unless_only_harm_counts():
    names = {"by place": np.where(DAYS < 3, "place = A", "place = B")}
    (said,) = undecided(names, Slice(by="place", margin=0.1))
    assert said.startswith("too few for a verdict in slice place = A (30 rows in 3 clusters); ")
    assert "harm_only: true" in said
    assert undecided(names, Slice(by="place", margin=0.1, harm_only=True)) == []


def test_a_slice_without_a_row_is_undecided_even_if_only_harm_counts():
    for harm_only in (False, True):
        chosen = Slice(where="size > 9", margin=0.1, harm_only=harm_only)
        assert undecided({"size > 9": np.full(ROWS, "")}, chosen) == [
            "slice size > 9: no held-out row is in it: hold out such rows, or remove it "
            "from gate.slices"
        ]


@pytest.mark.parametrize(
    "names",
    [np.full(ROWS, ""), np.full(ROWS, "other"), np.where(DAYS < 3, "place = A", "place = B")],
)
def test_what_is_undecided_of_the_same_rows_in_two_metrics_is_said_once(names):
    slices = [Slice(by="place", margin=0.1, metric=metric) for metric in (None, "brier")]
    assert undecided({"by place": names}, *slices) == undecided({"by place": names}, slices[0])


def test_a_slice_of_one_label_has_no_auc_but_another_metric():
    names = {"by place": np.where(LABELS, "place = A", "place = B")}
    (said,) = undecided(names, Slice(by="place", margin=0.1))
    assert "place = A (200 rows of one label, which have no auc)" in said
    assert undecided(names, Slice(by="place", margin=0.1, metric="brier")) == []


def test_a_column_of_many_levels_is_one_slice_and_that_is_said():
    names = {"by hour": np.full(ROWS, "hour in other levels")}
    (said,) = undecided(names, Slice(by="hour", margin=0.1, harm_only=True))
    assert said.startswith(
        "slice by hour: all rows are one slice, hour in other levels, as a level"
    )
    assert "`where: hour in [...]`" in said


@pytest.mark.parametrize("places", [7, 30])
def test_of_many_small_slices_five_are_shown_and_the_others_counted(places):
    place = np.char.add("place = ", (DAYS * places // 40).astype(str))
    (said,) = undecided({"by place": place}, Slice(by="place", margin=0.1))
    assert said.count(" clusters)") == 5
    assert f" and {places - 5} more; gate.least_clusters is 20: hold out more" in said
