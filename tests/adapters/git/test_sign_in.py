"""Git signs in with the tool's token: to the forge's own host, and without leaving it anywhere."""

from __future__ import annotations

import os
import subprocess

import pytest

from contract.stages import BOT, checkout
from modelyard.adapters.git.sign_in import credentials_of, sign_in
from modelyard.errors import CannotAnswer


@pytest.fixture
def forge(fake_github):
    """A private repository with a commit, and the tool's token."""
    token = fake_github.add_person(BOT, "write")
    fake_github.seed({"README.md": "A yard.\n"}, author=BOT)
    return fake_github, token


def test_a_push_and_a_fetch_sign_in_without_a_token_in_the_address_or_a_file(forge, tmp_path):
    fake, token = forge
    git = checkout(tmp_path / "clone", fake.git_url())
    with pytest.raises(CannotAnswer):
        git.ls_remote("origin", ["refs/heads/*"])

    sign_in(git.root, fake.url, lambda: token)
    main = git.ls_remote("origin", ["refs/heads/main"])["refs/heads/main"]
    git.fetch("origin", ["+refs/heads/*:refs/seen/*"])
    git.push("origin", {"refs/heads/made": (None, main)})

    assert git.ls_remote("origin", ["refs/heads/made"]) == {"refs/heads/made": main}
    held = [path.read_bytes() for path in git.root.rglob("*") if path.is_file()]
    assert not any(token.encode() in content for content in held)


@pytest.mark.parametrize("other", ["http://127.0.0.1:1", "https://127.0.0.1", "http://localhost"])
def test_another_host_is_not_given_the_token(forge, tmp_path, other):
    fake, token = forge
    git = checkout(tmp_path / "clone", fake.git_url())

    sign_in(git.root, other, lambda: token)

    with pytest.raises(CannotAnswer):
        git.ls_remote("origin", ["refs/heads/*"])
    assert not any(entry.login == BOT for entry in fake.log)


def test_the_address_of_the_remote_comes_first(forge, tmp_path):
    fake, token = forge
    git = checkout(tmp_path / "clone", fake.git_url(token))

    sign_in(git.root, fake.url, lambda: "another token")

    assert git.ls_remote("origin", ["refs/heads/main"])


def test_no_argument_of_a_process_holds_the_token_and_other_settings_stay(tmp_path):
    sign_in(tmp_path, "https://git.example.org/", lambda: "s3cret")
    before = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c"}

    found = credentials_of(tmp_path, before)

    assert found["GIT_CONFIG_COUNT"] == "3"
    assert found["GIT_CONFIG_KEY_2"] == "credential.https://git.example.org.helper"
    assert "s3cret" not in found["GIT_CONFIG_VALUE_2"]
    asked = subprocess.run(
        ["git", "credential", "fill"],
        input="protocol=https\nhost=git.example.org\n\n",
        env={**os.environ, **found, "GIT_CONFIG_KEY_0": "a.b"}
        | {"GIT_CONFIG_VALUE_0": "c", "GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "password=s3cret" in asked.stdout.splitlines()
    assert credentials_of(tmp_path / "other", {}) == {}


@pytest.mark.parametrize("key", ["credential.helper", "credential.https://git.example.org.helper"])
def test_a_persons_own_helper_does_not_sign_the_tool_in_as_the_person(tmp_path, key):
    theirs = "!f() { echo username=ann; echo password=anns; }; f"
    before = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": theirs}
    sign_in(tmp_path, "https://git.example.org", lambda: "s3cret")

    asked = subprocess.run(
        ["git", "credential", "fill"],
        input="protocol=https\nhost=git.example.org\n\n",
        env={**os.environ, **before, **credentials_of(tmp_path, before)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "password=s3cret" in asked.stdout.splitlines()
