"""`modelyard watch`: see the world, write facts, and reconcile, again and again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import desk_of, pass_services
from modelyard.domain.repository import Forge
from modelyard.errors import YardError
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.commands.reconciling.collect import Desk

logger = logging.getLogger(__name__)

MOST_PASSES = 30
"""Passes of one `--once` before it says that the world does not come to rest."""

REST_SECONDS = 0.2

AGAIN = "run `modelyard watch --once` again"


@click.command()
@click.option("--once", is_flag=True, help="Go on until nothing changes any more, then stop.")
@click.option("--interval", default=30.0, show_default=True, help="Seconds between two looks.")
@click.option("--settle-seconds", default=120.0, show_default=True, help="With --once: how long to "
              "wait for a server that is starting.")  # fmt: skip
@pass_services
def watch(services: Services, /, *, once: bool, interval: float, settle_seconds: float) -> None:
    """Move servers to what Git names, judge them, write facts, and reconcile every model.

    Restarting it loses nothing. With a local forge it also runs the checks of open pull requests.
    """
    from modelyard.commands.watching import look

    desk = desk_of(services)
    one = partial(look, desk, say=click.echo, with_checks=services.repository.forge is Forge.LOCAL)
    if once:
        _until_at_rest(desk, one, settle_seconds)
        return
    while True:
        try:
            one()
        except YardError as error:  # the next look may find it mended
            logger.error("%s", error.message)  # noqa: TRY400 - known errors have no traceback
        time.sleep(interval)


def _until_at_rest(desk: Desk, one: Callable[[], bool], settle_seconds: float) -> None:
    from modelyard.commands.watching import starting, undecided

    for _ in range(MOST_PASSES):
        if one():
            continue
        if not starting(desk):
            for where in undecided(desk):
                click.echo(
                    f"not decided yet, for want of traffic: modelyard judge {where}", err=True
                )
            return
        if left := _wait_for_servers(partial(starting, desk), settle_seconds):
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
