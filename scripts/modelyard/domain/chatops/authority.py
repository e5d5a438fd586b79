"""What a person may do: the role on the forge and the teams, and what each command asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from modelyard.domain.chatops.commands import BreakGlass, Command


class Role(StrEnum):
    """A role in the repository, from the least to the most."""

    NONE = "none"
    READ = "read"
    TRIAGE = "triage"
    WRITE = "write"
    MAINTAIN = "maintain"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do all that the other may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)


_OTHER_NAMES = {"pull": Role.READ, "push": Role.WRITE, "owner": Role.ADMIN}


def parse_role(name: str) -> Role | None:
    """Return the role of this name on a forge; None for one that is not known.

    A role that an organisation defined itself is not known, so it allows nothing.
    """
    if name in set(Role):
        return Role(name)
    return _OTHER_NAMES.get(name)


@dataclass(frozen=True, kw_only=True)
class Authority:
    """What the forge knows of a person, asked when the command is decided.

    Args:
        role: The role; None where the forge did not answer, or answered what is not known.
        teams: The teams with an active membership, as `org/team`; None where it did not answer.
        unknown_teams: Those that it did not answer for.
        fault: Why it did not answer for the role; for a team, only where its limit is why.
        is_at_limit: Whether that is its limit on calls, which ends by itself.
    """

    role: Role | None
    teams: frozenset[str] | None = frozenset()
    unknown_teams: frozenset[str] = frozenset()
    fault: str = ""
    is_at_limit: bool = False


_LEAST: Mapping[type[Command], Role] = {BreakGlass: Role.ADMIN}


def least_role(command: Command) -> Role:
    """Return the least role that may give the command."""
    return _LEAST.get(type(command), Role.WRITE)
