"""What the toolkit does by Git alone, on a forge with people, tokens and protected branches."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from e2e.forge.seed import git, write_seed
from e2e.forge.site import BOT, ForgeRepository, Site
from git_commits import STATE, put_state, write_commit
from modelyard.adapters.git.repository import Git
from modelyard.errors import Conflict, YardError

MODELYARD = Path(sys.executable).parent / "modelyard"
AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def repository(gitea_forge: Site, tmp_path_factory: pytest.TempPathFactory) -> ForgeRepository:
    repository = gitea_forge.new_repository(write_seed(tmp_path_factory.getbasetemp()))
    repository.protect_main()
    repository.protect_state()
    return repository


@pytest.fixture
def clone(repository: ForgeRepository, tmp_path: Path):
    def clone_as(login: str) -> Git:
        folder = tmp_path / login
        git(tmp_path, "clone", "--quiet", repository.clone_url(login), str(folder))
        return Git(folder)

    return clone_as


def a_commit(git: Git, text: str, *, on: str = "HEAD") -> str:
    parent = git.rev_parse(on)
    documents = {"note.txt": text.encode()}
    return write_commit(git, parent, documents, parents=[parent], message=text, author="A", at=AT)


def modelyard(yard: Git, *arguments: str) -> str:
    command = [MODELYARD, "--root", yard.root, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_hold_typed_in_one_clone_is_a_fact_for_everybody(clone, repository):
    bots, anns = clone(BOT), clone("ann")
    said = modelyard(bots, "hold", "wine", "v1", "--reason", "a try")
    assert "wine v1 is on hold" in said
    shown = json.loads(modelyard(anns, "status", "wine", "--output", "json"))
    assert "a try" in json.dumps(shown)
    state = git(repository.bare, "show", "modelyard/state:models/wine.json")
    assert "a try" in state


def test_two_writers_of_the_state_never_overwrite_each_other(clone):
    yard = clone(BOT)
    put_state(yard, "models/wine.json", b"{}")
    yard.fetch("origin", [f"+{STATE}:refs/heads/state"])
    before = yard.rev_parse("refs/heads/state")
    first, second = (a_commit(yard, text, on=before) for text in ("first", "second"))
    yard.push("origin", {STATE: (before, first)})
    with pytest.raises(Conflict, match="another writer moved"):
        yard.push("origin", {STATE: (before, second)})
    assert yard.ls_remote("origin", [STATE])[STATE] == first


def test_refs_move_all_or_none(clone):
    yard = clone(BOT)
    commit = a_commit(yard, "together")
    with pytest.raises(Conflict):
        yard.push(
            "origin",
            {
                "refs/heads/modelyard/promote/dev/wine": (None, commit),
                "refs/heads/main": (commit, a_commit(yard, "stale")),
            },
        )
    assert yard.ls_remote("origin", ["refs/heads/modelyard/promote/dev/wine"]) == {}


@pytest.mark.parametrize("login", ["ann", BOT, "olga"])
def test_nobody_pushes_to_main_past_its_pull_requests(clone, login):
    yard = clone(login)
    main = yard.rev_parse("HEAD")
    with pytest.raises(YardError, match="protected branch"):
        yard.push("origin", {"refs/heads/main": (main, a_commit(yard, "past the review"))})
    assert yard.ls_remote("origin", ["refs/heads/main"]) == {"refs/heads/main": main}


@pytest.mark.parametrize("login", ["ann", "rex"])
def test_only_the_bot_writes_the_state(clone, login):
    yard = clone(login)
    before = yard.ls_remote("origin", [STATE]).get(STATE)
    with pytest.raises(YardError):
        yard.push("origin", {STATE: (before, a_commit(yard, "junk"))})
    assert yard.ls_remote("origin", [STATE]).get(STATE) == before


def test_a_reader_pushes_nothing(clone):
    yard = clone("rex")
    with pytest.raises(YardError):
        yard.push("origin", {"refs/heads/rexs": (None, a_commit(yard, "mine"))})
    assert yard.ls_remote("origin", ["refs/heads/rexs"]) == {}
