"""Incidents: what a person must decide, and the key that identifies each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from modelyard.domain.specs.contract import Breach
from modelyard.domain.specs.release import Release

# The sentences of incidents that were written before incidents had keys.
_STUCK = re.compile(
    r"(?P<environment>\S+) names (?P<version>\S+)( \(attempt (?P<attempt>\d+)\))? of \S+, "
    r"((?P<restored>a rollback restored it)|no verified release to go back to), a person must "
)
_BREACH = re.compile(
    r"contract of (?P<uri>.+?) broken: column (?P<column>.+?) \((?P<rule>[a-z-]+)\): expected "
    r"(?P<expected>.+?), found "
)


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that a person must decide.

    Args:
        what: What happened, in a sentence.
        at: When it was first seen.
        key: What it is about. Two with one key are the same incident.
    """

    what: str
    at: datetime
    key: str = ""

    def __post_init__(self) -> None:
        """Derive the key of an incident that was written without one."""
        if not self.key:
            object.__setattr__(self, "key", _key_of_sentence(self.what))


def stuck_key(release: Release, *, is_restored: bool) -> str:
    """The key of a faulty release that nothing may replace by itself.

    Args:
        release: The release.
        is_restored: Whether a rollback restored it; otherwise nothing verified is left.
    """
    why = "restored" if is_restored else "no-way-back"
    return f"stuck/{release.environment}/{release.version}/{release.attempt}/{why}"


def infrastructure_key(release: Release, since: datetime) -> str:
    """The key of a release whose servers cannot start since then; the next time is another one."""
    where = f"{release.environment}/{release.version}/{release.attempt}"
    return f"infrastructure/{where}/{since.isoformat()}"


def release_in_trouble(incident: Incident) -> tuple[str, str, int] | None:
    """Environment, version and attempt of the release that it is about; None if about none."""
    kind, *rest = incident.key.split("/")
    if kind not in {"stuck", "infrastructure"} or len(rest) < 4 or not rest[2].isdecimal():  # noqa: PLR2004 - as both keys are built
        return None
    return rest[0], rest[1], int(rest[2])


def unreviewed_key(environment: str, commit: str) -> str:
    """The key of what a push brought to an environment without a pull request."""
    return f"unreviewed/{environment}/{commit[:16]}"


def pushed_rule_key(file: str, commit: str) -> str:
    """The key of a rule that a push changed."""
    return f"pushed-rule/{file}/{commit[:16]}"


def breach_key(uri: str, breach: Breach) -> str:
    """The key of a rule that a feed does not keep.

    A rule that asks for something else is another one. The numbers found change every night, so
    they are left out.
    """
    return f"{_old_breach_key(uri, breach)}/{breach.expected}"


def is_incident_of_breach(incident: Incident, uri: str, breach: Breach) -> bool:
    """Whether the incident is about this breach of this feed, whatever numbers were found then."""
    if incident.key == _old_breach_key(uri, breach):
        return f": expected {breach.expected}, found " in incident.what
    return incident.key == breach_key(uri, breach)


def _old_breach_key(uri: str, breach: Breach) -> str:
    # Without what is expected. Such incidents keep their key: people were notified under it.
    return f"{breach_prefix(uri)}{breach.column}/{breach.rule}"


def breach_prefix(uri: str) -> str:
    """How the keys of all breaches of a feed start."""
    return f"contract/{uri}#"


def _key_of_sentence(what: str) -> str:
    if found := _STUCK.match(what):
        why = "restored" if found["restored"] else "no-way-back"
        return f"stuck/{found['environment']}/{found['version']}/{found['attempt'] or 1}/{why}"
    if found := _BREACH.match(what):
        where = f"{breach_prefix(found['uri'])}{found['column']}"
        return f"{where}/{found['rule']}/{found['expected']}"
    return what
