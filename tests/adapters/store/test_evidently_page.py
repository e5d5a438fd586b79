from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from modelyard.adapters.store.evidently_page import SAMPLE, write_page
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer

COLUMNS = (
    Column(name="temp", type="number"),
    Column(name="seats", type="integer", nullable=True),
    Column(name="carrier", type="category", nullable=True),
    Column(name="holiday", type="boolean"),
    Column(name="at", type="timestamp"),
)


def window(rows, *, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "temp": rng.normal(50 + shift, 10, rows),
            "seats": rng.integers(100, 300, rows),
            "carrier": rng.choice(["AA", "DL", "UA"], rows),
            "holiday": rng.random(rows) < 0.1,
            "at": pd.Timestamp("2013-01-01"),
        }
    )


def test_importing_the_adapter_does_not_import_evidently():
    code = "import sys, modelyard.adapters.store.evidently_page; print('evidently' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_refuses_windows_without_any_column_to_show(tmp_path):
    with pytest.raises(CannotAnswer, match="no column of the contract has values"):
        write_page(window(0), window(0), COLUMNS, tmp_path / "page.html")


@pytest.mark.long
def test_writes_a_page_of_a_sample_and_says_what_it_shows(tmp_path):
    path = tmp_path / "page.html"
    summary = write_page(window(SAMPLE + 500), window(2000, shift=20, seed=1), COLUMNS, path)
    assert "<html" in path.read_text()
    assert (summary.path, summary.reference_rows, summary.current_rows) == (path, SAMPLE, 2000)
    assert summary.columns_checked == ("temp", "seats", "carrier", "holiday")
    assert summary.left_out == {"at": "timestamps always move"}
    assert [(one.column, one.method, one.threshold, one.drifted) for one in summary.scores] == [
        ("temp", "wasserstein", 0.1, True),
        ("seats", "wasserstein", 0.1, False),
        ("carrier", "jensenshannon", 0.1, False),
        ("holiday", "jensenshannon", 0.1, False),
    ]
    assert summary.scores[0].score == pytest.approx(2.0, abs=0.1)


@pytest.mark.long
def test_takes_the_same_sample_for_the_same_seed(tmp_path):
    frames = window(SAMPLE * 2), window(SAMPLE * 2, seed=1)
    one, again, other = (
        write_page(*frames, COLUMNS, tmp_path / "page.html", seed=seed).scores for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


@pytest.mark.long
def test_casts_every_kind_of_pandas_column(tmp_path):
    current = window(1000, seed=1)
    current = current.astype(
        {"temp": "double[pyarrow]", "seats": "Int64", "carrier": "category", "holiday": "boolean"}
    )
    current.loc[:100, ["seats", "carrier"]] = pd.NA
    summary = write_page(window(1000), current, COLUMNS, tmp_path / "page.html")
    assert summary.columns_checked == ("temp", "seats", "carrier", "holiday")
    assert {one.drifted for one in summary.scores} == {False}


@pytest.mark.long
@pytest.mark.slow
def test_leaves_out_and_names_bad_columns_and_shows_the_others(tmp_path):
    columns = (
        *COLUMNS[:4],
        Column(name="empty", type="number", nullable=True),
        Column(name="gone", type="number"),
        Column(name="twice", type="number"),
        Column(name="vast", type="number"),
        Column(name="constant", type="number"),
    )
    reference, current = window(1000), window(1000, seed=1)
    for frame in (reference, current):
        frame["constant"] = 7.0
        frame["vast"] = np.where(np.arange(1000) % 2, 1.7e308, -1.7e308)
        frame["empty"] = 1.0
        frame["gone"] = 1.0
        frame["twice"] = 1.0
    current["empty"] = np.nan
    current["holiday"] = current["holiday"].map({True: "yes", False: "no"})
    current = current.drop(columns="gone")
    current = pd.concat([current, current[["twice"]]], axis=1)
    current["seats"] = np.inf
    summary = write_page(reference, current, columns, tmp_path / "page.html")
    assert summary.columns_checked == ("temp", "carrier", "constant")
    vast = summary.left_out["vast"]
    assert vast.startswith("Evidently failed: ")
    assert summary.left_out == {
        "seats": "1000 of 1000 values are infinity",
        "holiday": "1000 of 1000 values are text such as 'no'",
        "empty": "no values",
        "gone": "missing",
        "twice": "there 2 times",
        "vast": vast,
    }


@pytest.mark.long
@pytest.mark.slow
def test_opens_no_connection_and_leaves_the_environment_as_it_was(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(socket.socket, "connect", lambda *address: seen.append(address))
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    write_page(window(600), window(600, seed=1), COLUMNS, tmp_path / "page.html")
    assert seen == []
    assert "DO_NOT_TRACK" not in os.environ
    monkeypatch.setenv("DO_NOT_TRACK", "yes")
    write_page(window(600), window(600, seed=1), COLUMNS, tmp_path / "page.html")
    assert os.environ["DO_NOT_TRACK"] == "yes"
