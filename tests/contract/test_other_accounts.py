"""A person's token is no reason to write what only the tool writes: every command refuses it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from click.testing import CliRunner

from contract.stages import BOT
from contract.test_merged_on_a_page import rules
from modelyard.adapters.clock import SystemClock
from modelyard.adapters.facts.store import FactStore
from modelyard.cli import cli
from modelyard.domain.promotion.facts import BuiltImage
from modelyard.errors import CannotAnswer
from modelyard.operations.services import services_for
from modelyard.operations.workspace import facts_of

IMAGE = f"registry.example.org/yard@sha256:{'a' * 64}"
WRITERS = [
    ("adopt",),
    ("adopt", "production"),
    ("runtime", "image", "requirements.lock", IMAGE),
    ("reconcile",),
    ("reconcile", "wine"),
    ("watch", "--once"),
]


@pytest.fixture
def ruled(stage, fake_github, monkeypatch):
    text = {path: content.decode() for path, content in rules(needed=0).items()}
    fake_github.seed(text)
    stage.write_settings()
    stage.git.fetch("origin", ["+refs/heads/*:refs/remotes/origin/*"])
    (stage.git.root / "requirements.lock").write_text("x\n")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return stage


def typed(stage, who, *words):
    env = {"MODELYARD_FORGE_TOKEN": stage.tokens[who], "COLUMNS": "300"}
    done = CliRunner(env=env).invoke(cli, ["--root", str(stage.git.root), *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


def seen(stage):
    """All refs of the forge, and all that the command may have left on this machine."""
    kept = stage.git.root / ".modelyard"
    return (
        stage.git.ls_remote("origin", ["refs/*"]),
        sorted(str(each) for each in kept.rglob("*site*")),
    )


@pytest.mark.sample(3)
@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_a_command_typed_with_a_persons_token_changes_nothing(ruled, words):
    before = seen(ruled)

    code, said = typed(ruled, "olga", *words)  # who may push anything

    assert (code, f"the credentials are those of olga, not of {BOT}" in said) == (1, True), said
    assert "use credentials of" in said
    assert seen(ruled) == before


def test_the_tool_itself_writes_the_image_down(ruled):
    code, said = typed(ruled, BOT, "runtime", "image", "requirements.lock", IMAGE)

    assert code == 0, said
    lock = hashlib.sha256(b"x\n").hexdigest()
    facts = FactStore(ruled.git, ruled.repository, SystemClock())
    assert facts.read_image(lock).image == IMAGE


def test_no_fact_is_written_in_another_accounts_name_by_whatever_code(ruled, monkeypatch):
    monkeypatch.setenv("MODELYARD_FORGE_TOKEN", ruled.tokens["ann"])
    before = seen(ruled)
    facts = facts_of(services_for(ruled.git.root))

    for write in (
        lambda: facts.update_model("wine", lambda before: replace(before, told=("x",))),
        lambda: facts.write_image("0" * 64, BuiltImage(image=IMAGE, at=SystemClock().now())),
        facts.carry_over,
    ):
        with pytest.raises(CannotAnswer, match="the credentials are those of ann"):
            write()
    assert seen(ruled) == before
