"""`modelyard judge` and `serve-judge`: verdicts on a release in traffic, once or over HTTP."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from modelyard.commands.options import (
    explain_option,
    output_option,
    parse_address,
    pass_services,
    picture_option,
)
from modelyard.commands.output.formatting import print_verdict
from modelyard.commands.output.logs import log_with_dates
from modelyard.commands.output.picture import judge_picture, picture_svg, print_explained
from modelyard.commands.output.terminal import print_line
from modelyard.errors import Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services


@click.command()
@click.argument("environment")
@click.argument("model")
@explain_option
@picture_option
@output_option
@pass_services
def judge(
    services: Services,
    /,
    *,
    environment: str,
    model: str,
    explain: bool,
    picture: Path | None,
    output: str,
) -> None:
    """Compare the answers of MODEL's release in ENVIRONMENT with those of the stable release.

    Reads counts and changes nothing. Exit 0 for a pass, 3 for a fail or an inconclusive verdict.
    """
    from modelyard.operations.judge.evidence import judge_running_release

    verdict = judge_running_release(workspace_of(services), environment, model)
    if picture is not None:
        picture.write_text(picture_svg(judge_picture(verdict)), "utf-8")
    if explain and output == "text":
        rows = [(name.replace("_", " "), f"{n:.6g}") for name, n in verdict.numbers.items()]
        sentence = f"{verdict.outcome}: {verdict.reason}"
        print_explained(sentence, ("number", "value"), rows, judge_picture(verdict))
    else:
        print_verdict(verdict, output)
    if not verdict.passed:
        raise click.exceptions.Exit(Refused.exit_code)


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
