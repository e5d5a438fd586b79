from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from modelyard.serving import scoring
from modelyard.serving.scoring import ModelFile, Order, scores_file

ROWS = pd.DataFrame(
    {"x": np.arange(10.0), "c": ["a", None] * 5, "whole": pd.array([1, None] * 5, dtype="Int64")}
)
MODEL = ModelFile(folder="", digest="", trusted_types=(), formats=())


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
