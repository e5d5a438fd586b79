"""The audit log: one line for each decision, found in what a fact was and what it became."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from modelyard.domain.chatops.log import CommandLog
from modelyard.domain.promotion.facts import Freeze, ModelFacts, ReleaseFacts
from modelyard.domain.promotion.pulls import BrokenGlass
from modelyard.domain.promotion.timeline import Event, Kind, changes_of_model, changes_of_release
from modelyard.domain.sites import Owner, describe_owner

YARD = "_yard"
"""What is about no model; no model has this name."""

LONGEST_SENTENCE = 300

# What was only observed is in the facts; these were decided.
_DECIDED = frozenset({Kind.JUDGED, Kind.ABORTED, Kind.VERIFIED})


@dataclass(frozen=True, kw_only=True)
class AuditLine:
    """One decision.

    Args:
        at: When it was written down.
        who: Login or name of the person or program.
        id: Their id on the forge; empty if they are known by name alone.
        reason: What it was, as a code: a kind of event, or the reason code of a command.
        what: The same for a person.
        command: The command of a comment, such as `/approve`.
        model: The model; empty if it is about none.
        version: The version.
        environment: The environment.
        pull: The pull request.
        sha: The head commit that was decided about.
        digest: The artifact that was decided about.
    """

    at: datetime
    who: str
    reason: str
    what: str
    id: str = ""
    command: str = ""
    model: str = ""
    version: str = ""
    environment: str = ""
    pull: int | None = None
    sha: str = ""
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """What the commands below a pull request are about, as far as it is known."""

    model: str = ""
    version: str = ""
    environment: str = ""
    digest: str = ""


def find_decisions(
    names: tuple[str, ...], before: object, after: object, *, line: AuditLine, topic: Topic
) -> Iterator[AuditLine]:
    """Yield a line for each decision between two values of a fact.

    Args:
        names: The names in the fact's path, such as environment and model.
        before: The value before; None if there was none.
        after: The value after; None if it was lifted.
        line: When and by whom, for what does not say so itself.
        topic: What commands are about.
    """
    match before, after:
        case (CommandLog() | None, CommandLog()):
            known = len(before.entries) if before else 0
            yield from _commands(names[-1], after, known, line, topic)
        case (ModelFacts() | None, ModelFacts()):
            for event in changes_of_model(line.at, before or ModelFacts(), after):
                yield _of_event(event, replace(line, model=names[-1]))
        case (ReleaseFacts() | None, ReleaseFacts()):
            where = replace(
                line, environment=names[0], model=names[-1], digest=after.artifact or ""
            )
            yield from _release(before or ReleaseFacts(), after, where)
        case (_, Freeze()):
            yield replace(line, environment=names[-1], reason="frozen", what=after.reason)
        case (Freeze(), None):
            yield replace(line, environment=names[-1], reason="unfrozen", what="open again")
        case (_, Owner()):
            what = f"run by {describe_owner(after)}"
            yield replace(line, environment=names[-1], reason="adopted", what=what)
        case (_, BrokenGlass()):
            yield _broken_glass(after, line)


def _commands(
    name: str, log: CommandLog, known: int, line: AuditLine, topic: Topic
) -> Iterator[AuditLine]:
    for entry in log.entries[known:]:
        yield replace(
            line,
            who=entry.login,
            id=entry.person,
            command=entry.line,
            reason=str(entry.reason),
            what=entry.sentence[:LONGEST_SENTENCE],
            model=topic.model,
            version=topic.version,
            environment=topic.environment,
            digest=topic.digest,
            pull=_pull_of(name),
            sha=entry.head,
        )


def _pull_of(name: str) -> int | None:
    """Return the pull request whose commands a log is of; None for that of a run."""
    kind, _, number = name.partition("-")
    return int(number) if kind == "pull" else None


def _release(before: ReleaseFacts, after: ReleaseFacts, line: AuditLine) -> Iterator[AuditLine]:
    for event in changes_of_release(line.at, before, after):
        if event.kind in _DECIDED:
            yield _of_event(replace(event, version=after.version), line)
    if after.rolled_back_to not in {None, before.rolled_back_to}:
        what = f"back to {after.rolled_back_to}"
        yield replace(line, reason="rolled-back", what=what, version=after.version or "")


def _of_event(event: Event, line: AuditLine) -> AuditLine:
    what = event.what[:LONGEST_SENTENCE]
    return replace(line, reason=str(event.kind), what=what, version=event.version or "")


def _broken_glass(word: BrokenGlass, line: AuditLine) -> AuditLine:
    return replace(
        line,
        who=word.login,
        id=word.person,
        reason=str(Kind.GLASS_BROKEN),
        what=f"{word.reason}; followed up in #{word.issue}",
        model=word.model,
        pull=word.number,
        sha=word.sha,
    )
