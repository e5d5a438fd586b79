"""Rows that are read in parts give the files, and the refusals, of all rows in one frame."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from modelyard.adapters.tables import table_parts, written_rows
from modelyard.adapters.tables.frames import (
    CLUSTER,
    LABEL,
    clusters_of,
    columns_of,
    file_breaches,
    rows_within,
    to_parquet,
    with_labels,
)
from modelyard.adapters.tables.table_files import read_table
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.domain.specs.contract import Column, find_breaches
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import (
    DataContract,
    MissingLabels,
    Output,
    OutputKind,
    Target,
    Task,
)
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.training.rows import LabelledRows, PinnedRows, refuse_breaches
from modelyard.operations.training.seen_rows import RowKeys
from operations.training_job import model_of

DAYS = (Interval(since=dt.date(2026, 1, 3), until=dt.date(2026, 1, 9)),)
COLUMNS = (
    Column(name="at", type="timestamp"),
    Column(name="x", type="number", nullable=True, minimum=0, maximum=10),
    Column(name="n", type="integer", nullable=True, max_null_share=0.5),
    Column(name="who", type="category", nullable=True, levels=("ann", "bob", "cid")),
    Column(name="note", type="category", nullable=True),
    Column(name="is_on", type="boolean", nullable=True),
    Column(name="seen", type="timestamp", nullable=True),
    Column(name="y", type="number", nullable=True, available_at="later"),
)


def at_once(model, files, spans, cluster, *, whole_files):
    """The file of all rows in one frame, and what is said of it; or the refusal."""
    try:
        frames = []
        for uri, content in files.items():
            frame = read_table(content, uri=uri, data=model.data)
            refuse_breaches(file_breaches(frame, model.data), f"rows {uri}")
            frames.append(frame[[column.name for column in model.data.columns]])
        rows = pd.concat(frames, ignore_index=True)
        within = rows
        if spans is not None:
            within = rows_within(rows, timestamp="at", spans=spans)
        checked = rows if whole_files else within
        refuse_breaches(find_breaches(model.data.columns, columns_of(checked)), "rows")
        frame, unlabelled = with_labels(within, model)
        if len(frame) > 1 and len(set(frame[LABEL])) == 1:
            return "of one label"
        names = clusters_of(frame, cluster)
    except (Refused, CannotAnswer) as error:
        return error.message
    made = to_parquet(frame.assign(**{CLUSTER: names}))
    if find_breaches(model.data.columns, columns_of(rows)):
        made = b""
    return made, len(frame), unlabelled, len(set(names))


def in_parts(model, files, spans, cluster, folder: Path, *, whole_files):
    """The same by the code that `fetch` runs."""
    tables = []
    for number, (uri, content) in enumerate(files.items()):
        (folder / f"{number}").write_bytes(content)
        tables.append(TableFile(folder / f"{number}", uri=uri, data=model.data))
    rows = LabelledRows(PinnedRows(tables, model, spans, what="rows"), model, cluster)
    try:
        rows.check(whole_files=whole_files)
        rows.write(folder / "rows.parquet")
    except (Refused, CannotAnswer) as error:
        return "of one label" if "have the label" in error.message else error.message
    return (folder / "rows.parquet").read_bytes(), rows.rows, rows.unlabelled, rows.clusters


def times(*texts: str) -> list[dt.datetime]:
    return [dt.datetime.fromisoformat(text) for text in texts]


MOMENTS = times("2026-01-02", "2026-01-03", "2026-01-05T06:07:08", "2026-01-08T01:02:03.004")
GOOD = {
    "at": [(pa.timestamp("us"), MOMENTS), (pa.timestamp("ns", "UTC"), MOMENTS),
           (pa.date32(), [dt.date(2026, 1, 4), dt.date(2026, 2, 1)]),
           (pa.string(), ["2026-01-04", "2026-01-05 10:00", "2026-01-08T01:02:03"]),
           (pa.string(), ["2026-01-04", "2026-01-04T23:30:00-05:00", "2026-01-09T00:30+02:00"])],
    "x": [(pa.float64(), [0.0, 1.5, None, 9.25]), (pa.int32(), [1, 2, None]),
          (pa.decimal128(5, 2), [Decimal("1.25"), None]), (pa.null(), [None])],
    "n": [(pa.int64(), [1, 2, 2**60]), (pa.int64(), [1, None]), (pa.float64(), [1.0, 2.0, None])],
    "who": [(pa.string(), ["ann", "bob"]), (pa.dictionary(pa.int8(), pa.string()), ["cid", None])],
    "note": [(pa.string(), [None]), (pa.large_string(), ["a", "b", "", None])],
    "is_on": [(pa.bool_(), [True, False]), (pa.bool_(), [True, None]), (pa.int8(), [0, 1])],
    "seen": [(pa.timestamp("us"), [*MOMENTS, None]), (pa.timestamp("us"), MOMENTS[:2]),
             (pa.date32(), [dt.date(2026, 1, 4), None])],
    "y": [(pa.float64(), [1.0, 2.0, None]), (pa.float64(), [1.0, 2.5]), (pa.int64(), [0, 1])],
}  # fmt: skip
BAD = {
    "at": [(pa.string(), ["2026-01-04", "soon"]), (pa.int64(), [1, 2]), (pa.date32(), [None])],
    "x": [(pa.float64(), [1.0, float("inf"), 99.0, -5.0]), (pa.timestamp("us"), [*MOMENTS, None]),
          (pa.string(), ["1", "two", None])],
    "n": [(pa.float64(), [1.0, 2.5, None]), (pa.float64(), [1e300]), (pa.string(), ["1"])],
    "who": [(pa.string(), ["ann", "dora", "eve", "eve"]), (pa.int64(), [1, None])],
    "note": [(pa.binary(), [b"a", None]), (pa.list_(pa.int8()), [[1], None])],
    "is_on": [(pa.float64(), [1.0, 2.0, float("inf")]), (pa.string(), ["true"]),
              (pa.timestamp("us"), [*MOMENTS, None])],
    "seen": [(pa.string(), ["2026-01-04", "9999-99-99", None]), (pa.int64(), [3, None])],
    "y": [(pa.string(), ["1"]), (pa.float64(), [None])],
}  # fmt: skip


@st.composite
def tables(draw, *, kinds):
    """The bytes of a Parquet file of few rows, cut into groups, or of a CSV file."""
    rows = draw(st.integers(0, 12))
    broken = draw(st.sampled_from([None, None, *BAD]))
    columns = {}
    for name in GOOD:
        kind, pool = draw(st.sampled_from((BAD if name == broken else kinds)[name]))
        values = draw(st.lists(st.sampled_from(pool), min_size=rows, max_size=rows))
        columns[name] = pa.array(values, kind)
    absent = draw(st.sampled_from([*[None] * 12, *GOOD]))
    columns.pop(absent, None)
    extra = draw(st.sampled_from([*[None] * 8, "X", "other"]))
    if extra:
        columns[extra] = pa.array([5.0] * rows, pa.float64())
    table = pa.table(columns)
    if draw(st.booleans()):
        stream = io.BytesIO()
        parquet.write_table(table, stream, row_group_size=draw(st.integers(1, 5)))
        return "parquet", stream.getvalue()
    return "csv", table.to_pandas(timestamp_as_object=True).to_csv(index=False).encode()


@given(
    found=st.lists(tables(kinds=GOOD), min_size=1, max_size=3),
    part_rows=st.integers(1, 13),
    spans=st.sampled_from([None, DAYS, ()]),
    cluster=st.sampled_from(["row", "at", "who", "seen", "n", "nothing"]),
    whole_files=st.booleans(),
    task=st.sampled_from([Task.REGRESSION, Task.MULTICLASS, Task.BINARY]),
    missing=st.sampled_from(list(MissingLabels)),
    timezone=st.sampled_from(["UTC", "America/New_York"]),
)
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_any_cut_gives_the_file_or_the_refusal_of_all_rows(
    tmp_path_factory, found, part_rows, spans, cluster, whole_files, task, missing, timezone
):
    if task is Task.REGRESSION:
        missing = MissingLabels.EXCLUDE
    data = DataContract(columns=COLUMNS, timestamp="at", timezone=timezone)
    target = Target(column="y", missing=missing)
    model = model_of(data, target, task)
    files = {f"{number}.{kind}": content for number, (kind, content) in enumerate(found)}
    folder = tmp_path_factory.mktemp("parts")
    whole = at_once(model, files, spans, cluster, whole_files=whole_files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_parts, "PART_ROWS", part_rows)
        parts = in_parts(model, files, spans, cluster, folder, whole_files=whole_files)
    if whole[0] == b"":  # values of other days, which nobody checks, decide types in the frame
        parts = (b"", *parts[1:])
    assert parts == whole


def made_of(folder: Path, model, *frames: pd.DataFrame) -> PinnedRows:
    files = []
    for number, frame in enumerate(frames):
        frame.to_parquet(folder / f"{number}", index=False)
        files.append(TableFile(folder / f"{number}", uri=f"{number}.parquet", data=model.data))
    return PinnedRows(files, model, None, what="rows")


PLAIN = model_of(
    DataContract(
        columns=(
            Column(name="x", type="number", nullable=True),
            Column(name="is_on", type="boolean", nullable=True),
            Column(name="who", type="category", nullable=True),
        )
    ),
    Target(column="x"),
    Task.REGRESSION,
)
ROWS = pd.DataFrame(
    {
        "x": [1.0, -0.0, 0.0, *range(10)],
        "is_on": pd.array([True, None, False, *[None] * 10], dtype=object),
        "who": pd.array(["a", None, "b", *[None] * 10], dtype=object),
    }
)


@pytest.mark.parametrize("rows", [4, 5, 10, 13, 14])
def test_a_file_of_several_groups_has_the_rows_and_types_of_the_frame(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(written_rows, "GROUP_ROWS", 5)
    monkeypatch.setattr(table_parts, "PART_ROWS", 3)
    found = pd.concat([ROWS, ROWS])[:rows]
    made = LabelledRows(made_of(tmp_path, PLAIN, found), PLAIN)
    made.check()
    made.write(tmp_path / "rows.parquet")
    whole = parquet.read_table(io.BytesIO(to_parquet(with_labels(found, PLAIN)[0])))
    with parquet.ParquetFile(tmp_path / "rows.parquet") as file:
        groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        table = file.read()
    assert table.equals(whole, check_metadata=True)
    assert table.schema.metadata == whole.schema.metadata
    assert groups == [5] * (rows // 5) + [rows % 5] * bool(rows % 5)


def test_rows_are_known_again_however_they_are_cut():
    whole, parts = (RowKeys(PLAIN.data.columns, ["who"]) for _ in range(2))
    whole.add(ROWS)
    for row in range(len(ROWS)):
        parts.add(ROWS[row : row + 1])
    assert parts.keys.tolist() == whole.keys.tolist()
    assert parts.known == whole.known == {"who": {"a", "b"}}


def test_truths_are_no_numbers_whichever_file_they_are_behind(tmp_path):
    truths = ROWS.assign(x=[True] * len(ROWS))
    for files in ([ROWS, truths], [truths, ROWS], [truths]):
        with pytest.raises(Refused, match=r"column x \(type\): expected number, found "):
            made_of(tmp_path, PLAIN, *files).check()


def test_labels_of_no_class_are_refused_before_anything_is_trained(tmp_path):
    output = Output(name="o", kind=OutputKind.CLASS, primary=True, classes=("a", "c"))
    target = Target(column="who", missing=MissingLabels.EXCLUDE)
    model = replace(PLAIN, task=Task.MULTICLASS, target=target, outputs=(output,))
    more = ROWS.assign(who=["b", None] * (len(ROWS) // 2) + ["a"] * (len(ROWS) % 2))
    rows = LabelledRows(made_of(tmp_path, model, ROWS.assign(who="a"), more), model)
    with pytest.raises(Refused) as refused:
        rows.check()
    assert refused.value.message == (
        f"rows: the labels 'b' ({len(ROWS) // 2} rows) are no class of outputs in model.yaml, "
        "which has a, c"
    )


def test_whole_numbers_are_classes_also_where_a_part_has_a_null(tmp_path, monkeypatch):
    monkeypatch.setattr(table_parts, "PART_ROWS", 1)
    output = Output(name="o", kind=OutputKind.CLASS, primary=True, classes=("1", "2"))
    model = replace(PLAIN, task=Task.MULTICLASS, target=Target(column="x"), outputs=(output,))
    numbers = ROWS.assign(x=[1.0, None, *[2.0] * (len(ROWS) - 2)])
    rows = LabelledRows(made_of(tmp_path, model, numbers), model)
    rows.check()
    assert (rows.rows, rows.unlabelled) == (len(ROWS) - 1, 1)
