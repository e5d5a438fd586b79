from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import checks
from modelyard.domain.drift.retraining import (
    MAX_LOOKS,
    FeedFile,
    Retraining,
    RetrainingDays,
    RetrainingInputs,
    declined_by,
    excluded_days,
    existing_answer,
    held_out_in_use,
    next_version_name,
    plan_days,
    plan_retraining,
)
from modelyard.domain.people import Person
from modelyard.domain.promotion.facts import Hold
from modelyard.domain.promotion.pulls import PullRequest, PullState
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import (
    DataContract,
    DriftPolicy,
    GatePolicy,
    Model,
    Output,
    OutputKind,
    Owner,
    Target,
    Task,
    Trainer,
)
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import Refused

EVIDENCE = "sha256:" + "e" * 64
BOT = "modelyard[bot]"
NOW = datetime(2026, 7, 1, tzinfo=UTC)
MODEL = Model(
    name="m",
    description="m",
    owner=Owner(team="t", contact="t@example.org"),
    task=Task.BINARY,
    target=Target(column="y", above=0.0),
    outputs=(Output(name="p", kind=OutputKind.PROBABILITY, primary=True),),
    trainer=Trainer(command=("train",)),
    data=DataContract(
        columns=(
            Column(name="day", type="timestamp"),
            Column(name="y", type="number", available_at="later"),
        ),
        timestamp="day",
    ),
    gate=GatePolicy(metric="auc", margin=0.01),
)


def span(since: str, until: str) -> Interval:
    return Interval(since=date.fromisoformat(since), until=date.fromisoformat(until))


def pin(uri: str, digit: str = "a") -> DataFile:
    return DataFile(uri=uri, sha256=digit * 64)


APRIL = HeldOut(
    model="m",
    name="april",
    files=(pin("2026-04"),),
    cluster="day",
    role=Role.RECENT,
    max_looks=7,
    window=span("2026-04-01", "2026-05-01"),
)
V2 = ModelVersion(
    model="m",
    version="v2",
    reason="More",
    parent="v1",
    data=TrainingData(
        files=(pin("2026-01"), pin("2026-02"), pin("2026-03")),
        window=span("2026-01-01", "2026-04-01"),
    ),
    held_out=("april",),
    code=Code(tree="0" * 40),
    runtime=Runtime(lock="0" * 64, image="image@sha256:" + "1" * 64),
    parameters={"depth": 3},
    seed=7,
)
RECORD = Record(
    model="m",
    version="v2",
    spec="0" * 64,
    workflow="m-v2",
    attempt=1,
    seed=7,
    lock="0" * 64,
    threads=1,
    verdict=Verdict(outcome=Outcome.PASS, reason="better"),
)
CATALOG = Catalog(
    models={"m": MODEL},
    versions={("m", "v1"): replace(V2, version="v1", parent=None), ("m", "v2"): V2},
    held_out={("m", "april"): APRIL},
)


def inputs(
    *,
    model: Model = MODEL,
    catalog: Catalog = CATALOG,
    parent: ModelVersion = V2,
    until: date = date(2026, 7, 1),
) -> RetrainingInputs:
    return RetrainingInputs(
        model=model,
        parent=parent,
        catalog=catalog,
        days=plan_days(model, parent, catalog.held_out_of("m"), until=until),
        training=(pin("2026-05"), pin("2026-06")),
        judging=(pin("2026-06"),),
        reason="It moved",
        evidence=EVIDENCE,
        code=Code(tree="1" * 40),
        runtime=Runtime(lock="1" * 64, image=V2.runtime.image),
    )


def test_a_version_made_from_drift_trains_on_all_history_but_the_held_out_days():
    recent = HeldOut(
        model="m",
        name="recent-2026-06-10",
        files=(pin("2026-06"),),
        cluster="day",
        role=Role.RECENT,
        max_looks=7,
        window=span("2026-06-10", "2026-07-01"),
    )
    assert plan_retraining(inputs()) == Retraining(
        version=replace(
            V2,
            version="v3",
            reason="It moved",
            parent="v2",
            data=TrainingData(
                files=tuple(pin(f"2026-0{month}") for month in (1, 2, 3, 5, 6)),
                window=span("2026-01-01", "2026-06-10"),
                excludes=(span("2026-04-01", "2026-05-01"),),
            ),
            held_out=("recent-2026-06-10", "april"),
            code=Code(tree="1" * 40),
            runtime=Runtime(lock="1" * 64, image=V2.runtime.image),
            evidence=EVIDENCE,
        ),
        held_out=recent,
        aged=(replace(APRIL, role=Role.OLD),),
    )


def test_only_days_the_parent_did_not_train_on_are_new():
    assert plan_days(MODEL, V2, [APRIL], until=date(2026, 7, 1)) == RetrainingDays(
        window=span("2026-01-01", "2026-06-10"),
        excludes=(span("2026-04-01", "2026-05-01"),),
        held_out=span("2026-06-10", "2026-07-01"),
        new=(span("2026-05-01", "2026-06-10"),),
    )


def test_with_late_labels_only_labelled_days_are_held_out_and_training_stops_before_them():
    model = replace(MODEL, target=replace(MODEL.target, delay_days=10))
    found = plan_days(model, V2, [APRIL], until=date(2026, 7, 11))
    assert found.held_out == span("2026-06-10", "2026-07-01")
    assert found.window == span("2026-01-01", "2026-05-31")


def test_retired_sets_stay_out_of_training_but_judge_no_more():
    retired = replace(APRIL, retired=True)
    made = plan_retraining(inputs(catalog=replace(CATALOG, held_out={("m", "april"): retired})))
    assert made.version.held_out == ("recent-2026-06-10",)
    assert made.version.data.excludes == (span("2026-04-01", "2026-05-01"),)
    assert (made.held_out.cluster, made.held_out.max_looks, made.aged) == ("day", 7, ())


def test_without_any_set_to_follow_the_day_is_the_cluster():
    made = plan_retraining(inputs(catalog=replace(CATALOG, held_out={})))
    assert (made.held_out.cluster, made.held_out.max_looks) == ("day", MAX_LOOKS)


def test_a_set_that_holds_these_very_days_out_already_is_used_again():
    same = replace(APRIL, name="june", window=span("2026-06-10", "2026-07-01"))
    made = plan_retraining(inputs(catalog=replace(CATALOG, held_out={("m", "june"): same})))
    assert made.held_out == same
    assert made.version.held_out == ("june",)


def test_a_retired_set_of_these_very_days_is_not_used_again():
    gone = replace(APRIL, name="june", window=span("2026-06-10", "2026-07-01"), retired=True)
    made = plan_retraining(inputs(catalog=replace(CATALOG, held_out={("m", "june"): gone})))
    assert made.held_out.name == "recent-2026-06-10"


def test_a_new_set_takes_a_free_name():
    taken = replace(APRIL, name="recent-2026-06-10")
    sets = {("m", each.name): each for each in (APRIL, taken)}
    made = plan_retraining(inputs(catalog=replace(CATALOG, held_out=sets)))
    assert made.held_out.name == "recent-2026-06-10-2"


def test_a_set_at_the_end_of_the_training_days_moves_their_end_until_its_labels_would_be_known():
    model = replace(MODEL, target=replace(MODEL.target, delay_days=5))
    may = replace(APRIL, name="may", window=span("2026-05-20", "2026-06-20"))
    parent = replace(V2, held_out=("may",))
    found = plan_days(model, parent, [may], until=date(2026, 7, 11))
    assert found.window == span("2026-01-01", "2026-05-15")


def test_waits_until_there_are_days_the_parent_never_saw():
    later = replace(V2, data=replace(V2.data, window=span("2026-01-01", "2026-06-20")))
    with pytest.raises(Refused) as refused:
        plan_days(MODEL, later, [], until=date(2026, 7, 1))
    assert refused.value.message == (
        "v2 trained on days before 2026-06-20, so there are 21 held-out days that it has not seen "
        "only from 2026-07-11 on"
    )
    with pytest.raises(Refused, match="all are held out, or not labelled yet"):
        plan_days(MODEL, later, [], until=date(2026, 7, 11))
    assert plan_days(MODEL, later, [], until=date(2026, 7, 12)).new == (
        span("2026-06-20", "2026-06-21"),
    )


def test_refuses_a_parent_without_days():
    timeless = replace(V2, data=replace(V2.data, window=None))
    with pytest.raises(Refused, match="no training window to continue"):
        plan_days(MODEL, timeless, [], until=date(2026, 7, 1))


@pytest.mark.parametrize(
    ("parent", "names", "expected"),
    [
        ("v2", ["v1", "v2", "v3", "v4"], "v5"),
        ("v9", ["v9", "v10"], "v11"),
        ("v1.9", ["v1.9", "v1.10", "x"], "v1.11"),
        ("first", ["first"], "first-2"),
        ("first", ["first", "first-2"], "first-3"),
        ("v2", ["v2", "r2026-06-30"], "v31"),
    ],
)
def test_the_next_version_has_the_highest_number_of_all_and_one_more(parent, names, expected):
    assert next_version_name(parent, names) == expected


def test_refuses_a_next_name_that_is_too_long():
    with pytest.raises(Refused, match="is no valid version name"):
        next_version_name("a" * 40, ["a" * 40])


def test_excluded_days_are_those_that_overlap_in_order_and_once():
    march = replace(APRIL, name="march", window=span("2026-03-01", "2026-03-02"))
    july = replace(APRIL, name="july", window=span("2026-07-01", "2026-07-02"))
    timeless = replace(APRIL, name="x", window=None)
    sets = [APRIL, replace(APRIL, name="again"), march, july, timeless]
    assert excluded_days(span("2026-01-01", "2026-07-01"), sets) == (march.window, APRIL.window)
    assert excluded_days(None, sets) == ()


def test_a_file_reaches_a_span_by_its_rows_and_not_by_its_first_and_last_day():
    file = FeedFile(uri="x", days=frozenset({date(2026, 3, 31), date(2026, 5, 1)}))
    assert not file.reaches((span("2026-04-01", "2026-05-01"),))
    assert file.reaches((span("2026-04-01", "2026-05-02"),))


def test_held_out_sets_in_use_are_kept_and_in_the_parents_order():
    may = replace(APRIL, name="may")
    parent = replace(V2, held_out=("may", "gone", "april", "old"))
    sets = [APRIL, may, replace(APRIL, name="old", retired=True)]
    assert held_out_in_use(parent, sets) == (may, APRIL)


def later(evidence: str | None = "sha256:" + "f" * 64) -> Catalog:
    """The catalog with a v3 made for other drift."""
    v3 = replace(V2, version="v3", parent="v2", evidence=evidence)
    return replace(CATALOG, versions={**CATALOG.versions, ("m", "v3"): v3})


def judged(catalog: Catalog, outcome: Outcome) -> Catalog:
    verdict = Verdict(outcome=outcome, reason="so")
    return replace(catalog, records={("m", "v3"): replace(RECORD, version="v3", verdict=verdict)})


def said(catalog: Catalog, holds: dict[str, Hold] | None = None) -> str | None:
    return existing_answer(catalog, V2, evidence=EVIDENCE, holds=holds or {})


def test_a_version_is_owed_when_none_was_made_for_drift():
    assert said(CATALOG) is None
    assert said(later(None)) is None


def test_nothing_is_owed_while_a_version_made_for_drift_has_no_verdict():
    assert said(later()) == "v3 was made for drift and has no verdict yet"


def test_nothing_is_owed_while_a_version_that_passed_is_on_its_way():
    catalog = judged(later(), Outcome.PASS)
    assert said(catalog) == "v3 was made for drift, passed, and is on its way to production"
    hold = Hold(reason="worse", by="ada", since=NOW)
    assert said(catalog, {"v3": hold}) is None


def test_after_a_refused_version_new_evidence_may_ask_again_but_the_same_never():
    assert said(judged(later(), Outcome.FAIL)) is None
    same = judged(later(EVIDENCE), Outcome.FAIL)
    assert said(same) == "v3 was made for the same evidence"


def test_a_version_older_than_what_production_runs_is_not_on_its_way():
    v3 = replace(V2, version="v3", parent="v2")
    old = {("m", "v1"): replace(V2, version="v1", evidence="sha256:" + "f" * 64), ("m", "v3"): v3}
    assert existing_answer(replace(CATALOG, versions=old), v3, evidence=EVIDENCE, holds={}) is None


def pull(**fields: object) -> PullRequest:
    base = PullRequest(
        number=4,
        branch="modelyard/retrain/m",
        title="Retrain",
        body=f"Evidence `{EVIDENCE}`.",
        author=Person.named(BOT),
        base="0" * 40,
        head="1" * 40,
        state=PullState.CLOSED,
        opened_at=NOW,
        closed_by=Person.named("ada"),
    )
    return replace(base, **fields)


def test_what_a_person_closed_is_declined_for_its_evidence_alone():
    words = "ada closed pull request 4 for the same evidence"
    assert declined_by([pull()], "m", evidence=EVIDENCE, bot=BOT) == words
    for other in (
        pull(body="Evidence `sha256:0`."),
        pull(closed_by=Person.named(BOT)),
        pull(state=PullState.OPEN),
        pull(state=PullState.MERGED),
        pull(branch="modelyard/retrain/other"),
    ):
        assert declined_by([other], "m", evidence=EVIDENCE, bot=BOT) is None
    somebody = declined_by([pull(closed_by=None)], "m", evidence=EVIDENCE, bot=BOT)
    assert somebody == "somebody closed pull request 4 for the same evidence"


days = st.integers(0, 200).map(lambda number: date(2026, 1, 1) + timedelta(days=number))


@st.composite
def spans(draw: st.DrawFn, longest: int = 60) -> Interval:
    since = draw(days)
    return Interval(since=since, until=since + timedelta(days=draw(st.integers(1, longest))))


@st.composite
def held_out_sets(draw: st.DrawFn) -> tuple[HeldOut, ...]:
    windows = draw(st.lists(spans(longest=30), max_size=4))
    return tuple(
        replace(
            APRIL,
            name=f"set{number}",
            window=window,
            retired=draw(st.booleans()),
            role=draw(st.sampled_from(Role)),
        )
        for number, window in enumerate(windows)
    )


@settings(max_examples=300)
@given(
    window=spans(longest=120),
    sets=held_out_sets(),
    until=days,
    delay=st.integers(0, 15),
    length=st.integers(1, 30),
    chosen=st.sets(st.integers(0, 3)),
)
def test_whatever_the_calendar_the_next_version_keeps_every_rule(
    window, sets, until, delay, length, chosen
):
    model = replace(
        MODEL,
        target=replace(MODEL.target, delay_days=delay),
        drift=DriftPolicy(held_out_days=length),
    )
    parent = replace(
        V2,
        parent=None,
        data=replace(V2.data, window=window, excludes=excluded_days(window, sets)),
        held_out=tuple(each.name for i, each in enumerate(sets) if i in chosen),
    )
    catalog = Catalog(
        models={"m": model},
        versions={("m", "v2"): parent},
        held_out={("m", each.name): each for each in sets},
    )
    if not parent.data.spans:
        return
    try:
        made = plan_retraining(inputs(model=model, catalog=catalog, parent=parent, until=until))
    except Refused:
        return
    after = Catalog(
        models=catalog.models,
        versions={**catalog.versions, ("m", made.version.version): made.version},
        held_out={
            **catalog.held_out,
            **{("m", each.name): each for each in (made.held_out, *made.aged)},
        },
    )
    file = f"models/m/versions/{made.version.version}.yaml"
    assert [p.message for p in checks.find_problems(after) if p.file == file] == []
    assert made.held_out.window is not None
    assert made.held_out.window.until + timedelta(days=delay) <= until
    assert parent.data.spans[-1].until + timedelta(days=delay) <= made.held_out.window.since
    assert set(held_out_in_use(parent, sets)) >= {replace(e, role=Role.RECENT) for e in made.aged}
