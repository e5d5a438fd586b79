from __future__ import annotations

import pytest

from modelyard.adapters.facts.reader import FactReader
from modelyard.domain.promotion.actions import RollBack
from modelyard.domain.promotion.facts import Hold, ModelFacts
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.operations.reconcile.changes import rollback_change
from modelyard.operations.workspace import Workspace
from operations.yard import BOT, MODEL
from operations.yard_with_history import (
    answer,
    in_production,
    land,
    promoted,
    recorded,
    run,
    watched,
    world_of,
)

FAIL = Verdict(outcome=Outcome.FAIL, reason="error rate 9 %: worse than stable")


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """v1 went all the way; v2 failed in canary and was rolled back there."""
    yard = in_production(tmp_path_factory.mktemp("history") / "yard")
    recorded(yard, "v2", 5, champion="v1")
    promoted(yard, "v2", "canary", 6)
    watched(yard, "canary")
    yard.clock.wait(60)
    watched(yard, "canary", ready=False, verdict=FAIL)
    hold = Hold(reason="canary: bad", by="modelyard[bot]", since=yard.clock.now())
    yard.workspace().facts.update_model(MODEL, lambda _: ModelFacts(holds={"v2": hold}))
    yard.clock.wait(2)
    world = world_of(yard)
    action = RollBack(
        environment="canary", version="v2", target=world.past["canary"][1], reason=FAIL.reason
    )
    land(yard, rollback_change(world, action, git=yard.git), 7)
    yard.clock.wait(3.5)
    watched(yard, "canary")
    return yard


@pytest.mark.long
def test_tells_the_whole_story_in_order(past):
    told = answer(past, "history", MODEL)

    assert [
        (event["kind"], event["environment"], event["version"], event["pull"])
        for event in told["events"]
    ] == [
        ("spec", None, "v1", None),
        ("record", None, "v1", 1),
        ("release", "dev", "v1", 1),
        ("seen", "dev", "v1", None),
        ("healthy", "dev", "v1", None),
        ("verified", "dev", "v1", None),
        ("release", "staging", "v1", 2),
        ("seen", "staging", "v1", None),
        ("healthy", "staging", "v1", None),
        ("verified", "staging", "v1", None),
        ("release", "canary", "v1", 3),
        ("seen", "canary", "v1", None),
        ("healthy", "canary", "v1", None),
        ("verified", "canary", "v1", None),
        ("release", "production", "v1", 4),
        ("seen", "production", "v1", None),
        ("healthy", "production", "v1", None),
        ("verified", "production", "v1", None),
        ("spec", None, "v2", None),
        ("record", None, "v2", 5),
        ("release", "dev", "v2", 5),
        ("release", "canary", "v2", 6),
        ("seen", "canary", "v2", None),
        ("healthy", "canary", "v2", None),
        ("unhealthy", "canary", "v2", None),
        ("judged", "canary", "v2", None),
        ("aborted", "canary", "v2", None),
        ("held", None, "v2", None),
        ("rollback", "canary", "v1", 7),
        ("seen", "canary", "v1", None),
        ("healthy", "canary", "v1", None),
    ]


def test_sums_delivery_up(past):
    told = answer(past, "history", MODEL)

    assert told["summary"] == {
        "lead_times_seconds": {"v1": 210.0},
        "lead_time_median_seconds": 210.0,
        "releases_to_production": 1,
        "versions_exposed": ["v1", "v2"],
        "versions_rolled_back": ["v2"],
        "rolled_back_share": 0.5,
        "seconds_from_fail_to_agreement": [5.5],
    }
    assert told["failures"] == [
        {
            "environment": "canary",
            "version": "v2",
            "failed_at": "2026-03-01T12:05:00Z",
            "restored": "v1",
            "agreed_at": "2026-03-01T12:05:05.500000Z",
            "seconds": 5.5,
        }
    ]
    assert [(each["version"], each["verdict"]) for each in told["versions"]] == [
        ("v1", "pass"),
        ("v2", "pass"),
    ]


def test_a_record_brings_its_numbers(past):
    events = answer(past, "history", MODEL)["events"]

    numbers = next(event["numbers"] for event in events if event["kind"] == "record")
    assert {"challenger", "difference", "lower", "upper", "clusters"} <= set(numbers)


def test_a_person_reads_the_same_story_and_four_closing_lines(past):
    lines = run(past, "history", MODEL).lines

    assert lines[0] == "History of m"
    assert "2026-03-01 12:05:00 canary v2 judged fail: error rate 9 %: worse than stable" in lines
    assert (
        "2026-03-01 12:05:02 canary v1 rollback "
        "v2 was rolled back to v1: error rate 9 %: worse than stable (#7)"
    ) in lines
    assert lines[-4:] == [
        "lead time from merge to production: 3 min 30 s (median)",
        "releases to production: 1",
        "rolled back, of the versions that answered production's requests: 1 of 2 (50%)",
        "from the judge's fail until Git and servers agree: 5.5 s (v2 to v1 in canary)",
    ]


def test_text_from_outside_drives_no_terminal(past, tmp_path):
    yard = past.copy(tmp_path / "yard")
    hold = Hold(reason="\x1b[31mred[/] [bold]", by="Mallory", since=yard.clock.now())
    yard.workspace().facts.update_model(MODEL, lambda _: ModelFacts(holds={"v1": hold}))

    said = run(yard, "history", MODEL)

    assert "\x1b" not in said.out
    assert "2026-03-01 12:05:05 - v1 held by Mallory: [31mred[/] [bold]" in said.lines


def test_a_model_nothing_ever_happened_to_is_an_error_that_names_those_there_are(past):
    said = run(past, "history", "nobody")

    assert (said.code, said.out) == (1, "")
    assert said.err == (
        "error: the main branch has no valid models/nobody/model.yaml; it has m\n"
        "hint: merge the pull request that adds it, if there is one, or modelyard validate\n"
    )


def test_of_all_models_it_tells_the_same_events_newest_first(past):
    told = answer(past, "history", "--since", "400d")
    mine = [each for each in told["events"] if each["model"] == MODEL]

    assert mine == answer(past, "history", MODEL)["events"][::-1]
    # What came with the history of another repository was pushed there, and not here.
    assert mine == told["events"]
    assert (told["model"], told["versions"], told["summary"]) == (None, [], None)


@pytest.mark.parametrize(
    ("since", "first"),
    [
        ("1m", "unhealthy"),
        ("2026-03-01T12:05:02Z", "rollback"),
        ("2026-03-01T13:05:01+01:00", "rollback"),
    ],
)
def test_since_a_moment_it_tells_what_happened_since_and_how_it_was_before(past, since, first):
    events = answer(past, "history", "--since", since)["events"]
    of_model = answer(past, "history", MODEL, "--since", since)["events"]

    assert events[-1]["kind"] == first  # and not all that the facts said by then
    assert events == of_model[::-1]


def test_whoever_wakes_up_reads_what_happened_and_not_what_ran_as_always(past):
    lines = run(past, "history").lines

    assert lines[0] == "Since 2026-02-28 12:05:05 UTC, newest first"
    assert lines[2].startswith("2026-03-01 12:05:02 m canary v1 rollback v2 was rolled back to v1:")
    assert not [line for line in lines if " seen " in line or " healthy " in line]


def test_what_is_about_no_model_and_what_drift_proposed_is_told_too(past, tmp_path):
    yard = past.copy(tmp_path / "yard")
    yard.clock.wait(3600)
    yard.land("docs", {"README.md": b"Ours.\n"}, "Say whose it is", number=70)
    yard.branch("modelyard/retrain/m", {"models/m/x": b""}, author=BOT)
    idea = yard.branch("idea", {"README.md": b"No.\n"}, author="ada")
    assert run(yard, "pr", "close", str(idea.number), "--reason", "no", "--as", "ada").code == 0
    assert run(yard, "freeze", "dev", "--reason", "audit", "--as", "ada").code == 0
    yard.commit({"README.md": b"Theirs.\n"}, "Quickly", author="Cleo")

    events = answer(yard, "history", "--since", "30m")["events"]

    assert sorted((e["kind"], e["model"], e["environment"], e["what"]) for e in events) == [
        ("closed", None, None, "By hand, by ada"),
        ("frozen", None, "dev", "ada: audit"),
        ("merged", None, None, f"Say whose it is, by {BOT}"),
        ("proposed", MODEL, None, "By hand"),
        ("pushed", None, None, "Quickly, by Cleo"),
    ]


def test_a_quiet_night_is_one_sentence(past, tmp_path):
    yard = past.copy(tmp_path / "yard")
    yard.clock.wait(86_400 * 2)
    assert run(yard, "history").lines == ["nothing happened since 2026-03-02 12:05:05 UTC"]
    lines = run(yard, "history", MODEL, "--since", "24h").lines
    assert lines[0] == "nothing happened to m since 2026-03-02 12:05:05 UTC"


def test_of_all_models_it_reads_what_was_written_since_alone(past, monkeypatch):
    def refuse(*_args, **_named):
        raise AssertionError("reads all models")

    monkeypatch.setattr(FactReader, "listing", refuse)
    monkeypatch.setattr(FactReader, "listing_of", refuse)
    monkeypatch.setattr(Workspace, "specs_of", refuse)

    assert run(past, "history", "--since", "1m").code == 0


@pytest.mark.parametrize("since", ["99999d", "0001-01-01", "1969-12-31"])
def test_since_long_before_the_first_commit_it_tells_all(past, since):
    events = answer(past, "history", "--since", since)["events"]

    assert events == answer(past, "history", "--since", "400d")["events"]


def test_a_commit_from_a_machine_with_a_wrong_clock_hides_none_before_it(past, tmp_path):
    yard = past.copy(tmp_path / "yard")
    before = answer(yard, "history", "--since", "400d")["events"]
    now = yard.clock.at
    yard.clock.at = now.replace(year=2001)
    yard.commit({"README.md": b"Ours.\n"}, "From long ago")
    watched(yard, "dev", ready=False)
    yard.clock.at = now
    yard.commit({"README.md": b"Theirs.\n"}, "From today")

    events = answer(yard, "history", "--since", "400d")["events"]

    assert [event["what"] for event in events if event not in before] == ["From today, by Cleo"]
    assert [event for event in events if event in before] == before


@pytest.mark.parametrize("since", ["yesterday", "0h", "12", "2026-13-01", "2026-11-30T08:00"])
def test_a_time_that_is_none_is_answered_with_those_that_are(past, since):
    said = run(past, "history", "--since", since)

    assert said.code == 2
    assert "write 12h, 3d, 2026-12-31 or 2026-12-31T08:00Z" in said.err
