"""What every suite on the forge relies on: people, rights, fresh repositories, signed webhooks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from e2e.forge.api import ApiError
from e2e.forge.seed import git, write_seed
from e2e.forge.site import BOT, OWNER, Site
from e2e.forge.webhooks import receive_webhooks

SECRET = "of the yard"


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seed(tmp_path_factory.getbasetemp())


def push_branch(url: str, folder: Path, branch: str) -> str:
    git(folder.parent, "clone", "--quiet", "--depth", "1", url, str(folder))
    (folder / "note.txt").write_text(branch)
    git(folder, "checkout", "--quiet", "-b", branch)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", branch)
    git(folder, "push", "--quiet", "origin", branch)
    return git(folder, "rev-parse", "HEAD").strip()


def test_each_person_has_an_account_a_token_and_a_right(gitea_forge: Site, seed: Path):
    repository = gitea_forge.new_repository(seed)
    rights = {}
    for login, person in gitea_forge.people.items():
        me = gitea_forge.api(login).get("user")
        assert (me["id"], me["login"]) == (person.id, login)
        path = f"{repository.path}/collaborators/{login}/permission"
        rights[login] = repository.api(BOT if login == BOT else OWNER).get(path)["permission"]
    assert rights == {
        OWNER: "owner", BOT: "admin", "ann": "write", "bob": "write", "rex": "read"
    }  # fmt: skip
    assert len({person.token for person in gitea_forge.people.values()}) == len(rights)


def test_fresh_repositories_are_quick_and_each_test_has_its_own(gitea_forge: Site, seed: Path):
    fresh, seconds = [], []
    for _ in range(3):
        began = time.monotonic()
        fresh.append(gitea_forge.new_repository(seed))
        seconds.append(time.monotonic() - began)
    assert {git(each.bare, "rev-parse", "main") for each in fresh} == {
        git(seed, "rev-parse", "main")
    }
    assert len({each.name for each in fresh}) == len(fresh)
    assert [each.api("rex").get(each.path)["default_branch"] for each in fresh] == ["main"] * 3
    # Other programs may take the processor away, but not every time.
    assert min(seconds) < 1


def test_a_merge_waits_for_statuses_and_approvals_of_others(
    gitea_forge: Site, seed: Path, tmp_path: Path
):
    repository = gitea_forge.new_repository(seed)
    repository.protect_main(statuses=("modelyard/checks",), approvals=1)
    sha = push_branch(repository.clone_url("ann"), tmp_path / "ann", "a-change")
    number = repository.open_pull("ann", "a-change")["number"]
    pull = f"{repository.path}/pulls/{number}"

    def merge() -> int:
        try:
            repository.api(BOT).post(f"{pull}/merge", Do="merge", head_commit_id=sha)
        except ApiError as error:
            return error.status
        return 200

    assert merge() == 405
    status = {"context": "modelyard/checks", "state": "success"}
    repository.api(BOT).post(f"{repository.path}/statuses/{sha}", **status)
    assert merge() == 405
    with pytest.raises(ApiError, match="422"):
        repository.api("ann").post(f"{pull}/reviews", event="APPROVED", commit_id=sha)
    repository.api("bob").post(f"{pull}/reviews", event="APPROVED", commit_id=sha)
    assert merge() == 200
    assert git(repository.bare, "log", "-1", "--format=%P", "main").split()[1] == sha


def test_webhooks_are_signed_as_github_signs_them(gitea_forge: Site, seed: Path, tmp_path: Path):
    repository = gitea_forge.new_repository(seed)
    with receive_webhooks() as receiver:
        repository.add_webhook(
            receiver.url, secret=SECRET, events=["push", "pull_request", "issue_comment"]
        )
        sha = push_branch(repository.clone_url("ann"), tmp_path / "ann", "a-change")
        number = repository.open_pull("ann", "a-change")["number"]
        comments = f"{repository.path}/issues/{number}/comments"
        repository.api("bob").post(comments, body="/why $(id) `id` ${{ github.token }}")
        comment = receiver.wait_for("issue_comment")
        pushed, opened = receiver.wait_for("push"), receiver.wait_for("pull_request")
    assert pushed.document["after"] == opened.document["pull_request"]["head"]["sha"] == sha
    assert comment.document["comment"]["user"]["id"] == gitea_forge.people["bob"].id
    assert all(each.is_signed(SECRET) for each in receiver.deliveries)
    assert not any(each.is_signed(SECRET[:-1]) for each in receiver.deliveries)
    assert len({each.headers["x-github-delivery"] for each in receiver.deliveries}) == len(
        receiver.deliveries
    )
