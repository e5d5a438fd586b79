from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fakes.clients import Api, Clone, PushRefused
from fakes.github import FakeGitHub


@pytest.fixture
def api(fake_github: FakeGitHub) -> Iterator[Callable[..., Api]]:
    made: dict[str, Api] = {}

    def give(token: str = "") -> Api:
        if token not in made:
            made[token] = Api(fake_github, token)
        return made[token]

    yield give
    for one in made.values():
        one.close()


def test_a_change_goes_from_a_clone_over_a_review_to_main(fake_github, api, tmp_path):
    ada, bob = fake_github.add_person("ada"), fake_github.add_person("bob")
    fake_github.seed({"a.txt": "one\n", "b.txt": "two\n"})
    fake_github.protect(approvals=1, checks=("modelyard/promote",))
    clone = Clone(fake_github, ada, tmp_path / "clone")
    head = clone.push("change", {"a.txt": "ONE\n"})

    opened = api(ada)("POST", "~/pulls", {"title": "Change", "head": "change", "base": "main"})
    assert opened.status_code == 201
    number = opened.json()["number"]
    assert opened.json()["head"]["sha"] == head
    assert clone("ls-remote", "origin", f"refs/pull/{number}/head").split()[0] == head
    assert [one["filename"] for one in api(ada).get(f"~/pulls/{number}/files")] == ["a.txt"]
    assert [one["author"]["login"] for one in api(ada).get(f"~/pulls/{number}/commits")] == ["ada"]

    merge = ("PUT", f"~/pulls/{number}/merge", {"sha": head})
    refused = api(ada)(*merge)
    assert refused.status_code == 405
    assert "At least 1 approving review" in refused.json()["message"]
    assert "modelyard/promote" in refused.json()["message"]
    review = {"commit_id": head, "event": "APPROVE"}
    assert api(ada)("POST", f"~/pulls/{number}/reviews", review).status_code == 422
    assert api(bob)("POST", f"~/pulls/{number}/reviews", review).status_code == 200
    status = {"state": "success", "context": "modelyard/promote"}
    assert api(ada)("POST", f"~/statuses/{head}", status).status_code == 201
    other = {"sha": "1" * 40}
    assert api(ada)("PUT", f"~/pulls/{number}/merge", other).status_code == 409
    merged = api(ada)(*merge)
    assert merged.status_code == 200
    clone("fetch", "-q", "origin", "main")
    assert clone("rev-parse", "FETCH_HEAD") == merged.json()["sha"]
    assert clone("show", "FETCH_HEAD:a.txt") == "ONE"
    assert clone("log", "-1", "--format=%P", "FETCH_HEAD").split()[1] == head
    assert api(ada).get(f"~/pulls/{number}")["merged"] is True
    assert [one["merged_at"] is None for one in api(ada).get("~/pulls?state=closed")] == [False]


def test_nobody_pushes_to_a_protected_main(fake_github, tmp_path):
    ada = fake_github.add_person("ada", "admin")
    start = fake_github.seed({"a.txt": "one\n"})
    fake_github.protect(approvals=1)
    clone = Clone(fake_github, ada, tmp_path / "clone")
    with pytest.raises(PushRefused, match="Changes must be made through a pull request"):
        clone.push("main", {"a.txt": "ONE\n"})
    assert fake_github.repository.git.branch("main") == start
