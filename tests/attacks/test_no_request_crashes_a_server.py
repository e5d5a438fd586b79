"""The promise: no request gets a 5xx, or fails a release."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attacks.attacked_server import failures
from serving.running import Running, request

LITERALS = [
    *("-1.7e308", "1.7e308", "1.7976931348623157e308", "5e-324", "-5e-324", "2.2e-308", "-0.0"),
    *("9223372036854775807", "-9223372036854775808", "18446744073709551615", "1e19", "1e400"),
    *("-1e400", "NaN", "Infinity", "-Infinity", "3.5e38", "-3.5e38", "1e16", "9007199254740993"),
    *("0", "1", "1.0", "1e0", "01", "1.", ".5", "+1", "0x10", "9" * 5000, "0." + "9" * 5000),
    *("1e-99999", "1e99999", "true", "false", "null", '""', '"\\ud800"', '"\\u0000"', '"AA"'),
    *('"\\ud800\\udc00"', '"a\\\\"', '"1"', '"nan"', '"2013-01-01"', '"9999-12-31T23:59:59"'),
    *("[]", "[1]", "[[1]]", "{}", '{"a": 1}', '"' + "x" * 100_000 + '"', '"\u202e"', "\udcff"),
]
NAMES = ["carrier", "minute", "temp", "dep_delay", "holiday"]
DATATYPES = ["FP64", "FP32", "FP16", "INT64", "UINT64", "INT8", "BYTES", "BOOL", "?", ""]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """The text of a request that is nearly right."""
    rows = draw(st.integers(0, 3))
    tensors = []
    for name in draw(st.permutations(NAMES)):
        usual = {"carrier": '"AA"', "holiday": "false"}.get(name, "1")
        literal = st.one_of(st.just(usual), st.just(usual), st.sampled_from(LITERALS))
        length = draw(st.sampled_from([rows, rows, rows, rows, rows + 1]))
        data = [draw(literal) for _ in range(length)]
        right = {"carrier": "BYTES", "holiday": "BOOL"}.get(name, "FP64")
        datatype = draw(st.sampled_from([right] * 8 + DATATYPES))
        shape = draw(st.sampled_from([f"[{rows}]"] * 6 + [f"[{rows}, 1]", "[-1]", "[]", "null"]))
        tensors.append(
            f'{{"name": "{name}", "datatype": "{datatype}", "shape": {shape},'
            f' "data": [{", ".join(data)}]}}'
        )
    more = draw(
        st.sampled_from(["", "", ', "id": "x"', ', "id": 1', ', "inputs": []', ', "a": NaN'])
    )
    text = f'{{"inputs": [{", ".join(tensors)}]{more}}}'
    return text.encode("utf-8", "surrogateescape")


@pytest.mark.long
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies())
def test_whatever_a_request_contains_it_is_answered_or_refused(server: Running, body: bytes):
    answer = server.infer(content=body)

    assert answer.status_code in {200, 400, 422}
    document = answer.json()
    if answer.status_code == 200:
        scores = document["outputs"][0]["data"]
        assert all(math.isfinite(score) for score in scores)
    else:
        assert document["error"].isprintable()
        assert len(document["error"]) < 1000


@pytest.mark.parametrize("column", ["temp", "dep_delay", "minute"])
@pytest.mark.parametrize("value", [-1.7e308, 1.7976931348623157e308])
def test_a_number_on_which_the_model_overflows_is_the_clients_fault(
    server: Running, column: str, value: float
):
    before = failures(server)
    # Integers have 64 bits; larger ones are refused by the contract.
    value = value if column != "minute" else -9.2e18

    answer = server.infer(request(rows=3, **{column: value}))

    assert answer.status_code in ({200} if column == "minute" else {422})
    if answer.status_code == 422:
        error = answer.json()["error"]
        assert error.startswith(f"input {column}: expected ")
        assert f"found {value!r} in row 0" in error
    assert failures(server) == before


def test_one_row_that_overflows_is_named(server: Running):
    document = request(rows=4)
    tensor = next(each for each in document["inputs"] if each["name"] == "dep_delay")
    tensor["data"][2] = -1.7e308

    answer = server.infer(document)

    assert answer.status_code == 422
    assert "found -1.7e+308 in row 2: the model has no score for it" in answer.json()["error"]


def test_an_empty_batch_a_number_for_text_and_mixed_lengths_are_refused(server: Running):
    empty, mixed = request(rows=1), request(rows=3)
    for tensor in empty["inputs"]:
        tensor["data"], tensor["shape"] = [], [0]
    mixed["inputs"][1]["data"].pop()
    for document in (empty, mixed, request(rows=2, carrier=7), request(rows=2, temp=True)):
        assert server.infer(document).status_code == 400


# Binary tensors, as kserve's client sends them


def binary_request(**changes: Any) -> tuple[bytes, dict[str, str]]:
    from kserve import InferInput, InferRequest

    document, inputs = request(rows=3), []
    for each in document["inputs"]:
        kind = {"BYTES": object, "BOOL": np.bool_, "INT64": np.int64}.get(each["datatype"], float)
        values = np.array([math.nan if v is None else v for v in each["data"]], dtype=kind)
        tensor = InferInput(name=each["name"], shape=[3], datatype=each["datatype"])
        tensor.set_data_from_numpy(changes.get(each["name"], values), binary_data=True)
        inputs.append(tensor)
    body, size = InferRequest(model_name="late", infer_inputs=inputs).to_rest()
    assert isinstance(body, bytes)
    return body, {"inference-header-content-length": str(size)}


@pytest.mark.long
def test_binary_tensors_of_kserves_client_are_answered_like_json(server: Running):
    body, headers = binary_request()

    answer = server.infer(content=body, headers=headers)

    assert answer.status_code == 200
    expected = server.infer(request(rows=3)).json()["outputs"]
    assert answer.json()["outputs"] == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body, size: (body, "x"), "inference-header-content-length: expected a number"),
        (lambda body, size: (body, "-1"), "inference-header-content-length: expected a number"),
        (lambda body, size: (body, "9" * 5000), "inference-header-content-length"),
        (lambda body, size: (body, str(size + 10**6)), "expected at most"),
        (lambda body, size: (body, str(size - 1)), "expected JSON"),
        (lambda body, size: (body, "0"), "expected JSON"),
        (lambda body, size: (body[:-1], str(size)), "binary bytes, found"),
        (lambda body, size: (body + b"x", str(size)), "binary bytes, found"),
    ],
)
def test_binary_tensors_that_do_not_fit_are_refused(
    server: Running, change: Callable[[bytes, int], tuple[bytes, str]], message: str
):
    body, headers = binary_request()
    body, size = change(body, int(headers["inference-header-content-length"]))

    answer = server.infer(content=body, headers={"inference-header-content-length": size})

    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("datatype", "content"),
    [
        ("FP64", b"1234567"),
        ("FP128", b"1" * 16),
        ("BYTES", struct.pack("<I", 2**32 - 1) + b"AA"),
        ("BYTES", b"\x02\x00"),
        ("BYTES", struct.pack("<I", 2) + b"\xff\xfe"),
        ("BOOL", b"\x07"),
        ("FP64", struct.pack("<d", math.inf)),
    ],
)
def test_the_bytes_of_a_tensor_are_read_or_refused(server: Running, datatype: str, content: bytes):
    parameters = {"binary_data_size": len(content)}
    tensor = {"name": "temp", "datatype": datatype, "shape": [1], "parameters": parameters}
    document = request(rows=1)
    document["inputs"] = [t for t in document["inputs"] if t["name"] != "temp"] + [tensor]
    head = json.dumps(document).encode()

    answer = server.infer(
        content=head + content, headers={"inference-header-content-length": str(len(head))}
    )

    assert answer.status_code == 400
