"""Step `verify`: starts the real model server on the artifact and checks its golden rows."""

from __future__ import annotations

import logging
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from modelyard.adapters.cluster.local_servers import HOST, free_port, is_port_free
from modelyard.adapters.isolation.run import ClosedCommand, read_ended, start_closed_in
from modelyard.adapters.processes.start import Running
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.adapters.store.signatures import fetch_artifact
from modelyard.domain.server_arguments import server_arguments
from modelyard.errors import CannotAnswer
from modelyard.operations.runtimes.closed_in import (
    EXCEEDED,
    limits_of_model,
    model_environment,
    reach_of_model,
    refuse_unisolated_model,
)
from modelyard.operations.training.job import Job
from modelyard.serving.documents import read_golden, read_serving
from modelyard.serving.probe import Probe

logger = logging.getLogger(__name__)

REQUESTS = 25
READY_SECONDS = 120  # a cold start imports MLflow and the model's libraries
MOST_SECONDS = 600
_SECONDS_TO_END = 2.0
"""Between the last answer of a server that is ended and the word of how it ended."""


def verify_server(job: Job) -> None:
    """Start the server, wait until its golden rows match, and measure its latency."""
    artifact, runtime = job.read_document("artifact.json"), job.find_runtime()
    with tempfile.TemporaryDirectory(prefix="modelyard-verify-") as name:
        target = Path(name) / "artifact"
        folder = fetch_artifact(job.store, artifact["digest"], target, job.asked_signature())
        refuse_unisolated_model(job.model, job.unisolated, Path(name))
        release = f"verify-{secrets.token_hex(8)}"
        command = _command(job, artifact, folder, runtime, release)
        probe = Probe(f"http://{HOST}:{command.port}", job.model_name, release)
        with start_closed_in(command) as running:
            try:
                _wait_until_ready(job, probe, running, command)
                golden = read_golden(folder)
                columns = read_serving(folder).inputs
                p95 = probe.p95_ms(columns, golden.rows, requests=REQUESTS)
            except (OSError, ValueError) as error:
                answer = f"does not answer the golden rows: {error}"
                why = f"the server {_exceeded(running, command) or answer}"
                raise job.refuse(why, folder=Path(name)) from error
    limit = job.model.artifact.max_p95_ms
    if p95 > limit:
        raise job.refuse(f"the server needs {p95:.0f} ms (p95) for 20 rows, limit {limit} ms")
    job.put_document("server.json", {"golden": len(golden.rows), "p95_ms": round(p95, 1)})
    logger.info("%d golden rows match, p95 %.1f ms", len(golden.rows), p95)


def _command(
    job: Job, artifact: dict[str, Any], folder: Path, runtime: Runtime, release: str
) -> ClosedCommand:
    """The server, which reaches its artifact and answers on a port, and nothing else."""
    # Two yards of one machine may verify the same version at the same moment.
    port, own = free_port(str(folder)), folder.parent / "own"
    own.mkdir()
    return ClosedCommand(
        command=["modelyard", *_arguments(job, artifact, folder, port, runtime, release)],
        cwd=own,
        environment=model_environment(own),
        log=folder.parent / "server.log",
        folder=folder.parent / "supervisor",
        reach=reach_of_model(runtime, readable=(folder,), writable=own),
        limits=limits_of_model(job.model, MOST_SECONDS),
        python=runtime.other_python,
        port=port,
    )


def _arguments(
    job: Job, artifact: dict[str, Any], folder: Path, port: int, runtime: Runtime, release: str
) -> list[str]:
    policy = job.model.artifact
    return server_arguments(
        model=job.model_name,
        version=job.version,
        release=release,
        artifact=artifact["digest"],
        folder=str(folder),
        formats=policy.accepted_formats,
        trusted_types=policy.trusted_types,
        stuck_after=job.model.server.stuck_after_seconds,
        port=str(port),
        lock=runtime.lock,
        lock_file=str(runtime.lock_file),
    )


def _wait_until_ready(job: Job, probe: Probe, running: Running, command: ClosedCommand) -> None:
    deadline, log = time.monotonic() + READY_SECONDS, command.log
    while (ended := running.poll() is not None) or not probe.is_ready():
        if ended or time.monotonic() > deadline:
            exceeded = _exceeded(running, command)
            if ended and not exceeded and not is_port_free(command.port or 0):
                raise CannotAnswer(f"port {command.port} was taken meanwhile", hint="run it again")
            last = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
            start = f"does not start on the artifact: {' | '.join(last)}"
            raise job.refuse(f"the server {exceeded or start}", folder=log.parent)
        time.sleep(0.05)


def _exceeded(running: Running, command: ClosedCommand) -> str | None:
    """What is said of the limit that ended the server; None if none did.

    Raises:
        CannotAnswer: The machine did, or could not close it in.
    """
    try:
        running.wait(_SECONDS_TO_END)
    except TimeoutError:
        return None
    exceeded = read_ended(command).exceeded
    return None if exceeded is None else EXCEEDED[exceeded](command.limits)
