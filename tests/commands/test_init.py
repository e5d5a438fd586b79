from __future__ import annotations

import subprocess

import pytest
from click.testing import CliRunner

from fakes.github import FakeGitHub, forbidden
from modelyard.cli import cli
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.errors import CannotAnswer
from modelyard.operations.forge.setup import (
    Address,
    edit_settings,
    environments_of,
    read_address,
    read_settings,
)
from operations.hosted_yard import checkout_on_github

SETTINGS = """\
# Ours.
apiVersion: modelyard/v1
kind: Repository
forge: local # for now
bot: modelyard[bot]
"""
TEAMS = """\
apiVersion: modelyard/v1
kind: Environment
name: production
description: Last.
namespace: production
promotes_from: canary
approvals:
  needed: 2
  approvers:
    - acme/leads
"""


@pytest.mark.parametrize(
    ("url", "forge", "address"),
    [
        ("https://github.com/acme/yard.git", "github", Address(repository="acme/yard", uri=None)),
        ("https://x:y@github.com/acme/yard", "github", Address(repository="acme/yard", uri=None)),
        ("git@github.com:acme/yard.git", "github", Address(repository="acme/yard", uri=None)),
        (
            "ssh://git@ghe.example.org:2222/acme/yard.git",
            "github",
            Address(repository="acme/yard", uri="https://ghe.example.org/api/v3"),
        ),
        (
            "http://bot:t@127.0.0.1:3000/acme/yard.git",
            "gitea",
            Address(repository="acme/yard", uri="http://127.0.0.1:3000/api/v1"),
        ),
        (
            "https://example.org/git/acme/yard.git",
            "gitea",
            Address(repository="acme/yard", uri="https://example.org/git/api/v1"),
        ),
    ],
)
def test_the_address_of_the_forge_is_read_from_the_remote(url, forge, address):
    assert read_address(url, ForgeKind(forge)) == address


@pytest.mark.parametrize("url", ["/srv/forge.git", "../forge.git", "https://u:secret@github.com/x"])
def test_a_remote_that_is_on_no_forge_is_named_without_its_password(url):
    with pytest.raises(CannotAnswer, match="is on no forge") as refused:
        read_address(url, ForgeKind.GITHUB)

    assert "secret" not in str(refused.value)


def test_only_what_differs_is_changed_in_the_settings():
    before = Repository()
    after = Repository(forge=ForgeKind.GITHUB, forge_repository="acme/yard")

    assert edit_settings(SETTINGS, before, after) == (
        "# Ours.\napiVersion: modelyard/v1\nkind: Repository\nforge: github\nbot: modelyard[bot]\n"
        "forge_repository: acme/yard\n"
    )
    assert edit_settings(SETTINGS, before, before) == SETTINGS
    without_end = SETTINGS.removesuffix("\n")
    assert edit_settings(without_end, before, after) == edit_settings(SETTINGS, before, after)
    assert edit_settings(edit_settings(SETTINGS, before, after), after, before) == SETTINGS.replace(
        "forge: local # for now", "forge: local"
    )


@pytest.fixture
def yard(fake_github: FakeGitHub, tmp_path, monkeypatch):
    """A checkout of a repository on the fake GitHub, and an administrator's token."""
    fake_github.add_person("ada", "write")
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", fake_github.add_person("olga", "admin"))
    fake_github.add_app("modelyard", contents="write")
    return checkout_on_github(fake_github, tmp_path, SETTINGS)


def init(root, *more):
    return CliRunner().invoke(cli, ["--root", str(root), "init", "--forge", "github", *more])


def writes(fake):
    return [each for each in fake.log if each.method != "GET"]


def test_a_dry_run_prints_what_it_would_do_and_does_none_of_it(yard, fake_github):
    found = init(yard, "--dry-run")

    assert found.exit_code == 3, found.output
    assert "+forge: github" in found.output
    assert "+forge_repository: acme/yard" in found.output
    assert (
        "would set: main changes by checked pull requests (no ruleset 'modelyard: main')"
        in found.output
    )
    assert writes(fake_github) == []
    assert (yard / "modelyard.yaml").read_text() == SETTINGS


@pytest.mark.long
def test_it_sets_the_forge_up_and_changes_nothing_when_run_again(yard, fake_github):
    first = init(yard)
    assert first.exit_code == 0, first.output
    before, text = len(writes(fake_github)), (yard / "modelyard.yaml").read_text()

    second = init(yard)
    third = init(yard, "--dry-run")

    assert (second.exit_code, third.exit_code) == (0, 0), third.output
    assert len(writes(fake_github)) == before
    assert (yard / "modelyard.yaml").read_text() == text
    assert "forge: github" in text
    kept = fake_github.repository
    app = fake_github.directory.apps
    rulesets = {each["name"]: each for each in kept.rulesets.values()}
    (number,) = app
    by_type = {
        rule["type"]: rule.get("parameters") for rule in rulesets["modelyard: main"]["rules"]
    }
    assert by_type["required_status_checks"]["required_status_checks"] == [
        {"context": "modelyard/checks", "integration_id": number},
        {"context": "modelyard/promote", "integration_id": number},
    ]
    assert by_type["pull_request"]["require_last_push_approval"] is True
    modes = {
        name: [actor["bypass_mode"] for actor in each["bypass_actors"]]
        for name, each in rulesets.items()
    }
    assert modes == {
        "modelyard: main": ["pull_request"],
        "modelyard: state": ["always"],
        "modelyard: releases": ["always"],
        "modelyard: released": [],
    }
    assert set(kept.environments) == {"staging", "canary", "production", "modelyard"}
    assert [each["name"] for each in kept.environments["modelyard"]["policies"]] == ["main"]
    assert {"rollback", "production"} <= set(kept.labels)


@pytest.mark.long
def test_only_the_app_writes_the_branch_of_the_facts_afterwards(yard, fake_github):
    assert init(yard).exit_code == 0
    app = next(iter(fake_github.directory.apps.values()))

    def push(token):
        url = fake_github.git_url(token)
        return subprocess.run(
            ["git", "push", "-q", url, "HEAD:refs/heads/modelyard/state"],
            cwd=yard,
            check=False,
            capture_output=True,
        ).returncode

    assert push("token-of-ada") != 0
    assert push(fake_github.installation_token(app)) == 0


@pytest.mark.long
def test_only_the_app_makes_the_tag_of_a_release_and_nobody_moves_or_deletes_it(yard, fake_github):
    assert init(yard).exit_code == 0
    app = next(iter(fake_github.directory.apps.values()))

    def push(token, *refs):
        url = fake_github.git_url(token)
        done = subprocess.run(
            ["git", "push", "-q", "--force", url, *refs], cwd=yard, check=False, capture_output=True
        )
        return done.returncode == 0

    tool = fake_github.installation_token(app)
    (yard / "more").write_text("x")
    subprocess.run(["git", "add", "more"], cwd=yard, check=True)
    person = ("-c", "user.name=ann", "-c", "user.email=ann@example.com")
    subprocess.run(["git", *person, "commit", "-q", "-m", "More"], cwd=yard, check=True)
    for token in ("token-of-ada", "token-of-olga"):
        assert not push(token, "HEAD:refs/tags/v1.0.0")
    assert push(tool, "HEAD~1:refs/tags/v1.0.0")
    for token in ("token-of-ada", "token-of-olga", tool):
        assert not push(token, "HEAD:refs/tags/v1.0.0")
        assert not push(token, ":refs/tags/v1.0.0")
    assert push("token-of-ada", "HEAD:refs/tags/of-ada")


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("releases", lambda kept: kept["rules"].clear()),
        ("releases", lambda kept: kept["conditions"]["ref_name"].update(include=["refs/tags/v1"])),
        ("released", lambda kept: kept["rules"].pop(1)),
        (
            "released",
            lambda kept: kept["bypass_actors"].append(
                {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
            ),
        ),
        ("released", lambda kept: kept.update(target="branch")),
    ],
)
def test_tags_that_somebody_let_loose_are_found_and_repaired(yard, fake_github, name, change):
    init(yard)
    rulesets = fake_github.repository.rulesets.values()
    change(next(each for each in rulesets if each["name"] == f"modelyard: {name}"))

    assert init(yard, "--dry-run").exit_code == 3
    assert "set: only modelyard[bot] makes tags v*, and they stay" in init(yard).output
    assert init(yard, "--dry-run").exit_code == 0


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept.update(enforcement="disabled"),
        lambda kept: kept["rules"].pop(),
        lambda kept: kept["bypass_actors"].append(
            {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
        ),
        lambda kept: kept["bypass_actors"][0].update(bypass_mode="exempt"),
        lambda kept: kept["conditions"]["ref_name"]["exclude"].append("refs/heads/main"),
        lambda kept: kept["rules"][2]["parameters"].update(dismiss_stale_reviews_on_push=False),
        lambda kept: kept["rules"][2]["parameters"]["allowed_merge_methods"].append("squash"),
        lambda kept: kept["rules"][3]["parameters"]["required_status_checks"][0].pop(
            "integration_id"
        ),
    ],
)
def test_a_protection_that_somebody_loosened_is_found_and_repaired(yard, fake_github, change):
    init(yard)
    kept = next(
        each
        for each in fake_github.repository.rulesets.values()
        if each["name"] == "modelyard: main"
    )
    change(kept)

    dry = init(yard, "--dry-run")
    assert dry.exit_code == 3, dry.output
    assert "set: main changes" in init(yard).output
    assert init(yard, "--dry-run").exit_code == 0


@pytest.mark.long
def test_checks_rules_and_reviews_that_people_added_survive_a_repair(yard, fake_github):
    init(yard)
    kept = next(
        each
        for each in fake_github.repository.rulesets.values()
        if each["name"] == "modelyard: main"
    )
    by_type = {rule["type"]: rule for rule in kept["rules"]}
    checks = by_type["required_status_checks"]["parameters"]["required_status_checks"]
    checks.append({"context": "tests"})
    by_type["pull_request"]["parameters"]["require_code_owner_review"] = True
    kept["rules"].append({"type": "required_linear_history"})
    assert init(yard, "--dry-run").exit_code == 0

    checks[0].pop("integration_id")
    kept["rules"].remove(by_type["deletion"])
    assert init(yard).exit_code == 0

    by_type = {rule["type"]: rule for rule in kept["rules"]}
    assert {"deletion", "required_linear_history"} <= set(by_type)
    assert by_type["pull_request"]["parameters"]["require_code_owner_review"] is True
    checks = by_type["required_status_checks"]["parameters"]["required_status_checks"]
    assert sorted((each["context"], "integration_id" in each) for each in checks) == [
        ("modelyard/checks", True),
        ("modelyard/promote", True),
        ("tests", False),
    ]
    assert init(yard, "--dry-run").exit_code == 0


@pytest.mark.long
@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept["policies"].clear(),
        lambda kept: kept["policies"].append({**kept["policies"][0], "id": 7, "name": "try/*"}),
        lambda kept: kept.update(deployment_branch_policy=None),
    ],
)
def test_the_credentials_of_the_workflows_are_for_main_alone(yard, fake_github, change):
    init(yard)
    kept = fake_github.repository.environments
    change(kept["modelyard"])

    assert init(yard, "--dry-run").exit_code == 3
    assert "set: only workflows of main read the secrets of modelyard" in init(yard).output
    assert init(yard, "--dry-run").exit_code == 0
    assert [each["name"] for each in kept["modelyard"]["policies"]] == ["main"]


@pytest.mark.long
def test_a_stricter_rule_of_somebody_else_stays(yard, fake_github):
    init(yard)
    kept = next(iter(fake_github.repository.rulesets.values()))
    kept["rules"].append({"type": "required_linear_history"})
    mine = fake_github.protect(approvals=2)

    assert init(yard, "--dry-run").exit_code == 0
    assert fake_github.repository.rulesets[mine["id"]] == mine


@pytest.mark.long
def test_a_team_that_approves_an_environment_must_approve_on_the_page_too(yard, fake_github):
    fake_github.add_team("leads", "ada")
    (yard / "environments/production/environment.yaml").write_text(TEAMS)

    assert init(yard).exit_code == 0
    kept = next(
        each
        for each in fake_github.repository.rulesets.values()
        if each["name"] == "modelyard: main"
    )
    (reviewer,) = kept["rules"][2]["parameters"]["required_reviewers"]
    assert reviewer["file_patterns"] == ["environments/production/**"]
    assert (reviewer["minimum_approvals"], reviewer["reviewer"]["type"]) == (2, "Team")
    assert init(yard, "--dry-run").exit_code == 0


@pytest.mark.long
def test_what_the_forge_refuses_is_left_to_do_by_hand_and_finished_by_the_next_run(
    yard, fake_github
):
    fake_github.queue(forbidden("POST", "/rulesets$", skip=1))

    first = init(yard)
    assert first.exit_code == 3, first.output
    assert "not set: POST" in first.output
    assert "use the token of an administrator" in first.output
    assert "forge: local" in (yard / "modelyard.yaml").read_text()

    assert init(yard).exit_code == 0
    assert len(fake_github.repository.rulesets) == 4


@pytest.mark.long
def test_a_token_that_is_no_administrators_is_told_what_it_lacks(yard, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "token-of-ada")

    found = init(yard)

    assert found.exit_code == 3
    assert "Must have admin rights" in found.output


def test_gitea_has_no_account_of_an_app(yard):
    found = CliRunner().invoke(cli, ["--root", str(yard), "init", "--forge", "gitea"])

    assert found.exit_code == 1
    assert "--bot LOGIN" in found.output


@pytest.mark.long
def test_what_is_wanted_is_one_list_for_a_machine_account_too(yard, fake_github):
    """Without an App a status cannot be pinned, and the account passes rules as a user."""
    fake_github.add_person("yard-bot", "admin")

    assert init(yard, "--bot", "yard-bot").exit_code == 0
    after = Repository(
        forge=ForgeKind.GITHUB,
        forge_uri=f"{fake_github.url}/api/v3",
        forge_repository="acme/yard",
        bot="yard-bot",
    )
    assert all(
        not each.lacks for each in read_settings(after, environments_of(yard), as_person=True)
    )
    actors = {
        actor["actor_type"]
        for each in fake_github.repository.rulesets.values()
        for actor in each["bypass_actors"]
    }
    assert actors == {"User"}
