"""`modelyard serve-judge`: the judge over HTTP, for a cluster's AnalysisRuns."""

from __future__ import annotations

import signal
import threading

import click

from modelyard.commands.options import parse_address, pass_services
from modelyard.commands.output.logs import log_with_dates
from modelyard.commands.output.terminal import print_line
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services


@click.command(hidden=True)
@click.option(
    "--listen",
    metavar="HOST:PORT",
    callback=parse_address,
    required=True,
    help="Where to listen; port 0 is any free one.",
)
@pass_services
def serve_judge(services: Services, /, *, listen: tuple[str, int]) -> None:
    """Serve the judge's verdicts on releases until SIGTERM.

    GET /v1/verdicts/ENVIRONMENT/MODEL/RELEASE answers `{"outcome": "pass" | "fail" |
    "inconclusive", "reason": ...}`. The outcome is pass only if the facts in Git agree.
    """
    from modelyard.adapters.bounded_http import BoundedServer
    from modelyard.operations.judge.http import JudgeService

    log_with_dates()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    service = JudgeService(workspace_of(services))
    server = BoundedServer(*listen, service.make_app())
    # First the pages: until Git has been read, probes get a 503 with the reason.
    server.start()
    service.start()
    print_line(f"listening on {server.host}:{server.port}")
    stop.wait()
    server.stop()
