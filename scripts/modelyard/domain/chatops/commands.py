"""The commands of comments as values; each names all that a person may say with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Approve:
    """Approve one commit, which must be the head."""

    sha: str


@dataclass(frozen=True, kw_only=True)
class Unapprove:
    """Take one's own approval back."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Put the version of the pull request on hold."""

    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Unhold:
    """Lift the hold of the version of the pull request."""


@dataclass(frozen=True, kw_only=True)
class Promote:
    """Ask for the version in an environment; without one, in that of the pull request.

    Args:
        environment: Where.
        replace: Also in place of another version's open promotion.
    """

    environment: str | None = None
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """Take the model's release out of an environment; without one, that of the pull request.

    Args:
        environment: Where.
        reason: Why, for the hold.
        remove: Leave no release there; only where there is no verified one to go back to.
    """

    environment: str | None = None
    reason: str | None = None
    remove: bool = False


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """Freeze an environment until a time: no promotions, rollbacks all the same."""

    environment: str
    until: datetime
    reason: str


@dataclass(frozen=True, kw_only=True)
class Unfreeze:
    """End the freeze of an environment; without one, of that of the pull request."""

    environment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Train the version of the pull request again."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """Let a version pass although its gate is inconclusive, until a time."""

    until: datetime
    reason: str


@dataclass(frozen=True, kw_only=True)
class BreakGlass:
    """Merge one commit without the approvals that it still needs."""

    sha: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Why:
    """Answer why the pull request does not move, and who can move it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Answer what the next round would do."""


@dataclass(frozen=True, kw_only=True)
class Help:
    """Answer with the commands."""


YardCommand = Hold | Unhold | Promote | Rollback | Freeze | Unfreeze | Retrain
"""What changes the yard and not a pull request, so that it can be typed elsewhere too."""

Command = Approve | Unapprove | YardCommand | Override | BreakGlass | Why | Plan | Help
