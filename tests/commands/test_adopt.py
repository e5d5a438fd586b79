"""`modelyard adopt`, and what other commands say where another site runs the servers."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from modelyard.cli import cli
from operations.yard import MODEL, SHORT, living_yard


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    yard = living_yard(tmp_path_factory.mktemp("start") / "yard", SHORT)
    yard.rest()
    return yard


@pytest.fixture
def ask(start, tmp_path):
    """A command at a second clone, which runs no servers."""
    yard = start.copy(tmp_path / "yard")
    services = yard.elsewhere("laptop", never_ready=("v1",)).services

    def asked(*arguments):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(cli, arguments, obj=services)
        return done.exit_code, done.stdout, done.stderr

    return asked


BY = "run by the yard, last seen 2026-03-01 12:00 UTC"


def test_it_says_from_whom_and_since_when_and_what_joins_goes_along(ask):
    code, out, _ = ask("adopt", "production")

    taken = "run by this site now; taken from the yard, last seen 2026-03-01 12:00 UTC, there since"
    assert (code, [line.rpartition(" since ")[0] for line in out.splitlines()]) == (
        0,
        [f"{name}: {taken.removesuffix(' since')}" for name in ("canary", "production")],
    )
    assert ask("adopt", "production")[1].splitlines() == [
        "canary: run by this site already",
        "production: run by this site already",
    ]


def test_an_environment_that_there_is_not_is_answered_with_those_there_are(ask):
    code, _, err = ask("adopt", "productoin")

    assert code == 1
    assert "did you mean production?" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("watch", "--once"), 0),
        (("reconcile",), 3),
        (("judge", "canary", MODEL), 1),
        (("servers", "list"), 0),
    ],
)
def test_a_command_that_needs_the_servers_says_whose_they_are(ask, arguments, code):
    found, out, err = ask(*arguments)

    assert found == code
    assert BY in out + err
    assert "modelyard adopt" in out + err
