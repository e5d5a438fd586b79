"""Step `verify`: starts the real model server on the artifact and checks its golden rows."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import Any

from modelyard.adapters.cluster.local_servers import free_port
from modelyard.adapters.processes.environment import bare_environment
from modelyard.adapters.processes.start import is_process_alive, start_modelyard, stop_process
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.domain.server_arguments import server_arguments
from modelyard.operations.training.job import Job
from modelyard.serving.documents import read_golden, read_serving
from modelyard.serving.probe import Probe

logger = logging.getLogger(__name__)

REQUESTS = 25
READY_SECONDS = 120  # a cold start imports MLflow and the model's libraries


def verify_server(job: Job) -> None:
    """Start the server, wait until its golden rows match, and measure its latency."""
    artifact, runtime = job.read_document("artifact.json"), job.find_runtime()
    with tempfile.TemporaryDirectory(prefix="modelyard-verify-") as name:
        folder = job.store.fetch_model(artifact["digest"], Path(name) / "artifact")
        port = free_port(f"{job.model_name}-{job.version}")
        log = Path(name) / "server.log"
        started = start_modelyard(
            _arguments(job, artifact, folder, port, runtime),
            cwd=folder,
            log=log,
            environment=bare_environment(),
            python=runtime.other_python,
        )
        probe = Probe(f"http://127.0.0.1:{port}", job.model_name)
        try:
            _wait_until_ready(job, probe, started, log)
            golden = read_golden(folder)
            columns = read_serving(folder).inputs
            p95 = probe.p95_ms(columns, golden.rows, requests=REQUESTS)
        except (OSError, ValueError) as error:
            why = f"the server does not answer the golden rows: {error}"
            raise job.refuse(why, folder=Path(name)) from error
        finally:
            stop_process(started, grace_seconds=5)
    limit = job.model.artifact.max_p95_ms
    if p95 > limit:
        raise job.refuse(f"the server needs {p95:.0f} ms (p95) for 20 rows, limit {limit} ms")
    job.put_document("server.json", {"golden": len(golden.rows), "p95_ms": round(p95, 1)})
    logger.info("%d golden rows match, p95 %.1f ms", len(golden.rows), p95)


def _arguments(
    job: Job, artifact: dict[str, Any], folder: Path, port: int, runtime: Runtime
) -> list[str]:
    policy = job.model.artifact
    return server_arguments(
        model=job.model_name,
        version=job.version,
        release="verify",
        artifact=artifact["digest"],
        folder=str(folder),
        formats=policy.accepted_formats,
        trusted_types=policy.trusted_types,
        port=str(port),
        lock=runtime.lock,
        lock_file=str(runtime.lock_file),
    )


def _wait_until_ready(job: Job, probe: Probe, started: Any, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not probe.is_ready():
        if not is_process_alive(started) or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
            why = f"the server does not start on the artifact: {' | '.join(last)}"
            raise job.refuse(why, folder=log.parent)
        time.sleep(0.05)
