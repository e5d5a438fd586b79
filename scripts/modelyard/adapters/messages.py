"""Sends messages to people, wherever the addresses in `MODELYARD_NOTIFY` lead."""

from __future__ import annotations

import logging
import os

logger = logging.getLogger(__name__)

ADDRESSES = "MODELYARD_NOTIFY"
"""The environment variable with Apprise addresses, separated by spaces; they hold secrets."""

_MOST_KEPT = 100

_took: dict[tuple[str, str], frozenset[str]] = {}
"""Who took what others did not, so that nobody is woken twice for an address that is broken."""


def send(title: str, body: str) -> bool:
    """Send one message to every address; False if one of them did not take it.

    Without an address there is nobody to tell, and that is no failure. An address that cannot be
    read is one: a message that was never sent must not count as told. Sent again, it only goes
    where it was not taken.
    """
    addresses = frozenset(os.environ.get(ADDRESSES, "").split())
    message = (title, body)
    took = _took.pop(message, frozenset()) & addresses
    took |= {address for address in sorted(addresses - took) if _took_it(address, title, body)}
    if took == addresses:
        return True
    _took[message] = took
    while len(_took) > _MOST_KEPT:
        del _took[next(iter(_took))]
    logger.error("not everybody in %s was told: %s", ADDRESSES, title)
    return False


def _took_it(address: str, title: str, body: str) -> bool:
    """Whether it took the message; one whose service crashes keeps no other from being told."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its words hold the addresses
    people = apprise.Apprise()
    try:
        return people.add(address) and bool(
            people.notify(title=title, body=body, body_format="text")
        )
    except Exception as error:  # noqa: BLE001 - whatever it was, its words may hold the address
        logger.error("an address in %s failed: %s", ADDRESSES, type(error).__name__)  # noqa: TRY400
        return False
