"""How a program says whether its tests can run on this machine, apart from that it failed."""

import sys
from typing import NoReturn

CANNOT = 3
"""The exit code for that they cannot; any other one but 0 is a failure, such as of an import."""


def exit_if_possible(what: str, obstacle: str | None) -> NoReturn:
    """End with 0, or say in a line what is in the way and end with `CANNOT`."""
    if obstacle is None:
        sys.exit(0)
    print(f"skipped: {what}: {obstacle}")  # noqa: T201 - of a program
    sys.exit(CANNOT)
