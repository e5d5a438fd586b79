"""Where copies may be sent: what is no such address is refused before the server starts."""

from __future__ import annotations

from urllib.parse import urlsplit

_EXPECTED = "expected http://HOST or http://HOST:PORT, or a file of endpoints (.json)"


def address_problem(address: str) -> str | None:
    """What is wrong with an address, and what was expected; None if it is one."""
    if "://" not in address:
        return None if address.endswith(".json") else f"{address!r}: {_EXPECTED}"
    try:
        parts = urlsplit(address)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        return f"{address!r}: {error}; {_EXPECTED}"
    if parts.scheme != "http":
        return f"{address!r}: copies are sent by plain HTTP; {_EXPECTED}"
    if not has_host or parts.username is not None:
        return f"{address!r}: {_EXPECTED}"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return f"{address!r}: copies have a path of their own; {_EXPECTED}"
    return None
