"""CSV that is read in parts has the rows, the types and the refusals of one part."""

from __future__ import annotations

import datetime as dt
import gzip
import tracemalloc
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.adapters.tables import table_parts
from modelyard.adapters.tables.csv_files import faults, packed, reading, rows
from modelyard.adapters.tables.csv_files.reading import read_csv_parts, read_csv_text
from modelyard.adapters.tables.csv_files.rows import CsvText, LineFinder
from modelyard.adapters.tables.table_files import read_table
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract
from modelyard.errors import CannotAnswer, OverLimit

DATA = DataContract(
    columns=(
        Column(name="n", type="integer", nullable=True),
        Column(name="x", type="number", nullable=True),
        Column(name="at", type="timestamp", nullable=True),
        Column(name="who", type="category", nullable=True),
        Column(name="is_on", type="boolean", nullable=True),
    ),
    timestamp="at",
    missing=("", "NA"),
)
# Columns that change their kind late in the file: whole, then broken; full, then null; plain times,
# then one with an offset, for which all of them are read in another way.
EARLY = {
    "n": ["1", "2", "9007199254740993"],
    "x": ["1", "2"],
    "at": ["2026-01-04", "2026-01-05 10:00"],
    "who": ["ann", '"a, b"', '"two\nlines"', '"a ""quote"""', '"two\r\n\nmore"', "Zoë"],
    "is_on": ["true", "0"],
}
LATE = {
    "n": ["1", "2.0", "", "NA", "2.5", "1e30"],
    "x": ["1.25", "NA", "inf", "2"],
    "at": ["2026-01-06T23:30:00-05:00", "", "soon", "2026-01-07"],
    "who": ["", '""', "NA", "bob"],
    "is_on": ["1", "", "maybe"],
}
DAYS = (Interval(since=dt.date(2026, 1, 4), until=dt.date(2026, 1, 6)),)


@contextmanager
def cut(*, block: int, piece: int, part: int):
    """Read as much at a time; the first two are bytes, the last one is rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "LARGEST_ROW", 500)
        patch.setattr(reading, "_BLOCK", block)  # mostly less than a row has
        patch.setattr(rows, "_EVERY", 2)
        patch.setattr(faults, "_PIECE", piece)
        patch.setattr(packed, "_PIECE", piece)
        patch.setattr(packed, "_UNPACKED_PIECE", piece)
        patch.setattr(table_parts, "PART_ROWS", part)
        yield


cuts = st.builds(dict, block=st.integers(20, 300), piece=st.integers(1, 90), part=st.integers(1, 9))


@st.composite
def texts(draw):
    """A CSV file whose columns may change their kind after some rows."""
    changing = draw(st.sets(st.sampled_from(list(EARLY))))
    ends = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    lines = [",".join(EARLY)]
    for number in range(draw(st.integers(0, 30))):
        pools = {n: LATE[n] if n in changing and number > 12 else EARLY[n] for n in EARLY}
        lines.append(",".join(draw(st.sampled_from(pool)) for pool in pools.values()))
        if draw(st.integers(0, 9)) == 0:
            lines.append("")
    mark = draw(st.sampled_from(["", "\ufeff", "\n\n"]))
    last = draw(st.sampled_from(["", ends])) if len(lines) > 1 else ends
    return (mark + ends.join(lines) + last).encode()


# The first block of this one, of the length of `EDGE`, ends within a `\r\n` in quotes.
CR_ON_EDGE = b'n,x,at,who,is_on\n1,1,2026-01-04,"a\r\nb",1\n'
EDGE = {"block": 35, "piece": 9, "part": 9}


@given(text=texts(), how=cuts, is_packed=st.booleans())
@example(text=CR_ON_EDGE, how=EDGE, is_packed=False)
@example(text=CR_ON_EDGE, how=EDGE, is_packed=True)
@settings(max_examples=60, deadline=None)
def test_any_cut_of_a_file_has_the_values_and_types_of_all_of_it(
    tmp_path_factory, text, how, is_packed
):
    uri, path = "a.csv.gz" if is_packed else "a.csv", tmp_path_factory.mktemp("csv") / "a"
    content = gzip.compress(text, mtime=0) if is_packed else text
    path.write_bytes(content)
    whole = read_table(content, uri=uri, data=DATA)
    with cut(**how):
        parts = list(TableFile(path, uri=uri, data=DATA).parts())
        again = read_table(content, uri=uri, data=DATA)
    joined = pd.concat(parts, ignore_index=True)
    for name in whole:
        # Of objects each one is right or wrong by itself, and the first wrong one has its line.
        assert list(map(repr, again[name].tolist())) == list(map(repr, whole[name].tolist()))
        if whole[name].dtype != object:
            assert joined[name].astype(whole[name].dtype).equals(whole[name])
    known = [n for n in whole if whole[n].dtype != object or n == "who"]
    pd.testing.assert_frame_equal(
        joined[known], whole[known], check_dtype=all(len(part) for part in parts)
    )


@given(text=texts(), how=cuts)
@example(text=CR_ON_EDGE, how=EDGE)
@example(text=b"n,x,at,who,is_on\r\n1,,2026-01-04,,\r\n2,,,,\r\n", how=EDGE)
@example(text=b"n,x,at,who,is_on\r", how=EDGE)
@example(text=b"n,x,at,who,is_on\r1,1,2026-01-04,,1\r", how=EDGE)
@settings(max_examples=40, deadline=None)
def test_the_file_of_texts_is_the_same_however_it_was_cut(tmp_path_factory, text, how):
    path = tmp_path_factory.mktemp("csv") / "a"
    path.write_bytes(text)
    whole = read_csv_text(CsvText(text, uri="a.csv"), missing=("",))
    with cut(**how):
        parts = list(read_csv_parts(CsvText(path, uri="a.csv"), missing=("",)))
        found = TableFile(path, uri="a.csv", data=DATA).rows
    assert pa.concat_tables(parts).combine_chunks().equals(whole.combine_chunks())
    assert found == whole.num_rows


FAULTS = {
    b'1,2,2026-01-04,"ann" b,0': "a quote is in the wrong place",
    b"1,2,2026-01-04": "3 fields, but the header has 5 columns; column 'who' has none",
    b"1,2,2026-01-04,a,0,odd": "the first one too many is 'odd'",
    b"1,2,2026-01-04,\xff,0": "not UTF-8: b'\\xff,0\\n'",
    b"1,2,2026-01-04,\0,0": "has a NUL byte",
    b"n,x,at,who,is_on": "repeats the header",
    b'1,2,2026-01-04,"open,0': "a field in quotes never ends",
}


@given(
    before=st.integers(0, 40),
    after=st.integers(0, 20),
    fault=st.sampled_from(list(FAULTS)),
    how=cuts,
)
@settings(max_examples=60, deadline=None)
def test_a_fault_late_in_a_file_is_named_with_its_line(tmp_path_factory, before, after, fault, how):
    good = b'1,2,2026-01-04,"two\nlines",0\n'
    path = tmp_path_factory.mktemp("csv") / "a"
    path.write_bytes(b"n,x,at,who,is_on\n" + good * before + fault + b"\n" + good * after)
    with cut(**how), pytest.raises(CannotAnswer) as caught:
        _ = TableFile(path, uri="a.csv", data=DATA).rows
    # A quote that stays open ends at the next one, in the row after it.
    assert f"a.csv, line {2 * before + 2}: " in caught.value.message
    assert FAULTS[fault] in caught.value.message or fault.endswith(b'"open,0')


def test_bytes_that_are_no_text_are_named_also_where_quotes_are_odd():
    with pytest.raises(CannotAnswer, match=r"a\.csv, line 3: not UTF-8"):
        read_csv_text(CsvText(b'x,y\n1,"a"b\n2,\xff\n', uri="a.csv"), missing=())


@given(how=cuts, asked=st.lists(st.integers(0, 70), min_size=1, max_size=9))
@settings(max_examples=30, deadline=None)
def test_the_line_of_a_row_is_found_in_any_order(how, asked):
    lines, starts = ["x"], []
    for number in range(60):
        starts.append(len(lines) + 1)
        lines += [[f"{number}"], ['"ü', '"'], [f"{number}", "", ""]][number * number % 7 % 3]
    with cut(**how):
        finder = LineFinder(CsvText("\n".join(lines).encode(), uri="a.csv"))
        found = [finder.line(row) for row in asked]
    assert found == [starts[row] if row < 60 else 1 for row in asked]


@given(
    members=st.lists(st.binary(max_size=400), min_size=1, max_size=4),
    zeros=st.integers(0, 40),
    how=cuts,
)
@settings(max_examples=60, deadline=None)
def test_a_packed_file_is_unpacked_in_any_pieces(tmp_path_factory, members, zeros, how):
    folder = tmp_path_factory.mktemp("gz")
    content = b"".join(gzip.compress(each, mtime=0) + bytes(zeros) for each in members)
    (folder / "a").write_bytes(content)
    with cut(**how):
        packed.unpack_file(folder / "a", folder / "b", uri="a.csv.gz", megabytes=1)
        assert (folder / "b").read_bytes() == gzip.decompress(content) == b"".join(members)
        (folder / "a").write_bytes(content[: len(content) - zeros - 1])
        with pytest.raises(CannotAnswer, match="not readable as a table"):
            packed.unpack_file(folder / "a", folder / "b", uri="a.csv.gz", megabytes=1)


def test_a_packed_file_on_this_disk_is_unpacked_up_to_the_limit(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(bytes(300_000_000), compresslevel=1, mtime=0))
    tracemalloc.start()
    with pytest.raises(OverLimit, match="more than 2 MB"):
        packed.unpack_file(tmp_path / "a", tmp_path / "b", uri="a.csv.gz", megabytes=2)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4_000_000
    assert (tmp_path / "b").stat().st_size <= 2_000_000


def test_rows_that_are_long_wait_for_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(table_parts, "_GROUP_BYTES", 3000)
    row = b"1,2,2026-01-04," + b"p" * 400 + b",0\n"
    (tmp_path / "a").write_bytes(b"n,x,at,who,is_on\n" + row * 40)
    with cut(block=500, piece=90, part=32_768):
        file = TableFile(tmp_path / "a", uri="a.csv", data=DATA)
        assert [len(part) for part in file.parts()] == [7, 7, 7, 7, 7, 5]


@pytest.mark.parametrize(("uri", "written"), [("a.csv.gz", "a.text"), ("a.csv", "a.texts")])
def test_a_disk_without_room_for_what_is_made_of_a_file_is_named(tmp_path, uri, written):
    text = b"n,x,at,who,is_on\n" + b"1,2,2026-01-04,a,0\n" * 9
    (tmp_path / "a").write_bytes(gzip.compress(text) if uri.endswith(".gz") else text)
    (tmp_path / written).symlink_to("/dev/full")
    with pytest.raises(CannotAnswer, match=rf"{written}: cannot be written: .*No space left"):
        _ = TableFile(tmp_path / "a", uri=uri, data=DATA).rows
