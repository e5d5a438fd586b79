"""What `modelyard doctor` says of a hosted forge."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from fakes.github import FakeGitHub
from modelyard.adapters.forge.github.settings import CHATOPS, NEEDED
from modelyard.adapters.forge.hosted.api import ForgeApi
from modelyard.adapters.git.repository import Git
from modelyard.cli import cli
from operations.hosted_yard import checkout_on_github

SETTINGS = "apiVersion: modelyard/v1\nkind: Repository\nbot: modelyard[bot]\n"


@pytest.fixture
def app(fake_github: FakeGitHub):
    return fake_github.add_app("modelyard", **NEEDED)


@pytest.fixture
def yard(fake_github: FakeGitHub, app, tmp_path, monkeypatch):
    """A forge that `init` has set up, and the credentials of the App."""
    root = checkout_on_github(fake_github, tmp_path, SETTINGS)
    with monkeypatch.context() as patch:
        patch.setenv("MODELYARD_FORGE_TOKEN", fake_github.add_person("olga", "admin"))
        done = CliRunner().invoke(cli, ["--root", str(root), "init", "--forge", "github"])
        assert done.exit_code == 0, done.output
    key = tmp_path / "key.pem"
    key.write_text(app.key)
    monkeypatch.setenv("MODELYARD_APP_ID", str(app.id))
    monkeypatch.setenv("MODELYARD_APP_KEY_FILE", str(key))
    monkeypatch.setenv("MODELYARD_APP_INSTALLATION", str(app.installation))
    Git(root).run("remote", "set-url", "origin", fake_github.git_url())
    return root


def wrong(root):
    """What the checks of the forge found, and what mends the first of it."""
    found = CliRunner().invoke(cli, ["--root", str(root), "doctor", "--output", "json"])
    said = json.loads(found.stdout)
    return {
        each["check"]: (each["found"], each["mend"])
        for each in said["checks"]
        if each["state"] == "wrong"
        and re.search("forge|account|credentials|password", each["check"])
    }


def main_ruleset(fake):
    kept = fake.repository.rulesets.values()
    return next(each for each in kept if each["name"] == "modelyard: main")


@pytest.mark.long
def test_nothing_is_wrong_after_init(yard):
    assert wrong(yard) == {}


def test_a_token_in_the_remote_s_address_is_found_and_never_shown(yard, fake_github):
    token = fake_github.add_person("ann", "write")
    Git(yard).run("remote", "set-url", "origin", fake_github.git_url(token))
    done = CliRunner().invoke(cli, ["--root", str(yard), "-vv", "doctor", "--output", "json"])

    (found, mend) = wrong(yard)["the configuration of git has no password"]

    key = "git config remote.origin.url of .git/config"
    assert found == [f"{key} has a password or a token in its address"]
    assert mend.startswith(f"git remote set-url origin {fake_github.git_url()}; then revoke it")
    assert token not in done.output


@pytest.mark.long
def test_what_a_person_loosened_is_named_with_the_command_that_repairs_it(yard, fake_github):
    rules = main_ruleset(fake_github)["rules"]
    rules[3]["parameters"]["required_status_checks"][1].pop("integration_id")

    (found, mend) = wrong(yard)["the forge protects the branches"]

    assert "required_status_checks" in found[0]
    assert mend == "modelyard init --forge github, with the token of an administrator"


@pytest.mark.long
@pytest.mark.parametrize(("mode", "word"), [("exempt", "exempt"), ("always", "always")])
def test_a_bypass_that_leaves_no_trace_is_warned_of(yard, fake_github, app, mode, word):
    main_ruleset(fake_github)["bypass_actors"][0]["bypass_mode"] = mode

    (found, _) = wrong(yard)["the forge protects the branches"]

    assert f"modelyard may pass it: {word}, not pull_requests_only" in found[0]


@pytest.mark.long
def test_what_an_administrator_alone_sees_is_found_with_their_token(yard, fake_github, monkeypatch):
    """The App is not shown who may pass a ruleset."""
    for name in ("APP_ID", "APP_KEY_FILE", "APP_INSTALLATION"):
        monkeypatch.delenv(f"MODELYARD_{name}")
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "token-of-olga")
    actor = {"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}
    fake_github.protect(bypass=[actor])

    (found, _) = wrong(yard)["the forge protects the branches"]

    assert any("RepositoryRole 5 passes it (always)" in each for each in found)


@pytest.mark.long
@pytest.mark.parametrize(
    ("permissions", "said"),
    [
        ({"workflows": "write"}, "workflows: write: with it a pull request could change"),
        ({"administration": "write"}, "administration: write: with it the tool could lift"),
        ({"deployments": "read"}, "deployments: read, write is needed"),
    ],
)
def test_permissions_of_the_app_that_are_too_many_or_too_few_are_named(
    yard, app, permissions, said
):
    app.permissions |= permissions

    (found, mend) = wrong(yard)["the account has its permissions"]

    assert said in found[0]
    assert "accept them for acme/yard" in mend


@pytest.mark.long
def test_the_app_must_see_members_of_teams_that_approve(yard, fake_github):
    fake_github.add_team("leads", "olga")
    file = "environments/production/environment.yaml"
    text = (yard / file).read_text().replace("- ada", "- acme/leads")
    assert "acme/leads" in text
    fake_github.seed({file: text}, message="Let leads approve")

    (found, _) = wrong(yard)["the account has its permissions"]

    assert "members: none, read is needed" in found[0]


@pytest.mark.long
def test_actions_that_are_off_are_named(yard, fake_github):
    fake_github.repository.actions["enabled"] = False

    (found, mend) = wrong(yard)["the forge runs workflows"]

    assert found == ["workflows run: Actions are off"]
    assert mend.startswith("modelyard init")


@pytest.mark.long
def test_a_workflow_that_somebody_stopped_is_named(yard, fake_github):
    fake_github.seed({CHATOPS: "on: issue_comment\n"}, message="Answer comments")
    fake_github.repository.disabled_workflows.add(CHATOPS)

    (found, _) = wrong(yard)["the forge runs workflows"]

    assert found == [f"workflows run: {CHATOPS} is disabled_manually"]


@pytest.mark.long
def test_runs_for_comments_that_github_does_not_let_begin_are_named(yard, fake_github):
    fake_github.seed({CHATOPS: "on: [issue_comment, workflow_dispatch]\n"}, message="Answer")
    api = ForgeApi(url=fake_github.url, auth="token-of-olga")
    path = "/repos/acme/yard/actions/workflows/chatops.yml/dispatches"
    api.send("POST", path, {"ref": "main"})
    ((number, run),) = fake_github.repository.runs.items()
    run["event"] = "issue_comment"
    fake_github.finish_run(number, "success")
    assert wrong(yard) == {}
    fake_github.finish_run(number, "startup_failure")

    (found, mend) = wrong(yard)["the forge runs workflows"]

    assert "its last run ended with startup_failure before it began" in found[0]
    assert mend.startswith("allow the event issue_comment on ")


def test_a_token_that_the_forge_refuses_is_named_with_what_to_set(yard, monkeypatch):
    for name in ("APP_ID", "APP_KEY_FILE", "APP_INSTALLATION"):
        monkeypatch.delenv(f"MODELYARD_{name}")
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "of-nobody")

    found = wrong(yard)

    assert list(found) == ["the forge accepts the credentials"]
    ((said,), mend) = found["the forge accepts the credentials"]
    assert "401" in said
    assert "set MODELYARD_FORGE_TOKEN to a token of modelyard[bot] for acme/yard" in mend


@pytest.mark.long
def test_credentials_of_somebody_else_than_the_bot_are_named(yard, monkeypatch):
    for name in ("APP_ID", "APP_KEY_FILE", "APP_INSTALLATION"):
        monkeypatch.delenv(f"MODELYARD_{name}")
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "token-of-olga")

    ((said,), mend) = wrong(yard)["the credentials are those of the tool"]

    assert said == "the credentials are those of olga, not of modelyard[bot]"
    assert "bot: olga" in mend


@pytest.mark.long
@pytest.mark.parametrize(
    "url", ["git@github.example:acme/yard.git", "ssh://git@h:22/acme/yard", "git+ssh://h/acme/yard"]
)
def test_a_remote_that_git_pushes_to_as_a_person_is_named(yard, url):
    Git(yard).run("remote", "set-url", "--push", "origin", url)

    (found, mend) = wrong(yard)["the credentials are those of the tool"]

    assert "by SSH" in found[0]
    assert re.fullmatch(r"git remote set-url --push origin http.*/acme/yard\.git", mend)


@pytest.mark.long
def test_an_app_that_is_not_the_bot_of_the_settings_is_named_and_no_watch_begins(yard, fake_github):
    """It would take its own pull requests for another's, and close and open them for ever."""
    fake_github.add_app("other")
    settings = yard / "modelyard.yaml"
    settings.write_text(settings.read_text().replace("modelyard[bot]", "other[bot]"))

    ((said,), mend) = wrong(yard)["the credentials are those of the tool"]
    begun = CliRunner().invoke(cli, ["--root", str(yard), "watch", "--once"])

    assert said == "the credentials are those of modelyard[bot], not of other[bot]"
    assert "bot: modelyard[bot]" in mend
    assert begun.exit_code == 1
    assert said in begun.stderr
    assert fake_github.calls("POST", "/pulls") == 0
