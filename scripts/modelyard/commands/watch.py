"""`modelyard watch`: see the world, write facts, and reconcile, again and again."""

from __future__ import annotations

import logging
import time

import click

from modelyard.commands.options import desk_of, pass_services
from modelyard.domain.repository import Forge
from modelyard.errors import YardError
from modelyard.ports import Services

logger = logging.getLogger(__name__)

MOST_PASSES = 30
"""Passes of one `--once` before it says that the world does not come to rest."""

REST_SECONDS = 0.2


@click.command()
@click.option("--once", is_flag=True, help="Go on until nothing changes any more, then stop.")
@click.option("--interval", default=30.0, show_default=True, help="Seconds between two looks.")
@click.option("--settle-seconds", default=120.0, show_default=True, help="With --once: how long to "
              "wait for servers that are starting.")  # fmt: skip
@pass_services
def watch(services: Services, /, *, once: bool, interval: float, settle_seconds: float) -> None:
    """Move servers to what Git names, judge them, write facts, and reconcile every model.

    Restarting it loses nothing. With a local forge it also runs the checks of open pull requests.
    """
    from modelyard.commands.watching import look, starting

    desk = desk_of(services)
    if once:
        deadline = time.monotonic() + settle_seconds
        for _ in range(MOST_PASSES):
            if look(desk, say=click.echo, with_checks=services.repository.forge is Forge.LOCAL):
                continue
            if not starting(desk) or time.monotonic() > deadline:
                return
            while starting(desk) and time.monotonic() < deadline:
                time.sleep(REST_SECONDS)
        return
    while True:
        try:
            look(desk, say=click.echo, with_checks=services.repository.forge is Forge.LOCAL)
        except YardError as error:  # the next look may find it mended
            logger.error("%s", error.message)  # noqa: TRY400 - known errors have no traceback
        time.sleep(interval)
