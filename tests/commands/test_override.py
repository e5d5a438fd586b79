from __future__ import annotations

import json
from datetime import timedelta

import pytest

from modelyard.domain.promotion.pulls import PROMOTE
from operations.yard import AT, MODEL
from operations.yard_with_history import in_production, run

WEEK = AT + timedelta(days=7)
REASON = "the old model is switched off on Monday"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """v1 everywhere; v2 was trained, and nearly as good: its gate cannot tell."""
    yard = in_production(tmp_path_factory.mktemp("override") / "yard")
    yard.record("v2", champion="v1", skill=1.15)
    yard.record("v3", champion="v1", skill=0.2)
    return yard


@pytest.fixture
def yard(made, tmp_path):
    return made.copy(tmp_path / "yard")


def override(yard, version="v2", *more, until=WEEK, by="bob"):
    options = ("--until", until.isoformat(), "--reason", REASON, "--as", by)
    return run(yard, "override", MODEL, version, *options, *more)


def dev_pulls(yard):
    return [title for _, title in yard.titles() if f"Promote {MODEL} v2 to dev" in title]


@pytest.mark.long
def test_an_overridden_version_goes_on_and_every_page_says_who_let_it(yard):
    assert run(yard, "gate", MODEL, "v2").out.startswith("inconclusive")
    refused = run(yard, "promote", "dev", MODEL, "v2")
    assert "gate: inconclusive" in refused.err + refused.out

    said = override(yard)

    assert (said.code, said.lines[-1]) == (0, f"next: modelyard reconcile {MODEL}")
    shown = json.loads(run(yard, "status", "--output", "json").out)["overrides"]
    assert [(each["version"], each["by"], each["reason"]) for each in shown] == [
        ("v2", "bob", REASON)
    ]
    yard.rest()

    assert [yard.running()[where][0] for where in ("dev", "staging")] == ["v2", "v2"]
    (pull,) = yard.workspace().services.pulls.open()
    assert pull.branch.endswith("canary/m")
    end = WEEK.isoformat(timespec="minutes")
    assert f"**The gate is overridden** by bob until {end}: {REASON}." in pull.body
    assert "its inconclusive gate, by bob until" in run(yard, "history", MODEL).out

    yard.clock.at = WEEK  # it ends by itself: what is still ahead waits again
    yard.rest()

    assert yard.running()["dev"][0] == "v2"
    (pull,) = yard.workspace().services.pulls.open()
    assert pull.statuses[PROMOTE].description.startswith("gate: inconclusive")
    assert "overridden" not in pull.body
    assert json.loads(run(yard, "status", "--output", "json").out)["overrides"] == []


def test_a_gate_that_fails_is_never_overridden(yard):
    refused = override(yard, "v3")
    assert refused.code == 3
    assert f"only an inconclusive gate can be overridden; that of {MODEL} v3 is fail" in refused.err
    assert not yard.model_facts.overrides


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        ({"until": AT - timedelta(days=1)}, 3, "has passed"),
        ({"until": AT + timedelta(days=31)}, 3, "more than 30 days ahead"),
        ({"by": "eve"}, 3, "eve is not among those who approve production"),
        ({"version": "v9"}, 1, "v9"),
        ({"version": "v1"}, 3, "production has m v1 already"),
    ],
)
def test_who_may_not_and_what_does_not_fit_is_refused(yard, change, code, why):
    refused = override(yard, **change)
    assert (refused.code, why in refused.err) == (code, True), refused.err
    assert not yard.model_facts.overrides


def test_whoever_made_the_version_does_not_override_its_gate(yard):
    maker = yard.workspace().services.pulls.version_makers(yard.main(), model=MODEL, version="v2")
    name = next(iter(maker)).login
    refused = override(yard, by=name)
    assert refused.code == 3
    assert "so another person has to override its gate" in refused.err


def test_a_dry_run_of_an_override_records_nothing(yard):
    said = override(yard, "v2", "--dry-run")
    assert said.code == 0
    assert said.lines[0].startswith(f"would override the gate of {MODEL} v2 until")
    assert not yard.model_facts.overrides
