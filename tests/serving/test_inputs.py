from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from modelyard.domain.specs.contract import Column
from modelyard.errors import Refused
from modelyard.serving.inputs import frame_of_rows, read_request, tensors_of_rows
from modelyard.serving.tensor import DATATYPES, MAX_ROWS, TensorError, read_tensor

COLUMNS = (
    Column(name="carrier", type="category", levels=("AA", "UA")),
    Column(name="temp", type="number", unit="degF", nullable=True, maximum=150),
    Column(name="minute", type="integer", nullable=True),
    Column(name="holiday", type="boolean", default=False),
    Column(name="at", type="timestamp", nullable=True),
)


def tensor(name: str, data: list[object], datatype: str, **other: object) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data, **other}


def request(**tensors: dict[str, Any] | None) -> dict[str, Any]:
    whole = {
        "carrier": tensor("carrier", ["AA", "UA"], "BYTES"),
        "temp": tensor("temp", [50.5, 61], "FP64"),
        "minute": tensor("minute", [5, 1439], "INT64"),
        "holiday": tensor("holiday", [True, False], "BOOL"),
        "at": tensor("at", ["2013-01-01T05:00:00Z", "2013-01-02"], "BYTES"),
        **tensors,
    }
    return {"inputs": [item for item in whole.values() if item is not None]}


def test_a_request_becomes_one_typed_column_an_input():
    found = read_request(request(), COLUMNS)
    expected = pd.DataFrame(
        {
            "carrier": np.array(["AA", "UA"], dtype=object),
            "temp": [50.5, 61.0],
            "minute": np.array([5, 1439], dtype=np.int64),
            "holiday": [True, False],
            "at": np.array(["2013-01-01T05:00:00Z", "2013-01-02"], dtype=object),
        }
    )
    pd.testing.assert_frame_equal(found.frame, expected)
    assert found.rows == 2
    assert found.identifier is None
    assert dict(found.nulls) == dict.fromkeys(found.frame, 0)


def test_null_is_a_missing_value_of_a_nullable_column_and_is_counted():
    found = read_request(
        request(
            temp=tensor("temp", [None, 50.0], "FP64"),
            minute=tensor("minute", [7.0, None], "FP64"),
            at=tensor("at", [None, None], "FP64"),
        ),
        COLUMNS,
    )
    assert found.nulls == {"carrier": 0, "temp": 1, "minute": 1, "holiday": 0, "at": 2}
    assert found.frame["temp"].isna().tolist() == [True, False]
    assert found.frame["minute"].tolist()[0] == 7.0
    assert found.frame["at"].tolist() == [None, None]


def test_an_absent_column_that_may_be_absent_is_null_in_every_row():
    found = read_request(request(temp=None, holiday=None), COLUMNS)
    assert found.nulls == {"carrier": 0, "temp": 2, "minute": 0, "holiday": 2, "at": 0}
    assert found.frame["temp"].isna().all()
    assert found.frame["holiday"].isna().all()


def test_levels_are_counted_where_there_are_several_rows():
    columns = [Column(name="carrier", type="category", nullable=True)]
    data = ["UA", None, "AA", "UA"]
    found = read_request({"inputs": [tensor("carrier", data, "BYTES")]}, columns)
    assert found.levels == {"carrier": {"UA": 2, "AA": 1}}
    assert found.nulls == {"carrier": 1}
    assert found.columns["carrier"].tolist() == data
    alone = read_request({"inputs": [tensor("carrier", ["UA"], "BYTES")]}, columns)
    assert alone.levels == {}


def test_an_input_the_model_does_not_ask_for_is_ignored():
    extra = tensor("arr_delay", [1.0], "FP64", shape="nonsense")
    assert read_request(request(extra=extra), COLUMNS).frame.columns.tolist() == [
        column.name for column in COLUMNS
    ]


def test_a_column_of_shape_rows_by_one_may_be_flat_or_nested():
    flat = tensor("temp", [1.5, 2.5], "FP32", shape=[2, 1])
    nested = tensor("temp", [[1.5], [2.5]], "FP32", shape=[2, 1])
    for item in (flat, nested):
        assert read_request(request(temp=item), COLUMNS).frame["temp"].tolist() == [1.5, 2.5]


BAD = {
    "missing": (request(carrier=None), "input carrier: expected BYTES (category), found no such"),
    "misspelt": (
        request(holiday=tensor("Holi-Day", [True, True], "BOOL")),
        "input 'Holi-Day': expected the name holiday",
    ),
    "null": (
        request(carrier=tensor("carrier", ["AA", None], "BYTES")),
        "input carrier: expected a value in every row, found null in row 1",
    ),
    "null in spite of a default": (
        request(holiday=tensor("holiday", [None, True], "BOOL")),
        "input holiday: expected a value in every row, found null in row 0",
    ),
    "datatype": (
        request(temp=tensor("temp", [1.0, 2.0], "BYTES")),
        "input temp: expected FP64 (number in degF), found 'BYTES'",
    ),
    "no datatype": (
        request(temp={"name": "temp", "shape": [2], "data": [1.0, 2.0]}),
        "input temp: expected FP64 (number in degF), found nothing",
    ),
    "text": (
        request(temp=tensor("temp", [1.0, "warm"], "FP64")),
        "input temp: expected a finite number, found 'warm' in row 1",
    ),
    "infinity": (
        request(temp=tensor("temp", [float("inf"), 1.0], "FP64")),
        "input temp: expected a finite number, found inf in row 0",
    ),
    "nan": (
        request(temp=tensor("temp", [float("nan"), 1.0], "FP64")),
        "input temp: expected a finite number, found nan in row 0",
    ),
    "true is no number": (
        request(temp=tensor("temp", [True, 1.0], "FP64")),
        "input temp: expected a finite number, found True in row 0",
    ),
    "fraction": (
        request(minute=tensor("minute", [1.5, 2], "FP64")),
        "input minute: expected a whole number of 64 bits, found 1.5 in row 0",
    ),
    "too large": (
        request(minute=tensor("minute", [2**63, 2], "INT64")),
        "input minute: expected a whole number of 64 bits, found 9223372036854775808 in row 0",
    ),
    "far too large": (
        request(minute=tensor("minute", [10**400, 2], "INT64")),
        "input minute: expected a whole number of 64 bits, found 1000",
    ),
    "number as text": (
        request(carrier=tensor("carrier", [1, "AA"], "BYTES")),
        "input carrier: expected text, found 1 in row 0",
    ),
    "true as text": (
        request(carrier=tensor("carrier", ["AA", True], "BYTES")),
        "input carrier: expected text, found True in row 1",
    ),
    "a list as text": (
        request(carrier=tensor("carrier", ["AA", ["UA"]], "BYTES")),
        "input carrier: expected text, found a list of 1 in row 1",
    ),
    "an object as a number": (
        request(temp=tensor("temp", [1.0, {}], "FP64")),
        "input temp: expected a finite number, found an object in row 1",
    ),
    "number as truth": (
        request(holiday=tensor("holiday", [1, 0], "BOOL")),
        "input holiday: expected true or false, found 1 in row 0",
    ),
    "no time": (
        request(at=tensor("at", ["noon", None], "BYTES")),
        "input at: expected an ISO 8601 time, found 'noon' in row 0",
    ),
    "time out of range": (
        request(at=tensor("at", ["0001-01-01T00:00:00+01:00", None], "BYTES")),
        "input at: expected an ISO 8601 time, found '0001-01-01T00:00:00+01:00' in row 0",
    ),
    "shape": (
        request(temp=tensor("temp", [1.0, 2.0], "FP64", shape=[3])),
        "input temp: expected at least 1 value and as many as rows, found 2 for '[3]'",
    ),
    "square": (
        request(temp=tensor("temp", [1.0, 2.0], "FP64", shape=[1, 2])),
        "input temp: expected the shape [rows] or [rows, 1], found '[1, 2]'",
    ),
    "empty": (
        request(temp=tensor("temp", [], "FP64")),
        "input temp: expected at least 1 value and as many as rows, found 0 for '[0]'",
    ),
    "too many": (
        request(temp=tensor("temp", [1.0] * (MAX_ROWS + 1), "FP64")),
        "input temp: expected at most 10000 rows, found 10001",
    ),
    "lengths": (
        request(temp=tensor("temp", [1.0, 2.0, 3.0], "FP64")),
        "input temp: expected 2 rows, found 3",
    ),
    "twice": (
        request(more=tensor("temp", [1.0, 2.0], "FP64")),
        "input 'temp': expected once, found twice",
    ),
    "a list": ([], "request: expected a JSON object, found a list of 0"),
    "no inputs": ({}, "inputs: expected a list, found nothing"),
    "no names": ({"inputs": [1]}, "inputs: expected objects with a name, found 1"),
    "id": ({**request(), "id": 7}, "id: expected text, found 7"),
    "outputs": (
        {**request(), "outputs": [{"name": "embedding"}]},
        "outputs: expected late, found 'embedding'",
    ),
}


@pytest.mark.parametrize(("document", "message"), BAD.values(), ids=BAD)
def test_refuses_in_words_that_name_column_expected_and_found(document: object, message: str):
    with pytest.raises(Refused) as refusal:
        read_request(document, COLUMNS, output="late")
    assert message in refusal.value.message


def test_all_columns_at_fault_are_named_at_once():
    bad = request(carrier=None, temp=tensor("temp", ["a", "b"], "FP64"))
    with pytest.raises(Refused) as refusal:
        read_request(bad, COLUMNS)
    assert "input carrier" in refusal.value.message
    assert "input temp" in refusal.value.message


def test_a_request_without_any_known_input_has_no_rows_to_answer():
    columns = [Column(name="temp", type="number", nullable=True)]
    with pytest.raises(Refused, match="at least one of the model's inputs"):
        read_request({"inputs": []}, columns)


def test_the_requested_output_may_be_named():
    document = {**request(), "outputs": [{"name": "late"}], "id": "seven"}
    assert read_request(document, COLUMNS, output="late").identifier == "seven"


VALUES = {
    "category": st.text(st.characters(codec="utf-8")),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "timestamp": st.datetimes(
        min_value=pd.Timestamp("1700-01-01").to_pydatetime(),
        max_value=pd.Timestamp("2199-12-31").to_pydatetime(),
    ).map(lambda moment: moment.isoformat()),
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            column.name: VALUES[column.type] | st.none() if column.nullable else VALUES[column.type]
            for column in COLUMNS
        }
    ),
    min_size=1,
    max_size=5,
)


@pytest.mark.long
@given(rows=ROWS)
def test_rows_that_keep_the_contract_arrive_as_they_were_sent(rows: list[dict[str, object]]):
    body = orjson.loads(orjson.dumps({"inputs": tensors_of_rows(COLUMNS, rows)}))
    found = read_request(body, COLUMNS).frame
    back = found.astype(object).where(found.notna(), None).to_dict("records")
    assert back == rows
    pd.testing.assert_frame_equal(frame_of_rows(COLUMNS, rows), found)


NAMES = st.sampled_from([column.name for column in COLUMNS]) | st.text(max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
TENSORS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | JSON,
        "datatype": st.sampled_from(sorted(set(DATATYPES.values()))) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "data": st.lists(JSON, max_size=3) | JSON,
    },
)
DOCUMENTS = JSON | st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS | JSON, max_size=6) | JSON},
    optional={"id": JSON, "outputs": JSON, "parameters": JSON},
)


def refusal_of(document: object) -> str:
    try:
        read_request(document, COLUMNS, output="late")
    except Refused as refusal:
        return refusal.message
    return ""


@pytest.mark.long
@settings(max_examples=200)
@given(document=DOCUMENTS)
def test_any_document_whatever_is_read_or_refused_in_printable_words(document: object):
    message = refusal_of(document)
    assert message.isprintable()
    assert len(message) < 1000


def read_or_refused(column: Column, datatype: str, data: object, rows: int) -> object:
    try:
        found = read_tensor(column, {"datatype": datatype, "shape": [rows], "data": data})
    except TensorError as error:
        return str(error)
    return str(found.array.dtype), found.array.tolist(), found.nulls, dict(found.levels)


@given(
    values=npst.arrays(
        npst.floating_dtypes(endianness="<")
        | npst.integer_dtypes(endianness="<")
        | npst.unsigned_integer_dtypes(endianness="<")
        | npst.boolean_dtypes(),
        st.integers(1, 5),
    ),
    column=st.sampled_from(COLUMNS),
    is_nullable=st.booleans(),
)
@settings(max_examples=300)
def test_an_array_is_read_or_refused_as_the_list_of_its_values(values, column, is_nullable):
    kind = values.dtype.kind
    datatype = {"b": "BOOL", "f": "FP"}.get(kind, "INT" if kind == "i" else "UINT")
    datatype += "" if kind == "b" else str(8 * values.dtype.itemsize)
    as_list = [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 - NaN is not itself
    column = dataclasses.replace(column, nullable=is_nullable)

    found = read_or_refused(column, datatype, values, len(values))

    assert repr(found) == repr(read_or_refused(column, datatype, as_list, len(values)))
