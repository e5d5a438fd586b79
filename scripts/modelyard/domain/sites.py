"""Sites: who runs the servers of an environment, and so may say how they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

SEEN_EVERY = timedelta(hours=1)
"""How often an owner writes down that it is there."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place that runs servers: one state folder, or one Kubernetes cluster.

    Args:
        id: Unique, and the same as long as the place exists.
        name: What a person calls it.
    """

    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The site that runs an environment's servers. Any other site only reads.

    Args:
        site: The site's identity.
        name: What a person calls it.
        since: When it took the environment.
        seen_at: When it last wrote down that it is there.
    """

    site: str
    name: str
    since: datetime
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What this site may do.

    Args:
        site: This site; None if this place has run no servers yet.
        environments: All environments.
        owners: By environment.
        unknown: Environments whose owner cannot be read.
        is_home: Whether what nobody owns is this site's: it owns others, or nobody owns any and
            either nothing was ever seen running or its servers are here.
    """

    site: Site | None
    environments: tuple[str, ...]
    owners: Mapping[str, Owner] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    is_home: bool = True

    @property
    def mine(self) -> frozenset[str]:
        """The environments whose servers this site runs and reports."""
        return frozenset(name for name in self.environments if self._is_mine(name))

    @property
    def free(self) -> tuple[str, ...]:
        """The environments that this site takes because nobody has them."""
        if not self.is_home:
            return ()
        taken = {*self.owners, *self.unknown}
        return tuple(name for name in self.environments if name not in taken)

    @property
    def others(self) -> tuple[str, ...]:
        """The environments where this site only reads."""
        return tuple(name for name in self.environments if name not in self.mine)

    @property
    def is_foreign(self) -> bool:
        """Whether this site runs no environment at all."""
        return bool(self.environments) and not self.mine

    def _is_mine(self, name: str) -> bool:
        if name in self.unknown:
            return False
        owner = self.owners.get(name)
        return self.is_home if owner is None else self.owns(name)

    def owns(self, name: str) -> bool:
        """Whether this site is written down as the one that runs an environment."""
        owner = self.owners.get(name)
        return owner is not None and self.site is not None and owner.site == self.site.id

    def explanation(self) -> str | None:
        """Where this site only reads, why, and the way out, on one line; None if nowhere."""
        by_reason: dict[str, list[str]] = {}
        for name in self.others:
            by_reason.setdefault(self._reason(name), []).append(name)
        if not by_reason:
            return None
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
        return f"this site only reads there: {reasons}; to take over: {self.adopt_command()}"

    def _reason(self, name: str) -> str:
        if name in self.unknown:
            return "who runs it cannot be read"
        if (owner := self.owners.get(name)) is not None:
            # A state folder that was removed, with another one in its place.
            was_here = self.site is not None and owner.name == self.site.name
            who = "the site that was here before, " if was_here else ""
            return f"run by {who}{describe_owner(owner)}"
        return "nobody says who runs it, and its servers are not here"

    def adopt_command(self) -> str:
        """The command that takes over what this site only reads."""
        return " ".join(["modelyard adopt", *self.others])


def describe_owner(owner: Owner) -> str:
    """An owner on a line, such as `anna:/yard/.modelyard, last seen 2026-03-01 12:00 UTC`."""
    return f"{owner.name}, last seen {owner.seen_at:%Y-%m-%d %H:%M} UTC"


def taken_over(
    owners: Mapping[str, Owner], site: Site, environments: Collection[str], now: datetime
) -> Mapping[str, Owner]:
    """The owners once the site runs these environments; where it does already, nothing changes."""
    new = Owner(site=site.id, name=site.name, since=now, seen_at=now)
    changed = {name for name in environments if name not in owners or owners[name].site != site.id}
    return {**owners, **dict.fromkeys(changed, new)}


def seen_again(owners: Mapping[str, Owner], site: Site, now: datetime) -> Mapping[str, Owner]:
    """The owners once the site has written down that it is there, if that is due."""
    due = any(
        owner.site == site.id and now - owner.seen_at >= SEEN_EVERY for owner in owners.values()
    )
    if not due:
        return owners
    return {
        name: replace(owner, seen_at=now, name=site.name) if owner.site == site.id else owner
        for name, owner in owners.items()
    }
