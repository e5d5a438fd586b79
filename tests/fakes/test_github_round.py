from __future__ import annotations

import pytest

from fakes.clients import Clone, PushRefused


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


def test_a_reader_sees_everything_and_changes_nothing(fake_github, api, tmp_path):
    carol = fake_github.add_person("carol", "read")
    stranger = fake_github.add_person("mallory", "none")
    head = fake_github.seed({"a.txt": "one\n"})
    status = {"state": "success", "context": "modelyard/promote"}
    assert api(carol)("POST", f"~/statuses/{head}", status).status_code == 403
    assert api(stranger)("GET", "~/pulls").status_code == 404
    assert api()("GET", "~/pulls").status_code == 404
    assert api()("GET", "/user").status_code == 401
    assert api("wrong")("GET", "~/pulls").status_code == 401
    clone = Clone(fake_github, carol, tmp_path / "clone")
    with pytest.raises(PushRefused, match="403"):
        clone.push("change", {"a.txt": "ONE\n"})
    with pytest.raises(PushRefused, match="not found"):
        Clone(fake_github, stranger, tmp_path / "other")
    with pytest.raises(PushRefused, match=r"Authentication failed|could not read"):
        Clone(fake_github, "wrong", tmp_path / "third")


def test_a_push_moves_the_head_and_makes_the_approval_stale_late(fake_github, api, tmp_path):
    ada, bob = fake_github.add_person("ada"), fake_github.add_person("bob")
    fake_github.seed({"a.txt": "one\n"})
    fake_github.protect(approvals=1)
    fake_github.dismissal_delay = 2.0
    clone = Clone(fake_github, ada, tmp_path / "clone")
    head = clone.push("change", {"a.txt": "ONE\n"})
    body = {"title": "Change", "head": "change", "base": "main"}
    assert api(ada)("POST", "~/pulls", body).status_code == 201
    review = {"commit_id": head, "event": "APPROVE"}
    assert api(bob)("POST", "~/pulls/1/reviews", review).status_code == 200
    second = clone.push("change", {"a.txt": "TWO\n"})
    assert api(ada).get("~/pulls/1")["head"]["sha"] == second
    assert clone("ls-remote", "origin", "refs/pull/1/head").split()[0] == second
    seen = api(ada).get("~/pulls/1/reviews")
    assert [(one["state"], one["commit_id"]) for one in seen] == [("APPROVED", head)]
    fake_github.clock.advance(3)
    seen = api(ada).get("~/pulls/1/reviews")
    assert [(one["state"], one["commit_id"]) for one in seen] == [("DISMISSED", head)]
    assert api(ada)("PUT", "~/pulls/1/merge", {"sha": second}).status_code == 405
    actions = [event.action for event in fake_github.events if event.name == "pull_request"]
    assert actions == ["opened", "synchronize"]


def test_a_branch_has_one_open_pull_request(fake_github, api):
    ada = fake_github.add_person("ada")
    fake_github.seed({"a.txt": "one\n"})
    fake_github.seed({"a.txt": "ONE\n"}, branch="change")
    body = {"title": "Change", "head": "change", "base": "main"}
    assert api(ada)("POST", "~/pulls", body).status_code == 201
    second = api(ada)("POST", "~/pulls", body)
    assert second.status_code == 422
    assert "already exists for acme:change" in second.json()["errors"][0]["message"]
    assert api(ada)("PATCH", "~/pulls/1", {"state": "closed"}).json()["state"] == "closed"
    assert api(ada)("POST", "~/pulls", body).json()["number"] == 2
    empty = api(ada)("POST", "~/pulls", {**body, "head": "main"})
    assert "No commits between" in empty.json()["errors"][0]["message"]


def test_merges_that_conflict_are_refused_and_all_three_methods_keep_both_sides(fake_github, api):
    ada = fake_github.add_person("ada")
    fake_github.seed({"a.txt": "one\n"})
    for name in ("merge", "squash", "rebase", "late"):
        fake_github.seed({f"{name}.txt": name}, branch=name, message=f"Add {name}")
    fake_github.seed({"a.txt": "theirs\n"}, branch="late")
    fake_github.seed({"a.txt": "ours\n"})
    for name in ("merge", "squash", "rebase"):
        opened = api(ada)("POST", "~/pulls", {"title": name, "head": name, "base": "main"}).json()
        url = f"~/pulls/{opened['number']}/merge"
        done = api(ada)("PUT", url, {"sha": opened["head"]["sha"], "merge_method": name})
        assert done.status_code == 200, done.text
        commit = api(ada).get(f"~/commits/{done.json()['sha']}")
        assert len(commit["parents"]) == (2 if name == "merge" else 1)
        assert api(ada)("GET", url).status_code == 204
    listed = {one["name"] for one in api(ada).get("~/contents/")}
    assert listed == {"a.txt", "merge.txt", "squash.txt", "rebase.txt"}
    api(ada)("POST", "~/pulls", {"title": "late", "head": "late", "base": "main"})
    assert api(ada).get("~/pulls/4")["mergeable"] is False
    assert api(ada)("PUT", "~/pulls/4/merge").status_code == 405


def test_a_fork_is_read_through_its_pull_request(fake_github, api, tmp_path):
    eve = fake_github.add_person("eve", "read")
    fake_github.seed({"a.txt": "one\n"})
    fork = fake_github.fork("eve")
    head = fake_github.seed({"a.txt": "ONE\n"}, branch="change", repository=fork)
    body = {"title": "Change", "head": "eve:change", "base": "main"}
    opened = api(eve)("POST", "~/pulls", body).json()
    assert opened["head"]["repo"]["full_name"] == "eve/yard"
    clone = Clone(fake_github, eve, tmp_path / "clone")
    clone("fetch", "-q", "origin", "refs/pull/1/head")
    assert clone("rev-parse", "FETCH_HEAD") == head


def test_a_commit_of_an_unknown_address_has_no_user(fake_github, api):
    ada = fake_github.add_person("ada")
    fake_github.seed({"a.txt": "one\n"})
    fake_github.seed({"a.txt": "ONE\n"}, branch="change", author="stranger")
    api(ada)("POST", "~/pulls", {"title": "Change", "head": "change", "base": "main"})
    commit = api(ada).get("~/pulls/1/commits")[0]
    assert commit["author"] is None
    assert commit["commit"]["author"]["name"] == "stranger"
