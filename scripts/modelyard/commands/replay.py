"""`modelyard replay`: send recorded rows to the servers of a model, as its users would."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.commands.options import days_options, output_option, pass_services
from modelyard.commands.output.terminal import print_json, print_line
from modelyard.domain.harmless_text import harmless_line
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.replay import Replayed


def _http(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"{value!r} does not start with http:// or https://", ctx, param)
    return value


@click.command()
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet or CSV file with the rows.",
)
@days_options
@click.option(
    "--rows", default=1000, show_default=True, type=click.IntRange(1), help="Rows to send."
)
@click.option(
    "--seed", default=0, show_default=True, type=int, help="Seed for drawing rows and releases."
)
@click.option(
    "--rows-per-request",
    default=20,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="Rows in one request.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Rows a second. [default: no limit]",
)
@click.option(
    "--blank",
    "blanks",
    multiple=True,
    metavar="COLUMN",
    help="Send null for this column, as a broken source would; repeatable.",
)
@click.option(
    "--environment",
    help="Environment that takes the requests. [default: production and what joins it]",
)
@click.option(
    "--url",
    callback=_http,
    help="Send to this address, such as that of a Service in a cluster.",
)
@click.option(
    "--as",
    "as_version",
    metavar="VERSION",
    help="Send the inputs that this version taught its callers. [default: all of model.yaml]",
)
@output_option
@pass_services
def replay(
    services: Services,
    /,
    *,
    output: str,
    since: datetime | None,
    until: datetime | None,
    **options: Any,
) -> None:
    """Send recorded rows to the servers of MODEL; with --since and --until those of these days.

    The seed decides which rows are sent and which release answers each request, so the same command
    sends the same requests. Releases are drawn by their shares. Columns that are unknown when a
    request is made are left out. Exit 0 once all requests are sent, whatever the servers answered.
    """
    from modelyard.domain.specs.interval import Interval
    from modelyard.operations.replay import ReplayPlan, send_recorded

    days = Interval(
        since=since.date() if since else date.min, until=until.date() if until else date.max
    )
    plan = ReplayPlan(**options, days=days if since or until else None)
    _report(send_recorded(services, plan), rows=plan.rows, output=output)


def _report(replayed: Replayed, *, rows: int, output: str) -> None:
    sent, where, seconds = replayed.sent, replayed.environment, replayed.seconds
    codes = Counter(one.code for one in sent)
    releases = Counter((one.version or "none", one.release or "none") for one in sent)
    if output == "json":
        print_json(
            {
                "environment": where,
                "rows": rows,
                "requests": len(sent),
                "seconds": round(seconds, 3),
                "codes": dict(sorted(codes.items())),
                "releases": [
                    {"version": version, "release": release, "requests": count}
                    for (version, release), count in sorted(releases.items())
                ],
            }
        )
        return
    print_line(f"{rows:,} rows in {len(sent):,} requests to {where}, {rows / seconds:,.0f} rows/s")
    for code, count in sorted(codes.items()):
        fault = next((one.fault for one in sent if one.code == code and one.fault), "")
        example = f", such as: {harmless_line(fault)}" if fault else ""
        print_line(f"  {code}: {count:,} requests{example}")
    for (version, release), count in sorted(releases.items()):
        print_line(f"  {version} (release {release}): {count:,} requests, {count / len(sent):.1%}")
