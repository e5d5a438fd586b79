"""Quality drift: the served version is scored on new labelled rows; a worse one comes first."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from commands.test_drift import SCHEMA
from modelyard.adapters.specs.documents import dump_spec
from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.frames import scores_to_parquet
from modelyard.domain.specs.record import HeldOutResult
from modelyard.operations.runtimes.scoring import Scored
from modelyard.runtime_measure import Measured
from operations.drift_yard import MODEL, Yard, drifting_yard, rewritten, rows

MAE = replace(
    MODEL,
    task="regression",
    target=replace(MODEL.target, above=None),
    outputs=(replace(MODEL.outputs[0], name="delay", kind="value", minimum=-200.0, maximum=400.0),),
    gate=replace(MODEL.gate, metric="mae", margin=1.0),
)


def no_delay(_runtime: Any, _artifacts: Any, tables: list[bytes], *_: Any, **__: Any) -> Scored:
    """The scores of a model that always predicts no delay."""
    rows = len(pd.read_parquet(io.BytesIO(tables[0])))
    measured = Measured(lock="0" * 64, python="3", distributions={})
    return Scored(measured=measured, answers={(0, 0): np.zeros(rows)})


@pytest.fixture
def yard(tmp_path, monkeypatch) -> Yard:
    """Rows that do not drift, and a record with the scores of April."""
    yard = drifting_yard(tmp_path, MAE)
    for month in (5, 6):
        frame = rows(date(2026, month, 1), date(2026, month + 1, 1), warm_from=date.max)
        frame.to_parquet(yard.root / f"data/delays/2026-{month:02}.parquet", index=False)
    put_scores(yard, lambda april: april["date"])
    # The model itself is no part of these tests, and loading one takes seconds.
    monkeypatch.setattr(Store, "fetch_model", lambda _self, _digest, folder: Path(folder))
    monkeypatch.setattr("modelyard.operations.drift.quality.score_tables", no_delay)
    return yard


def put_scores(
    yard: Yard, clusters: Callable[[pd.DataFrame], Any], *, odd_days: float = 0.0
) -> None:
    """Record the scores of April's rows, with these clusters; on odd days they are off by this."""
    april = pd.read_parquet(yard.root / "data/delays/2026-04.parquet")
    odd = (pd.to_datetime(april["date"]).dt.day % 2).to_numpy(dtype=float)
    store = Store(yard.services.repository.artifacts, yard.root)
    scores = store.put_evidence(scores_to_parquet(april["delay"], clusters(april), odd_days * odd))
    record = yard.workspace.catalog("main").records["delays", "v2"]
    result = HeldOutResult(
        name="april",
        digest="sha256:" + "d" * 64,
        rows=len(april),
        unlabelled=0,
        clusters=30,
        look=1,
        metrics={},
        scores=scores,
        verdict=record.verdict,
    )
    text = dump_spec("Record", replace(record, held_out=(result,)))
    yard.write("models/delays/records/v2.yaml", text)
    yard.publish()


def answer(yard: Yard, *words: object) -> tuple[int, dict[str, Any]]:
    code, found = yard.answer("drift", "delays", *words)
    jsonschema.validate(found, SCHEMA)
    return code, found


def tripled(frame: pd.DataFrame) -> Any:
    return frame["delay"] * 3


@pytest.mark.long
def test_a_model_that_predicts_as_on_held_out_rows_is_watched_and_has_not_drifted(yard):
    code, found = answer(yard)
    quality = found["quality"]
    assert (code, quality["watched"], quality["drifted"]) == (0, True, False)
    assert (quality["days"], quality["rows"]) == (61, 6100)
    assert quality["held_out"] == pytest.approx(24, rel=0.05)


@pytest.mark.long
@pytest.mark.parametrize(
    "clusters",
    [
        lambda april: np.arange(len(april)).astype(str),
        lambda april: (np.arange(len(april)) // 2).astype(str),  # minutes that tie a little
        lambda april: april["airline"],
    ],
)
def test_losses_are_compared_with_those_of_held_out_days_whatever_the_clusters_are(yard, clusters):
    put_scores(yard, lambda april: april["date"], odd_days=40.0)
    as_days = answer(yard)[1]["quality"]
    put_scores(yard, clusters, odd_days=40.0)
    assert answer(yard)[1]["quality"] == as_days
    # Rows that changed since are not those that were scored: their clusters are all there is.
    rewritten(yard, "data/delays/2026-04.parquet", delay=tripled)
    changed = answer(yard)[1]["quality"]
    assert changed["watched"]
    assert changed["evidence"] != as_days["evidence"]


@pytest.mark.long
def test_labels_that_triple_are_quality_drift_although_no_input_moved(yard):
    rewritten(yard, "data/delays/2026-06.parquet", delay=tripled)
    code, found = answer(yard)
    assert (code, found["outcome"]) == (3, "confirmed")
    assert found["confirmed"] == [{"column": "delay", "reason": "quality"}]
    assert found["quality"]["since"] == "2026-06-01"
    said = yard.run("drift", "delays").stdout.splitlines()[-1]
    assert said.startswith("delays: v2 predicts worse: mae 23.65 on held-out rows, ")


@pytest.mark.long
def test_quality_comes_first_in_the_pull_request(yard):
    for month in (5, 6):
        rewritten(yard, f"data/delays/2026-{month:02}.parquet", delay=tripled,
                  temp=lambda frame: frame["temp"] + 20)  # fmt: skip
    done = yard.run("retrain", "delays")
    assert done.stdout.startswith(
        "#1 opened: Retrain delays as v3: delay (quality), temp (range), temp (shape) drifted"
    ), done.output
    [pull] = yard.services.desk.list(every=True)
    first = pull.body.splitlines()[0]
    assert first.startswith(
        "**v2** predicts worse than on its held-out rows: mae 23.65 on held-out "
    )
    assert "temp (range), temp (shape)" in first


@pytest.mark.long
def test_the_new_regime_of_worse_predictions_trains_and_is_judged(yard):
    rewritten(yard, "data/delays/2026-05.parquet", delay=tripled)
    rewritten(yard, "data/delays/2026-06.parquet", delay=tripled)
    done = yard.run("retrain", "delays")
    assert done.stdout.startswith("#1 opened: Retrain delays as v3: delay (quality) drifted")


@pytest.mark.long
@pytest.mark.parametrize(("delay_days", "until"), [(0, "2026-07-01"), (10, "2026-06-21")])
def test_only_days_with_known_labels_are_scored(yard, delay_days, until):
    model = replace(MAE, target=replace(MAE.target, delay_days=delay_days))
    yard.write("models/delays/model.yaml", dump_spec("Model", model))
    yard.publish()
    days = (date.fromisoformat(until) - date(2026, 5, 1)).days
    assert answer(yard)[1]["quality"]["days"] == days


@pytest.mark.long
def test_labels_that_never_come_are_an_incident(yard):
    for month in (5, 6):
        rewritten(yard, f"data/delays/2026-{month:02}.parquet", delay=lambda _: np.nan)
    code, found = answer(yard)
    said = "no row from 2026-05-01 to 2026-07-01 has a label"
    assert (code, found["quality"]) == (3, {"watched": False, "why": said})
    assert f"quality is not watched: {said}" in found["warnings"]
    [breach] = found["breaches"]
    assert (breach["column"], breach["rule"], breach["found"]) == ("delay", "null", said)


def test_a_version_without_held_out_scores_is_not_watched(tmp_path):
    yard = drifting_yard(tmp_path)
    quality = answer(yard)[1]["quality"]
    assert quality == {
        "watched": False,
        "why": "the record of v2 has no held-out scores to compare",
    }
