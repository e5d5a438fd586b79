"""A run is followed as long as asking again may help, and no longer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelyard.adapters.forge.hosted.api import Answered, KeptForRollbacks, NotDone, NotReached
from modelyard.adapters.forge.hosted.runs import Run
from modelyard.errors import CannotAnswer
from modelyard.operations.chatops import follow

GOES_ON = Run(
    id=7, page="forge/7", is_over=False, conclusion="", event="", branch="", path="",
    people=frozenset(),
)  # fmt: skip
ENDED = Run(**vars(GOES_ON) | {"is_over": True, "conclusion": "success"})


def answered(status: int) -> Answered:
    return Answered(f"GET runs/7: {status}", status=status)


@dataclass
class Runs:
    """Runs of a forge whose answer depends on the seconds since the first question."""

    answer: Callable[[float], Run | CannotAnswer]
    seconds: float = 0.0
    said: list[str] = field(default_factory=list)

    def get(self, run: int) -> Run:
        assert run == 7
        found = self.answer(self.seconds)
        if isinstance(found, CannotAnswer):
            raise found
        return found

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def followed(monkeypatch):
    def act(answer: Callable[[float], Run | CannotAnswer]) -> tuple[Any, Runs]:
        runs = Runs(answer)
        monkeypatch.setattr(follow, "sleep", runs.wait)
        monkeypatch.setattr(follow, "monotonic", lambda: runs.seconds)
        try:
            return follow.follow_run(runs, 7, runs.said.append), runs
        except CannotAnswer as error:
            return error, runs

    return act


@pytest.mark.parametrize(
    "error",
    [
        answered(401),
        answered(403),
        answered(410),
        KeptForRollbacks("300 are kept"),
        NotDone("the limit is reached until 14:00"),
    ],
)
@pytest.mark.parametrize("began", [0.0, 100.0])
def test_what_stays_as_it_is_ends_the_wait_at_once(followed, error, began):
    found, runs = followed(lambda seconds: error if seconds >= began else GOES_ON)
    assert runs.seconds == began
    assert error.message in found.message
    assert found.hint == ("it goes on: forge/7" if began else "it goes on: look at it on the forge")


def test_a_run_that_is_not_shown_is_waited_for_a_minute(followed):
    assert followed(lambda seconds: answered(404) if seconds < 50 else ENDED)[0] == ENDED
    found, runs = followed(lambda seconds: GOES_ON if seconds < 100 else answered(404))
    assert ("404" in found.message, runs.seconds) == (True, 160)
    assert runs.said == ["asked for in forge/7"]


@pytest.mark.parametrize(
    "error", [answered(502), CannotAnswer("no answer (ReadTimeout)"), NotReached("ConnectError")]
)
def test_what_passes_is_waited_for_and_named_at_the_end_if_it_does_not(followed, error):
    assert followed(lambda seconds: error if seconds < 1000 else ENDED)[0] == ENDED
    found, _ = followed(lambda _: error)
    assert found.message.endswith(f"has not ended after 45 minutes; last, {error.message}")
    found, _ = followed(lambda seconds: error if seconds < 9 else GOES_ON)
    assert found.message.endswith("has not ended after 45 minutes")
