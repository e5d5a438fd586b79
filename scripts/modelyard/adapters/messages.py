"""Sends messages to the addresses in `MODELYARD_NOTIFY`."""

from __future__ import annotations

import logging
import os

from modelyard.domain.harmless_text import (
    harmless_line,
    harmless_lines,
    neutralize_mentions,
)

logger = logging.getLogger(__name__)

ADDRESSES = "MODELYARD_NOTIFY"
"""The environment variable with Apprise addresses, separated by spaces; they hold secrets."""

# Messages are retried until delivered; a bound, since a broken address may never take one.
_MOST_KEPT = 100

_delivered: dict[tuple[str, str], frozenset[str]] = {}
"""Addresses that took a message which others refused: a retry must not send it to them again."""


def send_message(title: str, body: str) -> bool:
    """Send one message to every address; False if one of them did not take it.

    Having no address is no failure. An address that cannot be parsed is one: a message that was
    never sent must not count as delivered. The same message sent again goes only to the addresses
    that did not take it. What is sent is harmless: it has texts of people and of trainers.
    """
    addresses = frozenset(os.environ.get(ADDRESSES, "").split())
    title = neutralize_mentions(harmless_line(title))
    body = neutralize_mentions(harmless_lines(body))
    message = (title, body)
    done = _delivered.pop(message, frozenset()) & addresses
    done |= {address for address in sorted(addresses - done) if _deliver(address, title, body)}
    if done == addresses:
        return True
    _delivered[message] = done
    while len(_delivered) > _MOST_KEPT:
        del _delivered[next(iter(_delivered))]
    logger.error("some addresses in %s did not take: %s", ADDRESSES, title)
    return False


def _deliver(address: str, title: str, body: str) -> bool:
    """Whether the address took the message; its failure does not keep others from getting it."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages hold the addresses
    people = apprise.Apprise()
    try:
        return people.add(address) and bool(
            people.notify(title=title, body=body, body_format="text")
        )
    except Exception as error:  # noqa: BLE001 - its text may hold the address
        logger.error("an address in %s failed: %s", ADDRESSES, type(error).__name__)  # noqa: TRY400
        return False
