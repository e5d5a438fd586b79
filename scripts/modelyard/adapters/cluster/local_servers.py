"""Server processes on this machine: starts them, asks whether they are ready, and stops them."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.adapters.cluster.claim import claim_end, claim_holder, forget_end, remove_claim
from modelyard.adapters.cluster.local_state import Server
from modelyard.adapters.processes.environment import bare_environment
from modelyard.adapters.processes.process_table import Started
from modelyard.adapters.processes.start import is_process_alive, start_modelyard, stop_process
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.domain.server_arguments import (
    GRPC_VARIABLE,
    RELEASE_HEADER,
    grpc_variables,
    server_arguments,
)
from modelyard.domain.server_fault import (
    FAULT_HEADER,
    Blame,
    ServerFault,
    fault_of_exit,
    infrastructure_fault,
)
from modelyard.errors import CannotAnswer, VersionFault

HOST = "127.0.0.1"
# Below Linux' ephemeral ports, which start at 32768, and above those of usual services.
_PORTS = range(18_000, 32_000)
# Readiness is asked under the lock, so a hanging server must not hold it.
_READY_SECONDS = 2.0
# A busy machine may delay an answer for longer; so may nothing but a server that hangs.
_LAST_SECONDS = 10.0
# The server stops taking requests and answers the open ones.
_GRACE_SECONDS = 10.0
# One that hangs answers none.
_HUNG_GRACE_SECONDS = 1.0
_HUNG = "its process ran and was not ready for too long; it was ended and is started again"
_TAIL_BYTES = 4096
_SHOWN = 500


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What a server reports of itself.

    Args:
        ready: Whether it answers requests for this very release.
        fault: What keeps it from that; None while nothing is known, such as while it starts.
    """

    ready: bool
    fault: ServerFault | None = None


class LocalServers:
    """The servers of one model in one environment.

    Args:
        folder: Where their claims and logs are.
        model: The model's name.
        payloads: Where their payload logs go.
        shadow_to: The file of endpoints, in which they find who answers copies of their requests;
            None for nobody.
    """

    def __init__(
        self, folder: Path, *, model: str, payloads: Path, shadow_to: Path | None = None
    ) -> None:
        self._folder = folder
        self._model = model
        self._payloads = payloads
        self._shadow_to = shadow_to

    def start_server(self, server: Server, artifact: Path, runtime: Runtime | None) -> Started:
        """Start the release's server; a second one for the same release exits by itself.

        Args:
            server: The server.
            artifact: The folder of its artifact.
            runtime: The runtime that it pins; None for this interpreter, which nobody compares.
        """
        forget_end(self._claim(server.release))
        return start_modelyard(
            self._arguments(server, artifact, runtime),
            cwd=self._make_folder(),
            log=self._log(server),
            environment=_environment(server),
            python=runtime.other_python if runtime else None,
        )

    def with_known_ports(self, server: Server) -> Server:
        """The server with where its process listens: by its claim, or as it was started."""
        held = claim_holder(self._claim(server.release))
        return replace(server, port=held.port, grpc_port=held.grpc_port) if held else server

    def is_server_alive(self, server: Server) -> bool:
        """Whether its process runs."""
        held = claim_holder(self._claim(server.release))
        # The kernel releases a claim only a moment after its process was killed.
        known = (held.process if held else None, server.process)
        return any(process is not None and is_process_alive(process) for process in known)

    def stop_server(self, server: Server, *, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Stop the release's process after its open requests are answered."""
        held = claim_holder(self._claim(server.release))
        for process in (held.process if held else None, server.process):
            if process is not None and is_process_alive(process):
                stop_process(process, grace_seconds=grace_seconds)

    def end_if_hung(self, server: Server) -> bool:
        """Ask the server with much patience, and end its process if it is still not ready."""
        if self.ask_readiness(server, seconds=_LAST_SECONDS).ready:
            return False
        self.stop_server(server, grace_seconds=_HUNG_GRACE_SECONDS)
        return True

    def stop_others(self, wanted: Iterable[Server]) -> None:
        """Stop every process of this model here that belongs to none of these releases."""
        kept = {server.release for server in wanted}
        for path in sorted(self._folder.glob("*.claim")):
            if path.stem in kept:
                continue
            if held := claim_holder(path):
                stop_process(held.process, grace_seconds=_GRACE_SECONDS)
            remove_claim(path)

    def ask_readiness(self, server: Server, *, seconds: float | None = None) -> Readiness:
        """Ask the server once whether it is ready."""
        limit = _READY_SECONDS if seconds is None else seconds
        connection = http.client.HTTPConnection(HOST, server.port, timeout=limit)
        try:
            connection.request("GET", f"/v2/models/{self._model}/ready")
            answer = connection.getresponse()
            document = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return Readiness(ready=False, fault=self._fault(server))
        finally:
            connection.close()
        # A port may have been taken over by another server since it was chosen.
        if answer.headers.get(RELEASE_HEADER) != server.release:
            why = f"another server listens on port {server.port}"
            return Readiness(ready=False, fault=infrastructure_fault(why))
        if answer.status == http.client.OK:
            return Readiness(ready=True)
        why = document.get("error", "") if isinstance(document, dict) else ""
        # It listens, so its model is open: only its golden rows can keep it from being ready.
        is_own = bool(why) and answer.headers.get(FAULT_HEADER) == Blame.VERSION
        code = VersionFault.exit_code if is_own else None
        return Readiness(ready=False, fault=fault_of_exit(code, str(why)))

    def _arguments(self, server: Server, artifact: Path, runtime: Runtime | None) -> Sequence[str]:
        pinned = runtime and {"lock": runtime.lock, "lock_file": str(runtime.lock_file)}
        return server_arguments(
            model=self._model,
            version=server.version,
            release=server.release,
            artifact=server.artifact,
            folder=str(artifact),
            formats=server.formats,
            trusted_types=server.trusted_types,
            queue=server.queue,
            workers=server.workers,
            stuck_after=server.stuck_after,
            port=str(server.port),
            claim=str(self._claim(server.release)),
            payload_log=str(self._payloads),
            shadow=0.0 if self._shadow_to is None else server.shadow,
            shadow_to=[] if self._shadow_to is None else [str(self._shadow_to)],
            **(pinned or {}),
        )

    def _fault(self, server: Server) -> ServerFault | None:
        """What keeps it from starting; None while its process runs, or before that was started.

        One that hung has that fault until it is ready again. None also for one that was up and
        ended: it is started again at once.
        """
        if server.fault is not None:
            return infrastructure_fault(server.fault)
        if server.process is None or not server.failures or self.is_server_alive(server):
            return infrastructure_fault(_HUNG) if server.hung else None
        ended = claim_end(self._claim(server.release))
        why = self._last_error(server) or (ended.why if ended else "")
        return fault_of_exit(ended.exit_code if ended else None, why or "its process was killed")

    def _last_error(self, server: Server) -> str:
        """The last error line of its log."""
        try:
            tail = self._log(server).read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line.strip() for line in tail.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error:")]
        return (errors or lines or [""])[-1][:_SHOWN]

    def _claim(self, release: str) -> Path:
        return self._folder / f"{release}.claim"

    def _log(self, server: Server) -> Path:
        return self._folder / f"{server.release}.log"

    def _make_folder(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder


def _environment(server: Server) -> dict[str, str]:
    found = bare_environment()
    found.pop(GRPC_VARIABLE, None)  # somebody's own: each server has another port
    return found if server.grpc_port is None else found | grpc_variables(server.grpc_port)


def free_port(whose: str, *, but: int | None = None) -> int:
    """A port that is free now, for the same server the same one if possible.

    It is outside of the range of the kernel's ephemeral ports: a client could get such a port
    before the server binds it.

    Args:
        whose: Names the server.
        but: A port that the server has already, for something else.
    """
    first = int(hashlib.sha256(whose.encode()).hexdigest()[:8], 16)
    for step in range(len(_PORTS)):
        port = _PORTS[(first + step) % len(_PORTS)]
        if port != but and is_port_free(port):
            return port
    raise CannotAnswer(f"no port from {_PORTS.start} to {_PORTS.stop - 1} is free on {HOST}")


def is_port_free(port: int) -> bool:
    """Whether a port can be bound now; another process may bind it before the caller does."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
