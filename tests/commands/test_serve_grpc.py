"""What a server says whose runtime has no grpcio."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelyard.commands.serve import serve
from modelyard.errors import CannotAnswer
from modelyard.serving import server
from modelyard.serving.grpc import available

WORDS = ["--model=m", "--version=v", "--release=r", "--artifact=a", "--folder=f", "--port=8080"]
MISSING = (
    "models/m/model.yaml: server.grpc, or --grpc-port, asks for gRPC, and the runtime of this"
    " server has no grpcio"
)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The settings of each server that starts, in a runtime without grpcio."""
    found: list[Any] = []
    monkeypatch.setattr(available, "find_spec", lambda _: None)
    monkeypatch.setattr(server, "serve_model", found.append)
    monkeypatch.setattr("modelyard.commands.serve.log_with_dates", lambda: None)
    return found


def run(*words: str, **variables: str) -> Result:
    return CliRunner().invoke(serve, [*WORDS, *words], env=variables, auto_envvar_prefix="X")


def test_an_option_that_cannot_be_kept_ends_the_server(started: list[Any]):
    error = run("--grpc-port=9000").exception

    assert isinstance(error, CannotAnswer)
    assert error.message == MISSING
    assert error.hint is not None
    assert error.hint.startswith("modelyard runtime lock m; ")
    assert not started


def test_a_variable_that_cannot_be_kept_leaves_http_alone_and_says_so(
    started: list[Any], caplog: pytest.LogCaptureFixture
):
    """A release of before its model asked for gRPC must start again, also after a rollback."""
    assert run(X_GRPC_PORT="9000").exit_code == 0

    (settings,) = started
    assert settings.grpc_port is None
    assert caplog.messages == [
        f"HTTP alone: {MISSING}; hint: modelyard runtime lock m; then a version that pins its lock:"
        " modelyard version new m"
    ]
