"""The audit log: one line for each decision, in the commit that writes it down."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adapters.facts.fact_stores import AT, put, tip
from modelyard.adapters.facts.audit import append_lines
from modelyard.domain.audit import AuditLine, Topic
from modelyard.domain.chatops.log import LogEntry
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.promotion.facts import Freeze, Hold
from modelyard.domain.specs.interval import iso_utc
from modelyard.domain.verdict import Outcome, Verdict

FILE = f"audit/{AT:%Y-%m}/m.jsonl"
ENTRY = LogEntry(
    key="k",
    at=AT,
    login="ann",
    person="7",
    line="/approve",
    head="1" * 40,
    reason=ReasonCode.OWN_PULL_REQUEST,
    sentence="ann asked for it",
)


def held(store, version="v2", reason="bad"):
    hold = Hold(reason=reason, by="ann", since=AT)
    store.update_model(
        "m", lambda facts: replace(facts, holds={**facts.holds, version: hold}), by="ann"
    )


def judged(facts):
    verdict = Verdict(outcome=Outcome.FAIL, reason="worse", numbers={})
    return replace(facts, release="r", version="v2", artifact="sha256:a", verdict=verdict)


def reasons(store, model="m"):
    return [(line.who, line.reason) for line in store.read_audit(model)]


def test_every_decision_is_a_line_with_who_what_and_why(store):
    held(store)
    held(store)  # nothing new
    store.update_model("m", lambda facts: replace(facts, holds={}), by="bob")
    store.update_release("dev", "m", judged)
    store.update_release("dev", "m", lambda facts: replace(facts, seen_at=AT))  # observed only
    store.update_commands(
        3,
        lambda log: log.with_entry(ENTRY),
        topic=Topic(model="m", version="v2", environment="dev", digest="sha256:a"),
    )

    assert reasons(store) == [
        ("ann", "held"),
        ("bob", "hold-lifted"),
        ("modelyard[bot]", "judged"),
        ("ann", "own_pull_request"),
    ]
    text = store._refs.git.read_file(tip(store), FILE).decode()
    assert json.loads(text.splitlines()[-1]) == {
        "at": iso_utc(AT),
        "command": "/approve",
        "digest": "sha256:a",
        "environment": "dev",
        "id": "7",
        "model": "m",
        "pull": 3,
        "reason": "own_pull_request",
        "sha": "1" * 40,
        "version": "v2",
        "what": "ann asked for it",
        "who": "ann",
    }


def test_what_is_about_no_model_has_a_file_of_its_own(store):
    store.update_freeze("dev", lambda _: Freeze(reason="holidays", by="ann", since=AT), by="ann")
    store.update_freeze("dev", lambda _: None, by="bob")

    assert reasons(store, "_yard") == [("ann", "frozen"), ("bob", "unfrozen")]
    assert store.read_snapshot().freezes == {}


def test_two_writers_lose_no_line(store, elsewhere):
    held(store, "v1")
    held(elsewhere, "v2")
    store.update_release("dev", "m", judged)
    held(elsewhere, "v3")

    assert [line.version for line in store.read_audit("m")] == ["v1", "v2", "v2", "v3"]


def test_the_log_is_no_junk_and_what_is_in_its_place_stops_nothing(store, caplog):
    held(store)
    missed = []
    store.read_snapshot(missed=missed.append)
    assert missed == []

    put(store, FILE, b"not a line\n" + store._refs.git.read_file(tip(store), FILE))
    assert reasons(store) == [("ann", "held")]
    assert "left out, line 1" in caplog.text


@pytest.mark.parametrize("there", ["audit", f"{FILE}/x"])
def test_a_file_in_the_place_of_the_log_stops_no_fact(store, there, caplog):
    store.update_release("dev", "m", lambda facts: replace(facts, seen_at=AT))
    put(store, there, b"x\n")

    held(store)

    assert store.read_model("m").holds.keys() == {"v2"}
    assert "no line in the audit log" in caplog.text
    assert store.read_release("dev", "m").seen_at == AT


def test_a_month_that_cannot_be_read_is_left_as_it_is(store, caplog):
    held(store)
    listing = store._reader.listing()
    lost = replace(listing, files={**listing.files, FILE: "1" * 40})
    line = AuditLine(at=AT, who="ann", reason="held", what="bad", model="m")

    assert append_lines(store._refs.git, lost, [line]) == {}
    assert f"{FILE} cannot be read" in caplog.text
