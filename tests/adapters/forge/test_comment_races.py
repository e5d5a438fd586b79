"""Two watchers write the one comment below a pull request: in each order of their requests."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.adapters.forge.hosted.api import Answered
from modelyard.adapters.forge.hosted.mapping import marked
from modelyard.adapters.forge.hosted.pulls import HostedPulls
from modelyard.domain.people import Person

ME = Person(id="7", login="modelyard[bot]")
MARKER = "status"


class KilledError(Exception):
    """The process of a writer is gone."""


@dataclass
class Forge:
    """The comments of one pull request, and whose request comes next.

    Args:
        order: The writers, in the order in which their requests are taken, as long as both ask.
        killed: The writer that is killed, and after how many of its requests; None for nobody.
    """

    order: list[int]
    killed: tuple[int, int] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    asked: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    gone: set[int] = field(default_factory=set)
    turn: threading.Condition = field(default_factory=threading.Condition)
    last: int = 0

    def take(self, writer: int) -> None:
        """Wait for this writer's turn."""
        while self.order and self.order[0] != writer and self.order[0] not in self.gone:
            self.turn.wait(5)
        if self.order and self.order[0] == writer:
            self.order.pop(0)
        if self.killed == (writer, self.asked[writer]):
            raise KilledError
        self.asked[writer] += 1

    def leave(self, writer: int) -> None:
        """This writer asks nothing more."""
        with self.turn:
            self.gone.add(writer)
            self.order[:] = [each for each in self.order if each != writer]
            self.turn.notify_all()


@dataclass
class Api:
    """What one writer reaches the forge with."""

    forge: Forge
    writer: int

    def pages(self, path: str) -> list[dict[str, Any]]:
        return self._asked("GET", path, {})

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        self._asked(method, path, body or {})

    def _asked(self, method: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        with self.forge.turn:
            self.forge.take(self.writer)
            try:
                return self._answer(method, path, body)
            finally:
                self.forge.turn.notify_all()

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        rows = self.forge.rows
        if method == "POST":
            self.forge.last += 1
            user = {"id": int(ME.id), "login": ME.login}
            rows.append({"id": self.forge.last, "user": user, "created_at": "2026-03-01T12:00:00Z",
                         "updated_at": "2026-03-01T12:00:00Z", **body})  # fmt: skip
        elif method != "GET":
            found = [row for row in rows if path.endswith(f"/comments/{row['id']}")]
            if not found:
                raise Answered(f"{method} {path}: 404 Not Found", status=404, body={})
            if method == "PATCH":
                found[0].update(body)
            else:
                rows.remove(found[0])
        return [dict(row) for row in rows]


def pulls_of(forge: Forge, writer: int) -> HostedPulls:
    pulls = object.__new__(HostedPulls)
    pulls.api = Api(forge, writer)  # type: ignore[assignment]
    pulls.dialect = SimpleNamespace(me=lambda: ME)  # type: ignore[assignment]
    pulls.reader = SimpleNamespace(place="/repos/acme/yard")  # type: ignore[assignment]
    pulls._listed = None
    return pulls


def race(forge: Forge) -> list[BaseException]:
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            pulls_of(forge, writer).comment(1, body=f"by {writer}", marker=MARKER)
        except KilledError:
            pass
        except BaseException as error:  # noqa: BLE001 - compared below
            failures.append(error)
        finally:
            forge.leave(writer)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def bodies(forge: Forge) -> list[str]:
    return [row["body"] for row in forge.rows]


ORDERS = [list(order) for order in product((0, 1), repeat=6)]


@pytest.mark.parametrize("is_there", [True, False])
def test_two_watchers_leave_one_comment_in_each_order_of_their_requests(is_there: bool):  # noqa: FBT001
    for order in ORDERS:
        forge = Forge(order=list(order))
        if is_there:
            Api(Forge([], rows=forge.rows), 0).send("POST", "", {"body": marked("before", MARKER)})
            forge.last = 1
        lost = race(forge)
        # One that wrote into a comment that was removed meanwhile says so, and is tried again.
        assert all(isinstance(each, Answered) for each in lost)
        for writer in (0, 1):
            forge.gone.clear()
            pulls_of(forge, writer).comment(1, body="what both know by now", marker=MARKER)
        assert bodies(forge) == [marked("what both know by now", MARKER)], order


@pytest.mark.parametrize("after", range(5))
def test_the_one_that_is_left_says_what_it_knows_whenever_the_other_is_killed(after: int):
    for order in ORDERS:
        forge = Forge(order=list(order), killed=(0, after))
        assert race(forge) == [], order
        forge.killed = None
        pulls_of(forge, 1).comment(1, body="by 1", marker=MARKER)  # as in its second look
        assert bodies(forge) == [marked("by 1", MARKER)], order


def test_of_two_first_comments_the_text_of_the_later_one_stays_in_the_older_one():
    # Both see none; the first one is done before the second one writes.
    forge = Forge(order=[1, 0, 0, 0, 1, 1])
    assert race(forge) == []
    assert [(row["id"], row["body"]) for row in forge.rows] == [(1, marked("by 1", MARKER))]
