"""Decides about a command of a comment: whether its author may, and whether it still fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelyard.domain.chatops.authority import least_role
from modelyard.domain.chatops.commands import (
    Approve,
    BreakGlass,
    Command,
    Freeze,
    Hold,
    Override,
    Promote,
    Retrain,
    Rollback,
    Unapprove,
    Unfreeze,
    Unhold,
)
from modelyard.domain.chatops.grammar import FORMS, fill_in, name_command
from modelyard.domain.chatops.reading import Misread
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.chatops.request import Request, Subject
from modelyard.domain.people import is_team, may_approve
from modelyard.domain.promotion.facts import LONGEST_OVERRIDE
from modelyard.domain.promotion.pulls import PullState
from modelyard.domain.verdict import Outcome

LONGEST_FREEZE = timedelta(days=92)
"""A longer freeze is a rule, and belongs in environment.yaml."""

# Not an override: the record of an inconclusive version is merged by itself, and its page is where
# people read the verdict.
_OPEN_ONLY = (Approve, Unapprove, BreakGlass)
_OF_A_VERSION = (Hold, Unhold, Promote, Retrain, Override)
_OF_AN_ENVIRONMENT = (Promote, Rollback, Freeze, Unfreeze)
_AS_AN_APPROVER = (Approve, Override)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided about a command.

    Args:
        is_accepted: Whether it is to be done.
        reason: Why, as a code.
        sentence: Why, for a person.
        paste: The line to paste next; empty if there is none.
        key: The key under which it is done once; empty for a line that is no command.
    """

    is_accepted: bool
    reason: ReasonCode
    sentence: str
    paste: str = ""
    key: str = ""


@dataclass(frozen=True, kw_only=True)
class _Objection:
    """Why a command is not done, and the line to paste instead."""

    reason: ReasonCode
    sentence: str
    paste: str = ""


def decide(request: Request) -> Decision:
    """Decide about a command; what is not known for certain is a no."""
    for objection in _objections(request):
        return Decision(
            is_accepted=False,
            reason=objection.reason,
            sentence=objection.sentence,
            paste=objection.paste,
            key=request.key,
        )
    return Decision(
        is_accepted=True,
        reason=ReasonCode.ACCEPTED,
        sentence=f"{request.event.author} may do this",
        key=request.key,
    )


def decide_misread(misread: Misread, subject: Subject) -> Decision:
    """Answer a line that is no command, with the line to paste as far as it is known."""
    return Decision(
        is_accepted=False,
        reason=misread.reason,
        sentence=misread.why,
        paste=fill_in(misread.paste, sha=subject.head, environment=subject.environment or None),
    )


def command_environment(command: Command, subject: Subject) -> str:
    """Return the environment that a command is about; empty if it is about none."""
    if not isinstance(command, _OF_AN_ENVIRONMENT):
        return subject.environment
    return command.environment or subject.environment


def _objections(request: Request) -> Iterator[_Objection]:
    """Yield what stands against the command; the comment's own faults first."""
    yield from _of_comment(request)
    if request.key in request.done:
        sentence = "this command was done before; write a new comment to do it again"
        yield _Objection(reason=ReasonCode.ALREADY_DONE, sentence=sentence)
    yield from _of_role(request)
    yield from _of_pull(request)
    yield from _of_commit(request)
    yield from _of_approver(request)
    yield from _of_names(request)
    yield from _of_gate(request)
    yield from _of_time(request)


def _of_comment(request: Request) -> Iterator[_Objection]:
    event, fetched = request.event, request.fetched
    # A program that could command would do what its own input asks for.
    if event.is_bot or (fetched is not None and fetched.is_bot):
        yield _Objection(reason=ReasonCode.BOT_AUTHOR, sentence="programs give no commands")
    if fetched is None or fetched.id != event.id:
        yield _Objection(reason=ReasonCode.COMMENT_GONE, sentence="the comment is not there now")
        return
    # Times have a resolution of one second, so an edit within it shows in the body alone.
    is_as_written = (fetched.body, fetched.author) == (event.body, event.author)
    is_unedited = fetched.updated_at == fetched.created_at == event.updated_at == event.created_at
    if not (is_as_written and is_unedited):
        sentence = "the comment was edited; write the command as a new comment"
        yield _Objection(reason=ReasonCode.COMMENT_EDITED, sentence=sentence)


def _of_role(request: Request) -> Iterator[_Objection]:
    role, needed = request.authority.role, least_role(request.command)
    author, fault = request.event.author, request.authority.fault
    if role is None:
        is_at_limit = request.authority.is_at_limit
        sentence = f"the forge did not say which role {author} has"
        yield _Objection(
            reason=ReasonCode.LIMIT_REACHED if is_at_limit else ReasonCode.ROLE_UNKNOWN,
            sentence=f"{sentence}: {fault}" if fault else sentence,
        )
    elif not role.includes(needed):
        sentence = f"{author} has the role {role}; {name_command(request.command)} needs {needed}"
        yield _Objection(reason=ReasonCode.ROLE_TOO_LOW, sentence=sentence)


def _of_pull(request: Request) -> Iterator[_Objection]:
    subject = request.subject
    if not isinstance(request.command, _OPEN_ONLY):
        return
    if subject.state is PullState.MERGED:
        yield _Objection(
            reason=ReasonCode.PULL_MERGED,
            sentence=f"#{subject.number} is merged; a release is taken back by /rollback",
            paste=_line("rollback", request) if subject.environment else "",
        )
    elif subject.state is not PullState.OPEN:
        sentence = f"#{subject.number} is closed"
        yield _Objection(reason=ReasonCode.PULL_CLOSED, sentence=sentence)
    if not subject.is_to_main:
        sentence = f"#{subject.number} does not go to the main branch"
        yield _Objection(reason=ReasonCode.OTHER_BASE, sentence=sentence)
    if subject.is_stacked:
        sentence = f"#{subject.number} is stacked: merging it would merge others that nobody asked"
        yield _Objection(reason=ReasonCode.STACKED, sentence=sentence)


def _of_commit(request: Request) -> Iterator[_Objection]:
    command, subject = request.command, request.subject
    if not isinstance(command, Approve | BreakGlass):
        return
    if command.sha != subject.head:
        yield _Objection(
            reason=ReasonCode.HEAD_MOVED,
            sentence=f"{command.sha[:10]} is not the head; {subject.head[:10]} is",
            paste=_line(name_command(command)[1:], request),
        )
    changed = subject.retargeted_at
    if changed is not None and request.event.created_at <= changed:
        sentence = f"the base branch was changed at {changed:%H:%M:%S} UTC, after the comment"
        paste = _line(name_command(command)[1:], request)
        yield _Objection(reason=ReasonCode.BASE_CHANGED, sentence=sentence, paste=paste)
    # An approval of what nobody could judge yet approves whatever comes.
    if not subject.has_passed_checks:
        yield _Objection(
            reason=ReasonCode.CHECKS_MISSING,
            sentence=f"the checks of {subject.head[:10]} have not passed; wait for them first",
            paste="/why",
        )


def _of_approver(request: Request) -> Iterator[_Objection]:
    if not isinstance(request.command, _AS_AN_APPROVER):
        return
    author, subject = request.event.author, request.subject
    if subject.makers is None:
        sentence = f"the forge does not know who made #{subject.number}, so nobody can approve it"
        yield _Objection(reason=ReasonCode.MAKERS_UNKNOWN, sentence=sentence)
    elif (did := subject.makers.get(author)) is not None:
        sentence = f"{author} {did}, so another person has to approve it"
        yield _Objection(reason=ReasonCode.OWN_PULL_REQUEST, sentence=sentence)
    lists: tuple[tuple[str, ...], ...] = (subject.approvers,)
    if isinstance(request.command, Override):
        lists = subject.approvers_ahead or lists
    for named in lists:
        yield from _of_list(request, named)


def _of_list(request: Request, named: tuple[str, ...]) -> Iterator[_Objection]:
    """Yield what stands against an author who has to be on this list of approvers."""
    author, teams = request.event.author, request.authority.teams
    if may_approve(author, named, teams or ()):
        return
    asked = [each for each in named if is_team(each)]
    unknown = asked if teams is None else [t for t in asked if t in request.authority.unknown_teams]
    if unknown:
        is_at_limit, fault = request.authority.is_at_limit, request.authority.fault
        sentence = f"the forge did not say whether {author} is in {', '.join(unknown)}"
        yield _Objection(
            reason=ReasonCode.LIMIT_REACHED if is_at_limit else ReasonCode.TEAMS_UNKNOWN,
            sentence=f"{sentence}: {fault}" if fault else sentence,
        )
    else:
        sentence = f"{author} is not among those who may approve it: {', '.join(named)}"
        yield _Objection(reason=ReasonCode.NOT_AN_APPROVER, sentence=sentence)


def _of_names(request: Request) -> Iterator[_Objection]:
    command, subject = request.command, request.subject
    number = f"#{subject.number}"
    if isinstance(command, (*_OF_A_VERSION, Rollback)) and not subject.model:
        yield _Objection(reason=ReasonCode.NO_MODEL, sentence=f"{number} is about no model")
    if isinstance(command, _OF_A_VERSION) and not subject.version:
        yield _Objection(reason=ReasonCode.NO_VERSION, sentence=f"{number} is about no version")
    if not isinstance(command, _OF_AN_ENVIRONMENT):
        return
    where = command_environment(command, subject)
    known = ", ".join(sorted(request.environments)) or "none"
    if not where:
        yield _Objection(
            reason=ReasonCode.NO_ENVIRONMENT,
            sentence=f"{number} releases to no environment, so name one of: {known}",
            paste=_line(name_command(command)[1:], request),
        )
    elif where not in request.environments:
        yield _Objection(
            reason=ReasonCode.UNKNOWN_ENVIRONMENT,
            sentence=f"there is no environment {where}; there are: {known}",
            paste=_line(name_command(command)[1:], request),
        )


def _of_gate(request: Request) -> Iterator[_Objection]:
    gate = request.subject.gate
    if isinstance(request.command, Override) and gate is not Outcome.INCONCLUSIVE:
        found = f"is {gate}" if gate else "has no verdict"
        sentence = f"only an inconclusive gate can be overridden; that of the version {found}"
        yield _Objection(reason=ReasonCode.GATE_NOT_INCONCLUSIVE, sentence=sentence)


def _of_time(request: Request) -> Iterator[_Objection]:
    command = request.command
    if isinstance(command, Freeze):
        yield from _outside(command.until, request.now, LONGEST_FREEZE)
    elif isinstance(command, Override):
        yield from _outside(command.until, request.now, LONGEST_OVERRIDE)


def _outside(until: datetime, now: datetime, longest: timedelta) -> Iterator[_Objection]:
    if until <= now:
        sentence = f"{until.isoformat()} has passed; it is {now.isoformat(timespec='minutes')}"
        yield _Objection(reason=ReasonCode.TIME_PASSED, sentence=sentence)
    elif until > now + longest:
        sentence = f"{until.isoformat()} is more than {longest.days} days away, which is the most"
        yield _Objection(reason=ReasonCode.TIME_TOO_FAR, sentence=sentence)


def _line(name: str, request: Request) -> str:
    """Return the line to paste, with what the pull request tells in it."""
    subject = request.subject
    return fill_in(FORMS[name].usage, sha=subject.head, environment=subject.environment or None)
