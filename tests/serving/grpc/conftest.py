from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from modelyard.adapters.cluster.local_servers import free_port
from serving.artifacts import shared_artifact
from serving.grpc.calls import connected
from serving.running import Running, preloaded_socket, serving


@dataclass(frozen=True, kw_only=True)
class Served:
    """A server of both protocols, and a channel to it."""

    http: Running
    port: int
    channel: grpc.Channel


@contextmanager
def serving_grpc(folder: Path, *options: str) -> Iterator[Served]:
    port = free_port(f"{folder} grpc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELYARD_PRELOADED", str(preloaded_socket()))
        with (
            serving(shared_artifact(), folder, "--grpc-port", str(port), *options) as running,
            connected(port) as channel,
        ):
            yield Served(http=running, port=port, channel=channel)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_grpc(tmp_path_factory.mktemp("grpc")) as server:
        yield server
