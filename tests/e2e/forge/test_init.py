"""`modelyard init` on a real Gitea."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from contract.stages import BOT
from e2e.forge.api import ApiError
from e2e.forge.site import OWNER, Site
from git_commits import write_commit
from modelyard.cli import cli
from modelyard.errors import YardError
from operations.yard import AT, SHORT, new_yard

SETTINGS = "apiVersion: modelyard/v1\nkind: Repository\nbot: yard-bot\n"


@pytest.fixture
def place(gitea_forge: Site, tmp_path, monkeypatch):
    """A checkout and its repository on Gitea, and an administrator's token."""
    local = new_yard(tmp_path / "yard", SHORT)
    repository = gitea_forge.new_repository(local.folder / "remote.git")
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", gitea_forge.token(OWNER))
    root = local.folder / "clone"
    local.git.run("remote", "set-url", "origin", repository.clone_url(OWNER))
    local.git.run("fetch", "-q", "origin")
    local.git.run("checkout", "-q", "-B", "main", "origin/main")
    (root / "modelyard.yaml").write_text(SETTINGS)
    return local, repository


def init(root, *more):
    return CliRunner().invoke(cli, ["--root", str(root), "init", "--forge", "gitea", *more])


def test_gitea_is_set_up_once_and_repaired_when_somebody_loosens_it(place, gitea_forge):
    local, repository = place
    root = local.folder / "clone"

    dry = init(root, "--dry-run")
    first = init(root)
    again = init(root, "--dry-run")

    assert (dry.exit_code, first.exit_code, again.exit_code) == (3, 0, 0), again.output
    assert f"forge_repository: acme/{repository.name}" in (root / "modelyard.yaml").read_text()
    main = gitea_forge.owner.get(f"{repository.path}/branch_protections/main")
    assert main["status_check_contexts"] == ["modelyard/checks", "modelyard/promote"]

    mine = ["modelyard/checks", "modelyard/promote", "tests"]
    change = {"block_admin_merge_override": False, "enable_push": True}
    change |= {"status_check_contexts": mine}
    gitea_forge.owner.patch(f"{repository.path}/branch_protections/main", **change)
    dry = init(root, "--dry-run")
    assert dry.exit_code == 3
    assert "main: enable_push is on, not off" in dry.output
    assert init(root).exit_code == 0
    assert init(root, "--dry-run").exit_code == 0
    (tags,) = gitea_forge.owner.get(f"{repository.path}/tag_protections")
    assert (tags["name_pattern"], tags["whitelist_usernames"]) == ("v*", [BOT])
    gitea_forge.owner.patch(
        f"{repository.path}/tag_protections/{tags['id']}", whitelist_usernames=[BOT, "ann"]
    )
    dry = init(root, "--dry-run")
    assert (dry.exit_code, "tags v*: whitelist_usernames is" in dry.output) == (3, True)
    assert init(root).exit_code == 0
    assert init(root, "--dry-run").exit_code == 0
    main = gitea_forge.owner.get(f"{repository.path}/branch_protections/main")
    assert main["status_check_contexts"] == mine


def test_afterwards_nobody_pushes_to_main_and_only_the_tool_writes_facts(place, gitea_forge):
    local, repository = place
    assert init(local.folder / "clone").exit_code == 0
    git, state = local.git, "refs/heads/modelyard/state"
    main = git.ls_remote("origin", ["refs/heads/main"])["refs/heads/main"]
    head = write_commit(
        git, main, {"README.md": b"x"}, parents=[main], message="x", author="ann", at=AT
    )

    for login, ref, before in (("ann", "refs/heads/main", main), ("ann", state, None)):
        git.run("remote", "set-url", "origin", repository.clone_url(login))
        with pytest.raises(YardError):
            git.push("origin", {ref: (before, head)})
    tag = "refs/tags/v1.0.0"
    with pytest.raises(YardError):
        git.push("origin", {tag: (None, main)})
    git.run("remote", "set-url", "origin", repository.clone_url(BOT))
    git.push("origin", {state: (None, head)})
    git.push("origin", {tag: (None, main)})

    opened = repository.open_pull(BOT, "modelyard/state")
    with pytest.raises(ApiError, match="status checks"):
        gitea_forge.api(BOT).post(f"{repository.path}/pulls/{opened['number']}/merge", Do="merge")

    git.run("remote", "set-url", "origin", repository.clone_url("ann"))
    forgery = write_commit(
        git, head, {"README.md": b"y"}, parents=[head], message="y", author="ann", at=AT
    )
    git.push("origin", {"refs/heads/forged": (None, forgery)})
    forged = repository.open_pull("ann", "forged", base="modelyard/state")
    with pytest.raises(ApiError):
        gitea_forge.api("ann").post(f"{repository.path}/pulls/{forged['number']}/merge", Do="merge")


def test_rules_that_somebody_loosened_another_way_are_named_and_repaired(place, gitea_forge):
    local, repository = place
    root = local.folder / "clone"
    assert init(root).exit_code == 0
    rules = f"{repository.path}/branch_protections"
    gitea_forge.owner.patch(f"{rules}/main", unprotected_file_patterns="**")
    gitea_forge.owner.patch(f"{rules}/modelyard%2Fstate", enable_merge_whitelist=False)

    dry = init(root, "--dry-run")

    assert "main: unprotected_file_patterns is" in dry.output
    assert "modelyard/state: enable_merge_whitelist is off, not on" in dry.output
    assert init(root).exit_code == 0
    assert init(root, "--dry-run").exit_code == 0
