from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.promotion.dora import (
    Agreement,
    DoraMeasures,
    Lead,
    dora_measures,
    find_agreements,
)
from modelyard.domain.promotion.facts import (
    GateOverride,
    Hold,
    ModelFacts,
    ReleaseFacts,
    TrainingFacts,
)
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.promotion.pulls import BrokenGlass
from modelyard.domain.promotion.timeline import (
    Event,
    Kind,
    Landing,
    PinChange,
    decision_events,
    glass_events,
    landing_events,
    merge_timelines,
    observation_events,
)
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.verdict import Outcome, Verdict
from unit.domain.promotion.examples import MODEL, PATH, record, release, spec

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CATALOG = Catalog(
    environments={each.name: each for each in PATH},
    versions={(MODEL, "v1"): spec("v1"), (MODEL, "v2"): spec("v2")},
    records={(MODEL, "v1"): record("v1"), (MODEL, "v2"): record("v2", Outcome.FAIL)},
)
FAIL = Verdict(outcome=Outcome.FAIL, reason="too many errors", numbers={"errors": 0.3})


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def event(kind: Kind, seconds: float = 0, **fields) -> Event:
    return Event(at=after(seconds), kind=kind, what="", **fields)


def trailers(environment, version=None, **more):
    told = {"Modelyard-Model": MODEL, "Modelyard-Environment": environment, "Modelyard-Pull": "7"}
    return told | ({"Modelyard-Version": version} if version else {}) | more


def facts(environment="dev", version="v1", **fields) -> ReleaseFacts:
    named = release(environment, version)
    return ReleaseFacts(
        release=named.identity, version=version, artifact=named.artifact, seen_at=AT, **fields
    )


def kinds(events):
    return [(each.kind, each.version) for each in events]


def test_a_spec_and_a_record_are_told_with_the_reason_and_the_verdict():
    landings = [
        Landing(commit="c1", at=AT, specs=("v2",)),
        Landing(commit="c2", at=after(9), pull=3, records=("v2",)),
    ]

    assert list(landing_events(MODEL, landings, CATALOG)) == [
        Event(at=AT, kind=Kind.SPEC, what="somebody asked", version="v2", commit="c1"),
        Event(
            at=after(9),
            kind=Kind.RECORD,
            what="gate: fail: so it was measured",
            version="v2",
            outcome=Outcome.FAIL,
            commit="c2",
            pull=3,
        ),
    ]


def test_a_record_of_an_artifact_that_training_signed_says_by_which_key():
    made = record("v1")
    signed = replace(made, artifact=replace(made.artifact, signed_by="ab" * 32))
    catalog = replace(CATALOG, records={(MODEL, "v1"): signed})
    (told,) = landing_events(MODEL, [Landing(commit="c", at=AT, records=("v1",))], catalog)
    assert told.what.endswith("; signed in training by the key abababababab...")


def test_a_commit_that_brings_a_record_and_a_release_is_two_events():
    landing = Landing(commit="c", at=AT, pull=7, trailers=trailers("dev", "v1"), records=("v1",))

    assert [(e.kind, e.environment, e.pull) for e in landing_events(MODEL, [landing], CATALOG)] == [
        (Kind.RECORD, None, 7),
        (Kind.RELEASE, "dev", 7),
    ]


def test_a_rollback_names_what_went_and_what_came_back():
    told = trailers("canary", "v1", **{"Modelyard-Rollback-Of": "v2", "Modelyard-Reason": "bad"})

    landing = Landing(commit="c", at=AT, pull=7, trailers=told)

    assert list(landing_events(MODEL, [landing], CATALOG)) == [
        Event(
            at=AT,
            kind=Kind.ROLLBACK,
            what="v2 was rolled back to v1: bad",
            version="v1",
            environment="canary",
            rolled_back="v2",
            commit="c",
            pull=7,
        )
    ]


def test_a_release_that_was_removed_went_back_to_nothing():
    told = trailers("canary", **{"Modelyard-Rollback-Of": "v1"})

    (removal,) = landing_events(MODEL, [Landing(commit="c", at=AT, trailers=told)], CATALOG)

    assert (removal.version, removal.rolled_back) == (None, "v1")
    assert removal.what == "v1 was removed: no reason was recorded"


def test_what_only_a_commit_says_of_itself_is_told_as_such():
    said = "approved by olga, what it was for"
    landing = Landing(commit="c", at=AT, trailers=trailers("dev", "v1"), unproven=said)

    (event,) = landing_events(MODEL, [landing], CATALOG)

    assert event.what == f"v1 was released to dev; said by the commit, not proven: {said}"
    assert (event.pull, event.approved_by) == (None, None)


def test_other_models_commits_are_not_told():
    other = trailers("dev", "v1") | {"Modelyard-Model": "other"}

    assert list(landing_events(MODEL, [Landing(commit="c", at=AT, trailers=other)], CATALOG)) == []


def test_specs_and_records_that_are_gone_are_told_all_the_same():
    landing = Landing(commit="c", at=AT, specs=("v9",), records=("v9",))

    assert [each.what for each in landing_events(MODEL, [landing], CATALOG)] == [
        "its spec was deleted or is not valid",
        "its record was deleted or is not valid",
    ]


def test_a_release_is_seen_then_healthy_then_judged_then_verified():
    named = release("canary", "v1")
    passed = Verdict(outcome=Outcome.PASS, reason="as good", numbers={"rows": 10.0})
    seen = facts("canary")
    healthy = replace(seen, healthy_since=after(2))
    judged = replace(healthy, verdict=passed, judged_at=after(3))
    verified = replace(judged, verified=(named.identity,))
    history = [(after(1), seen), (after(2), healthy), (after(3), judged), (after(4), verified)]

    said = {"version": "v1", "environment": "canary", "release": named.identity}
    assert list(observation_events("canary", history)) == [
        Event(at=AT, kind=Kind.SEEN, what="its rollout started", **said),
        Event(at=after(2), kind=Kind.HEALTHY, what="ready", **said),
        Event(
            at=after(3),
            kind=Kind.JUDGED,
            what="pass: as good",
            outcome=Outcome.PASS,
            numbers={"rows": 10.0},
            **said,
        ),
        Event(
            at=after(4),
            kind=Kind.VERIFIED,
            what="ready, soaked and, if judged here, passed",
            **said,
        ),
    ]


def test_one_write_may_hold_several_events():
    bad = facts(healthy_since=after(1), verdict=FAIL, judged_at=after(2), aborted=FAIL.reason)

    assert kinds(observation_events("dev", [(after(3), bad)])) == [
        (Kind.SEEN, "v1"),
        (Kind.HEALTHY, "v1"),
        (Kind.JUDGED, "v1"),
        (Kind.ABORTED, "v1"),
    ]


def test_an_abort_repeats_no_verdict_but_tells_its_own_reason():
    judged = facts(verdict=FAIL, aborted=FAIL.reason)
    late = facts(aborted="not ready within 120 s")

    assert [
        [each.what for each in observation_events("dev", [(AT, one)]) if each.kind is Kind.ABORTED]
        for one in (judged, late)
    ] == [["taken out of traffic"], ["taken out of traffic: not ready within 120 s"]]


def test_a_verdict_that_is_only_reworded_is_told_once():
    unsure = [
        Verdict(outcome=Outcome.INCONCLUSIVE, reason=f"{rows} rows so far") for rows in range(3)
    ]
    history = [(after(n), facts(verdict=verdict)) for n, verdict in enumerate(unsure)]

    assert kinds(observation_events("dev", history)) == [(Kind.SEEN, "v1"), (Kind.JUDGED, "v1")]


def test_a_verdict_of_facts_without_its_time_is_of_the_time_of_the_facts():
    judged = replace(facts(verdict=FAIL), judged_at=None)
    (found,) = (e for e in observation_events("dev", [(AT, judged)]) if e.kind is Kind.JUDGED)
    assert found.at == AT
    later = replace(judged, judged_at=after(-5))
    (found,) = (e for e in observation_events("dev", [(AT, later)]) if e.kind is Kind.JUDGED)
    assert found.at == after(-5)


def test_health_that_is_lost_and_comes_back_is_told():
    history = [
        (after(1), facts(healthy_since=after(1))),
        (after(5), facts()),
        (after(9), facts(healthy_since=after(9))),
    ]

    assert [(e.kind, e.at) for e in observation_events("dev", history)] == [
        (Kind.SEEN, AT),
        (Kind.HEALTHY, after(1)),
        (Kind.UNHEALTHY, after(5)),
        (Kind.HEALTHY, after(9)),
    ]


def test_the_next_release_starts_a_story_of_its_own():
    first = facts(healthy_since=after(1), verdict=FAIL, judged_at=after(1), aborted="bad")
    second = facts(version="v2", healthy_since=after(8))

    assert kinds(observation_events("dev", [(after(1), first), (after(8), second)]))[4:] == [
        (Kind.SEEN, "v2"),
        (Kind.HEALTHY, "v2"),
    ]


def test_holds_trainings_and_incidents_are_told_when_they_change():
    hold = Hold(reason="bad", by="ann", since=after(1))
    incident = Incident(what="look here", at=after(3))
    held = ModelFacts(holds={"v2": hold})
    tried = replace(held, training={"v3": TrainingFacts(attempt=2)})
    failed = replace(tried, training={"v3": TrainingFacts(attempt=2, failed="no disk")})
    seen = replace(failed, incidents=(incident,))
    lifted = replace(seen, holds={}, lifted={"v2": after(4)})
    history = list(enumerate([held, held, tried, failed, seen, lifted]))

    assert [
        (e.kind, e.at, e.version, e.what)
        for e in decision_events((after(n), f) for n, f in history)
    ] == [
        (Kind.HELD, after(1), "v2", "by ann: bad"),
        (Kind.RETRIED, after(2), "v3", "attempt 2 is next"),
        (Kind.TRAINING_FAILED, after(3), "v3", "for good: no disk"),
        (Kind.INCIDENT, after(3), None, "look here"),
        (Kind.HOLD_LIFTED, after(4), "v2", "the hold was lifted"),
    ]


def test_an_override_is_told_once_with_who_until_when_and_why():
    given = GateOverride(reason="season", by="ann", since=after(1), until=after(60))
    again = replace(given, since=after(9), until=after(120))
    history = [ModelFacts(overrides={"v2": each}) for each in (given, given, again)]

    assert list(decision_events((after(n), f) for n, f in enumerate(history))) == [
        Event(
            at=after(since),
            kind=Kind.OVERRIDDEN,
            what=f"its inconclusive gate, by ann until 2026-03-01T12:0{minute}+00:00: season",
            version="v2",
        )
        for since, minute in ((1, 1), (9, 2))
    ]


def test_within_one_second_causes_are_told_before_their_effects():
    where = {"environment": "canary"}
    main = [
        event(Kind.RELEASE, version="v2", **where),
        event(Kind.ROLLBACK, version="v1", rolled_back="v2", **where),
    ]
    canary = [
        event(Kind.SEEN, 0.1, version="v2", **where),
        event(Kind.HEALTHY, 0.2, version="v2", **where),
        event(Kind.JUDGED, 0.3, version="v2", outcome=Outcome.FAIL, **where),
        event(Kind.ABORTED, 0.3, version="v2", **where),
        event(Kind.SEEN, 0.8, version="v1", **where),
        event(Kind.HEALTHY, 0.9, version="v1", **where),
    ]
    staging = [event(Kind.VERIFIED, version="v2", environment="staging")]
    model = [event(Kind.HELD, 0.5, version="v2")]

    assert kinds(merge_timelines(model, main, canary, staging)) == [
        (Kind.VERIFIED, "v2"),
        (Kind.RELEASE, "v2"),
        (Kind.SEEN, "v2"),
        (Kind.HEALTHY, "v2"),
        (Kind.JUDGED, "v2"),
        (Kind.ABORTED, "v2"),
        (Kind.HELD, "v2"),
        (Kind.ROLLBACK, "v1"),
        (Kind.SEEN, "v1"),
        (Kind.HEALTHY, "v1"),
    ]


def test_causes_that_go_round_in_a_circle_still_end():
    one = [event(Kind.SEEN, version="v1", environment="dev"), event(Kind.VERIFIED, version="v2")]
    other = [
        event(Kind.RELEASE, version="v2", environment="x"),
        event(Kind.RELEASE, version="v1", environment="dev"),
    ]

    assert merge_timelines(one, other) == (one[0], one[1], other[0], other[1])


EVENTS = st.builds(
    event,
    st.sampled_from(Kind),
    st.floats(0, 5, allow_nan=False),
    version=st.sampled_from(["v1", "v2", None]),
    environment=st.sampled_from(["dev", "canary", None]),
    rolled_back=st.sampled_from(["v1", "v2", None]),
)


@pytest.mark.long
@given(st.lists(st.lists(EVENTS, max_size=8), max_size=4))
def test_a_story_tells_everything_once_and_keeps_each_sources_own_order(sources):
    numbered = [
        [replace(each, what=f"{source} {place}") for place, each in enumerate(events)]
        for source, events in enumerate(sources)
    ]

    told = [each.what for each in merge_timelines(*numbered)]

    assert sorted(told) == sorted(each.what for events in numbered for each in events)
    for source, events in enumerate(numbered):
        mine = [what for what in told if what.startswith(f"{source} ")]
        assert mine == [each.what for each in events]


@pytest.mark.long
@given(st.lists(st.lists(EVENTS, max_size=8), max_size=4))
def test_a_story_of_clocks_that_run_forward_never_goes_back_by_a_second(sources):
    forward = [sorted(events, key=lambda each: each.at) for events in sources]

    seconds = [each.at.replace(microsecond=0) for each in merge_timelines(*forward)]

    assert seconds == sorted(seconds)


def fail(seconds, environment="canary", version="v2", release="r2"):
    return event(
        Kind.JUDGED,
        seconds,
        outcome=Outcome.FAIL,
        environment=environment,
        version=version,
        release=release,
    )


def healthy(seconds, environment="canary", version="v1", release="r1"):
    return event(Kind.HEALTHY, seconds, environment=environment, version=version, release=release)


def rollback(seconds, environment="canary", version="v1", of="v2"):
    return event(Kind.ROLLBACK, seconds, environment=environment, version=version, rolled_back=of)


def test_a_rollback_is_timed_from_the_verdict_to_the_restored_releases_health():
    events = (healthy(0), fail(10.25), rollback(14), healthy(15.75))

    assert find_agreements(events) == (
        Agreement(
            environment="canary",
            version="v2",
            failed_at=after(10.25),
            restored="v1",
            agreed_at=after(15.75),
        ),
    )
    assert find_agreements(events)[0].seconds == 5.5


def test_a_rollback_is_not_over_while_the_restored_release_is_not_healthy():
    events = (fail(10), rollback(14), healthy(15, environment="staging"))

    (open_one,) = find_agreements(events)

    assert (open_one.restored, open_one.agreed_at, open_one.seconds) == (None, None, None)


def test_a_person_who_promotes_something_else_is_no_rollback():
    assert find_agreements((fail(10), healthy(15, version="v3", release="r3")))[0].seconds is None


def test_the_main_branchs_clock_does_not_hide_an_agreement():
    assert find_agreements((rollback(0), fail(10), healthy(12)))[0].seconds == 2


def test_a_version_that_fails_twice_has_two_agreements():
    events = (
        fail(10),
        rollback(12),
        healthy(13),
        fail(20, release="r2 again"),
        rollback(23),
        healthy(26),
    )

    assert [each.seconds for each in find_agreements(events)] == [3, 6]


def test_a_model_is_summed_up_in_four_numbers():
    events = (
        event(Kind.SPEC, 0, version="v1"),
        event(Kind.RECORD, 5, version="v1", outcome=Outcome.PASS),
        event(Kind.RELEASE, 10, version="v1", environment="canary"),
        event(Kind.RELEASE, 20, version="v1", environment="production"),
        event(Kind.VERIFIED, 30, version="v1", environment="production"),
        event(Kind.SPEC, 100, version="v2"),
        event(Kind.RECORD, 101, version="v2", outcome=Outcome.PASS),
        event(Kind.RELEASE, 105, version="v2", environment="dev"),
        event(Kind.RELEASE, 110, version="v2", environment="canary"),
        fail(120),
        rollback(125),
        rollback(126, environment="dev"),
        healthy(127),
        event(Kind.SPEC, 200, version="v3"),
        event(Kind.RELEASE, 210, version="v3", environment="canary"),
        event(Kind.RELEASE, 220, version="v3", environment="production"),
        event(Kind.VERIFIED, 290, version="v3", environment="production"),
        event(Kind.VERIFIED, 999, version="v3", environment="production"),
    )

    summed = dora_measures(events, CATALOG)

    assert summed == DoraMeasures(
        leads=(
            Lead(version="v1", merged_at=AT, outcome=Outcome.PASS, production_at=after(30)),
            Lead(version="v2", merged_at=after(100), outcome=Outcome.PASS),
            Lead(version="v3", merged_at=after(200), production_at=after(290)),
        ),
        releases_to_production=2,
        exposed=("v1", "v2", "v3"),
        rolled_back=("v2",),
        agreements=find_agreements(events),
    )
    assert [lead.seconds for lead in summed.leads] == [30, None, 90]
    assert summed.lead_time_median == 60
    assert summed.rolled_back_share == 1 / 3
    assert [each.seconds for each in summed.agreements] == [7]


RELEASED = tuple(
    event(Kind.RELEASE, at, version="v1", environment=name)
    for at, name in enumerate(("dev", "staging", "canary", "production"))
)
LEFT = tuple(
    rollback(at, name, version=None, of="v1")
    for at, name in enumerate(("canary", "production", "staging", "dev"), 20)
)


@pytest.mark.parametrize(
    ("later", "rolled_back"),
    [
        (LEFT, ()),
        ((*LEFT, event(Kind.RELEASE, 30, version="v2", environment="dev")), ()),
        # Users complained: what is before production stays, and the next version comes.
        (LEFT[:2], ("v1",)),
        ((*LEFT[:2], event(Kind.RELEASE, 30, version="v2", environment="dev"), *LEFT[2:]), ("v1",)),
        ((fail(10, "canary", "v1"), *LEFT), ("v1",)),
        ((event(Kind.ABORTED, 10, environment="production", version="v1"), *LEFT), ("v1",)),
    ],
)
def test_a_model_that_a_person_takes_out_everywhere_was_retired_and_did_not_fail(
    later, rolled_back
):
    assert dora_measures((*RELEASED, *later), CATALOG).rolled_back == rolled_back


@pytest.mark.parametrize(
    ("days", "rolled_back"),
    [
        ((0, 0, 3, 6), ()),
        # Taken out in a hurry, and given up weeks later.
        ((0, 0, 20, 20), ("v1",)),
        ((0, 0, 6, 8), ("v1",)),
        # Users meet it in canary and production alone.
        ((9, 9, 9, 0), ()),
        ((9, 9, 0, 15), ()),
    ],
)
def test_a_model_that_left_the_rest_much_later_was_rolled_back_where_it_left_first(
    days, rolled_back
):
    left = [
        replace(each, at=each.at + timedelta(days)) for each, days in zip(LEFT, days, strict=True)
    ]
    events = (*RELEASED, *sorted(left, key=lambda each: each.at))
    assert dora_measures(events, CATALOG).rolled_back == rolled_back


def test_a_version_that_went_back_before_its_model_was_retired_is_still_counted():
    second = event(Kind.RELEASE, 5, version="v2", environment="canary")
    events = (*RELEASED, second, rollback(6), *LEFT)
    assert dora_measures(events, CATALOG).rolled_back == ("v2",)


def test_a_model_that_never_got_anywhere_has_no_numbers_instead_of_zeros():
    nameless = event(Kind.SPEC)
    summed = dora_measures((nameless, event(Kind.SPEC, version="v1")), CATALOG)

    assert [lead.version for lead in summed.leads] == ["v1"]
    assert (summed.lead_time_median, summed.rolled_back_share) == (None, None)
    assert (summed.releases_to_production, summed.exposed) == (0, ())


@pytest.mark.parametrize(
    ("before", "now", "kind", "what"),
    [
        ("v1", "v2", Kind.RELEASE, "v2 was released to dev"),
        (None, "v2", Kind.RELEASE, "v2 was released to dev"),
        ("v2", "v2", Kind.RELEASE, "v2 was pinned anew"),
        ("v2", None, Kind.ROLLBACK, "v2 was removed"),
    ],
)
def test_a_pin_that_the_tool_did_not_change_is_told_with_its_author(before, now, kind, what):
    pin = PinChange(environment="dev", before=before, after=now)
    for pull, how in ((None, "without a merged pull request"), (7, "with no word of the tool")):
        landing = Landing(commit="c", at=AT, pull=pull, author="ada", pins=(pin,))
        (told,) = landing_events(MODEL, [landing], CATALOG)
        assert (told.kind, told.environment, told.version) == (kind, "dev", now)
        assert told.what == f"{what} by a commit of ada, {how}"
        assert told.rolled_back == (before if now is None else None)


def test_a_broken_glass_is_told_of_its_model_and_of_rules():
    word = BrokenGlass(
        number=7,
        sha="0123456789" + "f" * 30,
        login="olga",
        person="olga",
        reason="down",
        at=AT,
        issue=9,
        model=MODEL,
    )
    words = [word, replace(word, model="other"), replace(word, model="", number=8)]
    told = list(glass_events(MODEL, words))
    said = "0123456789 without approvals, by olga: down; followed up in #9"
    assert [(each.what, each.pull, each.kind) for each in told] == [
        (said, 7, Kind.GLASS_BROKEN),
        (said, 8, Kind.GLASS_BROKEN),
    ]
