from __future__ import annotations

from urllib.parse import quote

import pytest

from fakes.clients import Clone, PushRefused


def test_roles_and_teams_say_more_than_an_association(fake_github, api):
    ada = api(fake_github.add_person("ada", "admin"))
    fake_github.add_person("tri", "triage")
    fake_github.add_team("approvers", "ada", pending=["tri"])
    role = ada.get("~/collaborators/tri/permission")
    assert (role["permission"], role["role_name"]) == ("read", "triage")
    assert role["user"]["id"] == fake_github.user("tri").id
    team = "/orgs/acme/teams/approvers"
    assert ada.get(f"{team}/memberships/ada")["state"] == "active"
    assert ada.get(f"{team}/memberships/tri")["state"] == "pending"
    assert ada("GET", f"{team}/memberships/bob").status_code == 404
    assert [one["login"] for one in ada.get(f"{team}/members")] == ["ada"]
    assert {one["login"] for one in ada.get("~/collaborators")} == {"ada", "tri"}


@pytest.mark.long
def test_a_ruleset_keeps_the_state_branch_for_the_app(fake_github, api, tmp_path):
    app = fake_github.add_app(contents="write")
    token = fake_github.add_person("ada", "admin")
    admin = api(token)
    fake_github.seed({"a.txt": "one\n"})
    bypass = {"actor_id": app.id, "actor_type": "Integration", "bypass_mode": "always"}
    body = {
        "name": "state",
        "target": "branch",
        "enforcement": "active",
        "bypass_actors": [bypass],
        "conditions": {"ref_name": {"include": ["refs/heads/modelyard/state"], "exclude": []}},
        "rules": [{"type": "creation"}, {"type": "update"}, {"type": "deletion"}],
    }
    made = admin("POST", "~/rulesets", body)
    assert made.status_code == 201
    assert admin("POST", "~/rulesets", body).status_code == 422
    rules = admin.get("~/rules/branches/modelyard/state")
    assert [rule["type"] for rule in rules] == ["creation", "update", "deletion"]
    reader = api(fake_github.add_person("carol", "read"))
    assert "bypass_actors" not in reader.get(f"~/rulesets/{made.json()['id']}")
    clone = Clone(fake_github, token, tmp_path / "ada")
    with pytest.raises(PushRefused, match="creations being restricted"):
        clone.push("modelyard/state", {"junk": "1"})
    own = Clone(fake_github, fake_github.installation_token(app), tmp_path / "app")
    own.push("modelyard/state", {"facts.json": "{}"})
    with pytest.raises(PushRefused, match="Cannot update"):
        clone("push", "-q", "--force", "origin", "HEAD:refs/heads/modelyard/state")


def test_who_may_bypass_merges_past_the_rules_and_in_the_background_only_if_exempt(
    fake_github, api
):
    app = fake_github.add_app(contents="write", pull_requests="write")
    bot = api(fake_github.installation_token(app))
    fake_github.seed({"a.txt": "one\n"})
    bypass = {"actor_id": app.id, "actor_type": "Integration", "bypass_mode": "pull_request"}
    fake_github.protect(approvals=2, bypass=[bypass])
    for name in ("one", "two"):
        fake_github.seed({name: name}, branch=name)
        bot("POST", "~/pulls", {"title": name, "head": name, "base": "main"})
    assert bot("PUT", "~/pulls/1/merge").status_code == 200
    asked = bot("PUT", "~/pulls/2/merge-async", {}).json()["details"]["uuid"]
    assert bot.get(f"~/pulls/2/merge-async/{asked}")["status"] == "failed"
    bypass["bypass_mode"] = "exempt"
    asked = bot("PUT", "~/pulls/2/merge-async", {}).json()["details"]["uuid"]
    assert bot.get(f"~/pulls/2/merge-async/{asked}")["status"] == "merged"


def test_a_deployment_that_succeeds_makes_the_one_before_it_inactive(fake_github, api):
    bot = api(fake_github.installation_token(fake_github.add_app(deployments="write")))
    head = fake_github.seed({"a.txt": "one\n"})
    body = {"ref": head, "environment": "production", "required_contexts": [], "auto_merge": False}
    numbers = [bot("POST", "~/deployments", body).json()["id"] for _ in range(2)]
    for number in numbers:
        done = bot("POST", f"~/deployments/{number}/statuses", {"state": "success"})
        assert done.status_code == 201
    states = [bot.get(f"~/deployments/{number}/statuses")[0]["state"] for number in numbers]
    assert states == ["inactive", "success"]
    listed = bot.get("~/deployments?environment=production")
    assert [one["id"] for one in listed] == numbers[::-1]
    assert [one["name"] for one in bot.get("~/environments")["environments"]] == ["production"]


def test_an_environment_is_set_by_an_admin(fake_github, api):
    admin, ada = api(fake_github.add_person("root", "admin")), api(fake_github.add_person("ada"))
    body = {
        "prevent_self_review": True,
        "reviewers": [{"type": "User", "id": fake_github.user("ada").id}],
        "deployment_branch_policy": {"protected_branches": True, "custom_branch_policies": False},
    }
    assert ada("PUT", "~/environments/production", body).status_code == 403
    assert admin("PUT", "~/environments/production", body).status_code == 200
    rules = ada.get("~/environments/production")["protection_rules"]
    assert [rule["type"] for rule in rules] == ["required_reviewers", "branch_policy"]
    assert rules[0]["prevent_self_review"] is True


def test_comments_reactions_and_labels_are_kept(fake_github, api):
    ada, bob = api(fake_github.add_person("ada")), api(fake_github.add_person("bob", "read"))
    fake_github.seed({"a.txt": "one\n"})
    number = ada("POST", "~/issues", {"title": "Look", "labels": ["held"]}).json()["number"]
    comment = bob("POST", f"~/issues/{number}/comments", {"body": "/hold wine"}).json()
    assert comment["created_at"] == comment["updated_at"]
    url = f"~/issues/comments/{comment['id']}"
    fake_github.clock.advance(2)
    edited = ada("PATCH", url, {"body": "/approve"}).json()
    assert edited["user"]["login"] == "bob"
    assert edited["updated_at"] > edited["created_at"]
    seen = [event.payload["changes"] for event in fake_github.events if event.action == "edited"]
    assert seen == [{"body": {"from": "/hold wine"}}]
    reacted = [ada("POST", f"{url}/reactions", {"content": "eyes"}).status_code for _ in "12"]
    assert reacted == [201, 200]
    assert len(ada.get(f"{url}/reactions")) == 1
    assert bob("POST", f"~/issues/{number}/labels", {"labels": ["x"]}).status_code == 403
    ada("POST", f"~/issues/{number}/labels", {"labels": ["frozen"]})
    assert {one["name"] for one in ada.get(f"~/issues/{number}/labels")} == {"held", "frozen"}
    assert ada("DELETE", url).status_code == 204
    assert ada.get(f"~/issues/{number}/comments") == []


def test_enterprise_server_has_its_api_below_another_path(fake_github, api):
    ada = api(fake_github.add_person("ada"))
    fake_github.seed({"a.txt": "one\n"})
    for name in ("one", "two"):
        fake_github.seed({name: name}, branch=name)
        ada("POST", "~/pulls", {"title": name, "head": name, "base": "main"})
    answer = ada("GET", "/api/v3/repos/acme/yard/pulls?per_page=1")
    assert answer.links["next"]["url"].startswith(f"{fake_github.url}/api/v3/repos/acme/yard/pulls")
    assert ada("GET", answer.links["next"]["url"]).json()[0]["title"] == "one"


@pytest.mark.parametrize("name", ["ô]\x0e|ú", "a b", "50% #1?", "x/y", "\x80"])
def test_names_of_any_kind_are_quoted_in_urls(fake_github, api, name):
    admin = api(fake_github.add_person("ada", "admin"))
    fake_github.seed({"a.txt": "one\n"})
    assert admin("POST", "~/labels", {"name": name}).status_code == 201
    assert admin("GET", admin.get("~/labels")[0]["url"]).json()["name"] == name
    assert admin("POST", "~/issues", {"title": "Look", "labels": [name]}).status_code == 201
    url = f"~/environments/{quote(name, safe='')}"
    assert admin("PUT", url, {}).status_code == 200
    assert admin("GET", admin.get("~/environments")["environments"][0]["url"]).status_code == 200


@pytest.mark.parametrize("path", ["a b.txt", "50% #1?.txt", ":(glob)*", "ô.txt"])
def test_files_of_any_name_are_found(fake_github, api, path):
    ada = api(fake_github.add_person("ada"))
    fake_github.seed({"a.txt": "one\n"})
    fake_github.seed({path: "one\n"}, branch="change")
    ada("POST", "~/pulls", {"title": "Change", "head": "change", "base": "main"})
    file = ada.get("~/pulls/1/files")[0]
    assert file["filename"] == path
    assert ada.get(f"{file['contents_url']}?ref=change")["path"] == path
    assert len(ada.get(f"~/commits?sha=change&path={quote(path)}")) == 1
    assert ada.get("~/commits?path=") == ada.get("~/commits")


@pytest.mark.parametrize("name", ["a%00b", "..%2F..%2Fconfig", "x" * 300, "%ED%A0%80", "a%0Ab"])
def test_a_branch_that_cannot_be_is_not_found(fake_github, api, name):
    ada = api(fake_github.add_person("ada"))
    fake_github.seed({"a.txt": "one\n"})
    assert ada("GET", f"~/branches/{name}").status_code == 404
    assert ada("GET", f"~/git/ref/heads/{name}").status_code == 404
    assert ada("GET", f"~/commits/{name}").status_code in {404, 422}
    assert ada("GET", f"~/contents/{name}").status_code == 404
