"""Whose fault a request counts as, whatever goes wrong while its answer is written."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request
from starlette.types import Message

from modelyard.domain.specs.model import Output, OutputKind, Task
from modelyard.serving.counters import Outcome
from modelyard.serving.documents import Serving, Training
from modelyard.serving.http.dialects import MLFLOW, OPEN_INFERENCE, Dialect
from modelyard.serving.http.inference import Inference
from modelyard.serving.inputs import InferenceRequest

BOTH = pytest.mark.parametrize("dialect", [OPEN_INFERENCE, MLFLOW], ids=["v2", "invocations"])
SERVING = Serving(
    model="m",
    task=Task.BINARY,
    inputs=(),
    output=Output(name="p", kind=OutputKind.PROBABILITY),
    training=Training(null={}, levels={}),
)


def fails(*_: object) -> Any:
    raise RuntimeError


def inference(log: object = None) -> Inference:
    model = SimpleNamespace(name="m", predictor=SimpleNamespace(serving=SERVING))
    return Inference(cast("Any", model), cast("Any", None), cast("Any", log))


def request_of(*messages: Message) -> Request:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    return Request(scope, receive)


def leaving() -> Request:
    return request_of(
        {"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}
    )


def no_json() -> Request:
    return request_of({"type": "http.request", "body": b"{"})


@BOTH
def test_every_status_can_be_written(dialect: Dialect):
    errors: list[Mapping[str, Any]] = [dialect.error(status, "why") for status in range(400, 600)]
    assert all("why" in error.values() for error in errors)


@BOTH
def test_a_client_that_leaves_is_answered_by_nothing_that_fails(dialect: Dialect):
    outcome = Outcome()
    status, document = asyncio.run(inference().answer(leaving(), outcome, dialect))
    assert (status, outcome.code_class, outcome.is_refusal) == (499, "4xx", False)
    assert "disconnected" in str(document)


@BOTH
@pytest.mark.parametrize("of", [leaving, no_json])
@pytest.mark.parametrize("part", ["error", "log"])
def test_a_failure_while_an_error_is_written_leaves_the_clients_fault_the_clients(
    dialect: Dialect, of: Any, part: str
):
    outcome = Outcome()
    broken = replace(dialect, error=fails) if part == "error" else dialect
    log = SimpleNamespace(put=fails) if part == "log" else None
    with pytest.raises(RuntimeError):
        asyncio.run(inference(log).answer(of(), outcome, broken))
    assert outcome.code_class == "4xx"


@BOTH
@pytest.mark.parametrize("named", [None, "", "mine"])
def test_a_request_is_logged_under_the_id_that_its_client_is_told(
    dialect: Dialect, named: str | None
):
    async def scores(*_: object, **__: object) -> list[float]:
        return [0.5]

    logged: list[Any] = []
    tested = inference(SimpleNamespace(put=logged.append))
    model, counters = cast("Any", tested)._model, SimpleNamespace(count_answer=lambda *_: None)
    model.golden_problem, model.is_stuck, model.scores = None, False, scores
    cast("Any", tested)._counters = counters
    read = InferenceRequest(identifier=named, rows=1, columns={}, nulls={}, levels={})
    answering = replace(
        dialect,
        read=lambda *_, **__: read,
        answer=lambda _, request, __: {"id": request.identifier},
    )
    outcome = Outcome()
    body = request_of({"type": "http.request", "body": b"{}"})
    status, document = asyncio.run(tested.answer(body, outcome, answering))
    (payload,) = logged
    assert status == 200
    assert payload.inputs.identifier == document["id"] == (named or outcome.given_id)
    assert (outcome.given_id is None) == bool(named)
