from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from git_commits import spoil_state
from modelyard.adapters.git.repository import Git
from modelyard.domain.promotion.facts import Freeze, GateOverride, Hold, TrainingFacts
from modelyard.domain.promotion.incidents import Incident
from modelyard.domain.specs.paths import (
    SETTINGS,
    environment_file,
    manifests_folder,
    model_file,
    release_file,
    version_file,
)
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import YardError
from modelyard.operations.status import kept_rows
from modelyard.operations.status.fleet import report_fleet
from modelyard.operations.status.report import status_report
from modelyard.operations.status.worlds import collect_worlds
from modelyard.ports import Phase
from operations.yard import AT, MODEL, SHORT, living_yard, model_named

HOUR = timedelta(hours=1)
BROKEN, GONE = b"kind: [\n", None


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    for name in ("a", "b"):
        yard.commit(model_named(yard, name))
    return yard


@pytest.fixture
def yard(start, tmp_path):
    return start.copy(tmp_path / "yard")


def kept_file(yard):
    return yard.git.kept_folder / kept_rows._FILE


def said(yard, **options):
    """What a process that has just started reports; why, where it cannot."""
    try:
        return report_fleet(yard.workspace(), **options)
    except YardError as error:
        return error.message


# What may happen in a yard. Whatever is not there to happen to is left as it is.


def commits(path, content):
    def happen(yard):
        yard.commit({path: content})

    return happen


def restores(path):
    def happen(yard):
        yard.commit({path: yard.git.read_file(yard.at_first, path)})

    return happen


def tells(**fields):
    def happen(yard):
        yard.workspace().facts.update_model(MODEL, lambda facts: replace(facts, **fields))

    return happen


def sees(environment, **fields):
    def happen(yard):
        facts = yard.workspace().facts
        facts.update_release(environment, MODEL, lambda known: replace(known, **fields))

    return happen


def freezes(until):
    def happen(yard):
        facts = yard.workspace().facts
        end = until and yard.clock.at + until
        freeze = Freeze(reason="so", by="ann", since=yard.clock.at, until=end)
        facts.update_freeze("production", lambda _: freeze)

    return happen


def overrides(yard):
    override = GateOverride(
        reason="so",
        by="ann",
        since=yard.clock.at,
        until=yard.clock.at + HOUR,
        champion="v1",
    )
    tells(overrides={"v2": override})(yard)


def names_v2(yard):
    yard.name("v2", "canary")


def soaks(yard):
    release = yard.name("v2", "canary")
    sees(
        "canary",
        release=release.identity,
        healthy_since=yard.clock.at,
        seen_at=yard.clock.at,
        verdict=None,
    )(yard)


def reconciles(yard):
    yard.reconcile()


def closes_pulls(yard):
    for pull in yard.pulls.list():
        yard.pulls.close(pull.number, by="ann", reason="so")


def deletes_branches(yard):
    for pull in yard.pulls.list():
        ref = f"refs/heads/{pull.branch}"
        yard.git.push("origin", {ref: (yard.refs(ref)[ref], None)})


def people_ask(yard):
    yard.branch("ann/a", {model_file("a"): yard.read(model_file(MODEL)), "x": b"x"}, author="Ann")


def tool_branch_is_pushed(yard):
    document = yard.git.read_file(yard.at_first, release_file("staging", MODEL))
    yard.branch(f"modelyard/promote/canary/{MODEL}", {release_file("canary", MODEL): document})


def main_goes_back(yard):
    yard.git.push("origin", {"refs/heads/main": (yard.main(), yard.at_first)})


def facts_go_back(yard):
    ref = "refs/heads/modelyard/state"
    yard.git.push("origin", {ref: (yard.refs(ref)[ref], yard.state_at_first)})


def spoils(path, content=b"{"):
    def happen(yard):
        spoil_state(yard.git, path, content)

    return happen


def trains(yard):
    yard.add_version("v3")


def runs(yard):
    if version_file(MODEL, "v3") in yard.paths():
        name = yard.workflow("v3")
        yard.orchestrator.submit(name, template="train-and-evaluate", parameters={})


def ends(yard):
    if version_file(MODEL, "v3") in yard.paths():
        runs(yard)
        yard.orchestrator.end(yard.workflow("v3"), Phase.FAILED)


def passes(time):
    def happen(yard):
        yard.clock.at += time

    return happen


FAILED = Verdict(outcome=Outcome.FAIL, reason="worse")
STEPS = {
    "a model breaks": commits(model_file("a"), BROKEN),
    "a model is gone": commits(model_file("a"), GONE),
    "a model is back": restores(model_file("a")),
    "a version breaks": commits(version_file(MODEL, "v1"), BROKEN),
    "a version is back": restores(version_file(MODEL, "v1")),
    "an environment breaks": commits(environment_file("canary"), BROKEN),
    "an environment is gone": commits(environment_file("canary"), GONE),
    "an environment is back": restores(environment_file("canary")),
    "an environment is new": commits(environment_file("new"), BROKEN),
    "settings break": commits(SETTINGS, BROKEN),
    "settings are gone": commits(SETTINGS, GONE),
    "settings are back": restores(SETTINGS),
    "a version is no yaml": commits("models/a/versions/v9.yml", b"x"),
    "a pin is no yaml": commits("environments/canary/releases/c.yml", b"x"),
    "a name is none": commits("models/No/model.yaml", b"x"),
    "a new name": commits(version_file("c", "v1"), BROKEN),
    "notes": commits("docs/x.md", b"x"),
    "a pin is deleted": commits(release_file("staging", MODEL), GONE),
    "a pin is back": restores(release_file("staging", MODEL)),
    "manifests are changed": commits(f"{manifests_folder('staging', MODEL)}x.yaml", b"x"),
    "manifests are back": commits(f"{manifests_folder('staging', MODEL)}x.yaml", GONE),
    "a hold": tells(holds={"v1": Hold(reason="so", by="ann", since=AT)}),
    "no hold": tells(holds={}),
    "an incident": tells(incidents=(Incident(what="this", at=AT, key="k"),)),
    "training failed": tells(training={"v3": TrainingFacts(failed="so")}),
    "training goes on": tells(training={}),
    "an override": overrides,
    "an abort": sees("staging", aborted="so"),
    "no abort": sees("staging", aborted=None),
    "a failed judgement": sees("staging", verdict=FAILED, judged_at=AT),
    "no judgement": sees("staging", verdict=None, verified=()),
    "a freeze": freezes(None),
    "a freeze of an hour": freezes(HOUR),
    "facts that cannot be read": spoils(f"facts/staging/{MODEL}.json"),
    "holds that cannot be read": spoils(f"models/{MODEL}.json"),
    "a freeze that cannot be read": spoils("freezes/canary.json"),
    "something else among the facts": spoils("facts/canary/x.json/y"),
    "the next version": names_v2,
    "the next version soaks": soaks,
    "reconcile": reconciles,
    "pulls are closed": closes_pulls,
    "branches are deleted": deletes_branches,
    "people ask": people_ask,
    "a branch of the tool's is pushed": tool_branch_is_pushed,
    "main goes back": main_goes_back,
    "facts go back": facts_go_back,
    "training": trains,
    "a workflow": runs,
    "a workflow ends": ends,
    "a minute": passes(timedelta(minutes=1)),
    "two hours": passes(2 * HOUR),
    "the clock is put back": passes(-3 * HOUR),
}


TOGETHER = (
    ("an override", "two hours"),
    ("an environment breaks", "an environment is back", "an environment is gone"),
    ("reconcile", "branches are deleted", "main goes back"),
    ("facts that cannot be read", "facts go back", "something else among the facts"),
    ("manifests are changed", "manifests are back", "a pin is deleted", "notes"),
    ("two hours", "an override", "two hours", "the clock is put back"),
    ("the next version soaks", "a minute", "two hours"),
    ("training", "a workflow", "a workflow ends", "training failed"),
    ("a version is no yaml", "a model is gone", "a model is back", "a pin is no yaml"),
)


@pytest.mark.sample(4)
@pytest.mark.parametrize("steps", TOGETHER, ids=", ".join)
def test_a_report_of_kept_rows_is_the_report_without_after_changes(yard, steps):
    take_and_compare(yard, steps)


@pytest.mark.long
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6))
def test_a_report_of_kept_rows_is_the_report_without_whatever_happens(
    start, tmp_path_factory, steps
):
    take_and_compare(start.copy(tmp_path_factory.mktemp("changed") / "yard"), steps)


def take_and_compare(yard, steps):
    """Take the steps; after each the report is that without kept rows, twice."""
    yard.at_first = yard.main()
    yard.state_at_first = yard.refs("refs/heads/modelyard")["refs/heads/modelyard/state"]
    said(yard)
    for step in steps:
        try:
            STEPS[step](yard)
        except YardError:  # such as writing facts that cannot be read
            continue

        whole = said(yard, uses_kept=False)
        assert [said(yard), said(yard)] == [whole, whole], step


def lines_of(yard):
    """The kept file's digest and its document."""
    return kept_file(yard).read_bytes().split(b"\n")


def test_a_second_report_reads_no_spec_and_no_fact_of_what_rests(yard, monkeypatch):
    first = said(yard)
    asked = []
    read = Git.read_many

    def noting(git, names):
        asked.extend(found := list(names))
        return read(git, found)

    monkeypatch.setattr(Git, "read_many", noting)
    workspace = yard.workspace()
    model = json.loads(lines_of(yard)[1])["models"]

    assert report_fleet(workspace) == first
    blobs = {yard.git.rev_parse(f"{yard.main()}:{path}") for path in yard.paths("models/")}
    assert set(model) == {"a", "b", MODEL}
    assert blobs.isdisjoint(asked)


def test_the_report_on_all_models_is_that_of_their_worlds(yard):
    STEPS["an incident"](yard)
    STEPS["training"](yard)
    STEPS["people ask"](yard)
    STEPS["a model breaks"](yard)

    assert said(yard) == said(yard) == status_report(collect_worlds(yard.workspace()))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content.replace(b"verified", b"verifies"),
        lambda content: b"\0" * len(content),
        lambda content: b"[]",
        lambda content: content + b"\n",
    ],
)
def test_a_damaged_file_is_as_good_as_none(yard, damage):
    first = said(yard)
    whole = kept_file(yard).read_bytes()
    kept_file(yard).write_bytes(damage(whole))

    assert said(yard) == first
    assert kept_file(yard).read_bytes() == whole  # and it is written anew


def test_a_folder_in_the_place_of_the_file_stops_no_report(yard):
    first = said(yard)
    kept_file(yard).unlink()
    kept_file(yard).mkdir()

    assert said(yard) == first


@pytest.mark.parametrize("differs", ["code", "settings"])
def test_rows_of_other_code_or_settings_are_made_anew(yard, monkeypatch, differs):
    said(yard)
    before = lines_of(yard)
    if differs == "code":
        monkeypatch.setattr(kept_rows, "stamp_code", lambda *_: "other")
        said(yard)
    else:
        workspace = yard.workspace()
        other = replace(workspace.services.repository, bot="another[bot]")
        report_fleet(replace(workspace, services=replace(workspace.services, repository=other)))

    old, new = (json.loads(each) for each in (before[1], lines_of(yard)[1]))
    assert old.pop("code") != new.pop("code")
    assert old["main"] == new["main"]


def _report_again_and_again(yard, times, answers):
    answers.put([said(yard) for _ in range(times)])


def test_two_commands_at_once_report_the_same_and_leave_a_whole_file(yard):
    expected = said(yard, uses_kept=False)
    answers = multiprocessing.get_context("fork").Queue()
    both = [
        multiprocessing.get_context("fork").Process(
            target=_report_again_and_again, args=(yard, 3, answers)
        )
        for _ in range(2)
    ]
    for each in both:
        each.start()
        kept_file(yard).unlink(missing_ok=True)  # so that both write
    found = [answers.get(timeout=120) for _ in both]
    for each in both:
        each.join()

    assert found == [[expected] * 3] * 2
    _, body = lines_of(yard)
    assert json.loads(body)["main"] == yard.main()
    assert said(yard) == expected


def test_a_command_that_was_killed_while_it_wrote_leaves_what_was_there(yard, monkeypatch):
    first = said(yard)
    before = lines_of(yard)
    STEPS["a model is gone"](yard)

    def killed(beside, _):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            report_fleet(yard.workspace())

    assert lines_of(yard) == before
    assert said(yard) == said(yard, uses_kept=False) != first


def test_few_new_rows_of_many_are_read_again_rather_than_written(yard):
    assert [kept_rows.is_worth_writing(new, 10_000) for new in (0, 49, 50)] == [False, False, True]
    assert [kept_rows.is_worth_writing(new, 10) for new in (0, 1)] == [False, True]
