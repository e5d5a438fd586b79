"""As whom the tool signs in to a forge, and to which."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from contract.stages import START, checkout
from contract.test_pull_requests import change, ready, rollback
from fakes.github import bad_gateway
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.forge.github.credentials import (
    App,
    NoCredentials,
    read_app,
    read_token,
)
from modelyard.adapters.forge.hosted.api import urgent
from modelyard.cli import cli
from modelyard.domain.promotion.facts import Freeze
from modelyard.domain.promotion.pulls import Merged
from modelyard.domain.specs.repository import ForgeKind, Repository
from modelyard.errors import CannotAnswer
from modelyard.operations.hosted_forges import build_forge, refuse_other_account
from modelyard.operations.workspace import ASKS_AGAIN_SECONDS as A_MOMENT
from modelyard.operations.workspace import facts_of

NAMES = (
    *("MODELYARD_APP_ID", "MODELYARD_APP_KEY", "MODELYARD_APP_KEY_FILE"),
    *("MODELYARD_APP_INSTALLATION", "MODELYARD_FORGE_TOKEN", "GITHUB_TOKEN", "GITHUB_API_URL"),
)
DEV = "environments/dev/environment.yaml"
DEV_SPEC = (Path(__file__).parents[2] / DEV).read_text()
LOCK = "requirements.lock"
RIGHTS = dict.fromkeys(("contents", "pull_requests", "issues", "statuses"), "write")


@pytest.fixture
def fake(fake_github, monkeypatch):
    """A yard without credentials in the address of its remote; none are set."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    fake_github.add_person("ann")
    fake_github.seed(dict(START), author="ann")
    return fake_github


def pulls_of(fake, folder, bot="modelyard[bot]"):
    settings = Repository(
        forge=ForgeKind.GITHUB, forge_uri=fake.url, forge_repository="acme/yard", bot=bot
    )
    return build_forge(checkout(folder / "clone", fake.git_url()), settings, SystemClock())[0]


@pytest.mark.long
def test_an_app_needs_its_number_and_its_key_and_git_signs_in_with_it(fake, tmp_path, monkeypatch):
    app = fake.add_app("modelyard", **RIGHTS)
    monkeypatch.setenv("MODELYARD_APP_ID", str(app.id))
    monkeypatch.setenv("MODELYARD_APP_KEY", app.key)
    pulls = pulls_of(fake, tmp_path)

    pull = pulls.propose(rollback())
    for context in ("modelyard/checks", "modelyard/promote"):
        ready(SimpleNamespace(pulls=pulls), pull, context)

    assert str(pulls.dialect.me()) == "modelyard[bot]"
    assert isinstance(pulls.merge(pull.number, sha=pull.head, bypass="it is bad"), Merged)
    # One token for git and one for the API, however many requests and commands there are.
    assert fake.calls("POST", "/access_tokens", status=201) == 2
    held = [path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("installation-" in text for text in held)


def test_a_token_for_git_is_of_this_repository_and_renewed_before_it_ends(fake):
    made = fake.add_app("modelyard", **RIGHTS)
    app = App(url=fake.url, repository="acme/yard", id=str(made.id), key=made.key)
    again = replace(app)
    fake.installation_lasts = 60.0
    assert app.token() != again.token()
    fake.installation_lasts = 600.0
    assert app.token() == again.token()
    assert made.key not in repr(app)


@pytest.mark.parametrize("key", ["abc", "/home/ada/key.pem", "damaged"])
def test_a_key_that_is_none_is_named_before_anything_is_asked(fake, monkeypatch, key):
    whole = fake.add_app("modelyard", **RIGHTS).key
    monkeypatch.setenv("MODELYARD_APP_ID", "12")
    monkeypatch.setenv("MODELYARD_APP_KEY", whole[:200] if key == "damaged" else key)

    with pytest.raises(CannotAnswer, match="MODELYARD_APP_KEY is no private key in PEM format"):
        read_app(fake.url, "acme/yard")


def test_an_app_that_is_not_installed_says_so(fake):
    made = fake.add_app("modelyard", **RIGHTS)
    app = App(url=fake.url, repository="acme/other", id=str(made.id), key=made.key)

    with pytest.raises(CannotAnswer, match=f"App {made.id} is not installed in acme/other"):
        app.find_installation()


def test_a_workflow_s_token_says_what_to_set(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", fake.actions_token(**RIGHTS))
    monkeypatch.setenv("GITHUB_API_URL", fake.url)

    with pytest.raises(CannotAnswer) as error:
        pulls_of(fake, tmp_path).propose(change())

    assert "does not say who this token acts as" in error.value.message
    assert "MODELYARD_APP_ID and MODELYARD_APP_KEY" in (error.value.hint or "")


@pytest.mark.long
def test_it_is_the_bot_of_all_workflows_only_where_the_settings_say_so(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_TOKEN", fake.actions_token(**RIGHTS))
    monkeypatch.setenv("GITHUB_API_URL", fake.url)

    pulls = pulls_of(fake, tmp_path, bot="github-actions[bot]")

    assert str(pulls.propose(change()).author) == "github-actions[bot]"


def test_a_workflow_s_token_is_sent_to_the_forge_that_runs_it_and_to_no_other(
    fake, tmp_path, monkeypatch
):
    monkeypatch.setenv("GITHUB_TOKEN", "of github.com")
    for runs_at in ("", "https://api.github.com", f"{fake.url}/api/v3", "http://127.0.0.1:1"):
        monkeypatch.setenv("GITHUB_API_URL", runs_at)
        with pytest.raises(NoCredentials, match="GITHUB_TOKEN is for another forge than"):
            pulls_of(fake, tmp_path).open()
    assert fake.log == []


@pytest.mark.parametrize("kind", [ForgeKind.GITHUB, ForgeKind.GITEA])
def test_who_asks_no_forge_needs_no_credentials_and_who_does_is_told_what_to_set(
    fake, tmp_path, kind
):
    git = checkout(tmp_path / "clone", fake.git_url())
    settings = Repository(forge=kind, forge_uri=fake.url, forge_repository="acme/yard", bot="b")
    pulls, desk = build_forge(git, settings, SystemClock())

    questions = (
        pulls.open,
        pulls.other_login,
        lambda: desk.get(1),
        lambda: pulls.propose(change()),
    )
    for ask in questions:
        with pytest.raises(NoCredentials) as error:
            ask()
        assert "MODELYARD_FORGE_TOKEN" in (error.value.hint or "")
    assert fake.calls("GET", "/repos") == 0


def test_a_watcher_without_credentials_does_not_start(fake, tmp_path):
    git = checkout(tmp_path / "clone", fake.git_url())
    settings = Repository(forge=ForgeKind.GITEA, forge_uri=fake.url, forge_repository="acme/yard")
    pulls, _ = build_forge(git, settings, SystemClock())

    with pytest.raises(NoCredentials, match="there is no token to sign in to the forge with"):
        refuse_other_account(SimpleNamespace(pulls=pulls))


@pytest.fixture
def unsigned(fake, tmp_path):
    """A command in a checkout that git alone may push from: the tool has no credentials."""
    push_only = fake.git_url(fake.add_person("olga", "admin"))
    git = checkout(tmp_path / "clone", push_only)
    settings = f"forge: github\nforge_uri: {fake.url}\nforge_repository: acme/yard\n"
    fake.seed({"modelyard.yaml": START["modelyard.yaml"] + settings, DEV: DEV_SPEC, LOCK: "x\n"})
    git.fetch("origin", ["+refs/heads/*:refs/remotes/origin/*"])
    git.run("checkout", "-q", "-B", "main", "origin/main")

    def run(*words):
        before = git.ls_remote("origin", ["refs/*"])
        done = CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["--root", str(git.root), *words])
        assert git.ls_remote("origin", ["refs/*"]) == before, "nothing is pushed"
        return done.exit_code, done.stderr

    return run


NO_TOKEN = "there is no token to sign in to the forge with"


def test_reconcile_without_credentials_takes_no_environment(unsigned):
    code, err = unsigned("reconcile")

    assert (code, NO_TOKEN in err, "MODELYARD_FORGE_TOKEN" in err) == (1, True, True), err
    assert "cannot" not in err  # it refused before it tried to


@pytest.mark.parametrize(
    "words",
    [
        ("adopt",),
        ("runtime", "image", LOCK, f"ghcr.io/acme/yard@sha256:{'a' * 64}"),
        ("freeze", "dev", "--until", "2099-01-01T00:00Z", "--reason", "audit", "--as", "ann"),
    ],
    ids=lambda words: words[0],
)
def test_no_fact_is_written_in_the_name_of_the_tool_without_its_credentials(unsigned, words):
    code, err = unsigned(*words)

    assert (code, NO_TOKEN in err) == (1, True), err


@pytest.mark.parametrize("kind", [ForgeKind.GITHUB, ForgeKind.GITEA])
def test_facts_are_read_without_credentials_and_written_with_them(
    fake, tmp_path, monkeypatch, kind
):
    git = checkout(tmp_path / "clone", fake.git_url(fake.add_person("olga", "admin")))
    settings = Repository(forge=kind, forge_uri=fake.url, forge_repository="acme/yard")
    facts, now = FactStore(git, settings, SystemClock()), SystemClock().now()
    freeze = Freeze(reason="audit", by="ann", since=now)

    with pytest.raises(NoCredentials):
        facts.update_freeze("dev", lambda _: freeze)
    with pytest.raises(NoCredentials):
        facts.carry_over()
    assert facts.read_freeze("dev") is None
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", "of the tool")
    assert facts.update_freeze("dev", lambda _: freeze) == freeze


@pytest.mark.parametrize(
    ("url", "environ", "token"),
    [
        ("https://api.github.com", {"GITHUB_TOKEN": "t"}, "t"),
        ("https://api.github.com/", {"GITHUB_TOKEN": "t"}, "t"),
        ("https://api.github.com.evil.org", {"GITHUB_TOKEN": "t"}, None),
        ("https://git.example.org/api/v1", {"GITHUB_TOKEN": "t"}, None),
        (
            "https://git.example.org/api/v1",
            {"GITHUB_TOKEN": "t", "GITHUB_API_URL": "https://git.example.org/api/v1"},
            "t",
        ),
        ("https://git.example.org/api/v1", {"MODELYARD_FORGE_TOKEN": "m"}, "m"),
        ("https://api.github.com", {"MODELYARD_FORGE_TOKEN": "m", "GITHUB_TOKEN": "t"}, "m"),
        ("https://api.github.com", {"MODELYARD_FORGE_TOKEN": " ", "GITHUB_TOKEN": ""}, None),
    ],
)
def test_which_token_is_for_which_forge(url, environ, token):
    assert read_token(url, environ) == token


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MODELYARD_APP_ID": "1"}, "MODELYARD_APP_KEY or MODELYARD_APP_KEY_FILE too"),
        ({"MODELYARD_APP_KEY": "k"}, "MODELYARD_APP_ID too"),
        ({"MODELYARD_APP_ID": "1", "MODELYARD_APP_KEY_FILE": "/nowhere"}, "cannot read"),
        (
            {"MODELYARD_APP_ID": "1", "MODELYARD_APP_KEY": "k", "MODELYARD_APP_INSTALLATION": "x"},
            "not the number of one",
        ),
    ],
)
def test_half_of_an_app_is_an_error_that_names_what_lacks(environ, said):
    with pytest.raises(CannotAnswer, match=said):
        read_app("https://api.github.com", "acme/yard", environ)


def test_no_setting_of_an_app_is_none():
    empty = {"MODELYARD_APP_ID": "", "MODELYARD_APP_KEY": " "}

    assert read_app("https://api.github.com", "acme/yard", empty) is None


def test_an_account_that_is_not_the_bot_proposes_and_closes_nothing(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", fake.add_person("ann", "write"))
    pulls = pulls_of(fake, tmp_path, bot="yard-bot")

    with pytest.raises(CannotAnswer, match="those of ann, not of yard-bot"):
        pulls.propose(change())

    assert fake.calls("POST") + fake.calls("PATCH") == 0


def test_a_forge_that_does_not_answer_at_first_is_asked_again_whose_credentials_these_are(
    fake, tmp_path, monkeypatch
):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", fake.add_person("ann", "write"))
    pulls = pulls_of(fake, tmp_path, bot="yard-bot")
    services = SimpleNamespace(
        pulls=pulls,
        root=pulls.heads.git.root,
        clock=SystemClock(),
        repository=Repository(forge=ForgeKind.GITHUB, forge_repository="acme/yard"),
    )
    check = facts_of(services).check_writer
    fake.queue(bad_gateway("GET", "/user$", times=20))
    check()
    check()  # not asked for each fact
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 2 * A_MOMENT)
    with urgent():
        check()
    fake._faults.clear()

    with pytest.raises(CannotAnswer, match="those of ann, not of yard-bot"):
        check()
