"""Who gives a command that is written down under a name."""

from __future__ import annotations

import click

from modelyard.errors import CannotAnswer
from modelyard.ports import Services

as_option = click.option(
    "--as", "name", metavar="NAME", help="Who says so. [default: git's user.name]"
)


def person(services: Services, name: str | None) -> str:
    """The name given, or the one git knows this person by; `CannotAnswer` when there is none."""
    from modelyard.adapters.git.names import readable
    from modelyard.adapters.git.repository import Git

    known = readable(name or Git(services.root).user_name() or "")
    if not known:
        raise CannotAnswer(
            "nobody's name to write this down under", hint="git config user.name 'Your Name'"
        )
    return known
