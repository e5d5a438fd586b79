"""`modelyard watch`: run passes that move servers, write facts and reconcile."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import parse_address, pass_services
from modelyard.commands.output.logs import log_with_dates
from modelyard.commands.output.terminal import print_line
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.machines.shards import Shard
    from modelyard.operations.workspace import Workspace

MOST_PASSES = 30
"""Passes of one `--once` before it gives up on a world that keeps changing."""

REST_SECONDS = 0.2

MOST = 100
"""Shards; each is a process that reads every ref."""

AGAIN = "run `modelyard watch --once` again"

# Kubernetes's rules: a namespace is a DNS label, a Lease's name a DNS subdomain.
_LEASE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")


def _lease(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _LEASE.match(value):
        raise click.BadParameter("expected NAMESPACE/NAME, such as modelyard/modelyard-watch")
    return value


def _shard(_: click.Context, __: click.Parameter, value: str | None) -> Shard:
    from modelyard.domain.machines.shards import Shard

    if value is None:
        return Shard()
    number, _slash, count = value.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= MOST):
        raise click.BadParameter(f"expected I/N with 1 <= I <= N <= {MOST}, such as 2/3")
    return Shard(int(number), int(count))


@click.command()
@click.option("--once", is_flag=True, help="Run passes until nothing changes any more, then stop.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=30.0,
    show_default=True,
    help="Seconds between two passes when nothing happens.",
)
@click.option("--settle-seconds", default=120.0, show_default=True, help="With --once: how long to "
              "wait for servers that are starting.")  # fmt: skip
@click.option(
    "--listen",
    callback=parse_address,
    metavar="HOST:PORT",
    help="Where to serve /healthz and /metrics.",
)
@click.option(
    "--pages",
    is_flag=False,
    flag_value="127.0.0.1:8700",
    callback=parse_address,
    metavar="[HOST:PORT]",
    help="Serve the pages of `modelyard site`, as things are. [default: 127.0.0.1:8700]",
)
@click.option(
    "--lease",
    callback=_lease,
    metavar="NAMESPACE/NAME",
    help="Act only while holding this Lease of the cluster, and stand by otherwise.",
)
@click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Cover part I of N of the models; one watcher for each part, with the same N.",
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
    pages: tuple[str, int] | None,
    lease: str | None,
    shard: Shard,
) -> None:
    """Move servers to what Git pins, judge them, write facts, and reconcile every model.

    It does so for the environments that this site runs: the first one takes them, any other only
    reads until `modelyard adopt`. It may be restarted at any time, and two watchers do no harm.
    It also runs the checks of open pull requests. The addresses in MODELYARD_NOTIFY are notified
    of rollbacks, holds and incidents.
    """
    from modelyard.operations.hosted_forges import refuse_other_account

    refuse_other_account(services)
    if not once:
        from modelyard.operations.watch.loop import watch_forever

        log_with_dates()
        watch_forever(
            services,
            report=print_line,
            interval=interval,
            listen=listen,
            lease=lease,
            pages=pages,
            shard=shard,
        )
        return
    from modelyard.operations.watch.pass_once import run_pass

    workspace = workspace_of(services)

    def run_one_pass() -> bool:
        result = run_pass(workspace, report=print_line, with_checks=True, shard=shard)
        return result.changed_or_raise()

    _run_until_at_rest(workspace, shard, run_one_pass, settle_seconds)


def _run_until_at_rest(
    workspace: Workspace, shard: Shard, run_one_pass: Callable[[], bool], settle_seconds: float
) -> None:
    from modelyard.operations.watch.pass_once import starting_releases, undecided_releases

    for _ in range(MOST_PASSES):
        if run_one_pass():
            continue
        if not starting_releases(workspace, shard):
            for release in undecided_releases(workspace, shard):
                print_line(
                    f"{release}: not enough traffic yet; why: modelyard judge {release}", err=True
                )
            return
        starting = partial(starting_releases, workspace, shard)
        if left := _wait_for_servers(starting, settle_seconds):
            names = ", ".join(left)
            print_line(f"not ready after {settle_seconds:g} s: {names}; {AGAIN}", err=True)
            return
    print_line(f"still changing after {MOST_PASSES} passes; {AGAIN}", err=True)


def _wait_for_servers(starting: Callable[[], tuple[str, ...]], seconds: float) -> tuple[str, ...]:
    """What is still starting after that many seconds; returns early once nothing is."""
    deadline = time.monotonic() + seconds
    while (left := starting()) and time.monotonic() < deadline:
        time.sleep(REST_SECONDS)
    return left
