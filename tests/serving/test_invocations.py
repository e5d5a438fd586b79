"""MLflow's protocol on our server, beside MLflow's own scoring server on the same model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.errors import Refused
from modelyard.serving.documents import json_rows
from modelyard.serving.http.invocations import FORMS, read_invocation
from modelyard.serving.inputs import read_request, tensors_of_rows
from modelyard.serving.tensor import MAX_ROWS
from serving.artifacts import COLUMNS, MODEL, flights
from serving.running import Running, preloaded_socket, request, serving
from serving.test_inputs import JSON
from serving.test_server import counts, gained

Artifact = tuple[Path, str]

NAMES = [column.name for column in MODEL.inputs]
ROWS = json_rows(flights(3, seed=3), NAMES)


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))


@pytest.fixture(scope="module")
def ask_mlflow(artifact: Artifact) -> Any:
    """Asks MLflow's scoring server, without its HTTP."""
    import mlflow.pyfunc
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(str(artifact[0] / "model"), suppress_warnings=True)
    schema = model.metadata.get_input_schema()

    def ask(document: object) -> Any:
        body = json.dumps(document).encode()
        return json.loads(
            scoring_server.invocations(body, "application/json", model, schema).response
        )

    return ask


def invoke(server: Running, document: object = None, **options: Any) -> httpx.Response:
    if document is not None:
        options["json"] = document
    return server.client.post("/invocations", **options)


BY_COLUMN = {name: [row[name] for row in ROWS] for name in NAMES}
SPLIT = {"columns": NAMES, "data": [[*row.values()] for row in ROWS]}
GOOD: dict[str, dict[str, Any]] = {
    "split": {"dataframe_split": SPLIT},
    "split with an index": {"dataframe_split": {**SPLIT, "index": [7, 8, 9]}},
    "records": {"dataframe_records": ROWS},
    "a column more": {"dataframe_records": [{**row, "note": "x"} for row in ROWS]},
    "columns in another order": {"dataframe_records": [dict(reversed(r.items())) for r in ROWS]},
    "inputs by column": {"inputs": BY_COLUMN},
    "inputs by row": {"inputs": ROWS},
    "inputs of one row": {"inputs": ROWS[1]},
    "instances": {"instances": ROWS},
    "instances by column": {"instances": BY_COLUMN},
    "params": {"dataframe_records": ROWS, "params": {"deep": 3}, "signature_name": "x"},
}


@pytest.mark.filterwarnings("ignore")  # MLflow's own, about integers and unused parameters
@pytest.mark.parametrize("document", GOOD.values(), ids=GOOD)
def test_each_form_gets_the_predictions_that_mlflow_gives(
    server: Running, ask_mlflow: Any, document: dict[str, Any]
):
    ours = invoke(server, document)
    theirs = ask_mlflow(document)
    assert (ours.status_code, ours.json().keys()) == (200, theirs.keys())
    np.testing.assert_allclose(ours.json()["predictions"], theirs["predictions"], atol=1e-12)


def test_the_answer_is_the_one_of_the_open_inference_protocol(server: Running):
    predictions = invoke(server, {"dataframe_records": ROWS}).json()["predictions"]
    assert [second for _, second in predictions] == (
        server.infer(request(rows=3)).json()["outputs"][0]["data"]
    )


BAD: dict[str, tuple[object, str]] = {
    "no form": ({"data": ROWS}, "expected exactly one of dataframe_split"),
    "two forms": ({"inputs": ROWS, "dataframe_records": ROWS}, "found dataframe_records, inputs"),
    "a list": (ROWS, "request: expected a JSON object, found a list of 3"),
    "a missing column": (
        {"dataframe_records": [{**row, "minute": None} for row in ROWS]},
        "input minute: expected a value in every row, found null in row 0",
    ),
    "no such column in one row": (
        {"dataframe_records": [ROWS[0], {k: v for k, v in ROWS[1].items() if k != "carrier"}]},
        "input carrier: expected a value in every row, found null in row 1",
    ),
    "text for a number": (
        {"inputs": {**BY_COLUMN, "temp": ["50", "51", "52"]}},
        "input temp: expected a finite number, found '50' in row 0",
    ),
    "a name in other letters": (
        {"dataframe_records": [{**row, "Temp": 1} for row in ROWS]},
        "input 'Temp': expected the name temp",
    ),
    "columns of other lengths": (
        {"inputs": {**BY_COLUMN, "temp": [1.0]}},
        "input temp: expected 3 rows, found 1",
    ),
    "a column twice": (
        {"dataframe_split": {"columns": [*NAMES, "temp"], "data": [[*ROWS[0].values(), 1]]}},
        "input 'temp': expected once, found twice",
    ),
    "a short row": (
        {"dataframe_split": {"columns": NAMES, "data": [[*ROWS[0].values()][:-1]]}},
        "dataframe_split: expected a list of 5 values, found a list of 4 in row 0",
    ),
    "no columns": ({"dataframe_split": {"data": SPLIT["data"]}}, "expected columns, data"),
    "no rows": ({"dataframe_records": []}, "expected 1 to 10000 rows, found 0"),
    "too many rows": ({"inputs": {"minute": [0] * (MAX_ROWS + 1)}}, "found 10001"),
    "rows that are lists": (
        {"instances": [[*row.values()] for row in ROWS]},
        "instances: expected an object, found a list of 5 in row 0",
    ),
    "a list beside a value": (
        {"instances": {**BY_COLUMN, "temp": 50.0}},
        "instances 'temp': expected a list of rows, found 50.0",
    ),
    "too many columns": (
        {"inputs": {f"x{number}": 1 for number in range(2001)}},
        "inputs: expected at most 2000 columns, found 2001",
    ),
}


@pytest.mark.parametrize(("document", "message"), BAD.values(), ids=BAD)
def test_what_breaks_the_contract_is_refused_in_mlflows_words(
    server: Running, document: object, message: str
):
    answer = invoke(server, document)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    assert message in answer.json()["message"]


@pytest.mark.parametrize("kind", ["text/csv", "application/vnd.apache.parquet", "x"])
def test_another_content_type_than_json_is_named(server: Running, kind: str):
    answer = invoke(server, content=b"a,b\n1,2\n", headers={"content-type": kind})
    assert answer.status_code == 415
    assert answer.json()["message"] == f"request: expected application/json, found '{kind}'"
    body = json.dumps({"inputs": ROWS}).encode()
    for good in ({}, {"content-type": "application/json; charset=utf-8"}):
        assert invoke(server, content=body, headers=good).status_code == 200


def test_rows_are_counted_and_refused_as_those_of_the_other_protocol(server: Running):
    before = counts(server)
    server.infer(request(rows=3))
    server.infer(request(rows=3, minute="noon"))
    between = counts(server)
    invoke(server, {"dataframe_split": SPLIT})
    invoke(server, {"dataframe_records": [{**row, "minute": "noon"} for row in ROWS]})
    after = counts(server)
    timed = "modelyard_request_seconds"
    one, other = (
        {key: value for key, value in each.items() if not key[0].startswith(timed)}
        for each in (gained(before, between), gained(between, after))
    )
    assert one == other
    assert one["modelyard_rows_total", ""] == 3
    assert one["modelyard_requests_refused_total", ""] == 1


def test_rows_are_logged_as_those_of_the_other_protocol(artifact: Artifact, tmp_path: Path):
    with serving(artifact, tmp_path) as running:
        assert running.client.get("/ping").text == running.client.get("/health").text == "\n"
        told = invoke(running, {"dataframe_split": SPLIT}).headers["x-modelyard-request"]
        assert "x-modelyard-request" not in invoke(running, content=b"{").headers
        answer = running.infer(request(rows=1))
        assert answer.headers["x-modelyard-request"] == answer.json()["id"]
        named = running.infer({**request(rows=1), "id": "mine"})
        assert "x-modelyard-request" not in named.headers
    (part,) = running.payloads.glob("*.parquet")
    logged = pq.read_table(part).to_pylist()
    assert [row["status"] for row in logged] == [200, 200, 200, 400, 200, 200]
    assert [row["request"] for row in logged] == [
        *[told] * 3, None, answer.json()["id"], named.json()["id"],
    ]  # fmt: skip
    assert [row["inputs"] for row in logged[:3]] == ROWS


FRAMES = st.dictionaries(
    st.sampled_from(["columns", "data", "index"]) | st.text(max_size=3), JSON, max_size=4
)
ROW = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), JSON, max_size=6)
DOCUMENTS = JSON | st.dictionaries(
    st.sampled_from(FORMS),
    FRAMES | st.lists(ROW, max_size=3) | ROW | st.lists(JSON, max_size=3) | JSON,
    min_size=1,
    max_size=2,
)


def refusal_of(document: object) -> str:
    try:
        read_invocation(document, COLUMNS)
    except Refused as refusal:
        return refusal.message
    return ""


@settings(max_examples=60)
@given(document=DOCUMENTS)
def test_any_document_whatever_is_read_or_refused_in_printable_words(document: object):
    message = refusal_of(document)
    assert message.isprintable()
    assert len(message) < 1000


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=DOCUMENTS.map(lambda document: json.dumps(document).encode()) | st.binary(),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "content-encoding", "inference-header-content-length"]),
        st.sampled_from(["application/json", "gzip", "3", "99999999999999999999", ";", ""]),
    ),
)
def test_no_request_whatever_is_a_failure_of_the_server(
    server: Running, body: bytes, headers: dict[str, str]
):
    answer = invoke(server, content=body, headers=headers)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    assert isinstance(answer.json(), dict)


@settings(max_examples=20)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "carrier": st.text(max_size=3),
                "minute": st.integers(-5, 2000),
                "temp": st.none() | st.floats(allow_nan=False, allow_infinity=False),
                "dep_delay": st.none() | st.integers(-5, 5),
                "holiday": st.booleans(),
            },
        ),
        min_size=1,
        max_size=4,
    )
)
def test_good_rows_are_the_same_request_in_every_form(rows: list[dict[str, Any]]):
    inputs = MODEL.inputs
    expected = read_request({"inputs": tensors_of_rows(inputs, rows)}, inputs)
    documents = (
        {"dataframe_records": rows},
        {
            "dataframe_split": {
                "columns": NAMES,
                "data": [[row[name] for name in NAMES] for row in rows],
            }
        },
        {"inputs": {name: [row[name] for row in rows] for name in NAMES}},
    )
    for document in documents:
        found = read_invocation(document, inputs)
        assert found.frame.equals(expected.frame)
        assert dict(found.nulls) == dict(expected.nulls)
