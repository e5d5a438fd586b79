from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from modelyard.domain.promotion.incidents import (
    Incident,
    breach_key,
    breach_prefix,
    infrastructure_key,
    is_incident_of_breach,
    pushed_rule_key,
    stuck_key,
)
from modelyard.domain.specs.contract import Breach
from unit.domain.promotion.examples import START, release

FEED = "data/delays/*.parquet"


def breach(column, rule):
    expected = "-40 to 60 degC" if rule == "range" else "only temp"
    return Breach(column=column, rule=rule, expected=expected, found="290", rows=3)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (
            stuck_key(release("dev", "v1"), is_restored=True),
            "dev names v1 of m, a rollback restored it, a person must decide: crashed: badly",
        ),
        (
            stuck_key(release("dev", "v1", attempt=2), is_restored=False),
            "dev names v1 (attempt 2) of m, no verified release to go back to, a person must "
            "decide: never ready",
        ),
        (
            breach_key(FEED, breach("temp", "range")),
            f"contract of {FEED} broken: column temp (range): expected -40 to 60 degC, "
            "found values from 290 to 300 (3 rows)",
        ),
        (
            breach_key(FEED, breach("temp (out)", "unexpected-name")),
            f"contract of {FEED} broken: column temp (out) (unexpected-name): expected only temp, "
            "found temp (out) beside it (3 rows)",
        ),
        ("the disk is full: again", "the disk is full: again"),
    ],
)
def test_an_incident_that_was_written_without_a_key_has_the_one_it_would_get_now(key, sentence):
    assert Incident(what=sentence, at=START).key == key


def test_keys_tell_environments_versions_attempts_and_reasons_apart():
    releases = (release("dev", "v1"), release("dev", "v2"), release("staging", "v1"))
    keys = [stuck_key(each, is_restored=is_restored) for each in releases for is_restored in (0, 1)]
    keys.append(stuck_key(release("dev", "v1", attempt=2), is_restored=False))

    assert len(set(keys)) == len(keys)


def test_a_feed_owns_its_own_breaches_alone():
    key = breach_key("data/a", breach("temp", "range"))

    assert key.startswith(breach_prefix("data/a"))
    assert not key.startswith(breach_prefix("data"))


def test_servers_that_cannot_start_again_later_are_another_incident():
    first = infrastructure_key(release("dev", "v1"), START)
    assert first == "infrastructure/dev/v1/1/2024-01-01T00:00:00+00:00"
    assert infrastructure_key(release("dev", "v1"), START + timedelta(seconds=1)) != first


def test_a_rule_is_known_by_its_file_and_the_start_of_its_commit():
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert pushed_rule_key("a.yaml", commit) == "pushed-rule/a.yaml/0123456789abcdef"


def test_an_incident_is_about_a_breach_whatever_numbers_were_found():
    found = breach("temp", "range")
    sentence = f"contract of {FEED} broken: column temp (range): expected {{}}, found 280 (1 row)"
    same = sentence.format("-40 to 60 degC")
    other = sentence.format("0 to 60 degC")
    old = f"contract/{FEED}#temp/range"

    def is_about(key, what, feed=FEED, column="temp"):
        incident = Incident(what=what, at=START, key=key)
        return is_incident_of_breach(incident, feed, replace(found, column=column))

    assert is_about("", same)
    assert is_about(old, same)
    assert not is_about("", other)
    assert not is_about(old, other)
    assert not is_about("", same, feed="data/other")
    assert not is_about("", same, column="wind")
    assert not is_about("the disk is full", same)
