from __future__ import annotations

import pytest
from click.testing import CliRunner

from modelyard.cli import cli
from modelyard.operations.watch.pass_once import starting_releases
from operations.yard import MODEL, living_yard


@pytest.fixture(scope="module")
def living(tmp_path_factory):
    return living_yard(tmp_path_factory.mktemp("living") / "yard")


@pytest.fixture
def coming(living, tmp_path):
    """v2 was recorded, and its servers in dev do not come up for now."""
    yard = living.copy(tmp_path / "yard")
    yard.record("v2", champion="v1")
    yard.never_ready.add("v2")
    yard.rest()
    return yard


def watched(yard, monkeypatch, *options):
    monkeypatch.setattr("modelyard.commands.watch.workspace_of", lambda services: yard.workspace())
    result = CliRunner().invoke(cli, ["watch", "--once", *options], obj=yard.workspace().services)
    assert result.exit_code == 0
    return result


@pytest.mark.long
def test_a_server_that_is_up_is_waited_for_no_longer_although_no_pass_has_seen_it(coming):
    assert starting_releases(coming.workspace()) == (f"dev: {MODEL} v2",)

    coming.never_ready.clear()
    ledger = coming.ledger("cluster")
    ledger.put(f"dev/{MODEL}", {**ledger.read()[f"dev/{MODEL}"], "ready": True})

    assert starting_releases(coming.workspace()) == ()
    assert coming.facts("dev").healthy_since is None


@pytest.mark.long
def test_once_says_which_servers_did_not_come_up_in_time(coming, monkeypatch):
    result = watched(coming, monkeypatch, "--settle-seconds", "0.1")

    assert result.stderr == (
        f"not ready after 0.1 s: dev: {MODEL} v2; run `modelyard watch --once` again\n"
    )


@pytest.mark.long
def test_once_says_what_the_judge_has_not_decided(coming, monkeypatch):
    coming.never_ready.clear()
    coming.rest()
    coming.out_of_reach.add("metrics")
    coming.approve("canary")

    assert watched(coming, monkeypatch).stderr == (
        f"canary {MODEL}: not enough traffic yet; why: modelyard judge canary {MODEL}\n"
    )


def test_once_says_nothing_about_a_world_at_rest(living, tmp_path, monkeypatch):
    assert watched(living.copy(tmp_path / "yard"), monkeypatch).output == ""


@pytest.mark.long
def test_once_says_that_it_gave_up_on_a_world_that_does_not_rest(living, tmp_path, monkeypatch):
    monkeypatch.setattr("modelyard.commands.watch.MOST_PASSES", 1)
    yard = living.copy(tmp_path / "yard")
    yard.record("v2", champion="v1")

    assert watched(yard, monkeypatch).stderr == (
        "still changing after 1 passes; run `modelyard watch --once` again\n"
    )
