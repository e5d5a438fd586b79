from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from git_commits import write_commit
from modelyard.adapters.git import comparison, object_reader, process
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.trees import GitTree, ListedTree
from modelyard.adapters.specs.reader import list_places, read_specs
from modelyard.domain.specs.paths import (
    SETTINGS,
    environment_file,
    manifests_folder,
    model_file,
    record_file,
    release_file,
    version_file,
)
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.reconcile import ahead
from modelyard.operations.reconcile.ahead import ReadAhead
from modelyard.operations.reconcile.collect import collect_world
from modelyard.operations.status.worlds import collect_worlds
from operations.yard import BOT, MODEL, SHORT, living_yard, model_named

PERSON = {
    f"GIT_{role}_{what}": "ann" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.rest()
    yard.commit({k: v for name in "abcdef" for k, v in model_named(yard, name).items()})
    return yard


@pytest.fixture
def yard(start, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "_OBJECTS", AnswerCache(1000))
    return start.copy(tmp_path / "yard")


@pytest.fixture
def asked(monkeypatch):
    """What git was asked for: the questions to its reader, and the commands of its own processes.

    Refs are left out: they are read again as time passes.
    """
    found: list[str] = []
    read, run = object_reader._Reader.ask, process.run_git

    def noting_read(reader, commands):
        found.extend(command.decode() for command in commands)
        return read(reader, commands)

    def noting_run(root, *args, **more):
        found.extend([args[0]] if args[0] != "ls-remote" else [])
        return run(root, *args, **more)

    monkeypatch.setattr(object_reader._Reader, "ask", noting_read)
    monkeypatch.setattr(process, "run_git", noting_run)
    return found


def test_a_world_after_reading_ahead_asks_for_no_path_of_a_commit(yard, asked):
    workspace = yard.workspace()
    with one_snapshot():
        collect_world(workspace, "a")  # what all models share
        ReadAhead(workspace, [MODEL]).read(0, [MODEL])
        asked.clear()

        world = collect_world(workspace, MODEL)

    assert [len(world.past[each.name]) for each in SHORT] == [1, 1, 1]
    assert [each for each in asked if ":environments/" in each] == []


@pytest.mark.parametrize("most_apart", [0, 200])
def test_the_world_is_the_same_with_and_without_reading_ahead(yard, monkeypatch, most_apart):
    monkeypatch.setattr(ahead, "_MOST_LISTED_APART", most_apart)
    with one_snapshot():
        alone = collect_world(yard.workspace(), MODEL)
    monkeypatch.setattr(comparison, "_OBJECTS", AnswerCache(1000))
    workspace = yard.workspace()
    with one_snapshot():
        ReadAhead(workspace, [MODEL, "a"]).read(0, [MODEL, "a"])
        together = collect_world(workspace, MODEL)

    assert replace(together, now=alone.now) == alone


@pytest.mark.parametrize("is_broken", [False, True])
@pytest.mark.parametrize("most_apart", [0, 200])
def test_more_models_start_no_more_processes(yard, asked, monkeypatch, most_apart, is_broken):
    monkeypatch.setattr(ahead, "_MOST_LISTED_APART", most_apart)
    if is_broken:
        yard.commit({environment_file("canary"): BROKEN})
    counts = []
    for names in (["a", "b"], ["a", "b"], ["a", "b", "c", "d", "e", "f"]):  # the first one warms up
        workspace = yard.workspace()
        asked.clear()
        with one_snapshot():
            reader = ReadAhead(workspace, names)
            for first in range(0, len(names), 2):
                reader.read(first, names[first : first + 2])
        counts.append(len([each for each in asked if not each.startswith(("info ", "contents "))]))

    # Where they are listed apart it is one for each part.
    assert counts[2] - counts[1] == (0 if most_apart == 0 else 2)


def test_a_submodule_in_place_of_manifests_is_no_folder_that_a_pull_request_left(yard, monkeypatch):
    monkeypatch.setattr(ahead, "_MOST_LISTED_APART", 0)
    git, main = yard.git, yard.main()
    place = manifests_folder("staging", MODEL).rstrip("/")
    row = f"160000 {main}\t{place}\n".encode()
    env = {"GIT_INDEX_FILE": str(yard.folder / "index")}
    git.run("read-tree", main, env=env)
    git.run("rm", "-r", "-q", "--cached", place, env=env)
    git.run("update-index", "--index-info", stdin=row, env=env)
    tree = git.run("write-tree", env=env).stdout.decode().strip()
    told = git.run("commit-tree", tree, "-p", main, "-m", "Replace", env=PERSON).stdout
    git.run("push", "-q", "origin", f"{told.decode().strip()}:refs/heads/main")
    with one_snapshot():
        alone = collect_world(yard.workspace(), MODEL)
    monkeypatch.setattr(comparison, "_OBJECTS", AnswerCache(1000))
    workspace = yard.workspace()
    with one_snapshot():
        ReadAhead(workspace, [MODEL]).read(0, [MODEL])
        together = collect_world(workspace, MODEL)

    assert set(alone.unreviewed) == {"staging"}
    assert replace(together, now=alone.now) == alone


@pytest.mark.parametrize("asks_at_once", [1, 500])
def test_status_of_more_models_starts_no_more_processes(yard, asked, monkeypatch, asks_at_once):
    monkeypatch.setattr(ahead, "_AT_ONCE", asks_at_once)
    counts = []
    for more in ((), ("g", "h", "i", "j"), ("k", "l", "m1", "n")):
        yard.commit({k: v for name in more for k, v in model_named(yard, name).items()})
        workspace = yard.workspace()
        with one_snapshot():
            workspace.main()
            asked.clear()
            found = collect_worlds(workspace)
        counts.append(len([each for each in asked if not each.startswith(("info ", "contents "))]))

    assert len(found.worlds) == 15
    assert counts[2] == counts[1]


def test_a_head_that_is_not_here_yet_is_not_taken_for_an_empty_one(yard):
    folder = yard.folder / "else"
    other = yard.copy(folder)
    main = other.main()
    documents = {release_file("staging", MODEL): b"x"}
    head = write_commit(
        other.git, main, documents, parents=[main], message="M", author=BOT, at=other.clock.at
    )
    name = f"{head}:{release_file('staging', MODEL)}"
    workspace = yard.workspace()
    pulls = workspace.services.pulls
    closed = [replace(each, head=head) for each in pulls.closed()]
    workspace.__dict__["_derived"] = {"closed by model": (pulls.closed(), {MODEL: closed})}

    with one_snapshot():
        ReadAhead(workspace, [MODEL, "a"]).read(0, [MODEL, "a"])

    assert comparison._OBJECTS.get((yard.git.root.absolute(), name)) is None


def test_specs_that_cannot_be_read_ahead_are_read_one_by_one(yard, monkeypatch, caplog):
    def broken(*_):
        raise CannotAnswer("no disk")

    monkeypatch.setattr(ahead, "read_objects", broken)
    caplog.set_level("INFO")

    ReadAhead(yard.workspace(), [MODEL, "a"]).read(0, [MODEL, "a"])

    assert "2 models are read one by one: no disk" in caplog.text


def test_a_part_of_a_listed_tree_is_that_part_of_the_commit(yard):
    main = yard.main()
    whole = GitTree(yard.git, main)
    listed = ListedTree(yard.git, main, ["models/", "modelyard.yaml", "environments/"])
    for models in ([MODEL], ["a", "f"], ["nobody"]):
        places = list_places(whole, models)

        assert listed.part(places).paths() == whole.part(places).paths()
        assert read_specs(listed, models=models) == read_specs(whole, models=models)
    assert listed.part(["models/a"]).paths() == whole.part(["models/a"]).paths() != ()
    with_more = [f"environments/{SHORT[0].name}/manifests/", "models/a/"]
    listed = ListedTree(yard.git, main, ["models/", "modelyard.yaml"])
    assert listed.part(with_more).paths() == whole.part(with_more).paths()
    assert any(path.startswith("environments/") for path in listed.part(with_more).paths())


BROKEN, EMPTY, GONE = b"kind: [\n", b"", None
FILES = [
    SETTINGS,
    *(environment_file(each.name) for each in SHORT),
    environment_file("new"),
    *(release_file(each.name, MODEL) for each in SHORT),
    release_file("new", MODEL),
    model_file(MODEL),
    version_file(MODEL, "v1"),
    record_file(MODEL, "v1"),
    model_file("a"),
]


@pytest.mark.sample(1)
@pytest.mark.parametrize("most_apart", [0, 200])
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(changes={environment_file("canary"): BROKEN})
@example(changes={environment_file("canary"): GONE, environment_file("new"): BROKEN})
@given(
    changes=st.dictionaries(
        st.sampled_from(FILES), st.sampled_from([BROKEN, EMPTY, GONE]), min_size=1
    )
)
def test_specs_read_ahead_are_those_read_alone_whatever_is_broken_missing_or_added(
    start, tmp_path_factory, most_apart, changes
):
    yard = start.copy(tmp_path_factory.mktemp("changed") / "yard")
    yard.commit(changes)
    workspace, names = yard.workspace(), [MODEL, "a", "b"]
    with pytest.MonkeyPatch.context() as patch, one_snapshot():
        patch.setattr(ahead, "_MOST_LISTED_APART", most_apart)
        ReadAhead(workspace, names).read(0, names)
        main, other = workspace.main(), yard.workspace()
        alone = {(main, name): other.specs_of(main, name) for name in names}

        assert workspace._ahead == alone


@pytest.mark.parametrize("most_apart", [0, 200])
def test_no_world_is_collected_past_a_broken_environment(yard, monkeypatch, most_apart):
    monkeypatch.setattr(ahead, "_MOST_LISTED_APART", most_apart)
    yard.commit({environment_file("canary"): BROKEN})
    workspace = yard.workspace()
    with one_snapshot():
        ReadAhead(workspace, [MODEL, "a"]).read(0, [MODEL, "a"])

        with pytest.raises(Refused, match=environment_file("canary")):
            collect_world(workspace, MODEL)
