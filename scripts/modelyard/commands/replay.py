"""`modelyard replay`: send recorded rows to a model's servers, as its users would."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.commands.options import output_option, pass_services, print_json
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.replay import Replayed


def _http(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"{value!r} is no http:// or https:// address", ctx, param)
    return value


@click.command()
@click.argument("model")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Parquet or CSV file to take rows from.",
)
@click.option("--rows", default=1000, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--seed", default=0, show_default=True, type=int, help="Draws rows and releases.")
@click.option("--rows-per-request", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Rows a second at most; default: no limit.",
)
@click.option(
    "--blank",
    "blanks",
    multiple=True,
    metavar="COLUMN",
    help="Send null for this column, as a broken upstream would; may be repeated.",
)
@click.option(
    "--environment", help="Whose traffic; default: the end of the path, and who joins it."
)
@click.option(
    "--url",
    callback=_http,
    help="Send to this address, such as a cluster's Service, which spreads requests itself.",
)
@output_option
@pass_services
def replay(services: Services, /, *, output: str, **options: Any) -> None:
    """Send recorded rows to a model's servers.

    Rows are drawn from the file, and each request's release by share, with one seed: the same
    command sends the same requests. Only columns that are known when a request is made are sent.
    Succeeds when the replay ran, whatever the servers answered.
    """
    from modelyard.operations.replay import ReplayPlan, send_recorded

    plan = ReplayPlan(**options)
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
    click.echo(f"{rows:,} rows in {len(sent):,} requests to {where}, {rows / seconds:,.0f} rows/s")
    for code, count in sorted(codes.items()):
        click.echo(f"  {code}: {count:,} requests")
    for (version, release), count in sorted(releases.items()):
        click.echo(f"  {version} (release {release}): {count:,} requests, {count / len(sent):.1%}")
