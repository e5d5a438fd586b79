from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.adapters.cluster import kubernetes_changes
from modelyard.adapters.cluster.kubernetes_changes import KubernetesChanges
from modelyard.domain.labels import MODEL
from modelyard.errors import CannotAnswer


class Api:
    """Streams of Rollouts, one after the other; all others are quiet.

    Args:
        streams: What each brings, or ends in.
    """

    def __init__(self, *streams: object) -> None:
        self.left = list(streams)
        self.opened = 0

    def watch_objects(
        self, resource: Any, namespace: str, *, seconds: int
    ) -> Iterator[dict[str, Any]]:
        del namespace, seconds
        # A quiet stream stays open. If it ended, its thread would outlive the test and sleep by
        # the clock of the next one.
        if resource.plural != "rollouts" or not self.left:
            threading.Event().wait()
        self.opened += 1
        stream = self.left.pop(0)
        if isinstance(stream, Exception):
            raise stream
        for model in stream:  # type: ignore[attr-defined]
            name, _, version = model.partition("@")
            version = {"name": name, "resourceVersion": version} if version else {}
            yield {"metadata": {"labels": {MODEL: name}} | version}


class Hours:
    """A clock that only sleeping moves, for so many pauses; then whoever sleeps, sleeps."""

    def __init__(self, pauses: int) -> None:
        self.slept: list[float] = []
        self._left = pauses

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) >= self._left:
            raise SystemExit


def followed(api: Api, pauses: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between a Rollout stream's openings."""
    hours = Hours(pauses)
    monkeypatch.setattr(kubernetes_changes, "time", hours)
    changes = KubernetesChanges(api)  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        changes._stream(kubernetes_changes.ROLLOUTS, "models")
    return hours.slept


@pytest.mark.parametrize("trouble", [CannotAnswer("away"), KeyError("object")])
def test_a_stream_that_broke_is_opened_again_whatever_broke_it(trouble):
    changes = KubernetesChanges(Api(trouble, ("wine",)))  # type: ignore[arg-type]

    moved = changes.wait(["models"], argocd="argocd", seconds=20.0)

    assert moved == {"wine"}


@pytest.mark.parametrize("stream", [(), ("wine",), CannotAnswer("away")])
def test_a_stream_that_ends_at_once_is_opened_less_and_less_often(stream, monkeypatch):
    pauses = followed(Api(*[stream] * 6), 6, monkeypatch)

    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def moved_by(*streams: object, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The models that the last of these streams wakes the watcher for."""
    changes = KubernetesChanges(Api(*streams))  # type: ignore[arg-type]

    def sleep(_: float) -> None:
        if len(changes._api.left) == 1:  # type: ignore[attr-defined]
            changes._moved.clear()
        if not changes._api.left:  # type: ignore[attr-defined]
            raise SystemExit

    clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=sleep)
    monkeypatch.setattr(kubernetes_changes, "time", clock)
    with pytest.raises(SystemExit):
        changes._stream(kubernetes_changes.ROLLOUTS, "models")
    return changes._moved


def test_a_stream_that_is_opened_again_wakes_only_for_what_changed_meanwhile(monkeypatch):
    streams = ("wine@1", "beer@1"), ("wine@1", "beer@2", "rum@3")
    assert moved_by(*streams, monkeypatch=monkeypatch) == {"beer", "rum"}


def test_what_comes_after_the_beginning_of_a_stream_is_of_its_last_version(monkeypatch):
    streams = ("wine@1", "wine@2"), ("wine@2",)
    assert moved_by(*streams, monkeypatch=monkeypatch) == set()
    assert moved_by(("wine",), ("wine",), monkeypatch=monkeypatch) == {"wine"}  # no version is told
    assert moved_by(("wine@1",), CannotAnswer("x"), ("wine@1",), monkeypatch=monkeypatch) == {
        "wine"
    }
