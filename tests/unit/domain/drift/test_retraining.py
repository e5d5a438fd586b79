from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import checks
from modelyard.domain.drift.regime import (
    Regime,
    RetrainingDays,
    TooFewDays,
    excluded_days,
    held_out_in_use,
    plan_days,
)
from modelyard.domain.drift.retraining import (
    MAX_LOOKS,
    FeedFile,
    Retraining,
    RetrainingInputs,
    next_version_name,
    plan_retraining,
)
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval, count_days
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


def planned(
    model: Model,
    parent: ModelVersion,
    sets: Iterable[HeldOut],
    *,
    since: date = date(2026, 4, 25),
    until: date = date(2026, 7, 1),
    clusters: float = 1.0,
) -> RetrainingDays | TooFewDays:
    regime = Regime(since=since, until=until, clusters_a_day=clusters)
    return plan_days(model, parent, tuple(sets), regime)


def inputs(
    *,
    model: Model = MODEL,
    catalog: Catalog = CATALOG,
    parent: ModelVersion = V2,
    until: date = date(2026, 7, 1),
    since: date = date(2026, 4, 25),
) -> RetrainingInputs:
    days = planned(model, parent, catalog.held_out_of("m"), since=since, until=until)
    assert isinstance(days, RetrainingDays)
    return RetrainingInputs(
        model=model,
        parent=parent,
        catalog=catalog,
        days=days,
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
        name="recent-2026-06-11",
        files=(pin("2026-06"),),
        cluster="day",
        role=Role.RECENT,
        max_looks=7,
        window=span("2026-06-11", "2026-07-01"),
    )
    assert plan_retraining(inputs()) == Retraining(
        version=replace(
            V2,
            version="v3",
            reason="It moved",
            parent="v2",
            data=TrainingData(
                files=tuple(pin(f"2026-0{month}") for month in (1, 2, 3, 5, 6)),
                window=span("2026-01-01", "2026-06-11"),
                excludes=(span("2026-04-01", "2026-05-01"),),
            ),
            held_out=("recent-2026-06-11", "april"),
            better_on=("recent-2026-06-11",),
            code=Code(tree="1" * 40),
            runtime=Runtime(lock="1" * 64, image=V2.runtime.image),
            evidence=EVIDENCE,
        ),
        held_out=recent,
        aged=(replace(APRIL, role=Role.OLD),),
    )


def test_the_last_third_of_the_new_regime_is_held_out_and_the_rest_trains():
    assert planned(MODEL, V2, [APRIL]) == RetrainingDays(
        window=span("2026-01-01", "2026-06-11"),
        excludes=(span("2026-04-01", "2026-05-01"),),
        held_out=span("2026-06-11", "2026-07-01"),
        new=(span("2026-05-01", "2026-06-11"),),
        regime=(span("2026-05-01", "2026-06-11"),),
    )


@pytest.mark.parametrize(
    ("since", "held_out_days", "clusters", "held_out"),
    [
        ("2026-04-01", 21, 1.0, 21),  # held_out_days, of 91 days
        ("2026-04-01", 7, 1.0, 20),  # the clusters of the gate
        ("2026-05-01", 21, 1.0, 20),  # a third of 61 days
        ("2026-05-10", 21, 100.0, 17),  # a third of 52 days, of which each has clusters enough
        ("2026-05-20", 21, 100.0, 14),  # two windows
        ("2026-04-01", 3, 100.0, 14),
    ],
)
def test_at_most_a_third_of_the_new_regime_is_held_out(since, held_out_days, clusters, held_out):
    model = replace(MODEL, drift=DriftPolicy(held_out_days=held_out_days))
    found = planned(model, V2, [], since=date.fromisoformat(since), clusters=clusters)
    assert isinstance(found, RetrainingDays)
    assert count_days([found.held_out]) == held_out
    assert count_days(found.regime) >= 2 * held_out
    assert found.held_out.until == date(2026, 7, 1)


def test_with_late_labels_only_labelled_days_are_held_out_and_training_stops_before_them():
    model = replace(MODEL, target=replace(MODEL.target, delay_days=10))
    found = planned(model, V2, [APRIL], until=date(2026, 7, 21))
    assert isinstance(found, RetrainingDays)
    assert found.held_out == span("2026-06-21", "2026-07-11")
    assert found.window == span("2026-01-01", "2026-06-11")


def test_the_rows_of_retired_sets_train_again():
    retired = replace(APRIL, retired=True)
    made = plan_retraining(inputs(catalog=replace(CATALOG, held_out={("m", "april"): retired})))
    assert made.version.held_out == ("recent-2026-06-10",)
    assert made.version.data.excludes == ()
    assert (made.held_out.cluster, made.held_out.max_looks, made.aged) == ("day", 7, ())


def test_days_that_are_given_back_are_new_but_not_of_the_new_regime():
    parent = replace(V2, data=replace(V2.data, window=span("2026-01-01", "2026-05-10"),
                                      excludes=(span("2026-04-01", "2026-05-01"),)))  # fmt: skip
    given = [replace(APRIL, retired=True)]
    found = planned(MODEL, parent, given, since=date(2026, 4, 1), until=date(2026, 7, 15))
    assert isinstance(found, RetrainingDays)
    assert found.new == (span("2026-04-01", "2026-05-01"), span("2026-05-10", "2026-06-24"))
    assert found.regime == (span("2026-05-10", "2026-06-24"),)


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
    taken = replace(APRIL, name="recent-2026-06-11")
    sets = {("m", each.name): each for each in (APRIL, taken)}
    made = plan_retraining(inputs(catalog=replace(CATALOG, held_out=sets)))
    assert made.held_out.name == "recent-2026-06-11-2"


def test_a_set_at_the_end_of_the_training_days_moves_their_end_until_its_labels_would_be_known():
    model = replace(MODEL, target=replace(MODEL.target, delay_days=5))
    may = replace(APRIL, name="may", window=span("2026-05-20", "2026-06-20"))
    parent = replace(V2, held_out=("may",))
    found = planned(model, parent, [may], until=date(2026, 7, 16), since=date(2026, 3, 1))
    assert isinstance(found, RetrainingDays)
    assert found.window == span("2026-01-01", "2026-05-15")


def test_waits_for_enough_days_of_the_new_regime_and_says_how_many_and_when():
    assert planned(MODEL, V2, [], since=date(2026, 6, 15)) == TooFewDays(
        reason="of the new regime, since 2026-06-15, 0 days could train beside 20 held-out ones, "
        "of which the gate needs 20 clusters, but 40 must: 40 are missing, which will be there "
        "on 2026-08-14"
    )
    until = date(2026, 8, 14)
    last = planned(MODEL, V2, [], since=date(2026, 6, 15), until=until - timedelta(days=1))
    assert isinstance(last, TooFewDays)
    assert "39 days could train" in last.reason
    assert "1 are missing, which will be there on 2026-08-14" in last.reason
    found = planned(MODEL, V2, [], since=date(2026, 6, 15), until=until)
    assert isinstance(found, RetrainingDays)


def test_waits_until_there_are_held_out_days_the_parent_never_saw():
    later = replace(V2, data=replace(V2.data, window=span("2026-01-01", "2026-06-20")))
    found = planned(MODEL, later, [])
    assert isinstance(found, TooFewDays)
    assert found.reason.endswith("40 are missing, which will be there on 2026-08-19")


def test_says_that_held_out_sets_keep_the_new_regime_out_of_training():
    for_good = replace(APRIL, window=span("2026-04-01", "2090-01-01"))
    found = planned(MODEL, replace(V2, held_out=("april",)), [for_good])
    assert isinstance(found, TooFewDays)
    assert found.reason.endswith("40 are missing, because held-out sets keep them out of training")


def test_refuses_a_parent_without_days():
    timeless = replace(V2, data=replace(V2.data, window=None))
    with pytest.raises(Refused, match="no training window to continue"):
        planned(MODEL, timeless, [])


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
    assert excluded_days(span("2026-01-01", "2026-07-01"), [replace(APRIL, retired=True)]) == ()


def test_a_file_reaches_a_span_by_its_rows_and_not_by_its_first_and_last_day():
    file = FeedFile(uri="x", rows={date(2026, 3, 31): 1, date(2026, 5, 1): 1})
    assert not file.reaches((span("2026-04-01", "2026-05-01"),))
    assert file.reaches((span("2026-04-01", "2026-05-02"),))


def test_held_out_sets_in_use_are_kept_and_in_the_parents_order():
    may = replace(APRIL, name="may")
    parent = replace(V2, held_out=("may", "gone", "april", "old"))
    sets = [APRIL, may, replace(APRIL, name="old", retired=True)]
    assert held_out_in_use(parent, sets) == (may, APRIL)


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


@pytest.mark.long
@settings(max_examples=300)
@given(
    window=spans(longest=120),
    sets=held_out_sets(),
    until=days,
    delay=st.integers(0, 15),
    length=st.integers(1, 30),
    since=days,
    clusters=st.sampled_from([0.5, 1.0, 3.0, 100.0]),
    chosen=st.sets(st.integers(0, 3)),
)
def test_whatever_the_calendar_the_next_version_keeps_every_rule(
    window, sets, until, delay, length, since, clusters, chosen
):
    base = inputs()
    model = replace(
        MODEL,
        gate=replace(MODEL.gate, least_clusters=5),
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
    found = planned(model, parent, sets, since=since, until=until, clusters=clusters)
    if isinstance(found, TooFewDays):
        return
    made = plan_retraining(replace(base, model=model, catalog=catalog, parent=parent, days=found))
    assert 2 * count_days([found.held_out]) <= count_days(found.regime)
    assert clusters * count_days([found.held_out]) >= model.gate.least_clusters
    assert count_days([found.held_out]) >= 2 * model.drift.window_days
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
