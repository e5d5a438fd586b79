from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.adapters.tables.frames import (
    clusters_of,
    columns_of,
    rows_within,
    scores_from_parquet,
    scores_to_parquet,
    to_parquet,
    with_labels,
)
from modelyard.adapters.tables.table_files import read_table
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import (
    DataContract,
    GatePolicy,
    MissingLabels,
    Model,
    Output,
    OutputKind,
    Owner,
    Target,
    Task,
    Trainer,
)
from modelyard.errors import CannotAnswer, Refused

ROWS = pd.DataFrame({"x": [1, 2], "y": [0.5, None]})
CONTRACT = DataContract(columns=(Column(name="x", type="integer"), Column(name="y", type="number")))


def model(task=Task.BINARY, **target):
    return Model(
        name="m",
        description="",
        owner=Owner(team="t", contact="t@example.org"),
        task=task,
        target=Target(column="y", **target),
        outputs=(Output(name="o", kind=OutputKind.PROBABILITY, primary=True),),
        trainer=Trainer(command=("python", "train.py")),
        data=DataContract(columns=(Column(name="x", type="number"),)),
        gate=GatePolicy(metric="auc", margin=0.01),
    )


def labels(values, made):
    frame, left_out = with_labels(pd.DataFrame({"x": range(len(values)), "y": values}), made)
    return frame["label"].tolist(), left_out


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        ("a.parquet", to_parquet(ROWS)),
        ("a.csv", b"x,y\n1,0.5\n2,\n"),
        ("s3://b/a.csv.gz", gzip.compress(b"x,y\n1,0.5\n2,\n", mtime=0)),
    ],
    ids=["parquet", "csv", "packed"],
)
def test_rows_are_read_by_the_end_of_the_address(uri, content):
    pd.testing.assert_frame_equal(read_table(content, uri=uri, data=CONTRACT), ROWS)


@pytest.mark.parametrize(
    ("uri", "content", "said"),
    [
        ("a.xlsx", b"", "a.xlsx: not a table; expected .parquet, .csv or .csv.gz"),
        ("a.parquet", b"PAR1", "a.parquet: not readable as a table: "),
        ("a.csv", b"", "a.csv: not readable as a table: it has no header"),
        ("a.csv.gz", b"x,y\n", "a.csv.gz: not readable as a table: "),
    ],
)
def test_a_file_that_is_not_a_table_cannot_be_read(uri, content, said):
    with pytest.raises(CannotAnswer) as caught:
        read_table(content, uri=uri, data=CONTRACT)

    assert caught.value.message.startswith(said)


def test_the_same_rows_give_the_same_bytes():
    assert to_parquet(ROWS) == to_parquet(ROWS.copy())


def test_columns_are_plain_arrays_by_name():
    columns = columns_of(ROWS)

    assert list(columns) == ["x", "y"]
    np.testing.assert_array_equal(columns["y"], [0.5, np.nan])


def test_the_last_day_of_a_span_is_outside_of_it():
    days = pd.to_datetime(
        ["2026-01-01", "2026-01-02 23:59", "2026-01-03", "2026-02-01"], format="mixed"
    )
    spans = [
        Interval(since=date(2026, 1, 2), until=date(2026, 1, 3)),
        Interval(since=date(2026, 2, 1), until=date(2026, 2, 2)),
    ]

    kept = rows_within(pd.DataFrame({"day": days, "x": range(4)}), timestamp="day", spans=spans)

    assert kept["x"].tolist() == [1, 3]
    assert kept.index.tolist() == [0, 1]


def test_a_label_is_one_above_the_limit_and_zero_at_it():
    assert labels([14.0, 15.0, 15.1], model(above=15)) == ([0, 0, 1], 0)


def test_rows_without_a_label_are_left_out_or_negative():
    values = [20.0, None, 10.0]

    assert labels(values, model(above=15)) == ([1, 0], 1)
    assert labels(values, model(above=15, missing=MissingLabels.NEGATIVE)) == ([1, 0, 0], 0)


@pytest.mark.parametrize("values", [["b", "a", "b"], ["b", None, "a", "b"]])
def test_the_positive_class_is_one(values):
    assert labels(values, model(positive_class="b"))[0] == [1, 0, 1]


@pytest.mark.parametrize("missing", list(MissingLabels))
def test_whole_numbers_are_the_same_class_with_and_without_a_missing_one(missing):
    """A column of whole numbers is read as floats as soon as one is missing."""
    rule = model(positive_class="1", missing=missing)
    rest = [0] if missing is MissingLabels.NEGATIVE else []

    assert labels([1, 0, 1], rule)[0] == [1, 0, 1]
    assert labels([1, 0, 1, None], rule)[0] == [1, 0, 1, *rest]


def test_levels_are_words_whatever_the_column_is():
    kind = model(Task.MULTICLASS)

    assert labels([3, 1, 2], kind)[0] == ["3", "1", "2"]
    assert labels([3, 1, None], kind)[0] == ["3", "1"]
    assert labels([0.5, 1, None], kind)[0] == ["0.5", "1.0"]


def test_a_numbers_label_is_the_number():
    assert labels([3, 1], model(Task.REGRESSION))[0] == [3.0, 1.0]


def test_the_target_does_not_stay_among_the_inputs():
    frame, _ = with_labels(ROWS, model(above=0))

    assert frame.to_dict("list") == {"x": [1], "label": [1]}


def test_a_target_that_is_not_there_is_refused():
    with pytest.raises(Refused, match="target column 'z' is not in the data"):
        with_labels(ROWS, replace(model(), target=Target(column="z")))


def test_a_cluster_is_a_column_or_the_row_itself():
    days = pd.DataFrame({"day": pd.to_datetime(["2026-01-01", "2026-01-01", "2026-01-02"])})

    assert clusters_of(days, "day").tolist() == ["2026-01-01", "2026-01-01", "2026-01-02"]
    assert clusters_of(days, "row").tolist() == ["0", "1", "2"]
    with pytest.raises(Refused, match="cluster column 'hour' is not in the held-out data"):
        clusters_of(days, "hour")


@settings(max_examples=30)
@given(
    rows=st.integers(1, 20),
    classes=st.sampled_from([0, 2, 3, 11]),
    seed=st.integers(0, 2**32 - 1),
)
def test_scores_come_back_as_they_were_kept(rows, classes, seed):
    random = np.random.default_rng(seed)
    shape = (rows, classes) if classes else (rows,)
    scores, clusters = random.normal(size=shape), random.integers(0, 3, rows).astype(str)
    kept = scores_to_parquet(np.arange(rows) % 2, clusters, scores)

    found = scores_from_parquet(kept, digest="sha256:rows")

    assert found.digest == "sha256:rows"
    np.testing.assert_array_equal(found.labels, np.arange(rows) % 2)
    np.testing.assert_array_equal(found.clusters, clusters)
    np.testing.assert_array_equal(found.scores, scores)


def test_names_of_slices_come_back_with_the_scores():
    names = {"score > 1": np.array(["score > 1", ""]), "by place": np.array(["place = A", "B"])}
    kept = scores_to_parquet([0, 1], ["a", "b"], np.array([0.1, 0.2]), slices=names)
    found = scores_from_parquet(kept, digest="sha256:rows")
    assert found.scores.tolist() == [0.1, 0.2]
    assert {title: each.tolist() for title, each in found.slices.items()} == {
        title: each.tolist() for title, each in names.items()
    }


def test_a_table_that_holds_no_scores_is_no_evidence():
    with pytest.raises(CannotAnswer, match="no table of scores: it has columns x, y; expected"):
        scores_from_parquet(to_parquet(ROWS), digest="sha256:rows")
