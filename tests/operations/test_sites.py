from __future__ import annotations

import pytest
from click.testing import CliRunner

from modelyard.cli import cli
from modelyard.domain.specs.paths import environment_file, release_file
from modelyard.operations.sites import read_standing
from modelyard.operations.watch.pass_once import run_pass
from operations.yard import MODEL, SHORT, living_yard


@pytest.fixture
def yard(tmp_path):
    made = living_yard(tmp_path / "yard", SHORT)
    made.commit({environment_file("canary"): b"kind: [\n"})
    return made


@pytest.fixture
def never_read(yard):
    """There is a release in an environment that never could be read."""
    pin = {release_file("new", MODEL): yard.read(release_file("canary", MODEL))}
    yard.commit({environment_file("new"): b"kind: [\n", **pin})
    return yard


def test_an_environment_that_never_could_be_read_hides_no_servers_of_the_others(never_read, caplog):
    standing = read_standing(never_read.workspace())

    assert standing.is_home
    assert standing.environments == ("production", "staging", "canary")
    assert f"{environment_file('new')}: its servers are not looked for" in caplog.text
    assert environment_file("canary") not in caplog.text


def test_a_pass_names_an_environment_that_cannot_be_read_as_each_models_failure(yard):
    result = run_pass(yard.workspace(), report=yard.said.append, with_checks=True)

    assert result.failing_models == {MODEL}
    assert all(environment_file("canary") in str(error) for _, error in result.failures)


def test_the_list_of_servers_goes_on_past_an_environment_that_never_could_be_read(never_read):
    done = CliRunner().invoke(cli, ["servers", "list"], obj=never_read.workspace().services)

    assert done.exit_code == 1
    assert [line.partition(",")[0] for line in done.stdout.splitlines()] == [
        f"canary {MODEL} v1: ready",
        f"new {MODEL} v1: unknown",
        f"production {MODEL} v1: ready",
        f"staging {MODEL} v1: ready",
    ]
    assert environment_file("new") in done.stderr
