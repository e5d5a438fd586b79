"""Sends messages to people, wherever the addresses in `MODELYARD_NOTIFY` lead."""

from __future__ import annotations

import logging
import os

logger = logging.getLogger(__name__)

ADDRESSES = "MODELYARD_NOTIFY"
"""The environment variable with Apprise addresses, separated by spaces; they hold secrets."""


def send(title: str, body: str) -> bool:
    """Send one message to every address; False if one of them did not take it.

    Without an address there is nobody to tell, and that is no failure. An address that cannot be
    read is one: a message that was never sent must not count as told.
    """
    addresses = os.environ.get(ADDRESSES, "").split()
    if not addresses:
        return True
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its words hold the addresses
    people = apprise.Apprise()
    readable = [people.add(address) for address in addresses]
    sent = any(readable) and bool(people.notify(title=title, body=body, body_format="text"))
    if not (sent and all(readable)):
        logger.error("not everybody in %s was told: %s", ADDRESSES, title)
    return sent and all(readable)
