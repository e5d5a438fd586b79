"""The promise: a damaged file of one server is named, and stands in the way of no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.cluster.test_local import CANARY, DEV, PRODUCTION, Yard, ready
from attacks.test_a_server_always_comes_back import hang, processes, yard  # noqa: F401 - fixtures
from modelyard.adapters.cluster.endpoints import Endpoint, with_known
from modelyard.adapters.cluster.local_state import read_state
from modelyard.cli import cli
from modelyard.domain.specs.environment import Environment
from modelyard.errors import CannotAnswer
from operations.yard import MODEL, SHORT, living_yard

CONTENTS = {
    "empty": b"",
    "half": b'{"model": "late", "envir',
    "of nothing": b"null",
    "of another form": b'{"model": 1}',
    "binary": b"\x00\xff\xfe",
}


@pytest.fixture(autouse=True)
def standins(hang: Callable[[str], None]) -> None:  # noqa: F811 - the fixture
    """Servers are stand-ins."""


def state_file(of: Yard, environment: str) -> Path:
    return of.root / ".modelyard" / "cluster" / environment / "late.json"


@pytest.mark.sample(1)
@pytest.mark.parametrize("how", CONTENTS)
def test_all_servers_are_stopped_whatever_one_state_file_holds(yard: Yard, how: str):  # noqa: F811
    yard.sync("v1", DEV)
    yard.sync("v1", PRODUCTION)
    yard.sync("v2", CANARY)
    state_file(yard, "dev").write_bytes(CONTENTS[how])
    state_file(yard, "canary").write_bytes(CONTENTS[how])

    errors = yard.cluster.stop_all()

    for environment in (DEV, CANARY, PRODUCTION):
        assert processes(yard, environment) == []
        assert yard.endpoints(environment) == ()
    assert [str(state_file(yard, "canary")) in error.message for error in errors] == [True, False]
    assert all((error.hint or "").startswith("rm ") for error in errors)
    assert state_file(yard, "dev").read_bytes() == CONTENTS[how]  # nothing is lost


def test_after_the_hint_was_followed_the_running_server_is_found_again(yard: Yard):  # noqa: F811
    release = yard.sync("v1", DEV)
    first = yard.process(release)
    state_file(yard, "dev").write_bytes(b"{")
    with pytest.raises(CannotAnswer, match=r"dev/late\.json"):
        yard.sync("v1", DEV)
    state_file(yard, "dev").unlink()

    yard.sync("v1", DEV)

    assert yard.observe(DEV) == ready(release)
    assert yard.process(release) == first


def test_a_canary_leaves_traffic_though_productions_state_is_damaged(yard: Yard):  # noqa: F811
    yard.sync("v1", PRODUCTION)
    canary = yard.sync("v2", CANARY)
    state_file(yard, "production").write_bytes(b"{")

    yard.sync("v2", CANARY)
    assert yard.shares(PRODUCTION) == {"v1": 0.8, "v2": 0.2}

    yard.cluster.abort(canary, environment=CANARY, reason="judged bad")
    assert yard.shares(PRODUCTION) == {"v1": 1.0}


@pytest.mark.long
def test_production_moves_on_though_the_canarys_state_is_damaged(yard: Yard):  # noqa: F811
    yard.sync("v1", PRODUCTION)
    yard.sync("v2", CANARY)
    state_file(yard, "canary").write_bytes(b"{")

    yard.sync("v3", PRODUCTION)

    assert yard.shares(PRODUCTION) == pytest.approx({"v1": 0.6, "v3": 0.2, "v2": 0.2})


def endpoint(name: str, share: float) -> Endpoint:
    return Endpoint(url="", release=name, version=name, share=share)


@pytest.mark.parametrize(
    ("mine", "known", "own", "expected"),
    [
        ([], [("a", 0.8)], 0.2, {"a": 1.0}),
        ([("m", 1.0)], [("a", 0.8)], 0.2, {"m": 0.2, "a": 0.8}),
        ([("m", 1.0)], [], 0.2, {"m": 1.0}),
        ([("m", 1.0)], [("a", 0.6), ("b", 0.2)], 0.5, {"m": 0.5, "a": 0.375, "b": 0.125}),
        ([("m", 0.5), ("n", 0.5)], [("a", 0.2)], None, {"m": 0.4, "n": 0.4, "a": 0.2}),
        ([], [], None, {}),
    ],
)
def test_the_shares_beside_unreadable_ones_add_up(
    mine: list[tuple[str, float]],
    known: list[tuple[str, float]],
    own: float | None,
    expected: dict[str, float],
):
    found = with_known(
        [endpoint(*each) for each in mine], [endpoint(*each) for each in known], own_share=own
    )

    assert {each.version: each.share for each in found} == pytest.approx(expected)


# The commands


def test_the_list_names_the_file_and_still_shows_the_other_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    services = living_yard(tmp_path / "yard", SHORT).workspace().services
    real = type(services.cluster).observe

    def observe(cluster: object, *, model: str, environment: Environment) -> object:
        if environment.name == "staging":
            (tmp_path / "m.json").write_bytes(b"{")
            return read_state(tmp_path / "m.json")
        return real(cluster, model=model, environment=environment)

    monkeypatch.setattr(type(services.cluster), "observe", observe)

    done = CliRunner().invoke(cli, ["servers", "list"], obj=services)

    assert done.exit_code == 1
    assert f"staging {MODEL} v1: unknown" in done.stdout.splitlines()
    ready = f"production {MODEL} v1: ready, share 100%"
    assert any(line.startswith(ready) for line in done.stdout.splitlines())
    assert str(tmp_path / "m.json") in done.stderr
    assert f"rm {tmp_path / 'm.json'}" in done.stderr


def test_the_command_stops_all_and_names_the_damaged_file(yard: Yard):  # noqa: F811
    services = replace(
        living_yard(yard.root / "yard", SHORT).workspace().services, cluster=yard.cluster
    )
    yard.sync("v1", DEV)
    state_file(yard, "dev").write_bytes(b"{")

    done = CliRunner().invoke(cli, ["servers", "stop"], obj=services)

    assert done.exit_code == 0
    assert processes(yard, DEV) == []
    assert "all servers are stopped" in done.stderr
    assert str(state_file(yard, "dev")) in done.stderr
    assert f"hint: rm {state_file(yard, 'dev')}" in done.stderr
