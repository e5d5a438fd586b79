from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, values
from prometheus_client.multiprocess import MultiProcessCollector

from modelyard.domain.canary.input_mix import (
    SIZE_EDGES,
    cell_name,
    level_cell,
    number_cell,
    range_edges,
)
from modelyard.domain.canary.prediction_grid import prediction_grid
from modelyard.domain.canary.prediction_shift import fold_predictions
from modelyard.domain.canary.segments.cells import segment_grid, segment_name
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Output, OutputKind, Task
from modelyard.serving.counters import LABELS, Counters
from modelyard.serving.counts.bins import bin_counts, row_bins
from modelyard.serving.documents import Serving, Training
from modelyard.serving.inputs import request_of_rows
from modelyard.serving.workers.shared import Shared

PROBABILITY = Output(name="p", kind=OutputKind.PROBABILITY)
MINUTES = Output(name="minutes", kind=OutputKind.VALUE, minimum=-50, maximum=50)
KIND = Output(name="kind", kind=OutputKind.CLASS, classes=("apple", "pear", "plum"))


def in_hundredths(values, output):
    """Rows by hundredth, from the counts on the grid with small parts."""
    grid = prediction_grid(output)
    (counts,) = fold_predictions([bin_counts(np.array(values), grid)], grid.older_bins)
    assert len(counts) == 100
    return {at: count for at, count in enumerate(counts) if count}


def test_a_value_on_an_edge_belongs_to_the_bin_above_it():
    found = in_hundredths([0.0, 0.01, 0.0099, 0.5, 1.0], PROBABILITY)
    assert found == {0: 2, 1: 1, 50: 1, 99: 1}


def test_small_chances_and_values_near_zero_have_bins_of_their_own():
    def bins(values, output):
        counts = bin_counts(np.array(values), prediction_grid(output))
        return sum(count > 0 for count in counts)

    assert bins([0.00001, 0.0001, 0.001, 0.999, 0.9999], PROBABILITY) == 5
    assert bins([-49.99, -0.01, 0.01, 0.1, 49.99], MINUTES) == 5


def test_values_outside_of_the_grid_fall_into_its_ends():
    assert in_hundredths([-1000.0, -50.0, 0.5, 1000.0], MINUTES) == {0: 2, 50: 1, 99: 1}


def test_a_row_of_classes_counts_for_the_likeliest():
    scores = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    assert bin_counts(scores, prediction_grid(KIND)).tolist() == [1, 2, 0]


@given(
    rows=st.integers(0, 400),
    values=st.lists(
        st.floats(-1e6, 1e6)
        | st.sampled_from(prediction_grid(PROBABILITY).edges + prediction_grid(MINUTES).edges),
        min_size=1,
    ),
    output=st.sampled_from([PROBABILITY, MINUTES]),
)
def test_every_row_is_counted_in_its_bin_however_many_there_are(
    rows: int, values: list[float], output: Output
):
    scores, grid = np.resize(values, rows), prediction_grid(output)

    counts = bin_counts(scores, grid)

    assert counts.tolist() == np.bincount(row_bins(scores, grid), minlength=grid.bins).tolist()


@pytest.mark.parametrize(
    ("rows", "cells"),
    [
        (
            [{"n": 3.0, "k": 7, "c": "AA"}, {"n": None, "k": None, "c": None}],
            {("n", 1), ("k", 1), ("c", 1)},
        ),
        ([{"n": None, "k": None, "c": None}], set()),
        ([{"n": 3.0, "k": 7, "c": "AA"}] * 3, {("n", 3), ("k", 3), ("c", 3)}),
    ],
)
def test_each_value_is_counted_in_a_cell_of_its_input_and_a_null_in_none(rows, cells):
    columns = (
        Column(name="n", type="number", nullable=True),
        Column(name="k", type="integer", nullable=True, minimum=0, maximum=10),
        Column(name="c", type="category", nullable=True),
    )
    serving = Serving(
        model="m",
        task=Task.BINARY,
        inputs=columns,
        output=PROBABILITY,
        training=Training(null={}, levels={"c": ("AA",)}),
    )
    registry = CollectorRegistry()
    counters = Counters(dict.fromkeys(LABELS, "x"), serving, registry)
    counters.count_answer(request_of_rows(columns, rows), np.full(len(rows), 0.5))
    found = {
        (sample.labels["cell"].rpartition(":")[0], sample.value)
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "modelyard_input_cells_total"
    }
    assert found == cells
    names = {
        sample.labels["cell"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "modelyard_input_cells_total"
    }
    assert names <= {
        cell_name("n", number_cell(3.0, SIZE_EDGES)),
        cell_name("k", number_cell(7, range_edges(0, 10))),
        cell_name("c", level_cell("AA")),
    }


@pytest.mark.parametrize("are_files", [False, True])
def test_the_rows_of_many_answers_are_all_exposed_from_memory_and_from_a_workers_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, are_files: bool
):
    columns = (Column(name="n", type="number", nullable=True), Column(name="c", type="category"))
    serving = Serving(
        model="m",
        task=Task.BINARY,
        inputs=columns,
        output=PROBABILITY,
        training=Training(null={}, levels={"c": ("AA",)}),
        segments=("c",),
    )
    counted = exposed = CollectorRegistry()
    if are_files:
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: 0))
        exposed = CollectorRegistry()
        MultiProcessCollector(exposed, str(tmp_path))
    counters = Counters(dict.fromkeys(LABELS, "x"), serving, counted)

    def rows(name: str, label: str) -> dict[str, float]:
        return {
            sample.labels[label]: sample.value
            for family in exposed.collect()
            for sample in family.samples
            if sample.name == f"modelyard_{name}_total" and sample.value
        }

    request = request_of_rows(columns, [{"n": 3.0, "c": "AA"}, {"n": None, "c": "B"}])
    for times in (1, 2):  # also what comes after somebody has asked
        counters.count_answer(request, np.array([0.25, 0.995]))
        one = request_of_rows(columns, [{"n": 3.0, "c": "AA"}])
        counters.count_answer(one, np.array([0.25]))
        places = row_bins(np.array([0.25, 0.995]), prediction_grid(PROBABILITY)).tolist()
        assert rows("predictions", "bin") == {
            str(places[0]): 2 * times,
            str(places[1]): times,
        }
        parts = row_bins(np.array([0.25, 0.995]), segment_grid(PROBABILITY)).tolist()
        levels = [level_cell(level) for level in ("AA", "B")]
        assert rows("segment_predictions", "cell") == {
            segment_name("c", str(levels[0]), parts[0]): 2 * times,
            segment_name("c", str(levels[1]), parts[1]): times,
        }
        assert rows("input_cells", "cell") == {
            cell_name("n", number_cell(3.0, SIZE_EDGES)): 2 * times,
            cell_name("c", levels[0]): 2 * times,
            cell_name("c", levels[1]): times,
        }
        assert rows("input_unseen", "column") == {"c": times}


def test_an_overloaded_request_is_slow_and_neither_an_error_nor_a_refusal():
    serving = Serving(
        model="m",
        task=Task.BINARY,
        inputs=(),
        output=PROBABILITY,
        training=Training(null={}, levels={}),
    )
    registry = CollectorRegistry()
    counters = Counters(dict.fromkeys(LABELS, "x"), serving, registry)
    with counters.count_request() as outcome:
        outcome.status, outcome.is_overloaded = 503, True
    found = {
        (s.name.removeprefix("modelyard_"), s.labels.get("code_class") or s.labels.get("le"))
        for family in registry.collect()
        for s in family.samples
        if s.value and not s.name.endswith("_created")
    }
    assert found == {
        ("requests_total", "4xx"),
        ("requests_overloaded_total", None),
        ("request_seconds_bucket", "+Inf"),
        ("request_seconds_count", None),
        ("request_seconds_sum", None),
        ("model_info", None),
        ("start_time_seconds", None),
    }


def test_what_a_worker_had_not_answered_is_counted_by_the_one_that_replaces_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)  # is put back afterwards
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    loaded, begun, beats, stuck = (mmap.mmap(-1, size) for size in (2, 1, 2, 2))
    shared = Shared(
        folder=tmp_path,
        loaded=loaded,
        begun=begun,
        beats=beats,
        stuck=stuck,
        alive=-1,
        held=-1,
    )
    training = Training(null={}, levels={})
    serving = Serving(model="m", task=Task.BINARY, inputs=(), output=PROBABILITY, training=training)

    def counters_of(number: int) -> tuple[Counters, CollectorRegistry]:
        summed = shared.enter(number)
        return Counters(dict.fromkeys(LABELS, "x"), serving, CollectorRegistry()), summed

    def counted(summed: CollectorRegistry, name: str, **labels: str) -> float | None:
        return summed.get_sample_value(
            f"modelyard_{name}", {**dict.fromkeys(LABELS, "x"), **labels}
        )

    other, _ = counters_of(1)
    dying, summed = counters_of(0)
    unanswered = dying.count_request()
    unanswered.__enter__()
    for each in (dying, other):
        with each.count_request() as outcome:
            outcome.status = 200
    started = counted(summed, "start_time_seconds")
    assert counted(summed, "requests_in_flight") == 1
    _, summed = counters_of(0)
    assert counted(summed, "requests_in_flight") == 0
    assert counted(summed, "requests_total", code_class="2xx") == 2
    assert counted(summed, "requests_total", code_class="5xx") == 1
    assert counted(summed, "request_seconds_count") == 3
    assert counted(summed, "model_info") == 1
    assert counted(summed, "start_time_seconds") == started
