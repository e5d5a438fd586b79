from __future__ import annotations

import pytest

from modelyard.adapters.git.repository import Git
from modelyard.domain.machines.shards import Shard
from modelyard.operations.watch import notify as notifying
from modelyard.operations.watch import pass_once
from modelyard.operations.watch.pass_once import _releases_with, run_pass
from operations.yard import MODEL, SHORT, contested_yard, model_named

SHARDS = (Shard(1, 2), Shard(2, 2))
MINE = next(shard for shard in SHARDS if shard.covers(MODEL))
OTHERS = next(shard for shard in SHARDS if shard is not MINE)
OTHER = next(name for name in ("a", "b", "c", "d", "e") if OTHERS.covers(name))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = contested_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.commit(model_named(yard, OTHER))
    yard.rest()
    yard.put("v2", "canary", is_verified=False)
    return yard


@pytest.fixture
def yard(start, tmp_path):
    made = start.copy(tmp_path / "yard")
    made.broken.add("v2")
    return made


@pytest.fixture
def sent(monkeypatch):
    found: list[str] = []
    monkeypatch.setattr(
        notifying, "send_message", lambda title, body: not found.append(title) and bool(body)
    )
    return found


def look(yard, *shards, rounds=8):
    for _ in range(rounds):
        for shard in shards:
            run_pass(yard.workspace(), report=yard.said.append, with_checks=True, shard=shard)


def test_each_watcher_looks_at_its_own_models_and_both_at_all_of_them(yard, monkeypatch):
    seen: list[str] = []
    monkeypatch.setattr(
        pass_once, "_reconcile_and_observe", lambda _, model, __: seen.append(model) or False
    )
    look(yard, MINE, rounds=1)
    assert seen == [MODEL]
    look(yard, OTHERS, rounds=1)
    assert seen == [MODEL, OTHER]


def test_two_shards_roll_back_what_one_watcher_would_and_notify_once(yard, sent):
    look(yard, *SHARDS)
    assert yard.names() == dict.fromkeys(yard.names(), "v1")
    assert yard.model_facts.holds.keys() == {"v2"}
    assert len(sent) == len(set(sent)) > 0


def test_a_shard_waits_for_no_server_and_no_verdict_of_another(yard):
    def found(shard):
        both = _releases_with(yard.workspace(), shard, lambda _: True)
        return {each.model for each in both}

    assert (found(MINE), found(OTHERS), found(Shard())) == ({MODEL}, set(), {MODEL})


LATER = [pytest.param(number, marks=pytest.mark.long) for number in (2, 4)]


@pytest.mark.parametrize("number", [1, *LATER])
def test_a_watcher_that_dies_at_a_push_is_taken_over_by_another_of_its_shard(
    yard, sent, monkeypatch, number
):
    pushed, push = [], Git.push

    def dies(git, remote, updates):
        push(git, remote, updates)
        pushed.append(updates)
        if len(pushed) == number:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Git, "push", dies)
        with pytest.raises(KeyboardInterrupt):
            look(yard, MINE)
    look(yard, OTHERS, rounds=1)
    assert "v2" in yard.names().values() or number > 1  # the other shard leaves it alone

    look(yard, MINE)

    assert yard.names() == dict.fromkeys(yard.names(), "v1")
    assert len(sent) == len(set(sent)) > 0
