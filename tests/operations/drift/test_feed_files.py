"""The files of a feed are read in parts, wherever they are, as one frame would have them."""

from __future__ import annotations

import datetime as dt
import gzip
import io

import fsspec
import numpy as np
import pandas as pd
import pytest

from modelyard.adapters.tables import table_parts
from modelyard.adapters.tables.csv_files import rows as csv_rows
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import DataContract, Target, Task
from modelyard.domain.specs.repository import DATA_ROOTS
from modelyard.errors import CannotAnswer
from modelyard.operations.drift.feed import read_feed
from modelyard.operations.drift.feed_files import open_feed_column, open_feed_file
from modelyard.operations.drift.window_rows import open_windows, read_window
from modelyard.operations.training.data_root import DataRoot
from operations.training_job import model_of

MODEL = model_of(
    DataContract(
        columns=(
            Column(name="at", type="timestamp"),
            Column(name="n", type="integer"),
            Column(name="y", type="number"),
        ),
        timestamp="at",
    ),
    Target(column="y"),
    Task.REGRESSION,
)
KINDS = ("parquet", "csv", "csv.gz")


def rows_of(days: int = 40, a_day: int = 7) -> pd.DataFrame:
    steps = np.arange(days * a_day) * np.timedelta64(86_400 // a_day, "s")
    at = np.datetime64("2026-01-01", "us") + steps
    return pd.DataFrame({"at": at, "n": np.arange(len(at)), "y": np.arange(len(at)) / 4})


def bytes_of(frame: pd.DataFrame, kind: str) -> bytes:
    if kind == "parquet":
        stream = io.BytesIO()
        frame.to_parquet(stream, index=False, row_group_size=50)
        return stream.getvalue()
    text = frame.to_csv(index=False).encode()
    return gzip.compress(text, mtime=0) if kind == "csv.gz" else text


@pytest.fixture(params=["here", "in a store"])
def place(request, tmp_path, monkeypatch):
    """Puts a file where the feed is; returns its root."""
    monkeypatch.setattr(table_parts, "PART_ROWS", 11)
    monkeypatch.setattr(csv_rows, "LARGEST_ROW", 512)
    base = str(tmp_path) if request.param == "here" else f"memory://{tmp_path.name}"

    def put(content: bytes, kind: str) -> DataRoot:
        with fsspec.open(f"{base}/a.{kind}", "wb") as file:
            file.write(content)
        return DataRoot(base=base, root=tmp_path, roots=(*DATA_ROOTS, "memory://"))

    return put


@pytest.mark.sample(5)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [False, True])
def test_a_feed_has_the_days_the_rows_and_the_digest_of_its_file(place, kind, texts):
    frame = rows_of()
    written = frame.assign(at=frame["at"].astype(str)) if texts else frame
    content = bytes_of(written, kind)
    root = place(content, kind)
    feed = read_feed(MODEL, f"*.{kind}", root)
    assert feed.breaches == ()
    days = frame["at"].dt.date.value_counts().to_dict()
    assert [dict(file.rows) for file in feed.files] == [days]
    with open_windows(MODEL, feed, root, until=dt.date(2026, 2, 5), of=4) as (windows, pins):
        assert [pin.sha256 for pin in pins] == [sha256_of(content)]
        for window in windows:
            first, end = (np.datetime64(day) for day in (window.days.since, window.days.until))
            own = frame[(frame["at"] >= first) & (frame["at"] < end)]
            data = read_window(window)
            assert (data.rows, data.breaches) == (len(own), ())
            parts = list(window.read(list(own)))
            for name in own:
                values = own[name].to_numpy().tolist()
                assert np.concatenate([part[name] for part in parts]).tolist() == values
                assert window.read_whole([name])[name].tolist() == values


@pytest.mark.parametrize("kind", KINDS)
def test_a_time_that_is_none_is_named_with_its_place(place, kind):
    frame = rows_of().assign(at=lambda rows: rows["at"].astype(str))
    frame.loc[123, "at"] = frame.loc[200, "at"] = "soon"
    feed = read_feed(MODEL, f"*.{kind}", place(bytes_of(frame, kind), kind))
    where = "row 124" if kind == "parquet" else "line 125"
    (breach,) = feed.breaches
    assert (breach.column, breach.rule, breach.rows) == ("at", "type", 2)
    assert breach.found.startswith("text such as 'soon'")
    assert breach.found.endswith(f"a.{kind}, {where})")
    assert [file.rows for file in feed.files] == [{}]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_times_under_another_name_is_named(place, kind):
    frame = rows_of().rename(columns={"at": "At_"})
    (breach,) = read_feed(MODEL, f"*.{kind}", place(bytes_of(frame, kind), kind)).breaches
    assert (breach.column, breach.rule, breach.found, breach.rows) == (
        "at", "missing", "no such column; found instead: At_", 280,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_time_is_a_breach_and_leaves_the_file_without_days(place, kind):
    frame = rows_of()
    frame.loc[[3, 77], "at"] = pd.NaT
    feed = read_feed(MODEL, f"*.{kind}", place(bytes_of(frame, kind), kind))
    (breach,) = feed.breaches
    assert (breach.rule, breach.rows, feed.files[0].rows) == ("null", 2, {})


def replace(file, other):
    other.replace(file)


def rewrite(file, other):
    file.write_bytes(other.read_bytes())


def remove(file, _):
    file.unlink()


def read_rows(name, root):
    with open_feed_file(name, MODEL.data, root) as (table, _):
        yield from table.parts()


def read_times(name, root):
    with open_feed_column(name, "at", MODEL.data, root) as table:
        yield from table.parts()


@pytest.mark.parametrize("change", [replace, rewrite, remove])
@pytest.mark.parametrize("read", [read_rows, read_times])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, read, change):
    file, other = tmp_path / "a.parquet", tmp_path / "b.parquet"
    file.write_bytes(bytes_of(rows_of(), "parquet"))
    other.write_bytes(bytes_of(rows_of(days=30), "parquet"))
    parts = read(file.name, DataRoot(base=str(tmp_path), root=tmp_path))
    next(parts)
    change(file, other)
    with pytest.raises(CannotAnswer, match=r"^a\.parquet: was changed or replaced while"):
        list(parts)
