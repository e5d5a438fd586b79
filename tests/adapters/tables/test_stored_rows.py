from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import modelyard
from modelyard.adapters.tables.frames import columns_of, to_parquet
from modelyard.adapters.tables.stored_rows import PART_ROWS, StoredRows, StoredTable
from modelyard.adapters.tables.training_parts import parts_of_rows
from modelyard.domain.drift.profiling.build import build_profile, build_profile_of_parts
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer

ROWS = PART_ROWS + 1_000
COLUMNS = (
    Column(name="n", type="number", nullable=True),
    Column(name="i", type="integer", nullable=True),
    Column(name="c", type="category", nullable=True),
    Column(name="b", type="boolean", nullable=True),
)


def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    times = np.datetime64("2024-01-01", "us") + random.integers(0, 10**13, ROWS)
    times[:3] = np.datetime64("NaT")
    whole = pd.array(random.integers(2**53, 2**60, ROWS), dtype="Int64")
    whole[-1] = pd.NA  # of the first part no value is missing
    names = np.array(["a", "b", None], dtype=object)
    return pd.DataFrame(
        {
            "at": times,
            "n": np.where(random.random(ROWS) < 0.1, np.nan, random.normal(size=ROWS)),
            "i": whole,
            "c": np.append(names[random.integers(0, 3, ROWS - 1)], "only in the last part"),
            "b": np.append(np.array([True, False])[random.integers(0, 2, ROWS - 1)], None),
            "dict": pd.Categorical(names[random.integers(0, 2, ROWS)]),
        }
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "train.parquet"
    path.write_bytes(to_parquet(frame()))
    return StoredRows(path, name="train.parquet")


def test_the_parts_are_the_rows_with_the_types_of_the_whole(stored):
    parts = list(stored.parts(["i", "n"]))
    assert (len(parts), len(stored)) == (2, ROWS)
    whole = pd.concat(parts, ignore_index=True)
    pd.testing.assert_frame_equal(whole, frame()[["i", "n"]])
    assert sum(len(part) for part in stored.parts([])) == ROWS


def test_rows_are_taken_as_pandas_samples_them(stored):
    names = ["c", "i", "at"]
    places = np.random.RandomState(7).choice(ROWS, 20, replace=True)
    expected = frame()[names].sample(20, random_state=7, replace=True).reset_index(drop=True)
    pd.testing.assert_frame_equal(stored.take(places.tolist(), names), expected)


@pytest.mark.parametrize("group", [1_000, ROWS])
def test_the_profile_of_a_file_is_that_of_its_rows_in_memory(tmp_path, group):
    whole = frame()
    table = pa.Table.from_pandas(whole)
    parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=group)
    rows = StoredRows(tmp_path / "rows.parquet", name="rows.parquet")
    moments = whole["at"].to_numpy()
    days = (moments - np.nanmin(moments)).astype("timedelta64[D]").astype(np.int64)
    blocks = np.where(np.isnat(moments), 0, days // 7)
    expected = build_profile(
        {c.name: whole[c.name].to_numpy(object if c.type == "boolean" else None) if c.name != "i"
         else whole["i"].to_numpy(dtype=np.float64, na_value=np.nan) for c in COLUMNS},
        COLUMNS, blocks, times=moments,
    )  # fmt: skip
    read = parts_of_rows(rows, "at", 7)
    assert build_profile_of_parts(read, COLUMNS, has_times=True) == expected


def test_a_column_of_few_texts_is_read_with_each_text_once(tmp_path):
    path, numbers = tmp_path / "rows.parquet", range(ROWS)
    texts = {
        "few": ["a" if n < PART_ROWS else None if n % 2 else "b" for n in numbers],
        "many": [f"{n} is a text of some length, as no other row has it" for n in numbers],
        "null": [None] * ROWS,
        "n": [*numbers],
    }
    kinds = {name: pa.string() for name in ("few", "many", "null")}
    table = pa.table({name: pa.array(each, kinds.get(name)) for name, each in texts.items()})
    parquet.write_table(table, path)
    rows = StoredRows(path, name="x")
    found = [*rows.coded_parts([*texts])]
    assert [each.distinct for _, coded in found for each in (coded["few"], coded["null"])] == [
        ("a",), (None,), ("b", None), (None,),
    ]  # fmt: skip
    read = [coded["few"].distinct[code] for _, coded in found for code in coded["few"].codes]
    assert read == texts["few"]
    assert [list(part) for part, _ in found] == [["many", "n"]] * 2
    plain = [*rows.coded_parts(["few", "n"], plain=["few"])]
    assert [(list(part), coded) for part, coded in plain] == [(["few", "n"], {})] * 2


def test_a_file_without_rows_or_times_has_a_profile(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(to_parquet(frame()[:0]))
    empty = parts_of_rows(StoredRows(path, name="x"), "at", 7)
    assert build_profile_of_parts(empty, COLUMNS, has_times=True).rows == 0
    path.write_bytes(to_parquet(frame().assign(at=np.datetime64("NaT", "us"))[:50]))
    timeless = parts_of_rows(StoredRows(path, name="x"), "at", 7)
    assert build_profile_of_parts(timeless, COLUMNS, has_times=True).blocks == 1
    no_days = parts_of_rows(StoredRows(path, name="x"), None, 7)
    assert build_profile_of_parts(no_days, COLUMNS, has_times=False).blocks == 1


@pytest.mark.parametrize("content", [b"", b"PAR1 no table PAR1", None], ids=["empty", "bad", "cut"])
def test_a_damaged_file_is_named(tmp_path, content):
    buffer = io.BytesIO(to_parquet(frame()[:99]))
    path = tmp_path / "rows.parquet"
    path.write_bytes(buffer.getvalue()[:-50] if content is None else content)
    with pytest.raises(CannotAnswer, match=r"train\.parquet: not readable as a table"):
        StoredRows(path, name="train.parquet")


def test_a_copy_without_some_columns_has_the_types_of_the_others(stored, tmp_path):
    stored.copy_without({"n", "c"}, tmp_path / "copy.parquet")
    expected = frame().drop(columns=["n", "c"])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "copy.parquet"), expected)


def test_a_column_is_read_when_it_is_asked_for(stored):
    table = StoredTable(stored)
    assert list(table) == list(frame())
    assert "n" in table
    assert "label" not in table
    for name, values in columns_of(frame()).items():
        np.testing.assert_array_equal(table[name], values)
    with pytest.raises(KeyError):
        table["label"]


def test_a_name_with_a_dot_is_not_a_part_of_another_column(tmp_path):
    rows = pd.DataFrame({"a": [1, 2], "a.b": [3, 4]})
    rows.to_parquet(tmp_path / "rows.parquet")
    stored = StoredRows(tmp_path / "rows.parquet", name="x")
    assert stored.column("a").tolist() == [1, 2]
    (part,) = stored.parts(["a"])
    assert list(part) == ["a"]
    stored.copy_without({"a"}, tmp_path / "copy.parquet")
    assert list(pd.read_parquet(tmp_path / "copy.parquet")) == ["a.b"]


def test_groups_of_rows_that_were_read_do_not_stay_in_memory(tmp_path):
    random, groups, size = np.random.default_rng(0), 40, 8_192
    names = ["a", "b", "c", "d"]
    table = pa.table({name: random.normal(size=groups * size) for name in names})
    parquet.write_table(table, tmp_path / "rows", row_group_size=size, use_dictionary=False)
    del table
    rows = StoredRows(tmp_path / "rows", name="rows")
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in rows.parts(names)]
    assert len(held) == groups * size / PART_ROWS
    # A part, and what is read ahead; the file has 10 MB.
    assert max(held) < 3 * 8 * PART_ROWS * len(names)


def test_no_module_that_reads_parquet_in_parts_leaves_pre_buffer_to_arrow():
    calls = [
        (path.name, {each.arg: ast.unparse(each.value) for each in node.keywords})
        for path in sorted(Path(modelyard.__file__).parent.rglob("*.py"))
        if ".iter_batches(" in path.read_text()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ParquetFile")
    ]
    assert calls
    assert [name for name, given in calls if given.get("pre_buffer") != "False"] == []
