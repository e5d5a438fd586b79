from __future__ import annotations

from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from modelyard.serving import scoring
from modelyard.serving.scoring import ModelFile, Order, scores_file

ROWS = pd.DataFrame(
    {
        "x": np.arange(10.0),
        "c": ["a", None] * 5,
        "whole": pd.array([1, None] * 5, dtype="Int64"),
        "flag": [True, False, True, None, *[False] * 6],
        "number": pd.Series([2**53, None, *range(8)]),
        "days": pd.to_datetime(["2013-01-01", None] * 5, utc=True),
        "nothing": [None] * 10,
        "late": [None] * 7 + ["b"] * 3,
        "kind": pd.Categorical(["x", None, "y", *["z"] * 7], categories=["z", "y", "x", "never"]),
    }
)
PLAIN = pa.table(
    {
        "x": pa.array(range(10), pa.float64()),
        "flag": pa.array([True, None, *[False] * 8]),
        "number": pa.array([1, 2, 3, None, *range(6)], pa.int32()),
        "kind": pa.array(["x", None, *["y"] * 8]).dictionary_encode(),
        "nothing": pa.nulls(10),
        "empty": pa.nulls(10, pa.bool_()),
        "day": pa.array([None, *[date(2013, 1, 1)] * 9]),
    }
)
MODEL = ModelFile(folder="", digest="", trusted_types=(), formats=())


@pytest.mark.parametrize("rows", [7, 3, 1])
def test_the_types_of_columns_do_not_depend_on_the_cut(tmp_path, monkeypatch, rows):
    parquet.write_table(PLAIN, tmp_path / "table.parquet")
    (whole,) = scoring._read(tmp_path / "table.parquet", None)
    monkeypatch.setattr(scoring, "PART_ROWS", rows)
    parts = list(scoring._read(tmp_path / "table.parquet", None))
    assert [each.dtypes.to_dict() for each in parts] == [whole.dtypes.to_dict()] * len(parts)
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)


@pytest.mark.parametrize("rows", [10, 3, 1])
@pytest.mark.parametrize("classes", [1, 3])
def test_rows_are_scored_in_parts_in_their_order(tmp_path, monkeypatch, rows, classes):
    seen: list[pd.DataFrame] = []

    def scores(part):
        seen.append(part)
        found = part["x"].to_numpy()
        return found if classes == 1 else np.stack([found] * classes, axis=1)

    monkeypatch.setattr(scoring, "PART_ROWS", rows)
    predictor = SimpleNamespace(scores=scores, serving=None)
    monkeypatch.setattr(scoring, "_open", lambda _: predictor)
    ROWS.to_parquet(tmp_path / "table.parquet")
    order = Order(
        lock="", lock_file="", models=(MODEL,), tables=(str(tmp_path / "table.parquet"),),
        out=str(tmp_path),
    )  # fmt: skip
    assert scoring._score_all(order, 0, MODEL) == {}
    found = np.load(scores_file(tmp_path, 0, 0))
    assert found.shape == ((10,) if classes == 1 else (10, classes))
    assert found.reshape(10, -1)[:, 0].tolist() == list(range(10))
    assert [len(part) for part in seen] == [rows] * (10 // rows) + [10 % rows] * (10 % rows > 0)
    pd.testing.assert_frame_equal(pd.concat(seen, ignore_index=True), ROWS)
