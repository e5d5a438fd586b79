"""A watcher on a full disk: Git goes back with the room kept for that, and people are told once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.small_disk import fill, mounted, use_up_inodes
from modelyard.adapters.git.object_reader import end_readers
from modelyard.adapters.kept_room import FOLDER
from modelyard.errors import CannotAnswer, NoRoom
from modelyard.operations.watch import disk_news, forge_pace
from modelyard.operations.watch import notify as notifying
from modelyard.operations.watch.disk_news import DiskNews
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.loop import JUDGED_SECONDS, Watcher
from modelyard.operations.watch.notify import pending_notifications
from operations.yard import MODEL, PATH, Yard, contested_yard

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state.json")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = contested_yard(tmp_path_factory.mktemp("start") / "yard", PATH)
    yard.rest()
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    return yard


@pytest.fixture
def yard(start, tmp_path, monkeypatch) -> Iterator[Yard]:
    """v2 is bad in canary; the clone and the forge are on a small disk."""
    monkeypatch.setattr(forge_pace, "NEAR_SECONDS", 0.02)
    yard = start.copy(tmp_path / "yard")
    yard.broken.add("v2")
    with mounted(tmp_path / "disk", "size=64m,nr_inodes=6000") as disk:
        for name in ("clone", "remote.git"):
            shutil.move(yard.folder / name, disk / name)
            (yard.folder / name).symlink_to(disk / name)
        yield yard
        end_readers()


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """The titles of what people were told."""
    titles: list[str] = []
    for module in ("disk_news", "notify"):
        place = f"modelyard.operations.watch.{module}.send_message"
        monkeypatch.setattr(place, lambda title, body: titles.append(title) or True)
    return titles


def watcher(yard: Yard) -> Watcher:
    return Watcher(
        workspace=yard.workspace(), health=WatchHealth(0.2), interval=0.2, report=yard.said.append
    )


def left_by_git(yard: Yard) -> list[Path]:
    disk = (yard.folder / "clone").resolve().parent
    return [*disk.rglob("fast_import_crash_*"), *disk.rglob("tmp_*_*")]


@pytest.mark.parametrize("exhaust", [fill, use_up_inodes])
def test_a_bad_canary_is_rolled_back_in_git_on_a_full_disk(yard, told, exhaust):
    running = watcher(yard)
    running.workspace.kept_room.keep()
    exhaust((yard.folder / "clone").resolve().parent)

    running.run_passes_and_wait()
    running.run_passes_and_wait()

    assert yard.names()["canary"] == "v1"
    assert yard.facts("canary").version == "v1"
    assert "v2" in yard.workspace().facts.read_model(MODEL).holds
    assert told.count(f"Roll {MODEL} in canary back from v2 to v1") == 1


def test_without_any_room_git_follows_as_soon_as_there_is_some(yard, told):
    running = watcher(yard)
    ballast = fill((yard.folder / "clone").resolve().parent)

    for _ in range(3):
        running.run_passes_and_wait()
    assert yard.names()["canary"] == "v2"
    assert told == ["A disk of modelyard takes no write"]
    assert left_by_git(yard) == []

    ballast.unlink()
    running.run_passes_and_wait()
    running.run_passes_and_wait()
    assert yard.names()["canary"] == "v1"
    assert told.count(f"Roll {MODEL} in canary back from v2 to v1") == 1
    assert not running.disk_news.lasts
    kept = running.workspace.services.root / running.workspace.services.repository.state / FOLDER
    assert list(kept.iterdir())


def test_what_was_kept_for_a_rollback_is_not_spent_on_anything_else(yard, told):
    yard.broken.clear()
    running = watcher(yard)
    running.workspace.kept_room.keep()
    fill((yard.folder / "clone").resolve().parent)

    running.run_passes_and_wait()

    assert running.disk_news.lasts
    assert running.workspace.kept_room.give_back()


def test_people_are_told_again_of_a_disk_that_is_full_an_hour_later(told, monkeypatch):
    news, now = DiskNews(), [1000.0]
    monkeypatch.setattr(disk_news.time, "monotonic", lambda: now[0])
    for failures, is_whole in (([FULL], True), ([FULL], False), ([], False), ([FULL], True)):
        news.tell(failures, is_whole=is_whole)
        now[0] += 4000
    assert len(told) == 1

    news.tell([CannotAnswer("the forge does not answer")], is_whole=True)
    news.tell([NoRoom("git fast-import: No space left on device")], is_whole=False)
    assert len(told) == 2

    for _ in range(5):  # full at every second minute
        now[0] += 60
        news.tell([], is_whole=True)
        news.tell([FULL], is_whole=True)
    assert len(told) == 2


def test_a_file_that_this_user_may_not_read_is_no_disk_that_takes_no_write(told):
    news = DiskNews()
    news.tell([PermissionError(errno.EACCES, "Permission denied", "feed.csv")], is_whole=True)
    assert (told, news.lasts) == ([], False)


def test_of_a_disk_nobody_could_be_told_of_they_are_told_in_the_next_pass(monkeypatch):
    tried: list[str] = []
    monkeypatch.setattr(
        "modelyard.operations.watch.disk_news.send_message",
        lambda title, body: tried.append(body) or len(tried) > 1,
    )
    news = DiskNews()
    for _ in range(4):
        news.tell([FULL], is_whole=True)
    assert len(tried) == 2
    assert tried[0].startswith("state.json: No space left on device. make room")


def test_while_nothing_can_be_written_the_watcher_looks_as_often_as_at_a_canary(yard, told):
    running = replace(watcher(yard), interval=60.0)
    assert running._pause_seconds() != JUDGED_SECONDS
    running.disk_news.tell([FULL], is_whole=True)
    assert running._pause_seconds() == JUDGED_SECONDS


def test_news_that_were_sent_and_could_not_be_recorded_are_sent_once(yard, told, monkeypatch):
    running = watcher(yard)
    running.run_passes_and_wait()
    workspace = running.workspace
    workspace.facts.update_model(MODEL, lambda facts: replace(facts, told=()))
    told.clear()

    def refuse(*_: object, **__: object) -> None:
        raise NoRoom("git fast-import: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(type(workspace.facts), "update_model", refuse)
        for _ in range(3):
            with pytest.raises(NoRoom):
                notifying.notify(workspace, pending_notifications(workspace, MODEL), lambda _: None)
    sent = list(told)
    assert len(sent) == len(set(sent)) > 0

    notifying.notify(workspace, pending_notifications(workspace, MODEL), lambda _: None)
    assert told == sent
    assert pending_notifications(workspace, MODEL) == ()


def test_people_are_told_once_of_a_bad_release_that_cannot_be_taken_from_traffic(
    yard, told, monkeypatch
):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "endpoints.json")

    running = watcher(yard)
    cluster = running.workspace.services.cluster
    with monkeypatch.context() as patched:
        patched.setattr(cluster, "abort", refuse)
        patched.setattr(type(running.workspace.facts), "observe_release", refuse)
        for _ in range(3):
            running.run_passes_and_wait()
    title = f"canary: {MODEL} v2 is bad and stuck in traffic"
    assert told.count(title) == 1

    running.run_passes_and_wait()
    assert running.disk_news.stuck == frozenset()
    assert yard.names()["canary"] == "v1"
    assert told.count(title) == 1


def test_a_release_that_left_by_its_rollback_alone_is_stuck_no_more(yard, told, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "endpoints.json")

    running = watcher(yard)
    monkeypatch.setattr(running.workspace.services.cluster, "abort", refuse)
    for _ in range(3):
        running.run_passes_and_wait()

    assert told.count(f"canary: {MODEL} v2 is bad and stuck in traffic") == 1
    assert yard.names()["canary"] == "v1"
    assert running.workspace.stuck_in_traffic == {}
