from __future__ import annotations

from dataclasses import replace
from datetime import date

from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.version import DataFile
from modelyard.operations.models.first_inputs import suggest_first_inputs
from operations.yard import HELD_OUT_SPEC, MODEL, MODEL_SPEC

FILE = DataFile(uri=f"models/{MODEL}/data/rows.csv", sha256="1" * 64)


def catalog(delay: int = 0, **changes: object) -> Catalog:
    held_out = replace(HELD_OUT_SPEC, **{"files": (FILE,), **changes})
    model = replace(MODEL_SPEC, target=replace(MODEL_SPEC.target, delay_days=delay))
    return Catalog(models={MODEL: model}, held_out={(MODEL, held_out.name): held_out})


def test_training_ends_when_the_labels_are_known_on_the_first_held_out_day(tmp_path):
    window = Interval(since=date(2026, 8, 20), until=date(2026, 9, 1))
    assert suggest_first_inputs(tmp_path, catalog(30, window=window), MODEL) == (
        f"--data {FILE.uri} --since DAY --until 2026-07-21 --held-out {HELD_OUT_SPEC.name}"
    )


def test_without_time_another_file_than_the_held_out_one_trains(tmp_path):
    folder = tmp_path / "models" / MODEL / "data"
    folder.mkdir(parents=True)
    for name in ("a.py", "rows.csv", "train.csv"):
        (folder / name).write_text("x")
    assert suggest_first_inputs(tmp_path, catalog(window=None), MODEL) == (
        f"--data models/{MODEL}/data/train.csv --held-out {HELD_OUT_SPEC.name}"
    )


def test_what_nothing_tells_is_left_to_be_filled_in(tmp_path):
    known = Catalog(models={MODEL: MODEL_SPEC})
    assert suggest_first_inputs(tmp_path, known, MODEL) == "--data URI --held-out NAME"
