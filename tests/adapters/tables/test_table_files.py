from __future__ import annotations

import datetime as dt
import gzip
import io
import tracemalloc
from csv import reader
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from modelyard.adapters.tables import table_parts
from modelyard.adapters.tables.column_facts import read_facts
from modelyard.adapters.tables.csv_files import rows
from modelyard.adapters.tables.csv_files.packed import unpacked
from modelyard.adapters.tables.frames import columns_of, rows_within
from modelyard.adapters.tables.table_files import (
    frame_of_table,
    read_parquet_table,
    read_table,
)
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.domain.specs.column_values import Unread
from modelyard.domain.specs.contract import Column, describe_breach, find_breaches
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract
from modelyard.errors import CannotAnswer, Refused


def contract(*, missing=("",), timezone="UTC", **types):
    columns = tuple(Column(name=n, type=t, nullable=True) for n, t in types.items())
    return DataContract(columns=columns, missing=missing, timezone=timezone)


def csv(text, *, uri="a.csv", missing=("",), timezone="UTC", **types):
    content = text if isinstance(text, bytes) else text.encode()
    return read_table(content, uri=uri, data=contract(missing=missing, timezone=timezone, **types))


def typed(array, kind, *, timezone="UTC"):
    data = contract(x=kind, timezone=timezone)
    return frame_of_table(pa.table({"x": array}), uri="a.parquet", data=data)


def values(frame, name="x"):
    column = frame[name]
    return [None if pd.isna(v) else v for v in column.tolist()]


def breaches(frame, **types):
    found = find_breaches(contract(**types).columns, columns_of(frame))
    return [describe_breach(breach) for breach in found]


@pytest.mark.parametrize("level", ["NA", "None", "null", "nan", "N/A", "NaN", "NULL", "#N/A", "-"])
def test_a_level_that_looks_like_a_missing_value_is_a_level(level):
    assert values(csv(f"x\n{level}\nb\n", x="category")) == [level, "b"]


@pytest.mark.parametrize("code", ["00501", "1", "1.0", "True", "1e5", "20260101", "0x1F", " a "])
def test_a_category_is_the_text_of_the_file(code):
    assert values(csv(f"x\n{code}\n", x="category")) == [code]


def test_one_field_is_what_the_contract_says_it_is():
    assert values(csv("x\n20260101\n", x="integer")) == [20260101]
    assert values(csv("x\n20260101\n", x="number")) == [20260101.0]
    assert values(csv("x\n20260101\n", x="timestamp")) == [pd.Timestamp("2026-01-01")]
    assert values(csv("x\n1e5\n", x="number")) == [100_000.0]
    assert values(csv("x\n1e5\n", x="integer")) == [100_000]
    assert values(csv("x\nTrue\nfalse\n1\n0\n", x="boolean")) == [True, False, True, False]


def test_what_counts_as_missing_is_said_by_the_contract():
    assert values(csv("x,y\n,1\nNA,1\n", x="category", y="integer")) == [None, "NA"]
    given = ("NA", "-")
    assert values(csv("x,y\n,1\nNA,1\n-,1\n", x="category", y="integer", missing=given)) == [
        "",
        None,
        None,
    ]
    assert values(csv("x,y\nNA,1\n 5 ,1\n-,1\n", x="number", y="integer", missing=given)) == [
        None,
        5.0,
        None,
    ]


def test_a_category_in_quotes_is_a_value_and_other_types_have_no_empty_value():
    text = 'x,y,z\n"","",1\n,,2\n'
    frame = csv(text, x="category", y="number", z="integer")
    assert values(frame, "x") == ["", None]
    assert values(frame, "y") == [None, None]


@pytest.mark.parametrize(
    ("kind", "field"),
    [("number", "NA"), ("number", "inf"), ("number", "1,5"), ("number", "1_0"), ("number", "1e400"),
     ("integer", "1.5"), ("integer", "0x1F"), ("integer", "9223372036854775808"),
     ("boolean", "yes"), ("timestamp", "noon"), ("timestamp", "1767225600")],
)  # fmt: skip
def test_a_field_that_is_not_of_its_type_is_named_with_its_line(kind, field):
    frame = csv(f'x,y\n,1\n"{field}",2\n', x=kind, y="integer")
    (found,) = breaches(frame, x=kind, y="integer")
    assert found.startswith(f"column x (type): expected {kind}, found text such as {field!r}")
    assert "(a.csv, line 3)" in found


def test_a_usual_word_for_a_missing_value_comes_with_what_to_do():
    (found,) = breaches(csv("x\n1\nNA\n", x="number"), x="number")
    assert "if it means a missing value, list it in data.missing of model.yaml" in found


def test_lines_are_those_of_the_file_also_after_empty_ones_and_long_fields():
    text = 'x,y\n\n"1","a\nb"\n\n2,c\nw,d\n'
    (found,) = breaches(csv(text, x="integer", y="category"), x="integer", y="category")
    assert "(a.csv, line 7)" in found


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfx,y\n1,a\n2,b\n", b"x,y\r\n1,a\r\n2,b\r\n", b"x,y\r1,a\r2,b\r",
     b"\n\nx,y\n1,a\n\n2,b", b'"x","y"\n"1","a"\n"2","b"\n', b",x,y\n0,1,a\n1,2,b\n"],
    ids=["byte order mark", "crlf", "cr", "empty lines", "quotes", "an unnamed column"],
)  # fmt: skip
def test_the_same_rows_in_other_clothes_are_the_same_rows(content):
    frame = csv(content, x="integer", y="category")
    assert (values(frame, "x"), values(frame, "y")) == ([1, 2], ["a", "b"])


BROKEN = {
    "too many fields": (b"x,y\n1,a\n2,b,odd\n", "a.csv, line 3: 3 fields, but the header has 2"),
    "the odd field": (b"x,y\n1,a\n2,b,odd\n", "the first one too many is 'odd'"),
    "too few fields": (b"x,y\n1,a\n2\n", "a.csv, line 3: 1 fields, but the header has 2 columns; "
                       "column 'y' has none"),
    "a second header": (b"x,y\n1,a\nx,y\n2,b\n", "a.csv, line 3: repeats the header"),
    "a name twice": (b"x,y,x\n1,a,2\n", "a.csv, line 1: columns 1 and 3 are both named 'x'"),
    "an open quote": (b'x,y\n1,a\n2,"b\n3,c\n', "a.csv, line 3: a quote is in the wrong place, or "
                      "a field in quotes never ends"),
    "quotes that are even": (b'x,y\n1,"a" b"\n2,"c" d"\n', "a.csv, line 2: a quote is in"),
    "one field with two parts": (b'x,y\n1,a\n2,"b"c\n', "a.csv, line 3: a quote is in"),
    "latin": (b"x,y\n1,a\n2,\xe9\n", "a.csv, line 3: not UTF-8: b'\\xe9\\n'"),
    "two bytes": ("x,y\n1,a\n".encode("utf-16"), "a.csv, line 1: has a NUL byte"),
    "nothing": (b"", "a.csv: not readable as a table: it has no header"),
}  # fmt: skip


@pytest.mark.parametrize("text", ['"a ""b"" c"', '5" pipe', '"a,""b"', '""', '"a\nb"'])
def test_quotes_where_they_may_be_are_read(text):
    (found,) = values(csv(f"x,y\n1,{text}\n".encode(), x="integer", y="category"), "y")
    assert found == next(reader([text.replace("\n", "~")]))[0].replace("~", "\n")


@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_not_well_formed_is_refused_with_the_line(content, said):
    with pytest.raises(CannotAnswer) as caught:
        csv(content, x="integer", y="category")
    assert said in caught.value.message


def test_a_huge_field_is_refused_with_its_line_and_column(monkeypatch):
    monkeypatch.setattr(rows, "LARGEST_ROW", 2**12)
    assert len(values(csv(b"x,y\n1," + b"a" * 1000 + b"\n", x="integer", y="category"))) == 1
    with pytest.raises(CannotAnswer) as caught:
        csv(b"x,y\n1,a\n2," + b"b" * 9000 + b"\n", x="integer", y="category")
    assert "a.csv, line 3: column 'y' has a field of 9,000 characters" in caught.value.message


@pytest.mark.parametrize("damaged", [b"", b"x\n", gzip.compress(b"x\n1\n", mtime=0)[:-9]])
def test_a_packed_file_that_is_damaged_cannot_be_read(damaged):
    with pytest.raises(CannotAnswer, match=r"a\.csv\.gz: not readable as a table"):
        csv(damaged, uri="a.csv.gz", x="integer")


def packed(rows: int, *, members: int = 1) -> bytes:
    """As many bytes of rows, in as many members as bgzip would write."""
    each = gzip.compress(b"1234567\n" * (rows // members), mtime=0)
    return gzip.compress(b"x\n", mtime=0) + each * members


@pytest.mark.parametrize("members", [1, 4, 125])
def test_a_packed_file_is_unpacked_up_to_the_limit_and_refused_beyond_it(members):
    data = replace(contract(x="integer"), max_unpacked_megabytes=1)
    fits = packed(124_000, members=members)
    frame = read_table(fits, uri="a.csv.gz", data=data)
    assert (len(frame), int(frame["x"].sum())) == (124_000, 124_000 * 1_234_567)
    assert len(read_table(fits + bytes(700), uri="a.csv.gz", data=data)) == 124_000

    large = packed(126_000, members=126 if members > 1 else 1)
    with pytest.raises(Refused) as caught:
        read_table(large, uri="feed/a.csv.gz", data=data)
    assert caught.value.message == (
        f"feed/a.csv.gz: its {len(large):,} bytes unpack to more than 1 MB, the limit of "
        "data.max_unpacked_megabytes"
    )
    assert "raise data.max_unpacked_megabytes in model.yaml" in (caught.value.hint or "")
    with pytest.raises(Refused, match="unpack to more than 1 MB"):
        read_facts(large, uri="feed/a.csv.gz", megabytes=1)


def test_what_lies_behind_the_limit_is_not_unpacked():
    bomb = gzip.compress(bytes(300_000_000), compresslevel=1, mtime=0)
    tracemalloc.start()
    with pytest.raises(Refused, match="more than 2 MB"):
        unpacked(bomb, uri="a.csv.gz", megabytes=2)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 3 * len(bomb) + 6_000_000


def test_a_second_60_is_named_with_its_line():
    frame = csv("x\n2026-01-01T00:00:00\n2016-12-31T23:59:60Z\n", x="timestamp")
    (fault,) = [each for each in frame["x"].tolist() if isinstance(each, Unread)]
    assert fault.found == (
        "text such as '2016-12-31T23:59:60Z', with a second 60: write second 59, or the minute "
        "after it (a.csv, line 3)"
    )


def test_columns_outside_of_the_contract_stay_away_unless_the_contract_speaks_of_them():
    assert list(csv("x,extra\n1,2\n", x="integer")) == ["x"]
    assert list(csv("x,X,extra\n1,2,3\n", x="integer")) == ["x", "X"]
    assert list(csv("y,extra\n1,2\n", x="integer")) == ["y", "extra"]


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["x", "extra", "wide"], ["x"]),
        (["x", "X", "extra"], ["x", "X"]),
        (["y", "extra"], ["y", "extra"]),
        (["x", "x.part", "extra"], ["x"]),
    ],
)
def test_of_a_parquet_file_only_the_columns_that_the_contract_speaks_of_are_read(names, read):
    stream = io.BytesIO()
    parquet.write_table(pa.table({name: [1, 2] for name in names}), stream)
    data = contract(x="integer")
    found = read_parquet_table(stream.getvalue(), uri="a.parquet", data=data)
    assert [name for name in found.column_names if name != "x.part"] == read
    assert list(read_table(stream.getvalue(), uri="a.parquet", data=data)) == read


BIG = 2**53 + 1


@pytest.mark.parametrize("number", [BIG, 2**63 - 1, -(2**63), -BIG])
@pytest.mark.parametrize("rest", [[], [None]])
def test_a_whole_number_is_exact_whatever_the_file(number, rest):
    text = "x,y\n" + "".join(f"{'' if n is None else n},1\n" for n in [number, *rest])
    assert values(csv(text, x="integer", y="integer")) == [number, *rest]
    assert values(typed(pa.array([number, *rest], pa.int64()), "integer")) == [number, *rest]
    wide = pa.array([Decimal(number), *rest], pa.decimal128(38, 4))
    assert values(typed(wide, "integer")) == [number, *rest]


def test_a_whole_number_stays_exact_in_the_files_between_steps():
    from modelyard.adapters.tables.frames import read_frame, to_parquet

    kept = read_frame(to_parquet(typed(pa.array([BIG, None]), "integer")), name="train.parquet")
    assert values(kept) == [BIG, None]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (pa.array([1, 2**63], pa.uint64()), "9223372036854775808, beyond 64 bits"),
        (pa.array([1.0, 2.0**53]), "holds no whole number above 2**53 exactly"),
        (pa.array([1.0, 1.5]), "the number 1.5"),
        (pa.array([Decimal(1), Decimal("1.5")]), "the number 1.5"),
        (pa.array([Decimal(1), Decimal(10**20)]), "beyond 64 bits"),
    ],
)
def test_a_number_that_is_no_whole_one_of_64_bits_is_refused_with_the_reason(array, reason):
    (found,) = breaches(typed(array, "integer"), x="integer")
    assert reason in found
    assert "(a.parquet, row 2)" in found


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array([Decimal("0.10"), None], pa.decimal128(10, 2)), "number", [0.1, None]),
        (pa.array([Decimal("0.1")], pa.decimal256(60, 30)), "number", [0.1]),
        (pa.array([Decimal(BIG)], pa.decimal128(20, 0)), "number", [float(BIG)]),
        (pa.array([Decimal("7.00")], pa.decimal256(60, 2)), "integer", [7]),
        (pa.array([Decimal(1), Decimal(0)], pa.decimal128(1, 0)), "boolean", [True, False]),
    ],
)
def test_decimals_of_a_warehouse_are_numbers(array, kind, expected):
    assert values(typed(array, kind)) == expected
    assert breaches(typed(array, kind), x=kind) == []


NOON = dt.datetime.fromisoformat("2026-01-01T12:00")
TIMES = {
    "s": pa.array([NOON], pa.timestamp("s")),
    "ms": pa.array([NOON], pa.timestamp("ms")),
    "us": pa.array([NOON], pa.timestamp("us")),
    "ns": pa.array([NOON], pa.timestamp("ns")),
    "aware": pa.array([NOON], pa.timestamp("ns", "UTC")),
    "another zone": pa.array([NOON], pa.timestamp("us", "Asia/Tokyo")),
    "text": pa.array(["2026-01-01 12:00"]),
    "text with an offset": pa.array(["2026-01-01T13:00:00+01:00"]),
    "a dictionary": pa.array(["2026-01-01T12:00:00Z"]).dictionary_encode(),
    "large text": pa.array(["2026-01-01T12:00:00.000"], pa.large_string()),
}


@pytest.mark.parametrize("array", TIMES.values(), ids=TIMES)
def test_times_of_every_unit_and_kind_are_one_time(array):
    frame = typed(array, "timestamp")
    assert str(frame["x"].dtype) == "datetime64[us]"
    assert values(frame) == [pd.Timestamp(NOON)]


def test_files_of_other_units_and_kinds_make_one_column():
    pairs = {
        "timestamp": [*TIMES.values(), pa.array([dt.date(2026, 1, 1)]), pa.nulls(1)],
        "integer": [pa.array([1], pa.int8()), pa.array([1], pa.uint64()), pa.array([1.0]),
                    pa.array([Decimal(1)]), pa.nulls(1)],
        "number": [pa.array([1], pa.int32()), pa.array([1.5], pa.float32()),
                   pa.array([Decimal("1.5")]), pa.nulls(1)],
        "category": [pa.array(["a"]), pa.array(["a"]).dictionary_encode(),
                     pa.array(["a"], pa.large_string()), pa.nulls(1), pa.nulls(1, pa.int64())],
        "boolean": [pa.array([True]), pa.array([1]), pa.array([0.0]), pa.nulls(1)],
    }  # fmt: skip
    for kind, arrays in pairs.items():
        frame = pd.concat([typed(array, kind) for array in arrays], ignore_index=True)
        assert breaches(frame, x=kind) == [], kind


def test_the_day_of_a_time_with_an_offset_is_that_of_the_models_zone():
    late = pa.array([dt.datetime.fromisoformat("2026-06-30T22:30")], pa.timestamp("us", "UTC"))
    july = (Interval(since=dt.date(2026, 7, 1), until=dt.date(2026, 7, 2)),)
    for frame in (
        typed(late, "timestamp", timezone="Europe/Rome"),
        csv("x\n2026-06-30T22:30:00Z\n", x="timestamp", timezone="Europe/Rome"),
    ):
        assert len(rows_within(frame, timestamp="x", spans=july)) == 1
    assert len(rows_within(typed(late, "timestamp"), timestamp="x", spans=july)) == 0


def test_a_date_outside_of_the_calendar_is_named():
    far = pa.array([0, 2**60], pa.timestamp("s"))
    (found,) = breaches(typed(far, "timestamp"), x="timestamp")
    assert "the date 36534630048-05-13T13:56:16 (a.parquet, row 2)" in found


def test_a_file_with_a_named_index_has_its_column():
    buffer = io.BytesIO()
    pd.DataFrame({"y": [1]}, index=pd.Index([7], name="x")).to_parquet(buffer)
    frame = read_table(buffer.getvalue(), uri="a.parquet", data=contract(x="integer", y="number"))
    assert frame.to_dict("list") == {"x": [7], "y": [1.0]}


def test_a_column_without_values_is_of_its_contract_type():
    for kind, dtype in (("number", "float64"), ("integer", "Int64"), ("category", "object"),
                        ("boolean", "object"), ("timestamp", "datetime64[us]")):  # fmt: skip
        for array in (pa.nulls(2), pa.nulls(2, pa.int32()), pa.nulls(2, pa.string())):
            assert str(typed(array, kind)["x"].dtype) == dtype
        assert values(csv("x,y\n,1\n", y="integer", x=kind)) == [None]


def test_every_number_is_the_float_nearest_to_its_digits():
    numbers = np.random.default_rng(0).normal(size=200)
    text = "x\n" + "".join(f"{number!r}\n" for number in numbers.tolist())
    assert values(csv(text, x="number")) == numbers.tolist()
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"x": numbers}), buffer)
    assert (
        values(read_table(buffer.getvalue(), uri="a.parquet", data=contract(x="number")))
        == numbers.tolist()
    )


SPANS = tuple(
    Interval(since=dt.date(2026, 1, first), until=dt.date(2026, 1, first + 2)) for first in (3, 9)
)


def days_of_january(rows=400):
    random = np.random.default_rng(3)
    seconds = random.integers(0, 20 * 86_400, rows)
    return pd.Timestamp("2026-01-01") + pd.to_timedelta(seconds, unit="s")


@pytest.mark.parametrize("kind", ["parquet", "csv", "csv.gz"])
@pytest.mark.parametrize("timezone", ["UTC", "America/New_York"])
@pytest.mark.parametrize(
    "times",
    [
        lambda days: pa.array(days, pa.timestamp("us")),
        lambda days: pa.array(days, pa.timestamp("ns", "UTC")),
        lambda days: pa.array(days.date, pa.date32()),
        lambda days: pa.array(days.strftime("%Y-%m-%d %H:%M:%S")),
        lambda days: pa.array([None if n % 7 == 0 else d for n, d in enumerate(days)]),
        lambda days: pa.array([f"{d}{'+02:00' if n == 9 else ''}" for n, d in enumerate(days)]),
    ],
    ids=["plain", "zoned", "dates", "texts", "some without", "one with an offset"],
)
def test_rows_of_some_days_are_those_of_the_whole_file(
    monkeypatch, tmp_path, times, timezone, kind
):
    monkeypatch.setattr(table_parts, "PART_ROWS", 64)
    monkeypatch.setattr(rows, "LARGEST_ROW", 512)
    days = days_of_january()
    numbers = pa.array([None if n % 5 == 0 else n for n in range(len(days))])
    levels = pa.array(["abc"[n % 3] for n in range(len(days))]).dictionary_encode()
    table = pa.table({"b": levels, "extra": numbers, "t": times(days), "a": numbers})
    data = contract(a="integer", t="timestamp", b="category", timezone=timezone)
    data = DataContract(columns=data.columns, timestamp="t", timezone=timezone)
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, row_group_size=150)
    content = buffer.getvalue()
    if kind != "parquet":
        content = table.to_pandas(integer_object_nulls=True).to_csv(index=False).encode()
        content = gzip.compress(content) if kind == "csv.gz" else content
    (tmp_path / "a").write_bytes(content)
    given = {"uri": f"a.{kind}", "data": data}
    whole = rows_within(read_table(content, **given), timestamp="t", spans=SPANS)
    pd.testing.assert_frame_equal(TableFile(tmp_path / "a", **given).rows_within(SPANS), whole)
    none = (Interval(since=dt.date(2020, 1, 1), until=dt.date(2020, 1, 2)),)
    assert list(TableFile(tmp_path / "a", **given).rows_within(none).columns) == list("atb")


def test_a_damaged_file_is_named_when_some_days_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"PAR1 no")
    data = DataContract(columns=contract(t="timestamp").columns, timestamp="t")
    with pytest.raises(CannotAnswer, match="not readable as a table"):
        TableFile(tmp_path / "a", uri="a.parquet", data=data).rows_within(SPANS)


def test_each_text_of_a_category_is_one_object():
    texts = [None, *(f"level {n % 3}" for n in range(9))]
    found = typed(pa.chunked_array([texts[:4], texts[4:]], pa.string()), "category")["x"].tolist()
    assert found == texts
    assert len({id(text) for text in found}) == 4


@pytest.mark.long
def test_a_category_may_have_more_text_than_arrow_can_join():
    text = "x" * 2**20
    chunks = [pa.array([text, None] * 64)] * 33
    found = typed(pa.chunked_array(chunks), "category")["x"].tolist()
    assert len(found) == 33 * 128
    assert {id(each) for each in found[::2]} == {id(found[0])}
    assert (found[0], {*found[1::2]}) == (text, {None})


def test_rows_that_are_all_in_the_days_are_not_copied():
    days = pd.date_range("2024-01-01", periods=4, freq="D")
    frame = pd.DataFrame({"t": days, "n": range(4)})
    spans = (Interval(since=dt.date(2024, 1, 1), until=dt.date(2024, 1, 5)),)
    assert rows_within(frame, timestamp="t", spans=spans) is frame
    turned = frame[::-1]
    pd.testing.assert_frame_equal(
        rows_within(turned, timestamp="t", spans=spans), turned.reset_index(drop=True)
    )
