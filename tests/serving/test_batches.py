from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Output, OutputKind, Task
from modelyard.errors import VersionFault
from modelyard.serving.batches import (
    BATCH_ROWS,
    MOST_WAITING_ROWS,
    Batches,
    ModelThread,
    OverloadedError,
    StuckError,
    score_together,
)
from modelyard.serving.documents import Golden, Serving, Training
from modelyard.serving.inputs import InferenceRequest
from modelyard.serving.outliers import OutlierError
from modelyard.serving.predictor import Predictor
from modelyard.serving.served_model import ServedModel


def request(*values: float) -> InferenceRequest:
    columns = {"x": np.array(values, dtype=np.float64)}
    return InferenceRequest(
        identifier=None, rows=len(values), columns=columns, nulls={"x": 0}, levels={}
    )


class Recorded:
    """Doubles each value, fails on negative ones, and can be made to wait."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, requests: Sequence[InferenceRequest]) -> list[Any]:
        return score_together(self.score, requests)

    def score(self, requests: Sequence[InferenceRequest]) -> list[Any]:
        self.calls.append(len(requests))
        assert self.may_go_on.wait(30)
        values = [each.columns["x"] for each in requests]
        if (np.concatenate(values) < 0).any():
            raise ValueError("negative")
        return [2 * each for each in values]


def run(body: Callable[[Batches, Recorded], Awaitable[None]], queue: int = 100) -> Recorded:
    model = Recorded()

    async def play() -> None:
        async with asyncio.timeout(30):
            await body(Batches(model, ModelThread(), queue=queue), model)

    asyncio.run(play())
    return model


async def begin(batches: Batches, *requests: InferenceRequest) -> list[asyncio.Task[Any]]:
    """Tasks that have joined the queue, or were refused; the first is being scored."""
    first = asyncio.create_task(batches.scores(requests[0]))
    while not batches.busy_seconds:  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0)
    others = [asyncio.create_task(batches.scores(each)) for each in requests[1:]]
    await asyncio.sleep(0)
    return [first, *others]


def test_requests_that_come_at_the_same_moment_share_one_call_of_an_idle_model():
    async def body(batches: Batches, model: Recorded) -> None:
        async def come_a_turn_later() -> Any:
            await asyncio.sleep(0)
            return await batches.scores(request(3))

        together = (batches.scores(request(1)), batches.scores(request(2)), come_a_turn_later())
        found = [scores.tolist() for scores in await asyncio.gather(*together)]
        assert found == [[2], [4], [6]]

    assert run(body).calls == [3]


def test_more_requests_at_one_moment_than_may_wait_are_called_and_not_refused():
    async def body(batches: Batches, model: Recorded) -> None:
        asked = [batches.scores(request(value)) for value in range(5)]
        *found, refused = await asyncio.gather(*asked, return_exceptions=True)
        assert [scores.tolist() for scores in found] == [[0], [2], [4], [6]]  # type: ignore[union-attr]
        assert isinstance(refused, OverloadedError)

    assert run(body, queue=2).calls == [2, 2]


def test_what_may_only_find_an_idle_model_is_refused_when_a_request_has_just_come():
    async def body(batches: Batches, model: Recorded) -> None:
        asked = batches.scores(request(1)), batches.scores(request(2), only_if_idle=True)
        found, refused = await asyncio.gather(*asked, return_exceptions=True)
        assert found.tolist() == [2]  # type: ignore[union-attr]
        assert isinstance(refused, OverloadedError)

    run(body)


def test_a_request_that_finds_the_model_idle_is_scored_alone_and_at_once():
    async def body(batches: Batches, model: Recorded) -> None:
        for value in range(3):
            assert (await batches.scores(request(value))).tolist() == [2.0 * value]

    assert run(body).calls == [1, 1, 1]


def test_requests_that_come_while_it_is_busy_share_one_call_and_get_their_own_scores():
    async def body(batches: Batches, model: Recorded) -> None:
        model.may_go_on.clear()
        tasks = await begin(batches, request(0), request(1, 2), request(3), request(4, 5, 6))
        model.may_go_on.set()
        found = [scores.tolist() for scores in await asyncio.gather(*tasks)]
        assert found == [[0], [2, 4], [6], [8, 10, 12]]

    assert run(body).calls == [1, 3]


@settings(max_examples=50)
@given(values=st.lists(st.integers(-2, 9), min_size=1, max_size=20))
def test_a_request_on_which_the_model_fails_fails_alone(values: list[int]):
    model = Recorded()

    outcomes = model([request(value) for value in values])

    found = [None if isinstance(each, ValueError) else each.tolist() for each in outcomes]
    assert found == [None if value < 0 else [2.0 * value] for value in values]
    if sum(value < 0 for value in values) == 1:
        assert len(model.calls) <= 1 + 2 * np.ceil(np.log2(len(values)))


def test_a_model_that_stops_an_iteration_fails_its_request_and_serves_the_next():
    async def body(batches: Batches, model: Recorded) -> None:
        def stop(requests: Sequence[InferenceRequest]) -> list[Any]:
            raise StopIteration

        score, model.score = model.score, stop  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="StopIteration"):
            await batches.scores(request(1))
        model.score = score  # type: ignore[method-assign]
        assert (await batches.scores(request(1))).tolist() == [2.0]

    run(body)


def test_beyond_its_limit_the_queue_refuses_and_lets_others_in_once_there_is_room():
    async def body(batches: Batches, model: Recorded) -> None:
        model.may_go_on.clear()
        tasks = await begin(batches, *[request(value) for value in range(5)])
        assert [task.done() for task in tasks] == [False, False, False, True, True]
        model.may_go_on.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in outcomes[3:]] == [OverloadedError] * 2
        assert [scores.tolist() for scores in outcomes[:3]] == [[0], [2], [4]]
        assert (await batches.scores(request(7))).tolist() == [14]

    run(body, queue=2)


def test_the_rows_that_wait_have_a_limit_too_and_a_call_has_one_of_its_own():
    async def body(batches: Batches, model: Recorded) -> None:
        model.may_go_on.clear()
        half = request(*[1.0] * (BATCH_ROWS // 2))
        most = request(*[1.0] * MOST_WAITING_ROWS)
        tasks = await begin(batches, half, half, half, half, most)
        assert [task.done() for task in tasks] == [False, False, False, False, True]
        model.may_go_on.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert run(body).calls == [1, 2, 1]


def test_nobody_waits_for_a_request_whose_client_has_left():
    async def body(batches: Batches, model: Recorded) -> None:
        model.may_go_on.clear()
        first, gone, last = await begin(batches, request(0), request(1), request(2))
        gone.cancel()
        await asyncio.sleep(0)
        model.may_go_on.set()
        assert (await last).tolist() == [4]
        assert (await first).tolist() == [0]
        assert (await batches.scores(request(3))).tolist() == [6]

    assert run(body).calls == [1, 1, 1]


def test_a_fault_of_the_call_itself_reaches_every_request_and_the_next_one_is_answered():
    class Broken(Recorded):
        def __call__(self, requests: Sequence[InferenceRequest]) -> list[Any]:
            if len(self.calls) == 0:
                self.calls.append(0)
                raise MemoryError
            return super().__call__(requests)

    async def play() -> None:
        batches = Batches(Broken(), ModelThread(), queue=9)
        with pytest.raises(MemoryError):
            await batches.scores(request(1))
        assert (await batches.scores(request(1))).tolist() == [2]

    asyncio.run(play())


def test_a_thread_that_cannot_begin_says_so_at_once():
    def begin() -> None:
        raise RuntimeError("no such library")

    with pytest.raises(RuntimeError, match="no such library"):
        ModelThread(begin)


def test_all_are_given_up_while_a_call_does_not_return_and_the_next_is_answered_once_it_has():
    async def body(batches: Batches, model: Recorded) -> None:
        model.may_go_on.clear()
        tasks = await begin(batches, request(0), request(1), request(2))
        assert batches.give_up(StuckError("stuck")) == 3
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in outcomes] == [StuckError] * 3
        assert batches.give_up(StuckError("stuck")) == 0
        [last] = await begin(batches, request(3))
        model.may_go_on.set()
        assert (await last).tolist() == [6]

    assert run(body).calls == [1, 1]


# Whether a model may be batched


def fail_on_one(values: Any) -> Any:
    if len(values) == 1:
        raise ValueError("one row")
    return values / 100


MODELS: dict[str, tuple[Callable[[Any], Any], str | None]] = {
    "each row alone": (lambda values: values / 100, None),
    "the mean of all": (lambda values: values * 0 + values.mean() / 100, "not independent"),
    "their order": (lambda values: values.argsort().argsort() / 100, "not independent"),
    "no single row": (fail_on_one, "golden row 0 alone fails: ValueError"),
}


def served(
    score: Callable[[Any], Any], values: Sequence[float], scores: tuple[float, ...] = ()
) -> ServedModel:
    serving = Serving(
        model="m",
        task=Task.BINARY,
        inputs=(Column(name="x", type="number"),),
        output=Output(name="p", kind=OutputKind.PROBABILITY, primary=True),
        training=Training(null={"x": 0.0}, levels={}, ranges={"x": (0.0, 50.0)}),
    )
    predictor = Predictor(
        digest="",
        serving=serving,
        types={"x": "double"},
        answer=lambda frame: score(frame["x"].to_numpy()),
    )
    rows = tuple({"x": value} for value in values)
    golden = Golden(rows=rows, scores=scores or tuple(score(np.array(values)).tolist()))
    return ServedModel("m", "v1", predictor, golden)


@pytest.mark.parametrize(("score", "why"), MODELS.values(), ids=MODELS)
def test_the_golden_rows_say_whether_rows_may_be_scored_together(score: Any, why: str | None):
    model = served(score, [3.0, 1.0, 2.0])

    assert model.golden_problem is None
    assert (why is None) == (model.alone_because is None)
    assert (why or "") in (model.alone_because or "")


def test_one_golden_row_proves_nothing():
    assert "one golden row" in (served(lambda values: values / 100, [3.0]).alone_because or "")


def test_a_model_whose_rows_depend_on_each_other_answers_as_if_each_request_were_alone():
    model = served(lambda values: values * 0 + values.mean() / 100, [3.0, 1.0])

    outcomes = model._score([request(1, 3), request(50)])

    assert [each.tolist() for each in outcomes] == [[0.02, 0.02], [0.5]]


def test_a_row_unlike_training_fails_its_own_request_among_those_it_was_scored_with():
    def score(values: Any) -> Any:
        return np.where(values > 1e6, np.inf, values / 100)

    outcomes = served(score, [3.0, 1.0])._score([request(1), request(2, 1e9), request(3)])

    assert [outcomes[0].tolist(), outcomes[2].tolist()] == [[0.01], [0.03]]
    assert isinstance(outcomes[1], OutlierError)
    assert "found 1000000000.0 in row 1" in outcomes[1].message


class PanicError(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize("kind", [SystemExit, PanicError, GeneratorExit, asyncio.CancelledError])
def test_an_exit_or_a_panic_of_a_model_fails_its_own_request_and_nothing_else(
    kind: type[BaseException],
):
    def score(values: Any) -> Any:
        if (values < 0).any() or (values > 1e6).any():
            raise kind("too much")
        return values / 100

    model = served(score, [3.0, 1.0])
    outcomes = model._score([request(1), request(-1), request(1e9), request(3)])

    assert [outcomes[0].tolist(), outcomes[3].tolist()] == [[0.01], [0.03]]
    assert str(outcomes[1]) == f"the model raised {kind.__name__}: too much"
    assert isinstance(outcomes[2], OutlierError)
    with pytest.raises(
        VersionFault, match=f"its golden rows fail: the model raised {kind.__name__}"
    ):
        served(score, [3.0, 1.0, -1.0], scores=(0.03, 0.01, 0.0))


def test_an_interrupt_that_a_model_raises_is_an_error_of_its_request_and_ctrl_c_is_none():
    def score(values: Any) -> Any:
        if (values < 0).any():
            raise KeyboardInterrupt
        return values / 100

    model = served(score, [3.0, 1.0])

    async def ask(*values: float) -> list[Any]:
        asked = (model.scores(request(value)) for value in values)
        return await asyncio.gather(*asked, return_exceptions=True)

    outcomes = asyncio.run(ask(1, -1, 3))
    assert [outcomes[0].tolist(), outcomes[2].tolist()] == [[0.01], [0.03]]
    assert str(outcomes[1]) == "the model raised KeyboardInterrupt: "
    with pytest.raises(KeyboardInterrupt):
        model._score([request(-1)])  # here, where signals are told


def no_negative(values: Any) -> Any:
    if (values < 0).any():
        raise ValueError("negative")
    return values / 100


CALLS: dict[str, tuple[Callable[[Any], Any], list[InferenceRequest]]] = {
    "one by one": (lambda values: values * 0 + values.mean() / 100, [request(1)] * 6),
    "a batch halved": (no_negative, [request(1), *[request(-1)] * 4]),
    "again without outliers": (no_negative, [request(1, -1e9)]),
}


@pytest.mark.parametrize(("score", "requests"), CALLS.values(), ids=CALLS)
def test_a_model_is_busy_for_as_long_as_one_call_takes_and_not_the_batch(
    score: Any, requests: list[InferenceRequest]
):
    busy: list[float] = []
    models: list[ServedModel] = []

    def slow(values: Any) -> Any:
        busy.extend(model.busy_seconds for model in models)
        time.sleep(0.2 * len(models))  # not for the golden rows
        return score(values)

    model = served(slow, [3.0, 1.0])
    models.append(model)

    async def play() -> None:
        await asyncio.gather(*map(model.scores, requests), return_exceptions=True)

    asyncio.run(play())
    assert len(busy) >= 2
    assert max(busy) < 0.2
    assert model.busy_seconds == 0
