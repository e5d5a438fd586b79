"""`modelyard judge`, `serve-judge` and `feedback`: verdicts on releases in traffic, and labels."""

from __future__ import annotations

import signal
import threading
from dataclasses import asdict
from pathlib import Path

import click

from modelyard.commands.options import (
    dry_run_option,
    explain_option,
    output_option,
    parse_address,
    pass_services,
    picture_option,
)
from modelyard.commands.output.formatting import explain_verdict, print_verdict
from modelyard.commands.output.logs import log_with_dates
from modelyard.commands.output.picture import judge_picture, picture_svg, print_explained
from modelyard.commands.output.terminal import print_json, print_line
from modelyard.errors import Refused
from modelyard.operations.open_workspace import workspace_of
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

    workspace = workspace_of(services)
    verdict = judge_running_release(workspace, environment, model)
    if picture is not None:
        picture.write_text(picture_svg(judge_picture(verdict)), "utf-8")
    if explain and output == "text":
        rows = [(name.replace("_", " "), f"{n:.6g}") for name, n in verdict.numbers.items()]
        sentence = f"{verdict.outcome}: {verdict.reason}"
        print_explained(sentence, ("number", "value"), rows, judge_picture(verdict))
    else:
        print_verdict(verdict, output)
    if output == "text":
        for line in explain_verdict(verdict, workspace.facts.read_release(environment, model)):
            print_line(line, err=True)
    if not verdict.passed:
        raise click.exceptions.Exit(Refused.exit_code)


@click.command()
@click.argument("model")
@click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet or CSV file: request, the target's column, and row where there are several.",
)
@click.option(
    "--payloads",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of payload logs; repeatable. [default: those of this machine's servers]",
)
@dry_run_option
@output_option
@pass_services
def feedback(
    services: Services,
    /,
    *,
    model: str,
    labels: Path,
    payloads: tuple[Path, ...],
    dry_run: bool,
    output: str,
) -> None:
    """Join labels that arrived later to the logged rows of MODEL, by request id.

    A request's id is the one its answer had, or its header x-modelyard-request; row counts from 0
    within it. What is joined is kept, for `modelyard judge` (with canary.margin_quality) and
    `modelyard drift`. Labels that are left out are counted by why: a row is logged within 10 s of
    its answer. The same file again changes nothing. Exit 3 if no label of the file is joined, now
    or before, or a value is of another type.
    """
    from modelyard.operations.judge.feedback import deliver_labels

    found = deliver_labels(
        workspace_of(services), model, labels, payloads=payloads, keep=not dry_run
    )
    if output == "json":
        print_json(asdict(found))
    else:
        joined = sum(found.rows.values())
        by_version = ", ".join(f"{version} {rows:,}" for version, rows in found.rows.items())
        verb = "would join" if dry_run else "joined"
        print_line(f"{model}: {verb} {joined:,} of {found.labels:,} labels ({by_version or '-'})")
        for fault in found.faults:
            print_line(f"  {fault.labels:,} left out: {fault.why}, such as {fault.example}")
    if not found.has_known:
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
