"""Rules that cannot be read on the main branch close the way forward, and never the way back."""

from __future__ import annotations

import re
import time

import pytest

from modelyard.domain.people import Person
from modelyard.domain.promotion.pulls import PullState
from modelyard.errors import CannotAnswer
from modelyard.operations.reconcile import ahead, collect
from modelyard.operations.watch.health import WatchHealth
from modelyard.operations.watch.loop import Watcher
from modelyard.operations.watch.pass_once import run_pass
from modelyard.operations.workspace import ASKS_FORGE_AGAIN_SECONDS
from operations.yard import MODEL, SHORT, living_yard, model_named
from operations.yard_with_history import answer, run


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """v1 is verified everywhere; v2 answers errors in canary, and nobody looked yet."""
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.record("v2", champion="v1")
    yard.put("v2", "staging")
    yard.put("v2", "canary", is_verified=False)
    yard.broken.add("v2")
    return yard


@pytest.fixture
def yard(start, tmp_path):
    return start.copy(tmp_path / "yard")


def environment(name):
    return f"environments/{name}/environment.yaml"


def moved(yard, old, new):
    """The documents with which everything below a folder has another place."""
    paths = [path for path in yard.paths() if path.startswith(old)]
    contents = {path.replace(old, new, 1): yard.read(path) for path in paths}
    return {**dict.fromkeys(paths), **contents}


def breaking(yard, file, how):
    """The documents of a commit after which a file cannot be read."""
    text, folder = yard.read(file), file.rpartition("/")[0]
    name = folder.rpartition("/")[2]
    renamed = text.replace(f"name: {name}\n".encode(), f"name: {name}-2\n".encode())
    other = f"{folder}-2/environment.yaml"
    return {
        "no YAML": lambda: {file: text + b"rollout: [\n"},
        "a key too many": lambda: {file: text + b"evil: true\n"},
        "too large": lambda: {file: text + b"#" * (1 << 20)},
        "gone": lambda: {file: None},
        "moved away": lambda: {file: None, other: text},
        "renamed": lambda: {file: None, other: renamed},
        "renamed with its releases": lambda: {
            **moved(yard, f"{folder}/", f"{folder}-2/"),
            other: renamed,
        },
    }[how]()


HOW = ("no YAML", "a key too many", "too large", "gone")
AWAY = ("moved away", "renamed")
FILES = {
    **{environment(each.name): (*HOW, *AWAY) for each in SHORT},
    f"models/{MODEL}/model.yaml": HOW,
    "modelyard.yaml": HOW,
}


def passes(yard, times=4, workspace=None):
    for _ in range(times):
        yard.clock.wait(30)
        found = run_pass(workspace or yard.workspace(), report=yard.said.append, with_checks=True)
    return found


def proposed(yard):
    return [each.title for each in yard.pulls.list(every=True) if each.state is PullState.OPEN]


@pytest.mark.sample(3)
@pytest.mark.parametrize(("file", "how"), [(f, h) for f, hows in FILES.items() for h in hows])
def test_a_bad_canary_goes_back_and_nothing_goes_forward_until_it_is_mended(yard, file, how):
    yard.record("v3", champion="v1")
    text, documents = yard.read(file), breaking(yard, file, how)
    broken = yard.commit(documents, "By hand", author="Mallory")

    found = passes(yard)

    assert yard.names() == dict.fromkeys(("staging", "canary", "production"), "v1")
    assert yard.running()["canary"] == ("v1", 0.2)
    assert "v2" in yard.model_facts.holds
    assert found.failing_models == {MODEL}
    ((_, failure),) = found.failures
    said = f"what goes back goes by the file before commit {broken[:10]}; m is rolled back if"
    assert str(failure).startswith(file), str(failure)
    assert said in str(failure)
    assert proposed(yard) == []
    rows = {row["file"]: row for row in answer(yard, "status")["unreadable"]}
    assert rows[file]["stands_in_before"] == broken

    yard.commit({**dict.fromkeys(documents), file: text}, "Mended", author="Cleo")

    passes(yard, 3)
    assert proposed(yard) == ["Promote m v3 to canary"]  # it came to staging


@pytest.mark.sample(1)
@pytest.mark.parametrize("references", ["stay", "go along"])
def test_an_environment_that_is_renamed_with_its_releases_keeps_no_bad_release(yard, references):
    documents = breaking(yard, environment("canary"), "renamed with its releases")
    if references == "go along":
        text = yard.read(environment("production"))
        documents[environment("production")] = text.replace(b": canary", b": canary-2")
    kept = {path: yard.read(path) for path in documents if "canary-2" not in path}
    yard.commit(documents, "By hand", author="Mallory")

    found = passes(yard)

    assert yard.names()["canary"] == "v1"
    assert yard.running()["canary"] == ("v1", 0.2)
    assert "v2" in yard.model_facts.holds
    assert environment("canary") in str(found.failures)
    assert proposed(yard) == []

    rules = {path: text for path, text in kept.items() if path.endswith("environment.yaml")}
    strays = [path for path in documents if "canary-2" in path]
    yard.commit({**dict.fromkeys(strays), **rules}, "Undone", author="Cleo")
    yard.record("v3", champion="v1")
    assert passes(yard, 3).failures == ()
    assert proposed(yard) == ["Promote m v3 to canary"]
    assert set(yard.running()) == {"staging", "canary", "production"}


@pytest.mark.sample(1)
@pytest.mark.parametrize("place", ["staging", "canary", "production"])
def test_a_long_running_watcher_goes_back_past_a_file_that_breaks_and_on_once_it_is_mended(
    yard, place
):
    workspace = yard.workspace()
    workspace.services.metrics.silent = True
    watcher = Watcher(
        workspace=workspace, health=WatchHealth(0.1), interval=0.1, report=yard.said.append
    )
    watcher.run_passes_and_wait()
    text = yard.read(environment(place))
    yard.commit({environment(place): b"name: ["}, "By hand", author="Mallory")
    watcher.run_passes_and_wait()
    assert yard.names()["canary"] == "v2"
    workspace.services.metrics.silent = False
    for _ in range(3):
        yard.clock.wait(30)
        watcher.run_passes_and_wait()

    assert yard.names() == dict.fromkeys(("staging", "canary", "production"), "v1")
    assert "v2" in yard.model_facts.holds

    yard.commit({environment(place): text}, "Mended", author="Cleo")
    yard.record("v3", champion="v1")
    watcher.run_passes_and_wait()
    assert proposed(yard) == ["Promote m v3 to canary"]


@pytest.mark.sample(1)
@pytest.mark.parametrize("place", ["staging", "canary", "production"])
def test_a_model_of_a_large_fleet_goes_back_past_a_file_that_cannot_be_read(
    yard, monkeypatch, place
):
    monkeypatch.setattr(ahead, "_MOST_LISTED_APART", 2)
    yard.commit({k: v for name in "abc" for k, v in model_named(yard, name).items()})
    yard.commit({environment(place): b"name: ["}, "By hand", author="Mallory")

    found = passes(yard)

    assert yard.names() == dict.fromkeys(("staging", "canary", "production"), "v1")
    assert found.failing_models == {MODEL, "a", "b", "c"}


def test_no_release_takes_a_step_or_is_verified_by_rules_that_cannot_be_read(yard):
    yard.broken.clear()
    yard.put("v2", "canary")
    yard.name("v2", "production")
    text = yard.read(environment("production"))
    yard.commit({environment("production"): b"name: ["}, "By hand", author="Mallory")

    passes(yard, 6)

    assert yard.running()["production"] == ("v2", 0.5)
    assert yard.facts("production").verdict.passed
    assert len(yard.facts("production").verified) == 1

    yard.commit({environment("production"): text}, "Mended", author="Cleo")
    passes(yard, 6)
    assert yard.running()["production"] == ("v2", 1.0)
    assert len(yard.facts("production").verified) == 2


def test_what_a_rollback_restores_takes_its_steps_by_rules_that_cannot_be_read(yard):
    yard.broken.clear()
    yard.put("v2", "canary", "production")
    yard.commit({environment("production"): b"name: ["}, "By hand", author="Mallory")

    said = run(yard, "rollback", "production", MODEL, "--reason", "slow", "--as", "ada")
    passes(yard, 6)

    assert said.code == 0, said.err
    assert yard.running()["production"] == ("v1", 1.0)
    assert yard.running()["canary"] == ("v1", 0.2)


@pytest.mark.sample(1)
@pytest.mark.parametrize("place", ["staging", "canary", "production"])
def test_history_tells_of_an_environment_that_cannot_be_read(yard, place):
    whole = run(yard, "history", MODEL).lines
    yard.commit({environment(place): b"name: ["}, "By hand", author="Mallory")

    assert run(yard, "history", MODEL).lines == whole
    states = {each["environment"] for each in answer(yard, "status")["releases"]}
    assert states == {"staging", "canary", "production"}


def without_canary(yard):
    """The documents with which canary is gone, and production follows staging."""
    text = yard.read(environment("production")).replace(b": canary", b": staging")
    below = [path for path in yard.paths() if path.startswith("environments/canary/")]
    return {**dict.fromkeys(below), environment("production"): text}


@pytest.mark.sample(1)
def test_an_environment_that_a_pull_request_removed_with_its_releases_stays_away(yard):
    yard.broken.clear()
    yard.put("v2", "canary", "production")
    passes(yard, 1)
    yard.land("cleo/no-canary", without_canary(yard), "Remove canary", author=Person.named("cleo"))
    yard.record("v3", champion="v2")

    assert passes(yard, 5).failures == ()

    assert yard.names() == {"staging": "v3", "production": "v2"}
    assert set(yard.running()) == {"staging", "production"}
    assert proposed(yard) == ["Promote m v3 to production"]


@pytest.mark.sample(1)
def test_a_forge_that_did_not_say_who_removed_an_environment_is_asked_again(yard, monkeypatch):
    yard.broken.clear()
    yard.put("v2", "canary", "production")
    passes(yard, 1)
    yard.land("cleo/no-canary", without_canary(yard), "Remove canary", author=Person.named("cleo"))
    yard.record("v3", champion="v2")
    asked = []

    def silent(workspace):
        asked.append(workspace)
        raise CannotAnswer("the forge does not answer")

    workspace, main, now = yard.workspace(), yard.main(), [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(collect, "read_pulls", silent)
        names = [MODEL, "another"]
        guesses = [workspace.specs_of(main, name) for name in names]
        guesses += [workspace.shared_specs(main), workspace.watched_specs(main)]
    assert len(asked) == 1  # for all of them
    for guess in guesses:
        assert "canary" in guess.catalog.environments
        assert guess.is_guess
    assert workspace.specs_of(main, MODEL) is guesses[0]

    now[0] += ASKS_FORGE_AGAIN_SECONDS
    known = workspace.specs_of(main, MODEL)
    assert ("canary" in known.catalog.environments, known.is_guess) == (False, False)
    assert workspace.specs_of(main, MODEL) is known
    assert "canary" not in workspace.watched_specs(main).catalog.environments
    monkeypatch.undo()

    assert passes(yard, 5, workspace).failures == ()
    assert yard.names() == {"staging": "v3", "production": "v2"}


@pytest.mark.sample(1)
def test_an_environment_that_two_commits_took_away_keeps_no_bad_release(yard):
    documents = breaking(yard, environment("canary"), "renamed with its releases")
    text = yard.read(environment("production"))
    documents[environment("production")] = text.replace(b": canary", b": canary-2")
    rules = {path: each for path, each in documents.items() if path.endswith("environment.yaml")}
    releases = {path: each for path, each in documents.items() if path not in rules}
    yard.commit(releases, "By hand", author="Mallory")
    yard.commit(rules, "By hand", author="Mallory")

    found = passes(yard)

    assert yard.names()["canary"] == "v1"
    assert yard.running()["canary"] == ("v1", 0.2)
    assert environment("canary") in str(found.failures)


@pytest.mark.sample(1)
def test_a_pin_of_an_environment_that_there_is_not_keeps_no_bad_release_elsewhere(yard):
    pin = yard.read(f"environments/canary/releases/{MODEL}.yaml")
    pin = pin.replace(b"environment: canary\n", b"environment: nowhere\n")
    pin = re.sub(rb"artifact: sha256:.{8}", b"artifact: sha256:00000000", pin)
    rules = yard.read(environment("staging")).replace(b"name: staging\n", b"name: other\n")
    production = yard.read(environment("production")).replace(b": canary", b": other")
    yard.commit(
        {
            environment("other"): rules,
            environment("production"): production,
            f"environments/other/releases/{MODEL}.yaml": pin.replace(b": v2\n", b": v7\n"),
        },
        author="Mallory",
    )

    passes(yard)

    assert yard.names()["canary"] == "v1"
    assert "v2" in yard.model_facts.holds


@pytest.mark.sample(1)
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_version_with_another_name_than_its_path_keeps_no_bad_release(yard, version):
    file = f"models/{MODEL}/versions/{version}.yaml"
    text = yard.read(file).replace(f"version: {version}\n".encode(), b"version: v7\n")
    yard.commit({file: text}, author="Mallory")

    found = passes(yard)

    assert yard.names()["canary"] == "v1"
    assert "v2" in yard.model_facts.holds
    assert f"{file}:" in str(found.failures)
    assert f"version is v7, but the path says {version}" in str(found.failures)


@pytest.mark.sample(1)
def test_a_pin_that_was_copied_from_an_earlier_environment_is_promoted_no_further(yard):
    yard.broken.clear()
    yard.put("v1", "canary")
    settings = yard.read("modelyard.yaml") + b"unreviewed: tell\n"
    cleo = Person.named("cleo")
    yard.land("cleo/tell", {"modelyard.yaml": settings}, "Tell", author=cleo)
    passes(yard, 1)
    pin = yard.read(f"environments/staging/releases/{MODEL}.yaml")
    yard.commit({f"environments/canary/releases/{MODEL}.yaml": pin}, author="Mallory")

    passes(yard)

    assert yard.names() == {"staging": "v2", "canary": "v2", "production": "v1"}
    assert proposed(yard) == []
