"""What a promotion and a rollback cost of the calls that GitHub allows in an hour."""

from __future__ import annotations

import pytest

from modelyard.adapters.forge.hosted.api import RESERVE
from modelyard.operations.watch.pass_once import run_pass
from operations.hosted_yard import yard_on_github
from operations.yard import MODEL, SHORT, new_yard

BOT = "modelyard[bot]"


@pytest.fixture
def stage(fake_github, tmp_path, monkeypatch):
    """v1 is verified in canary, and v2 is proposed there, approved and bad."""
    for name in ("FORGE_TOKEN", "APP_ID", "APP_KEY_FILE", "APP_INSTALLATION"):
        monkeypatch.setenv(f"MODELYARD_{name}", "set by the yard")
    local = new_yard(tmp_path / "yard", SHORT)
    local.add_version("v1")
    made = yard_on_github(local, fake_github, tmp_path, app=True)
    yard = made.yard
    yard.rest()
    yard.finish("v1")
    yard.rest()
    approve(made)
    counted(fake_github)
    yard.rest()
    made.first = counted(fake_github)
    yard.add_version("v2")
    yard.rest()
    yard.finish("v2", champion="v1")
    yard.rest()
    yard.broken.add("v2")
    approve(made)
    return made


def approve(stage):
    promotion = stage.pull(f"modelyard/promote/canary/{MODEL}")
    stage.people.review(promotion.number, promotion.head, "ann")


def counted(fake):
    """The calls of the tool that count, and those that are free, since this was asked last."""
    log = [each for each in fake.ledger.log if each.login == BOT]
    fake.ledger.log.clear()
    free = [each.status == 304 for each in log if each.path.startswith("/repos")]
    return free.count(False), free.count(True)


def paid(fake):
    return counted(fake)[0]


def watch(yard):
    return run_pass(yard.workspace(), report=yard.said.append, with_checks=True)


def version_in_canary(yard):
    workspace = yard.workspace()
    return workspace.catalog(workspace.main()).releases["canary", MODEL].version


def leave(fake, calls):
    """Let this many calls be left in the hour."""
    ledger = fake.ledger
    ledger.hourly = ledger._used[BOT, ledger._hour()] + calls


@pytest.mark.long
def test_a_promotion_and_its_rollback_cost_few_calls_and_the_last_ones_are_for_rollbacks(stage):
    yard, fake = stage.yard, stage.fake
    # From the approval until v1 is verified in canary and proposed for production.
    calls, free = stage.first
    assert calls <= 61, (calls, free)
    assert free <= 90, (calls, free)
    paid(fake)
    assert watch(yard).changed
    promotion = paid(fake)
    assert version_in_canary(yard) == "v2"

    # Not one call is left for anything but rollbacks.
    leave(fake, RESERVE - 100)
    watch(yard)
    rollback = paid(fake)
    assert version_in_canary(yard) == "v1"
    assert yard.model_facts.holds.keys() == {"v2"}

    # What is done is asked for no more.
    watch(yard)
    watch(yard)
    assert paid(fake) == 0
    # Two environments had v2. docs/forges.md has these figures: 57 and 74 free ones, 23 and 19.
    assert promotion <= 25
    assert rollback <= 22 <= RESERVE / 12
