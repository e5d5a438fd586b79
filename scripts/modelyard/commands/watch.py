"""`modelyard watch`: see the world, write facts, and reconcile, again and again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import log_with_dates, parse_address, pass_services
from modelyard.domain.specs.repository import Forge
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.workspace import Workspace

MOST_PASSES = 30
"""Passes of one `--once` before it says that the world does not come to rest."""

REST_SECONDS = 0.2

AGAIN = "run `modelyard watch --once` again"

_LEASE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")


def _lease(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _LEASE.match(value):
        raise click.BadParameter("expected NAMESPACE/NAME, such as modelyard/modelyard-watch")
    return value


@click.command()
@click.option("--once", is_flag=True, help="Go on until nothing changes any more, then stop.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    help="Seconds between two looks when nothing happens.",
)
@click.option("--settle-seconds", default=120.0, show_default=True, help="With --once: how long to "
              "wait for a server that is starting.")  # fmt: skip
@click.option(
    "--listen",
    callback=parse_address,
    metavar="HOST:PORT",
    help="Where to answer /healthz and /metrics.",
)
@click.option(
    "--lease",
    callback=_lease,
    metavar="NAMESPACE/NAME",
    help="Act only while holding this Lease of the cluster; others stand by.",
)
@pass_services
def watch(
    services: Services,
    /,
    *,
    once: bool,
    interval: float,
    settle_seconds: float,
    listen: tuple[str, int] | None,
    lease: str | None,
) -> None:
    """Move servers to what Git names, judge them, write facts, and reconcile every model.

    Restarting it loses nothing, and two of them do no harm. With a local forge it also runs the
    checks of open pull requests. What happened is told to the addresses in MODELYARD_NOTIFY.
    """
    if not once:
        from modelyard.operations.watch.loop import follow

        log_with_dates()
        follow(services, say=click.echo, interval=interval, listen=listen, lease=lease)
        return
    from modelyard.operations.watch.pass_once import look

    workspace, checks = workspace_of(services), services.repository.forge is Forge.LOCAL

    def one() -> bool:
        return look(workspace, say=click.echo, with_checks=checks).or_raise()

    _until_at_rest(workspace, one, settle_seconds)


def _until_at_rest(workspace: Workspace, one: Callable[[], bool], settle_seconds: float) -> None:
    from modelyard.operations.watch.pass_once import starting, undecided

    for _ in range(MOST_PASSES):
        if one():
            continue
        if not starting(workspace):
            for where in undecided(workspace):
                click.echo(
                    f"not decided yet, for want of traffic: modelyard judge {where}", err=True
                )
            return
        if left := _wait_for_servers(partial(starting, workspace), settle_seconds):
            names = ", ".join(left)
            click.echo(f"not ready after {settle_seconds:g} s: {names}; {AGAIN}", err=True)
            return
    click.echo(f"still changing after {MOST_PASSES} looks; {AGAIN}", err=True)


def _wait_for_servers(starting: Callable[[], tuple[str, ...]], seconds: float) -> tuple[str, ...]:
    """What is still starting after that many seconds; empty as soon as nothing is."""
    deadline = time.monotonic() + seconds
    while (left := starting()) and time.monotonic() < deadline:
        time.sleep(REST_SECONDS)
    return left
