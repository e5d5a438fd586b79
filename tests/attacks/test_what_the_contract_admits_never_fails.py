"""What the contract admits passes every later step, and what it does not is refused in words.

Contracts and tables are drawn, written as CSV and as Parquet of several kinds, and go through
fetch, the profile of training, drift, and the server's input parsing.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from modelyard.adapters.tables.data_files import sha256_of
from modelyard.adapters.tables.frames import read_frame, to_parquet
from modelyard.adapters.tables.stored_rows import StoredRows
from modelyard.adapters.tables.table_files import read_table
from modelyard.domain.drift.causes.find import find_causes
from modelyard.domain.drift.detection import WindowTally
from modelyard.domain.drift.profile import Profile
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import (
    DataContract,
    MissingLabels,
    Model,
    Target,
    Task,
)
from modelyard.domain.specs.version import DataFile
from modelyard.errors import OverLimit, Refused
from modelyard.operations.drift.feed import read_feed
from modelyard.operations.drift.window_evidence import see_windows
from modelyard.operations.drift.window_rows import open_windows, read_window
from modelyard.operations.training.fetch import fetch_inputs
from modelyard.operations.training.pins import DataRoot
from modelyard.operations.training.profile.build import put_profile
from modelyard.serving.documents import Serving, Training, json_rows
from modelyard.serving.inputs import read_request, tensors_of_rows
from modelyard.serving.predictor import _TYPES, _WITHOUT_NULL, _conform, columns_of
from operations.training_job import job_of, make_checkout, model_of

ZONES = ("UTC", "Europe/Rome", "America/New_York", "Asia/Kathmandu", "Pacific/Apia")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> tuple[Path, str]:
    """A repository with an empty trainer: its root, and the trainer's tree."""
    return make_checkout(tmp_path_factory.mktemp("yard"))


def profile_of(job: Any, inputs: Any) -> bytes:
    """The drift profile that training stores."""
    kept: list[bytes] = []
    with NamedTemporaryFile(suffix=".parquet") as file:
        Path(file.name).write_bytes(job.read_file("train.parquet"))
        return _profile_of(job, StoredRows(Path(file.name), name="train.parquet"), inputs, kept)


def _profile_of(job: Any, rows: StoredRows, inputs: Any, kept: list[bytes]) -> bytes:
    store = SimpleNamespace(put_evidence=kept.append)
    known = {name: getattr(job, name) for name in ("model", "version", "read_document")}
    put_profile(SimpleNamespace(**known, store=store), rows, inputs)  # type: ignore[arg-type]
    return kept[0]


def pass_every_step(root: Path, tree: str, model: Model, uris: list[str]) -> bool:
    """Whether the contract admitted the files; then every later step must pass."""
    job = job_of(root, tree, model, uris)
    refused = ""
    try:
        fetch_inputs(job)
    except Refused as refusal:
        refused = refusal.message
    if refused:
        words = ("breaks the contract", "no labelled training rows", "not readable", "line ",
                 "held-out set h: ")  # fmt: skip
        assert any(word in refused for word in words), refused
        return False
    rows = read_frame(job.read_file("train.parquet"), name="train.parquet").drop(columns="label")
    inputs = [column.name for column in model.inputs]
    profile = Profile.from_document(json.loads(profile_of(job, inputs)))
    if model.data.timestamp:
        watch(root, model, uris, profile)
    serve(model, rows)
    return True


def watch(root: Path, model: Model, uris: list[str], profile: Profile) -> None:
    data = DataRoot(base=".", root=root)
    feed = read_feed(model, f"data/*{Path(uris[0]).suffix}", data)
    assert not feed.breaches
    until = feed.end(date.max)
    watched = replace(model, drift=replace(model.drift, least_rows=1))
    with open_windows(watched, feed, data, until=until, of=model.drift.of) as (opened, _):
        for rows in opened:
            (window,) = see_windows(watched, [rows], profile).windows
            drifted = window.checks or ()
            if window.data.rows and not window.data.breaches:
                tally = WindowTally(profile)
                read_window(rows, [tally])
                find_causes(profile, tally.counts(), rows.read, drifted)


def serve(model: Model, rows: pd.DataFrame) -> None:
    columns = model.inputs
    if not columns:
        return
    sent = json_rows(rows.head(5), [column.name for column in columns])
    body = orjson.loads(orjson.dumps({"inputs": tensors_of_rows(columns, sent)}))
    parsed = read_request(body, columns)
    for kinds in zip(*(sorted(_TYPES[c.type]) * 4 for c in columns), strict=False):
        types = {
            c.name: "double" if c.nullable and kind in _WITHOUT_NULL else kind
            for c, kind in zip(columns, kinds, strict=True)
        }
        if any(kind in {"integer", "float"} for kind in types.values()):
            continue  # the signature of a training with such numbers is refused
        serving = Serving(
            model="m", task=model.task, inputs=columns, output=model.primary,
            training=Training(null={}, levels={}), timezone=model.data.timezone,
        )  # fmt: skip
        live = _conform(parsed.columns, serving, types, parsed.nulls)
        offline = _conform(columns_of(rows.head(5)), serving, types, {})
        pd.testing.assert_frame_equal(pd.DataFrame(live), pd.DataFrame(offline))


# --- tables -------------------------------------------------------------------------------------

offsets = st.sampled_from(["", "Z", "+00:00", "+01:00", "-09:30", "+14:00", "+01:00:30"])
shapes = st.sampled_from(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y%m%d"])
moments = st.datetimes(min_value=datetime(1, 1, 1)) | st.sampled_from(  # noqa: DTZ001
    [
        datetime.fromisoformat(text)
        for text in ("0001-01-01", "9999-12-31T23:59:59.999999", "2026-03-29T02:30")
    ]
)


@st.composite
def time_texts(draw) -> str:
    at, shape, offset = draw(moments), draw(shapes), draw(offsets)
    text = at.strftime(shape)
    text = text if at.year >= 1000 else f"{at.year:04}{text.lstrip('0')[len(str(at.year)) :]}"
    if "%H" not in shape:
        return text
    fraction = draw(st.sampled_from(["", ".5", ".123456", ".1234567"])) if "%S" in shape else ""
    return f"{text}{fraction}{offset}"


def digits(number: object) -> str:
    return repr(number)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
FIELDS = {
    "number": st.floats(allow_nan=False, allow_infinity=False).map(digits)
    | st.integers().map(str)
    | st.sampled_from(["1e5", " .5", "+7", "-0.0", "1e-400", "5e307"]),
    "integer": st.integers(-(2**63), 2**63 - 1).map(str)
    | st.sampled_from(["1.0", "1e3", "20260101"]),
    "category": WORDS
    | st.sampled_from(["NA", "null", "00501", "True", "1e5", "nan", '"', ",", "\r"]),
    "boolean": st.sampled_from(["true", "False", "TRUE", "0", "1", "1.0"]),
    "timestamp": time_texts(),
}
ODD = st.sampled_from(
    ["NA", "inf", "x", "1.5", "9223372036854775808", "2026-02-30", "nan", "maybe"]
)


@st.composite
def contracts(draw) -> DataContract:
    kinds = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=3))
    columns = [
        Column(name=f"c{number}", type=kind, nullable=draw(st.booleans()))
        for number, kind in enumerate(kinds)
    ]
    columns.append(Column(name="y", type="integer", nullable=True, available_at="later"))
    timestamp = None
    if draw(st.booleans()):
        timestamp = "at"
        columns.append(Column(name="at", type="timestamp", nullable=draw(st.booleans())))
    return DataContract(
        columns=tuple(columns), timestamp=timestamp, timezone=draw(st.sampled_from(ZONES))
    )


def fields(column: Column, *, odd: bool) -> st.SearchStrategy[str | None]:
    known = FIELDS[column.type]
    if column.nullable:
        known = known | st.none()
    return known | ODD | st.none() if odd else known


@st.composite
def text_tables(draw) -> tuple[DataContract, list[list[str | None]]]:
    data, odd = draw(contracts()), draw(st.integers(0, 3)) == 0
    row = st.tuples(*(fields(column, odd=odd) for column in data.columns)).map(list)
    return data, draw(st.lists(row, min_size=1, max_size=6))


def csv_file(data: DataContract, rows: list[list[str | None]]) -> bytes:
    """Categories in quotes, so that every text is itself; a missing value is an empty field."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([column.name for column in data.columns])
    for row in rows:
        shown = []
        for column, value in zip(data.columns, row, strict=True):
            quoted = column.type == "category" and value is not None
            shown.append('"{}"'.format(value.replace('"', '""')) if quoted else value or "")
        out.write(",".join(shown) + "\n")
    return out.getvalue().encode()


FEW = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture,
                                                            HealthCheck.too_slow],
)  # fmt: skip


def clear(root: Path) -> None:
    (root / "data").mkdir(exist_ok=True)
    for file in (root / "data").iterdir():
        file.unlink()


@pytest.mark.long
@FEW
@given(table=text_tables(), rule=st.sampled_from(["value", "above", "class", "negative"]))
def test_a_csv_file_that_the_contract_admits_passes_every_later_step(checkout, table, rule):
    root, tree = checkout
    data, rows = table
    clear(root)
    half = len(rows) // 2
    (root / "data/a.csv").write_bytes(csv_file(data, rows[half:]))
    (root / "data/b.csv").write_bytes(csv_file(data, rows[:half]))
    pass_every_step(root, tree, ruled(data, rule), ["data/a.csv", "data/b.csv"])


def ruled(data: DataContract, rule: str) -> Model:
    """A model with one of the ways to make a label from the whole numbers of `y`."""
    task = Task.REGRESSION if rule == "value" else Task.BINARY
    missing = MissingLabels.NEGATIVE if rule == "negative" else MissingLabels.EXCLUDE
    above = 15.0 if rule in {"above", "negative"} else None
    wanted = "1" if rule == "class" else None
    target = Target(column="y", above=above, positive_class=wanted, missing=missing)
    return model_of(data, target, task)


UNITS = st.sampled_from(["s", "ms", "us", "ns"])
BETWEEN = st.datetimes(
    min_value=datetime.fromisoformat("1700-01-01"), max_value=datetime.fromisoformat("2200-01-01")
)


@st.composite
def arrays(draw, column: Column, rows: int) -> pa.Array:
    """Rows of one file, in any of the types that warehouses and libraries write."""

    def some(values: st.SearchStrategy[Any]) -> list[Any]:
        each = values | st.none() if column.nullable else values
        return draw(st.lists(each, min_size=rows, max_size=rows))

    small, large = st.integers(0, 100), st.integers(-(2**63), 2**63 - 1)
    cents = st.decimals(-10, 10, places=2, allow_nan=False)
    kinds: dict[str, list[Any]] = {
        "number": [
            lambda: pa.array(some(st.floats(allow_nan=False, allow_infinity=False))),
            lambda: pa.array(some(small), draw(st.sampled_from([pa.int8(), pa.uint64()]))),
            lambda: pa.array(some(large), pa.int64()),
            lambda: pa.array(some(cents), pa.decimal128(30, 2)),
            lambda: pa.array(some(cents), pa.decimal256(60, 20)),
        ],
        "integer": [
            lambda: pa.array(some(large), pa.int64()),
            lambda: pa.array(some(small), draw(st.sampled_from([pa.int8(), pa.uint64()]))),
            lambda: pa.array(some(small.map(float)), pa.float64()),
            lambda: pa.array(some(large.map(Decimal)), pa.decimal128(38, 2)),
            lambda: pa.array(some(st.integers(2**63, 2**64 - 1)), pa.uint64()),
        ],
        "category": [
            lambda: pa.array(some(WORDS), pa.string()),
            lambda: pa.array(some(WORDS), pa.large_string()),
            lambda: pa.array(some(WORDS), pa.string()).dictionary_encode(),
        ],
        "boolean": [
            lambda: pa.array(some(st.booleans()), pa.bool_()),
            lambda: pa.array(some(st.sampled_from([0, 1])), pa.int8()),
            lambda: pa.array(some(st.sampled_from([0.0, 1.0])), pa.float64()),
        ],
        "timestamp": [
            lambda: pa.array(some(BETWEEN), pa.timestamp(draw(UNITS))),
            lambda: pa.array(some(BETWEEN), pa.timestamp(draw(UNITS), "Asia/Kathmandu")),
            lambda: pa.array(some(st.dates()), pa.date32()),
            lambda: pa.array(some(moments), pa.timestamp("us", "UTC")),
            lambda: pa.array(some(time_texts()), pa.string()),
        ],
    }  # fmt: skip
    return draw(st.sampled_from(kinds[column.type]))()


@st.composite
def typed_feeds(draw) -> tuple[DataContract, list[pa.Table]]:
    data = draw(contracts())
    files = []
    for _ in range(draw(st.integers(1, 2))):
        rows = draw(st.integers(1, 4))
        files.append(pa.table({c.name: draw(arrays(c, rows)) for c in data.columns}))
    return data, files


@pytest.mark.long
@FEW
@given(feed=typed_feeds(), rule=st.sampled_from(["value", "above", "class", "negative"]))
def test_files_of_any_types_that_the_contract_admits_pass_every_later_step(checkout, feed, rule):
    root, tree = checkout
    data, files = feed
    clear(root)
    uris = [f"data/{number}.parquet" for number in range(len(files))]
    for uri, table in zip(uris, files, strict=True):
        parquet.write_table(table, root / uri, coerce_timestamps=None)
    pass_every_step(root, tree, ruled(data, rule), uris)


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(table=text_tables())
def test_a_csv_file_and_its_parquet_are_the_same_rows(table):
    """The rows of a CSV file, written as the typed Parquet that fetch writes, are read alike."""
    data, rows = table
    frame = read_table(csv_file(data, rows), uri="a.csv", data=data)
    if any(frame[c.name].dtype == object and c.type not in {"category", "boolean"}
           for c in data.columns):  # fmt: skip
        return  # with a value that is not of its type
    if any(type(v).__name__ == "Unread" for name in frame for v in frame[name]):
        return
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    again = read_table(buffer.getvalue(), uri="a.parquet", data=data)
    pd.testing.assert_frame_equal(frame, again)


# --- each case that once went wrong, by name ---------------------------------------------------

TIMES = {
    "two offsets": ["2026-01-01T00:30:00+01:00", "2026-07-01T00:30:00+02:00"],
    "dates and times": ["2026-01-01", "2026-01-02T10:00:00"],
    "a fraction in one": ["2026-01-01T10:00:00", "2026-01-01T10:00:00.5"],
    "Z in one": ["2026-01-01T10:00:00", "2026-01-01T10:00:00Z"],
    "the end of time": ["2026-01-01", "9999-12-31"],
    "a null": ["2026-01-01", None],
    "an offset of seconds": ["2026-01-01T00:00:00+01:00:30", "2026-01-01"],
    "the first year": ["0001-01-01", "2026-01-01"],
    "a week date": ["2026-W01-1", "2026-01-01"],
    "an hour that summer time skips": ["2026-03-29T02:30:00", "2026-03-29T02:30:00Z"],
}


@pytest.mark.sample(5)
@pytest.mark.parametrize(
    "zone",
    [pytest.param(zone, marks=pytest.mark.long if zone in ZONES[2:] else ()) for zone in ZONES],
)
@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_times_that_keep_the_contract_never_fail_later(checkout, times, zone):
    root, tree = checkout
    data = DataContract(
        columns=(
            Column(name="at", type="timestamp", nullable=True),
            Column(name="x", type="number"),
            Column(name="y", type="integer", nullable=True, available_at="later"),
        ),
        timestamp="at",
        timezone=zone,
    )
    # Two labels: held-out rows with one are refused, as they decide nothing.
    rows = [[at, "1", str(label)] for label, at in enumerate(times)]
    clear(root)
    (root / "data/a.csv").write_bytes(csv_file(data, rows))
    assert pass_every_step(root, tree, ruled(data, "value"), ["data/a.csv"])
    clear(root)
    text = {"at": pa.array(times), "x": pa.array([1.0, 1.0]), "y": pa.array([0, 1])}
    parquet.write_table(pa.table(text), root / "data/a.parquet")
    assert pass_every_step(root, tree, ruled(data, "value"), ["data/a.parquet"])


def test_a_held_out_set_with_a_time_that_cannot_be_read_is_refused_in_words(checkout):
    root, tree = checkout
    data = DataContract(
        columns=(
            Column(name="at", type="timestamp"),
            Column(name="y", type="integer", available_at="later"),
        ),
        timestamp="at",
    )
    clear(root)
    (root / "data/a.csv").write_bytes(b"at,y\n2026-01-01,1\n2026-01-02,1\n")
    (root / "data/b.csv").write_bytes(b"at,y\n2026-01-03,1\nyesterday,1\n")
    job = job_of(root, tree, ruled(data, "value"), ["data/a.csv"])
    pins = (DataFile(uri="data/b.csv", sha256=sha256_of((root / "data/b.csv").read_bytes())),)
    held_out = replace(job.catalog.held_out["m", "h"], files=pins)
    vars(job)["catalog"] = replace(job.catalog, held_out={("m", "h"): held_out})
    with pytest.raises(Refused) as refusal:
        fetch_inputs(job)
    assert "held-out set h data/b.csv breaks the contract" in refusal.value.message
    assert "'yesterday' (data/b.csv, line 3)" in refusal.value.message


@pytest.mark.parametrize("name", ["training", "held-out"])
def test_a_file_that_unpacks_to_more_than_the_setting_is_no_fault_of_the_version(checkout, name):
    root, tree = checkout
    data = DataContract(columns=(Column(name="y", type="integer"),), max_unpacked_megabytes=1)
    clear(root)
    (root / "data/large.csv.gz").write_bytes(gzip.compress(b"y\n" + b"1234567\n" * 126_000))
    (root / "data/a.csv").write_bytes(b"y\n1\n")
    files = ["data/large.csv.gz", "data/a.csv"]
    uris, held_out = files if name == "training" else reversed(files)
    job = job_of(root, tree, ruled(data, "value"), [uris], held_out=[held_out])
    with pytest.raises(OverLimit, match="unpack to more than 1 MB") as refusal:
        fetch_inputs(job)
    assert refusal.value.exit_code == 3
    assert "raise data.max_unpacked_megabytes in model.yaml" in (refusal.value.hint or "")
    assert job.store.read_run_document(job.workflow, "outcome.json") is None


def test_rows_without_a_day_are_in_no_window(checkout):
    root, tree = checkout
    data = DataContract(
        columns=(
            Column(name="at", type="timestamp", nullable=True),
            Column(name="y", type="integer", available_at="later"),
        ),
        timestamp="at",
    )
    clear(root)
    (root / "data/a.csv").write_bytes(b"at,y\n2026-01-01,1\n,2\n2026-01-02,3\n")
    job = job_of(root, tree, ruled(data, "value"), ["data/a.csv"])
    fetch_inputs(job)
    rows = read_frame(job.read_file("train.parquet"), name="train.parquet")
    assert rows["label"].tolist() == [1.0, 3.0]
    feed = read_feed(job.model, "data/*.csv", DataRoot(base=".", root=root))
    assert feed.end(date(2026, 6, 1)) == date(2026, 1, 3)


def test_the_trainer_gets_the_columns_of_the_contract_and_no_other(checkout):
    root, tree = checkout
    columns = (Column(name="x", type="integer", nullable=True), Column(name="y", type="number"))
    data = DataContract(columns=columns)
    clear(root)
    (root / "data/a.csv").write_bytes(f"x,y,note\n{2**53 + 1},1,a\n,2,b\n".encode())
    parquet.write_table(
        pa.table({"y": [3.5], "x": [Decimal(2**53 + 3)], "more": [1]}), root / "data/b.parquet"
    )
    job = job_of(root, tree, ruled(data, "value"), ["data/a.csv", "data/b.parquet"])
    fetch_inputs(job)
    rows = read_frame(job.read_file("train.parquet"), name="train.parquet")
    assert list(rows) == ["x", "label"]
    assert rows["x"].isna().tolist() == [False, True, False]
    assert rows["x"].dropna().tolist() == [2**53 + 1, 2**53 + 3]


def test_a_profile_has_byte_for_byte_what_that_of_version_0_1_had_of_the_same_rows():
    """So old profiles are compared as before: only what is of the whole feed was added."""
    rng, count = np.random.default_rng(5), 900
    start, steps = pd.Timestamp("2026-01-01 06:30"), pd.to_timedelta(np.arange(count) * 110, "min")
    frame = pd.DataFrame(
        {
            "temp": rng.normal(10, 3, count).round(2),
            "count": pd.array(rng.integers(0, 50, count), "Int64"),
            "who": rng.choice(["ann", "bob", "cid"], count),
            "on": rng.choice(["True", "False"], count),
            "at": (start + steps).strftime("%Y-%m-%d %H:%M:%S"),
        }
    )
    frame.loc[::17, "temp"] = None
    frame.loc[::23, "count"] = None
    data = DataContract(
        columns=(
            Column(name="temp", type="number", nullable=True),
            Column(name="count", type="integer", nullable=True),
            Column(name="who", type="category"),
            Column(name="on", type="boolean"),
            Column(name="at", type="timestamp"),
        ),
        timestamp="at",
    )
    rows = read_table(frame.to_csv(index=False).encode(), uri="a.csv", data=data)
    model = model_of(data, Target(column="temp"), Task.REGRESSION)
    job = SimpleNamespace(
        model=replace(model, target=Target(column="y")),
        version="v1",
        read_document=lambda _: {"unlabelled": 100},
        read_file=lambda _: to_parquet(rows),
    )
    made = json.loads(profile_of(job, rows))
    assert (made.pop("repeated"), made.pop("block_days")) == (0.0, 7)
    assert {habit["kind"] for habit in made.pop("habits")} >= {"hour", "weekday"}
    # 900 rows were labelled and 100 were not: a feed has all of them, and its last week is whole.
    assert sum(made.pop("block_rows")) == pytest.approx(1010, abs=10)
    same = json.dumps(made, sort_keys=True).encode()
    assert sha256(same).hexdigest() == (
        "3d4b520f62bff0c345b7586336fe7b7094df9b620c72a9ea0441e349d3f27a57"
    )
