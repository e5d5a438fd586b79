from __future__ import annotations

from dataclasses import replace

import pytest

from git_commits import put_state
from modelyard.domain.promotion.facts import Freeze, Hold
from modelyard.errors import CannotAnswer
from modelyard.operations.watch import at_rest, pass_once
from modelyard.operations.watch.at_rest import RestingModels, read_marks
from modelyard.operations.watch.pass_once import run_pass
from operations.yard import AT, MODEL, SHORT, living_yard, model_named

OTHER = "other"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.rest()
    yard.commit(model_named(yard, OTHER))
    return yard


@pytest.fixture
def yard(start, tmp_path):
    return start.copy(tmp_path / "yard")


def noting(seen, whole):
    """A look that also writes down at which model it was."""

    def look(workspace, model, report):
        seen.append(model)
        return whole(workspace, model, report)

    return look


@pytest.fixture
def looked_at(yard, monkeypatch):
    """Passes of one watcher; each returns the models that were looked at in whole."""
    seen: list[str] = []
    resting = RestingModels()
    # Which of the two comes first depends on whether its servers are known to have moved.
    for name in ("_reconcile_and_observe", "_observe_and_reconcile"):
        monkeypatch.setattr(pass_once, name, noting(seen, getattr(pass_once, name)))

    def run(models=None):
        seen.clear()
        run_pass(
            yard.workspace(),
            report=yard.said.append,
            with_checks=True,
            models=models,
            resting=resting,
        ).changed_or_raise()
        return sorted(seen)

    return run


def test_a_second_look_at_a_fleet_at_rest_leaves_every_model_out(looked_at):
    assert (looked_at(), looked_at(), looked_at()) == ([MODEL, OTHER], [], [])


@pytest.mark.parametrize(
    "move",
    [
        pytest.param(lambda yard: yard.add_version("v2"), id="a version"),
        pytest.param(
            lambda yard: yard.commit({f"models/{MODEL}/trainer/train.py": b"1"}), id="the trainer"
        ),
        pytest.param(
            lambda yard: yard.commit({f"environments/staging/manifests/{MODEL}/x.yaml": b"x"}),
            id="a manifest",
        ),
        pytest.param(
            lambda yard: yard.workspace().facts.update_model(
                MODEL,
                lambda facts: replace(facts, holds={"v1": Hold(reason="r", by="ada", since=AT)}),
            ),
            id="a hold",
        ),
        pytest.param(
            lambda yard: put_state(yard.git, f"facts/canary/{MODEL}.json", b"{"), id="a broken fact"
        ),
        pytest.param(
            lambda yard: yard.branch(f"modelyard/promote/staging/{MODEL}", {"x": b"x"}),
            id="a pull request",
        ),
    ],
)
def test_whatever_moves_of_a_model_brings_it_back_and_no_other(yard, looked_at, move):
    looked_at(), looked_at()
    before = read_marks(yard.workspace())

    move(yard)

    after = read_marks(yard.workspace())
    assert {name for name in after if after[name] != before[name]} == {MODEL}


def test_a_freeze_and_a_change_of_an_environment_bring_back_every_model(yard, looked_at):
    looked_at()
    yard.workspace().facts.update_freeze(
        "staging", lambda _: Freeze(reason="r", by="ada", since=AT)
    )
    assert looked_at() == [MODEL, OTHER]
    assert looked_at() == []
    yard.commit({"environments/staging/environment.yaml": yard.read(
        "environments/staging/environment.yaml") + b"# more\n"})  # fmt: skip
    assert looked_at() == [MODEL, OTHER]


def test_a_model_whose_servers_moved_is_looked_at_and_so_it_is_in_the_pass_after_it(looked_at):
    looked_at()

    assert looked_at(frozenset({MODEL})) == [MODEL]
    assert (looked_at(), looked_at()) == ([MODEL], [])


@pytest.fixture
def resting(monkeypatch):
    """Both models, known to be at rest; what a pass looks at is in `seen`."""
    seen: list[str] = []
    for name in ("_reconcile_and_observe", "_observe_and_reconcile"):
        monkeypatch.setattr(pass_once, name, lambda _, model, __: seen.append(model) or False)
    return RestingModels(), seen


def look(yard, known, models=None):
    return run_pass(yard.workspace(), report=print, with_checks=False, models=models, resting=known)


def test_without_the_forges_pull_requests_every_model_is_looked_at(yard, resting, monkeypatch):
    known, seen = resting

    def away(_):
        raise CannotAnswer("the forge does not answer")

    look(yard, known)
    look(yard, known)
    assert sorted(seen) == [MODEL, OTHER]
    seen.clear()
    pulls = type(yard.workspace().services.pulls)
    monkeypatch.setattr(pulls, "open", away)
    monkeypatch.setattr(pulls, "closed", away)

    look(yard, known)
    look(yard, known)

    assert sorted(seen) == sorted([MODEL, OTHER] * 2)


def test_a_model_whose_servers_moved_is_not_forgotten_by_a_pass_that_could_not_start(
    yard, resting, monkeypatch
):
    known, seen = resting
    look(yard, known)
    seen.clear()

    def away(*_):
        raise CannotAnswer("the forge does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(pass_once, "take_standing", away)
        with pytest.raises(CannotAnswer):
            look(yard, known, frozenset({MODEL}))

    look(yard, known)
    assert seen == [MODEL]


def test_a_model_is_looked_at_in_whole_once_its_time_is_over(looked_at, monkeypatch):
    looked_at()
    monkeypatch.setattr(at_rest.time, "monotonic", lambda: 1e9)

    assert looked_at() == [MODEL, OTHER]


@pytest.mark.parametrize("waits", ["a version to be trained", "a soak", "a promotion"])
def test_a_model_that_waits_is_never_left_out(yard, looked_at, waits):
    if waits == "a version to be trained":
        yard.add_version("v2")
    elif waits == "a soak":
        yard.record("v2", champion="v1")
        yard.put("v2", "staging", is_verified=False)
    else:
        yard.record("v2", champion="v1")
        yard.put("v2", "staging")
        yard.workspace().facts.update_freeze(
            "canary", lambda _: Freeze(reason="r", by="ada", since=AT)
        )
    for _ in range(4):
        looked_at()
    assert MODEL in looked_at()
