from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.checks import find_problems
from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.version import DataFile, TrainingData
from unit.domain.checks.small_catalog import (
    GOOD,
    HELD_OUT,
    MODEL,
    TWO,
    VERSION,
    days,
    said,
    with_held_out,
    with_model,
    with_pending,
    with_training,
)


def test_refuses_a_held_out_set_that_is_not_there():
    assert said(with_pending(held_out=("april", "may"))) == [
        (
            "held-out-sets-exist",
            "versions/v2.yaml",
            "there is no held-out set may: models/m/heldout/may.yaml is missing",
        )
    ]


def test_refuses_a_retired_set_for_a_new_version_only():
    assert said(with_held_out(retired=True)) == [
        (
            "held-out-sets-exist",
            "versions/v2.yaml",
            "held-out set april is retired: use another one",
        )
    ]


def test_refuses_a_set_that_had_all_its_looks_for_a_new_version_only():
    assert said(with_held_out(max_looks=2)) == []
    assert said(with_held_out(max_looks=1)) == [
        (
            "held-out-sets-have-looks-left",
            "versions/v2.yaml",
            "held-out set april has been used for 1 versions (max_looks): add a new set of newer "
            "rows, and retire this one",
        )
    ]


def test_a_cluster_is_a_column_or_the_row():
    assert said(with_held_out(cluster="row")) == []
    assert said(with_held_out(cluster="day")) == [
        (
            "clusters-are-columns",
            "heldout/april.yaml",
            "cluster day is no column of m, and not `row`",
        )
    ]


def test_refuses_windows_that_end_before_they_start():
    backwards = days("2013-03-02", "2013-03-01")
    found = said(with_training(excludes=(backwards,)))
    assert found == [
        (
            "windows-are-in-order",
            "versions/v2.yaml",
            "until 2013-03-01 is not after since 2013-03-02",
        )
    ]


def test_rows_have_days_where_the_model_has_a_timestamp():
    assert said(with_training(window=None)) == [
        (
            "windows-go-with-timestamps",
            "versions/v2.yaml",
            "window is missing: the rows have a timestamp, so give its first day (since) and the "
            "day after its last (until)",
        )
    ]
    catalog = with_model(data=replace(MODEL.data, timestamp=None))
    assert [(check, file) for check, file, _ in said(catalog)] == [
        ("windows-go-with-timestamps", "versions/v2.yaml"),
        ("windows-go-with-timestamps", "heldout/april.yaml"),
    ]


def test_refuses_to_train_on_nothing():
    assert said(with_training(excludes=(days("2012-01-01", "2014-01-01"),))) == [
        (
            "some-days-are-left-to-train",
            "versions/v2.yaml",
            "data.excludes covers the whole window: nothing is left to train on",
        )
    ]


def test_refuses_to_train_on_held_out_days_even_of_a_set_it_does_not_name():
    old = replace(HELD_OUT, name="march", window=days("2013-03-10", "2013-03-20"))
    catalog = replace(GOOD, held_out={**GOOD.held_out, ("m", "march"): old})
    assert list(find_problems(catalog)) == [
        Problem(
            file="models/m/versions/v2.yaml",
            path=("data", "window"),
            message=(
                "trains on 2013-03-10 to 2013-03-20, which held-out set march holds out: add "
                "{since: 2013-03-10, until: 2013-03-20} to data.excludes"
            ),
            check="held-out-days-do-not-train",
            involves=("models/m/heldout/march.yaml",),
        )
    ]


def test_the_rows_of_a_retired_set_may_train():
    old = replace(HELD_OUT, name="march", window=days("2013-03-10", "2013-03-20"), retired=True)
    assert said(replace(GOOD, held_out={**GOOD.held_out, ("m", "march"): old})) == []


def test_a_version_can_only_be_better_on_a_set_that_it_is_judged_on():
    assert said(with_pending(better_on=("april",))) == []
    assert said(with_pending(better_on=("march",))) == [
        (
            "better-on-is-held-out",
            "versions/v2.yaml",
            "march is not in held_out, so the version is not judged on it: add it",
        )
    ]


def test_days_that_are_excluded_do_not_train():
    old = replace(HELD_OUT, name="march", role=Role.OLD, window=days("2013-03-10", "2013-03-20"))
    spec = replace(
        GOOD.versions["m", "v2"],
        held_out=("april", "march"),
        data=replace(VERSION.data, excludes=(days("2013-03-10", "2013-03-20"),)),
    )
    catalog = replace(
        GOOD,
        held_out={**GOOD.held_out, ("m", "march"): old},
        versions={**GOOD.versions, ("m", "v2"): spec},
    )
    assert said(catalog) == []


def test_a_set_moved_onto_the_training_days_of_a_version_judged_on_it_is_seen():
    found = said(with_held_out(window=days("2013-03-01", "2013-05-01")))
    assert [(check, file) for check, file, _ in found] == [
        ("held-out-days-do-not-train", "versions/v1.yaml"),
        ("held-out-days-do-not-train", "versions/v2.yaml"),
        ("held-out-days-follow-training", "versions/v2.yaml"),
    ]


def test_where_rows_have_no_days_a_held_out_file_does_not_train():
    plain = replace(MODEL, data=replace(MODEL.data, timestamp=None))
    spec = replace(
        VERSION, data=TrainingData(files=(DataFile(uri="data/april.parquet", sha256=TWO),))
    )
    catalog = Catalog(
        models={"m": plain},
        versions={("m", "v1"): spec},
        held_out={("m", "april"): replace(HELD_OUT, window=None)},
    )
    assert said(catalog) == [
        (
            "held-out-files-do-not-train",
            "versions/v1.yaml",
            "data/april.parquet is held out by april, so it must not train",
        )
    ]


def test_a_recent_set_starts_when_the_last_label_was_known():
    assert said(with_held_out(window=days("2013-04-02", "2013-05-01"))) == [
        (
            "held-out-days-follow-training",
            "versions/v2.yaml",
            "recent held-out set april starts on 2013-04-02; training ends before 2013-04-01 and "
            "its labels need 2 days, so it must start on 2013-04-03 or later, "
            "or training end with --until 2013-03-31",
        )
    ]


def test_an_old_set_may_lie_before_the_end_of_training_but_not_cross_it():
    before = days("2012-01-01", "2012-02-01")
    assert said(with_held_out(role=Role.OLD, window=before)) == []
    assert [check for check, _, _ in said(with_held_out(role=Role.RECENT, window=before))] == [
        "held-out-days-follow-training"
    ]
    crossing = days("2013-04-01", "2013-05-01")
    assert [check for check, _, _ in said(with_held_out(role=Role.OLD, window=crossing))] == [
        "held-out-days-follow-training"
    ]


def test_refuses_features_that_are_no_columns_or_the_answer():
    found = said(with_pending(parameters={"features": ["carrier", "carier", "arr_delay"]}))
    assert found == [
        (
            "features-are-columns",
            "versions/v2.yaml",
            "feature carier is no column of m: declare it in data.columns",
        ),
        (
            "features-are-columns",
            "versions/v2.yaml",
            "feature arr_delay is the target: the model would know the answer",
        ),
    ]


def test_refuses_a_feature_that_is_known_only_later_and_explains_the_trap():
    found = list(find_problems(with_pending(parameters={"features": ["dep_delay"]})))
    assert found == [
        Problem(
            file="models/m/versions/v2.yaml",
            path=("parameters", "features", 0),
            message=(
                "feature dep_delay is known only later (available_at): offline comparisons have "
                "it and requests do not, so the gate would pass a version that does worse in "
                "production; leave it out"
            ),
            check="features-are-known-at-request",
            involves=("models/m/model.yaml",),
        )
    ]


@pytest.mark.parametrize("features", ["carrier", 3, None, {"a": 1}, [1, None]])
def test_parameters_of_another_shape_are_the_trainers_own(features: object):
    assert said(with_pending(parameters={"features": features})) == []


# The quick search finds what the obvious one finds.

SPANS = st.tuples(st.integers(1, 60), st.integers(1, 10)).map(
    lambda pair: Interval(
        since=date.fromordinal(700_000 + pair[0]), until=date.fromordinal(700_000 + sum(pair))
    )
)


@pytest.mark.long
@given(SPANS, st.lists(SPANS, max_size=3), st.lists(SPANS, max_size=6))
def test_finds_every_held_out_day_that_trains(
    window: Interval, excludes: list[Interval], sets: list[Interval]
):
    data = replace(VERSION.data, window=window, excludes=tuple(excludes))
    held_out = {
        ("m", f"h{n}"): replace(HELD_OUT, name=f"h{n}", window=span) for n, span in enumerate(sets)
    }
    catalog = Catalog(
        models={"m": MODEL},
        versions={("m", "v1"): replace(VERSION, data=data)},
        held_out=held_out,
    )
    expected = sorted(
        f"models/m/heldout/h{n}.yaml"
        for n, span in enumerate(sets)
        for part in data.spans
        if part.overlaps(span)
    )
    found = [
        p.involves[0] for p in find_problems(catalog) if p.check == "held-out-days-do-not-train"
    ]
    assert sorted(found) == expected
