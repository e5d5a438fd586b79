from __future__ import annotations

import bisect
import itertools
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from modelyard.adapters.processes.start import is_process_alive
from modelyard.domain.canary.prediction_grid import prediction_grid
from modelyard.domain.specs.model import Model, Output, OutputKind
from modelyard.serving.artifact import artifact_digest
from modelyard.serving.counts.bins import bin_counts
from modelyard.serving.inputs import read_request
from modelyard.serving.predictor import load_predictor
from serving.artifacts import KIND, MINUTES, TRUSTED, flights, make_artifact
from serving.running import Running, preloaded_socket, request, serving, until
from serving.test_inputs import DOCUMENTS

Artifact = tuple[Path, str]


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))


def counts(running: Running) -> dict[tuple[str, str], float]:
    """Counters by name and by their one label beside the release's."""
    common = {"model", "version", "release", "digest"}
    found = {}
    for family in text_string_to_metric_families(running.client.get("/metrics").text):
        for sample in family.samples:
            if sample.name.startswith("modelyard_") and common <= sample.labels.keys():
                rest = [v for k, v in sorted(sample.labels.items()) if k not in common]
                found[sample.name, ",".join(rest)] = sample.value
    return found


def gained(before: dict[tuple[str, str], float], after: dict[tuple[str, str], float]):
    changed = {key: after[key] - before.get(key, 0) for key in after}
    return {key: value for key, value in changed.items() if value and key[0].endswith("_total")}


@pytest.mark.long
def test_answers_with_the_scores_of_the_very_artifact(server: Running, artifact: Artifact):
    answer = server.infer({**request(), "id": "seven"})
    predictor = load_predictor(*artifact, TRUSTED)
    frame = read_request(request(), predictor.serving.inputs).frame
    assert answer.status_code == 200
    assert answer.headers["x-modelyard-release"] == "r1"
    assert answer.json() == {
        "model_name": "late",
        "model_version": "v1",
        "id": "seven",
        "outputs": [
            {
                "name": "probability",
                "datatype": "FP64",
                "shape": [20],
                "data": predictor.scores(frame).tolist(),
            }
        ],
    }


@pytest.mark.sample(1)
@pytest.mark.parametrize("model", [KIND, MINUTES], ids=lambda model: str(model.task))
def test_classes_and_values_are_answered_and_counted(model: Model, tmp_path: Path):
    artifact = tmp_path / "artifact"
    with serving((artifact, make_artifact(artifact, model=model)), tmp_path) as running:
        answer = running.infer(request(rows=4)).json()["outputs"]
        counted = counts(running)
        described = running.client.get("/v2/models/late").json()["outputs"]
    predictor = load_predictor(artifact, artifact_digest(artifact), TRUSTED)
    scores = predictor.scores(read_request(request(rows=4), predictor.serving.inputs).frame)
    output = model.primary
    expected = [
        {
            "name": output.name,
            "datatype": "FP64",
            "shape": list(scores.shape),
            "data": scores.ravel().tolist(),
        }
    ]
    if model is KIND:
        words = [output.classes[best] for best in scores.argmax(axis=1)]
        assert set(words) <= {"early", "late", "soon"}
        expected.append({"name": "kind_class", "datatype": "BYTES", "shape": [4], "data": words})
    assert answer == expected
    assert [each["name"] for each in described] == [each["name"] for each in expected]
    bins = prediction_grid(output).bins
    found = [counted["modelyard_predictions_total", str(at)] for at in range(bins)]
    assert found == bin_counts(scores, prediction_grid(output)).tolist()


def test_the_version_may_be_named_in_the_path(server: Running):
    path = "/v2/models/late/versions/v1"
    answer = server.client.post(f"{path}/infer", json=request())
    assert answer.json()["outputs"] == server.infer(request()).json()["outputs"]
    assert server.client.get(path).json() == server.client.get("/v2/models/late").json()
    assert server.client.get(f"{path}/ready").json() == {"name": "late", "ready": True}


def test_what_the_server_is_can_be_asked_by_the_right_method_alone(server: Running):
    found = {
        path: server.client.get(path).json()
        for path in ("/", "/v2", "/v2/models", "/v2/health/live")
    }
    assert found["/v2/models"] == {"models": ["late"]}
    assert found["/v2/health/live"]["live"] is True
    assert found["/"]["status"] == "alive"
    assert found["/v2"]["extensions"] == ["binary_tensor_data"]
    assert server.client.head("/v2/health/ready").status_code == 200
    wrong = server.client.get("/v2/models/late/infer")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert server.client.post("/metrics").status_code == 405


def test_metadata_is_the_contract_and_names_the_digest(server: Running, artifact: Artifact):
    assert server.client.get("/v2/models/late").json() == {
        "name": "late",
        "platform": "mlflow",
        "versions": ["v1"],
        "inputs": [
            {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
            {"name": "minute", "datatype": "INT64", "shape": [-1]},
            {"name": "temp", "datatype": "FP64", "shape": [-1]},
            {"name": "dep_delay", "datatype": "FP64", "shape": [-1]},
            {"name": "holiday", "datatype": "BOOL", "shape": [-1]},
        ],
        "outputs": [{"name": "probability", "datatype": "FP64", "shape": [-1]}],
        "parameters": {"release": "r1", "digest": artifact[1]},
    }


def test_counts_requests_rows_bins_nulls_and_unseen_levels(server: Running):
    before = counts(server)
    document = request(rows=6, carrier="ZZ", dep_delay=None)
    scores = server.infer(document).json()["outputs"][0]["data"]
    server.infer(request(rows=2, minute="noon"))
    expected = {
        ("modelyard_requests_total", "2xx"): 1.0,
        ("modelyard_requests_total", "4xx"): 1.0,
        ("modelyard_requests_refused_total", ""): 1.0,
        ("modelyard_rows_total", ""): 6.0,
        ("modelyard_input_nulls_total", "dep_delay"): 6.0,
        ("modelyard_input_nulls_total", "temp"): 1.0,
        ("modelyard_input_unseen_total", "carrier"): 6.0,
    }
    edges = prediction_grid(Output(name="late", kind=OutputKind.PROBABILITY)).edges
    places = [bisect.bisect_right(edges, score) for score in scores]
    for place in places:
        key = ("modelyard_predictions_total", str(place))
        expected[key] = expected.get(key, 0) + 1
    pairs = [*itertools.permutations(places, 2)]
    expected["modelyard_request_row_pairs_total", "pairs"] = len(pairs)
    expected["modelyard_request_row_pairs_total", "unlike"] = sum(a != b for a, b in pairs)
    bins = len(edges) + 1
    tenths = sum(a * 10 // bins != b * 10 // bins for a, b in pairs)
    expected["modelyard_request_row_pairs_total", "tenths"] = tenths
    expected["modelyard_request_row_pairs_total", "distance"] = sum((a - b) ** 2 for a, b in pairs)
    after = counts(server)
    found = gained(before, after)
    cells = {name: found.pop((metric, name)) for metric, name in [*found] if "cells" in metric}
    # Each value is in one cell of its column, and a null is in none.
    rows_of = [f"{name.rpartition(':')[0]} {rows:g}" for name, rows in sorted(cells.items())]
    assert sum(cells.values()) == 6 + 6 + 5
    assert rows_of[0] == "carrier 6"
    assert found == {name: count for name, count in expected.items() if count}
    assert after["modelyard_requests_in_flight", ""] == 0
    assert after["modelyard_model_info", ""] == 1


BAD_BODIES = {
    "nothing": b"",
    "not json": b"{",
    "binary": b"\x00\xff" * 40,
    "NaN": b'{"inputs": [{"name": "temp", "data": [NaN]}]}',
    "infinity": b'{"inputs": [{"name": "temp", "data": [1e999]}]}',
    "deep": b"[" * 100_000,
    "lone surrogate": b'{"inputs": "\\ud800"}',
    "number": b"17",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_not_a_request_is_the_clients_fault(server: Running, body: bytes):
    for kind in ("application/json", "application/octet-stream"):
        answer = server.infer(content=body, headers={"content-type": kind})
        assert answer.status_code == 400
        assert answer.json()["error"]


def test_a_missing_column_is_the_clients_fault_and_is_named(server: Running):
    document = request()
    del document["inputs"][1]
    answer = server.infer(document)
    expected = "input minute: expected INT64 (integer in min), found no such input"
    assert (answer.status_code, answer.json()) == (400, {"error": expected})


def test_a_body_that_is_too_large_is_refused_unread(server: Running):
    assert server.infer(content=b" " * (16 * 2**20 + 1)).status_code == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/late/unload"),
        ("POST", "/v1/models/late:predict"),
        ("POST", "/v2/models/late/versions/v2/infer"),
        ("GET", "/v2/models/other"),
    ],
)
def test_nothing_but_the_protocol_is_open(server: Running, method: str, path: str):
    assert server.client.request(method, path, json={}).status_code == 404
    assert server.is_ready()


@pytest.mark.long
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=DOCUMENTS.map(lambda document: json.dumps(document).encode()) | st.binary())
def test_no_body_whatever_is_a_failure_of_the_server(server: Running, body: bytes):
    answer = server.infer(content=body)
    assert answer.status_code in {200, 400}
    assert isinstance(answer.json(), dict)


@pytest.mark.parametrize("path", ["/v2/models/late/infer", "/invocations"])
def test_a_client_that_leaves_in_the_middle_does_no_harm(server: Running, path: str):
    url = server.client.base_url
    before = counts(server)
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode())
        connection.sendall(b"Content-Length: 1000\r\n\r\n{")
    until(lambda: gained(before, counts(server)))
    assert gained(before, counts(server)) == {("modelyard_requests_total", "4xx"): 1.0}


def changed(artifact: Artifact, folder: Path, scores: float) -> Artifact:
    shutil.copytree(artifact[0], folder)
    path = folder / "golden.json"
    document = json.loads(path.read_text())
    document["scores"] = [score + scores for score in document["scores"]]
    path.write_text(json.dumps(document))
    return folder, artifact_digest(folder)


def test_a_model_whose_golden_rows_differ_is_never_ready(artifact: Artifact, tmp_path: Path):
    drifted = changed(artifact, tmp_path / "changed", 1e-4)
    with serving(drifted, tmp_path, wait=False) as running:
        until(lambda: _answers(running), running.process)
        ready = running.client.get("/v2/models/late/ready")
        why = "model late is not ready: golden scores differ by up to 0.0001, allowed 1e-06"
        assert (ready.status_code, ready.json()) == (
            503,
            {"name": "late", "ready": False, "error": why},
        )
        assert running.client.get("/v2/health/ready").status_code == 503
        answer = running.infer(request())
        assert (answer.status_code, answer.json()) == (503, {"error": why})
        assert gained({}, counts(running)) == {("modelyard_requests_total", "5xx"): 1.0}


def _answers(running: Running) -> bool:
    try:
        return bool(running.client.get("/v2/health/live").status_code == 200)
    except httpx.TransportError:
        return False


def test_another_artifact_than_the_pinned_one_never_listens(artifact: Artifact, tmp_path: Path):
    pinned = artifact[0], "sha256:" + "0" * 64
    with serving(pinned, tmp_path, wait=False) as running:
        until(lambda: not is_process_alive(running.process))
        assert "the pin is sha256:0000" in running.log.read_text()
        assert not running.is_ready()


@pytest.mark.long
def test_sigterm_answers_what_is_in_flight_and_writes_the_payload_log(
    artifact: Artifact, tmp_path: Path
):
    answers: list[int] = []
    body, stopping = json.dumps(request(rows=9000)).encode(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body[:-1000]
        assert stopping.wait(60)
        yield body[-1000:]

    with serving(artifact, tmp_path) as running:

        def ask() -> None:
            answers.append(running.infer(content=slowly()).status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: counts(running).get(("modelyard_requests_in_flight", "")) == 1)
        os.kill(running.process.pid, signal.SIGTERM)
        until(lambda: not running.is_ready())
        stopping.set()
        asking.join()
        until(lambda: not is_process_alive(running.process))
    assert answers == [200]
    assert sum(len(part) for part in parts(running)) == 9000


def test_a_server_that_is_about_to_stop_ends_each_connection_with_its_answer(
    artifact: Artifact, tmp_path: Path
):
    closing = tmp_path / "closing"
    closing.touch()  # left by the process before it in the same pod
    with serving(artifact, tmp_path, "--closing-file", str(closing)) as running:
        assert not closing.exists()
        assert "connection" not in running.infer(request()).headers
        closing.touch()
        answer = running.infer(request())
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert running.infer(request()).status_code == 200


@pytest.mark.long
def test_requests_that_come_at_once_get_their_own_scores_or_are_told_to_come_later(
    artifact: Artifact, tmp_path: Path
):
    documents = [request(rows=1 + 300 * (seed % 2), seed=seed) for seed in range(40)]
    predictor = load_predictor(*artifact, TRUSTED)
    expected = [
        predictor.scores(read_request(document, predictor.serving.inputs).frame)
        for document in documents
    ]
    with serving(artifact, tmp_path, "--queue", "3") as running:
        with ThreadPoolExecutor(20) as clients:
            answers = [*clients.map(running.infer, documents * 3)]
        counted = gained({}, counts(running))
    good = [(a.json(), e) for a, e in zip(answers, expected * 3, strict=True) if a.is_success]
    full = [answer for answer in answers if answer.status_code == 503]
    for document, scores in good:
        np.testing.assert_allclose(document["outputs"][0]["data"], scores, atol=1e-12)
    assert len(good) + len(full) == len(answers)
    assert full
    assert {answer.headers["retry-after"] for answer in full} == {"1"}
    assert full[0].json()["error"].startswith("model late is busy")
    assert counted["modelyard_requests_total", "2xx"] == len(good)
    assert counted["modelyard_requests_total", "4xx"] == len(full)
    assert counted["modelyard_requests_overloaded_total", ""] == len(full)
    assert ("modelyard_requests_total", "5xx") not in counted
    assert ("modelyard_requests_refused_total", "") not in counted


def parts(running: Running) -> Iterator[list[dict[str, object]]]:
    assert not list(running.payloads.glob(".*"))
    for path in sorted(running.payloads.glob("*.parquet")):
        yield pq.read_table(path).to_pylist()


def test_every_row_is_logged_with_release_inputs_and_prediction(artifact: Artifact, tmp_path: Path):
    with serving(artifact, tmp_path, version="v2", release="r2") as running:
        scores = running.infer({**request(rows=2), "id": "good"}).json()["outputs"][0]["data"]
        error = running.infer(request(rows=2, minute="noon")).json()["error"]
    rows = [row for part in parts(running) for row in part]
    common = {"model": "late", "version": "v2", "release": "r2", "digest": artifact[1]}
    frame = flights(2, seed=3)
    inputs = [
        {
            "carrier": row.carrier,
            "minute": row.minute,
            "temp": None if np.isnan(row.temp) else row.temp,
            "dep_delay": row.dep_delay,
            "holiday": row.holiday,
        }
        for row in frame.itertuples()
    ]
    assert {re.sub("[0-9]", "0", str(row.pop("at")))[:10] for row in rows} == {"0000-00-00"}
    assert rows == [
        *(
            {
                **common,
                "request": "good",
                "row": at,
                "status": 200,
                "error": None,
                "inputs": inputs[at],
                "prediction": scores[at],
            }
            for at in (0, 1)
        ),
        {
            **common,
            "request": None,
            "row": None,
            "status": 400,
            "error": error,
            "inputs": None,
            "prediction": None,
        },
    ]


@pytest.mark.slow
def test_twenty_rows_are_answered_in_milliseconds(server: Running):
    body = json.dumps(request()).encode()
    times = []
    for _ in range(200):
        before = time.perf_counter()
        assert server.infer(content=body).status_code == 200
        times.append(1000 * (time.perf_counter() - before))
    assert np.percentile(times, 50) < 100
