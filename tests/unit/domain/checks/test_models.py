from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelyard.domain.checks import find_problems
from modelyard.domain.problem import Problem
from modelyard.domain.specs.environment import Environment, Rollout
from modelyard.domain.specs.model import (
    ArtifactPolicy,
    CanaryPolicy,
    DriftPolicy,
    GatePolicy,
    Guard,
    MissingLabels,
    Output,
    OutputKind,
    Slice,
    Target,
    Task,
    Trusted,
)
from unit.domain.checks.small_catalog import COLUMNS, MODEL, said, with_column, with_model


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (
            (Output(name="late", kind=OutputKind.PROBABILITY),),
            "0 outputs are primary; the gate needs exactly one",
        ),
        (
            (
                Output(name="late", kind=OutputKind.PROBABILITY, primary=True),
                Output(name="very", kind=OutputKind.PROBABILITY, primary=True),
            ),
            "2 outputs are primary (late, very); the gate needs exactly one",
        ),
        (
            (
                Output(name="late", kind=OutputKind.PROBABILITY, primary=True),
                Output(name="late", kind=OutputKind.PROBABILITY),
            ),
            "output late is listed twice",
        ),
        (
            (Output(name="late", kind=OutputKind.VALUE, primary=True, minimum=0.0, maximum=1.0),),
            "the primary output of a binary task is a probability, not a value",
        ),
        (
            (
                Output(name="late", kind=OutputKind.PROBABILITY, primary=True),
                Output(name="minutes", kind=OutputKind.VALUE),
            ),
            "output minutes is a value: it needs minimum and maximum for its histogram",
        ),
        (
            (
                Output(name="late", kind=OutputKind.PROBABILITY, primary=True),
                Output(name="minutes", kind=OutputKind.VALUE, minimum=9.0, maximum=9.0),
            ),
            "output minutes has a minimum of 9, not below its maximum of 9",
        ),
        (
            (
                Output(name="late", kind=OutputKind.PROBABILITY, primary=True),
                Output(name="why", kind=OutputKind.CLASS),
            ),
            "output why is a class without classes: list them in the order of the probability "
            "columns",
        ),
        (
            (Output(name="late", kind=OutputKind.PROBABILITY, primary=True, classes=("a", "b")),),
            "output late is a probability: only a class has classes",
        ),
        (
            (Output(name="late", kind=OutputKind.PROBABILITY, primary=True, minimum=0.0),),
            "output late is a probability: only a value has minimum and maximum",
        ),
    ],
)
def test_refuses_outputs_that_cannot_be_gated(outputs: tuple[Output, ...], message: str):
    assert [found for _, _, found in said(with_model(outputs=outputs))] == [message]


def test_refuses_a_metric_of_another_task():
    assert said(with_model(gate=GatePolicy(metric="rmse", margin=0.1))) == [
        (
            "gate-metric-fits-the-task",
            "model.yaml",
            "rmse is no metric of a binary task; choose accuracy, auc, brier, log_loss",
        )
    ]


def test_calibration_guards_but_does_not_decide_alone():
    guards = (Guard(metric="calibration", margin=0.001),)
    assert said(with_model(gate=GatePolicy(metric="auc", margin=0.1, guards=guards))) == []
    found = said(with_model(gate=GatePolicy(metric="calibration", margin=0.1)))
    assert [message for _, _, message in found] == [
        "calibration is no metric of a binary task; choose accuracy, auc, brier, log_loss"
    ]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (Slice(margin=0), "give either `by` or `where`"),
        (Slice(margin=0, by="distance", where="distance > 1"), "give either `by` or `where`"),
        (Slice(margin=0, by="arr_delay"), "arr_delay is no column of data.columns, or the target"),
        (Slice(margin=0, by="x"), "x is no column of data.columns, or the target"),
        (Slice(margin=0, where="distance > 'x'"), "cannot read the condition"),
        (Slice(margin=0, where="arr_delay > 3"), "arr_delay is no column of the contract"),
        (Slice(margin=0, where="distance > 3", metric="mae"), "mae is no metric of a binary task"),
    ],
)
def test_refuses_a_slice_that_no_row_can_be_told_by(chosen, message):
    gate = GatePolicy(metric="auc", margin=0.1, slices=(chosen,))
    (found,) = said(with_model(gate=gate))
    assert message in found[2]


def test_refuses_a_slice_that_is_there_twice():
    twice = (Slice(margin=0, where="distance > 3"), Slice(margin=0.1, where="distance > 3"))
    found = said(with_model(gate=GatePolicy(metric="auc", margin=0.1, slices=twice)))
    assert [message for _, _, message in found] == [
        "'distance > 3' is there twice with the metric auc; leave one, or give one of them another "
        "`metric`"
    ]


@pytest.mark.parametrize("metric", [None, "auc"])
def test_takes_the_same_slice_in_two_metrics_and_twice_in_none(metric):
    slices = (
        Slice(margin=0, by="distance", metric=metric),
        Slice(margin=0.1, by="distance", metric="brier"),
    )
    gate = GatePolicy(metric="auc", margin=0.1, slices=slices)
    assert said(with_model(gate=gate)) == []
    again = replace(gate, slices=(*slices, Slice(margin=0.2, by="distance", metric="auc")))
    assert [message[:40] for _, _, message in said(with_model(gate=again))] == [
        "'by distance' is there twice with the me"
    ]


def test_refuses_a_guard_of_another_task_or_twice():
    guards = tuple(Guard(metric=metric, margin=0.1) for metric in ("mae", "brier", "brier"))
    found = said(with_model(gate=GatePolicy(metric="auc", margin=0.1, guards=guards)))
    assert [message for _, _, message in found] == [
        "mae is no metric of a binary task; choose accuracy, auc, brier, calibration, log_loss",
        "brier is there twice; leave one",
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            Target(column="delay", above=15.0),
            "target column delay is not in data.columns: declare it",
        ),
        (
            Target(column="arr_delay"),
            "a binary label needs `above` or `positive_class`, and not both",
        ),
        (
            Target(column="arr_delay", above=1.0, positive_class="late"),
            "a binary label needs `above` or `positive_class`, and not both",
        ),
        (
            Target(column="carrier", above=1.0),
            "the label is a number, but column carrier is a category",
        ),
        (
            Target(column="carrier", positive_class="late"),
            "late is no level of column carrier",
        ),
    ],
)
def test_refuses_a_label_that_cannot_be_read(target: Target, message: str):
    catalog = replace(with_model(target=target), versions={}, records={}, releases={})
    assert [found for _, _, found in said(catalog)] == [message]


def test_a_class_that_is_no_level_of_the_label_is_named():
    classes = ("AA", "DL", "UAA")
    catalog = with_model(
        task=Task.MULTICLASS,
        target=Target(column="carrier"),
        outputs=(Output(name="kind", kind=OutputKind.CLASS, primary=True, classes=classes),),
        gate=GatePolicy(metric="log_loss", margin=0.1),
    )
    levels = next(c.levels for c in MODEL.data.columns if c.name == "carrier")
    wanted = [f"the class {each} is no level of column carrier" for each in classes
              if each not in levels]  # fmt: skip
    assert [told for rule, _, told in said(catalog) if rule == "label-is-defined"] == wanted


def test_only_a_binary_label_has_a_rule():
    catalog = with_model(
        task=Task.REGRESSION,
        outputs=(
            Output(name="delay", kind=OutputKind.VALUE, primary=True, minimum=0.0, maximum=1.0),
        ),
        gate=GatePolicy(metric="mae", margin=1.0),
    )
    assert said(catalog) == [
        (
            "label-is-defined",
            "model.yaml",
            "only a binary label has above; the task is regression",
        )
    ]


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.MULTICLASS])
def test_only_a_binary_label_can_be_negative(task: Task):
    target = Target(column="arr_delay", missing=MissingLabels.NEGATIVE)
    wanted = f"only a binary label can be negative; the task is {task}"
    told = [text for rule, _, text in said(with_model(task=task, target=target))
            if rule == "label-is-defined"]  # fmt: skip
    assert wanted in told
    rule = replace(MODEL.target, missing=MissingLabels.NEGATIVE)
    assert said(with_model(target=rule)) == []


def test_refuses_a_timestamp_that_is_no_column():
    catalog = with_model(data=replace(MODEL.data, timestamp="day"))
    assert said(catalog) == [
        (
            "timestamp-is-a-column",
            "model.yaml",
            "timestamp column day is not in data.columns: declare it",
        )
    ]


@pytest.mark.parametrize("zone", ["Rome", "", "localtime", "../UTC", "Europe"])
def test_refuses_a_time_zone_that_is_not_the_same_on_every_machine(zone: str):
    catalog = with_model(data=replace(MODEL.data, timezone=zone))
    assert said(catalog) == [
        (
            "time-zones-exist",
            "model.yaml",
            f"there is no time zone {zone!r}: use a name of the IANA database, such as Europe/Rome",
        )
    ]
    assert said(with_model(data=replace(MODEL.data, timezone="Asia/Kathmandu"))) == []


def test_refuses_two_columns_of_one_name():
    catalog = with_model(data=replace(MODEL.data, columns=(*COLUMNS, COLUMNS[1])))
    assert [p for p in find_problems(catalog) if p.check == "columns-are-unique"] == [
        Problem(
            file="models/m/model.yaml",
            path=("data", "columns", 5),
            message="column carrier is listed twice",
            check="columns-are-unique",
        )
    ]


@pytest.mark.parametrize(
    ("column", "changes", "message"),
    [
        ("carrier", {"minimum": 1.0}, "column carrier: a category has no minimum"),
        ("date", {"maximum": 1.0}, "column date: a timestamp has no maximum"),
        ("distance", {"minimum": 7000.0}, "column distance: minimum 7000 is above maximum 6000"),
        ("distance", {"levels": ("1",)}, "column distance: a number has no levels"),
        (
            "distance",
            {"max_null_share": 0.1},
            "column distance: no value may be missing; add `nullable: true` or leave it out",
        ),
        ("distance", {"default": -1}, "column distance: default -1 breaks its own contract"),
        ("distance", {"default": "1"}, "column distance: default '1' breaks its own contract"),
        ("distance", {"default": True}, "column distance: default True breaks its own contract"),
        ("carrier", {"default": "XX"}, "column carrier: default 'XX' breaks its own contract"),
    ],
)
def test_refuses_limits_and_defaults_that_make_no_sense(
    column: str, changes: dict[str, Any], message: str
):
    assert [found for _, _, found in said(with_column(column, **changes))] == [message]


@pytest.mark.parametrize(
    ("column", "default"), [("distance", 0), ("distance", 6000.0), ("carrier", "AA")]
)
def test_accepts_defaults_within_the_limits(column: str, default: object):
    assert said(with_column(column, default=default)) == []


@pytest.mark.parametrize("trusted", ["*", "Tree", "sklearn.*", "sklearn..Tree", "os.system()", ""])
def test_refuses_to_trust_what_is_no_dotted_name(trusted: str):
    catalog = with_model(artifact=ArtifactPolicy(trusted_types=("sklearn.tree.Tree", trusted)))
    assert said(catalog) == [
        (
            "trusted-types-are-dotted-names",
            "model.yaml",
            f"{trusted!r} is no dotted name such as sklearn.tree._tree.Tree",
        )
    ]


def test_refuses_to_wait_for_more_windows_than_it_looks_at():
    assert said(with_model(drift=DriftPolicy(needed=5, of=4))) == [
        (
            "drift-windows-suffice",
            "model.yaml",
            "5 windows must drift, but only 4 are compared",
        )
    ]


def test_refuses_a_soak_that_lasts_longer_than_an_environment_waits():
    daily = with_model(canary=CanaryPolicy(least_seconds=86_400))
    assert said(daily) == []  # nothing judges there
    judged = Environment(name="dev", description="d", namespace="n", rollout=Rollout(judged=True))
    for seconds, problems in ((86_401, 0), (86_400, 1), (60, 1)):
        rollout = replace(judged.rollout, decide_within_seconds=seconds)
        environments = {"dev": replace(judged, rollout=rollout)}
        found = said(replace(daily, environments=environments))
        assert len(found) == problems
        assert all("no release can pass: dev rolls it back" in text for _, _, text in found)


@pytest.mark.parametrize(
    ("key", "chosen", "reason"),
    [
        *((key, 0, "with 0 no canary passes: ") for key in ("margin_slow", "margin_error_rate")),
        ("distribution_radius", 0, "with 0 no canary passes: "),
        ("error_limit", 0, "with 0 no first release passes: "),
        *((key, 0.0, "such as 0.001") for key in ("slow_limit", "refusal_limit")),
        *((key, 1, "with 1 nothing is judged") for key in ("margin_slow", "margin_refusals")),
    ],
)
def test_refuses_a_margin_with_which_no_canary_passes_where_one_is_judged(key, chosen, reason):
    model = with_model(canary=CanaryPolicy(**{key: chosen}))
    assert said(model) == []  # nothing judges there
    judged = Environment(name="dev", description="d", namespace="n", rollout=Rollout(judged=True))

    (found,) = said(replace(model, environments={"dev": judged}, releases={}))

    assert found[0] == "a-canary-can-pass"
    assert reason in found[2]


@pytest.mark.parametrize(
    "policy",
    [
        {"margin_shadow": 0, "margin_unanswered": 0, "input_floor": 0, "slow_ms": 0},
        {"slow_ms": 0, "margin_slow": 0, "slow_limit": 0},
        {"slow_ms": 0, "margin_slow": 1},
        {"margin_error_rate": 0.001, "margin_slow": 0.99, "distribution_radius": 1},
        {"error_limit": 1, "slow_limit": 1, "refusal_limit": 0.001, "margin_shadow": 1},
    ],
)
def test_takes_each_margin_with_which_some_canary_passes(policy):
    model = with_model(canary=CanaryPolicy(**policy))
    judged = Environment(name="dev", description="d", namespace="n", rollout=Rollout(judged=True))
    assert said(replace(model, environments={"dev": judged})) == []


@pytest.mark.parametrize("key", ["error_limit", "refusal_limit", "slow_limit"])
def test_a_limit_of_0_is_taken_where_no_release_is_the_first(key):
    judged = Environment(name="dev", description="d", namespace="n", rollout=Rollout(judged=True))
    model = with_model(canary=CanaryPolicy(**{key: 0}))
    has_release = replace(model, environments={"dev": judged})
    assert {environment for environment, _ in has_release.releases} == {"dev"}
    assert said(has_release) == []
    ((check, _, _),) = said(replace(has_release, releases={}))
    assert check == "a-canary-can-pass"


def test_refuses_segments_that_are_no_levels_of_a_request():
    found = said(with_model(canary=CanaryPolicy(segments=("nowhere",))))
    assert [check for check, _, _ in found] == ["segments-are-levels-of-a-request"]
    assert found[0][2].startswith("nowhere is not in a request;")


def test_a_format_that_runs_code_is_listed_only_with_the_reason():
    policy = ArtifactPolicy(formats=("onnx", "pickle", "code"))
    message = (
        "pickle, code runs any code that is in the artifact: add artifact.trusted with the reason, "
        "or list a format of data, such as skops or onnx"
    )
    assert said(with_model(artifact=policy)) == [
        ("code-is-trusted-with-a-reason", "model.yaml", message)
    ]
    assert policy.accepted_formats == ("onnx",)
    trusted = replace(policy, trusted=Trusted(reason="It has no other format."))
    assert said(with_model(artifact=trusted)) == []
    assert trusted.accepted_formats == policy.formats
    idle = replace(trusted, formats=("onnx",))
    assert "nothing needs trust" in said(with_model(artifact=idle))[0][2]
