"""Answers a comment: decides about its commands, does them, and says what became of each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from modelyard.adapters.forge.comments import read_comment
from modelyard.adapters.forge.events import CommentEvent
from modelyard.adapters.forge.hosted.api import LimitReached
from modelyard.domain.audit import Topic
from modelyard.domain.chatops.authority import Authority, Role
from modelyard.domain.chatops.commands import Command
from modelyard.domain.chatops.decide import (
    Decision,
    command_environment,
    decide,
    decide_misread,
)
from modelyard.domain.chatops.grammar import name_command
from modelyard.domain.chatops.log import CommandLog, LogEntry
from modelyard.domain.chatops.reading import CommentReading, Misread
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.chatops.request import Request, command_key
from modelyard.domain.harmless_text import escape_markdown
from modelyard.domain.people import Person, is_team
from modelyard.errors import OtherBase, Refused, YardError
from modelyard.operations.chatops.conversation import Conversation, Reaction
from modelyard.operations.chatops.effects import do_command
from modelyard.operations.chatops.subject import ReadSubject, read_subject
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

ANY_ENVIRONMENT = "any"
"""What `ack` names for commands that are about no environment."""

_LEAVES_NO_TRACE = frozenset({ReasonCode.ALREADY_DONE, ReasonCode.LIMIT_REACHED})
"""What is logged has its answer, and the sweeper leaves it alone; a limit ends by itself."""

# Answers would let anybody who can read the repository make the tool write.
_SILENT = frozenset({ReasonCode.BOT_AUTHOR, ReasonCode.ROLE_TOO_LOW, ReasonCode.COMMENT_GONE})


@dataclass(frozen=True, kw_only=True)
class Handled:
    """One line of a comment with what became of it.

    Args:
        line: The line, or the name of the command.
        decision: What was decided, or what became of it once it was done.
        command: The command; None for a line that is none.
        environment: The environment that it is about.
    """

    line: str
    decision: Decision
    command: Command | None = None
    environment: str = ""


@dataclass(frozen=True, kw_only=True)
class _Comment:
    """A comment with all that its commands are decided by."""

    event: CommentEvent
    reading: CommentReading
    read: ReadSubject
    authority: Authority

    @property
    def head(self) -> str:
        """The head that its commands are decided about."""
        return self.read.subject.head

    @property
    def may_be_answered(self) -> bool:
        """Whether its author may give commands at all."""
        return _may_command(self.authority)


def acknowledge(
    workspace: Workspace, conversation: Conversation, event: CommentEvent
) -> tuple[Handled, ...]:
    """Decide about the commands of a comment and react to it; does none of them.

    Where nothing is accepted, this is the end of it, so it answers with the reasons.
    """
    comment = _open(workspace, conversation, event)
    if not isinstance(comment, _Comment):
        return comment
    handled = tuple(_decide_all(workspace, conversation, comment))
    heard = _heard(handled)
    if any(each.decision.is_accepted for each in heard):
        _react(conversation, event, Reaction.SEEN)
    elif heard:
        _react(conversation, event, Reaction.REFUSED)
        _answer(conversation, event, heard)
        _log(workspace, event, heard, read=comment.read)
    return handled


def act(
    workspace: Workspace, conversation: Conversation, event: CommentEvent
) -> tuple[Handled, ...]:
    """Decide again about the commands of a comment, and do those that are accepted, in order."""
    comment = _open(workspace, conversation, event)
    if not isinstance(comment, _Comment):
        return comment
    handled: list[Handled] = []
    for index, each in enumerate(_decide_all(workspace, conversation, comment)):
        done = each
        if each.decision.is_accepted and each.command is not None:
            done = _do(each, each.command, comment, workspace, conversation)
            if done.decision.reason is ReasonCode.LIMIT_REACHED:
                handled += (done, *_left_over(comment, index, done.decision.sentence))
                break
            # What it did may change what the next is about.
            comment = replace(comment, read=read_subject(workspace, event.number))
        handled.append(done)
    heard = _heard(handled)
    if heard:
        # What was done is in the log already; each right after its deed.
        untried = [each for each in heard if not _was_tried(each)]
        _log(workspace, event, untried, read=comment.read)
        is_done = all(each.decision.reason is ReasonCode.DONE for each in heard)
        _answer(conversation, event, heard)
        _react(conversation, event, Reaction.DONE if is_done else Reaction.REFUSED)
    return tuple(handled)


def concurrency_group(handled: Sequence[Handled]) -> str:
    """Return the environment whose commands wait for each other; empty if there is none to do."""
    accepted = [each for each in handled if each.decision.is_accepted]
    return next((each.environment or ANY_ENVIRONMENT for each in accepted), "")


def _open(
    workspace: Workspace, conversation: Conversation, event: CommentEvent
) -> _Comment | tuple[Handled, ...]:
    """Return the comment with what else is known; what was said of it if it cannot command."""
    reading = read_comment(event.comment.body)
    if event.comment.is_bot or not (reading.found or reading.refused):
        return ()
    try:
        read = read_subject(workspace, event.number)
    except OtherBase as error:
        return _refuse_all(workspace, conversation, event, error.message)
    subject = read.subject
    lists = (subject.approvers, *subject.approvers_ahead)
    teams = sorted({each for named in lists for each in named if is_team(each)})
    authority = ask_authority(conversation, event.comment.author, teams)
    return _Comment(event=event, reading=reading, read=read, authority=authority)


def may_command(conversation: Conversation, person: Person) -> bool:
    """Whether a person may give commands at all; others get no answer."""
    return _may_command(ask_authority(conversation, person, ()))


def ask_authority(conversation: Conversation, person: Person, teams: Sequence[str]) -> Authority:
    """Return what a person may do; nothing where the forge does not answer."""
    try:
        return conversation.ask_authority(person, teams=teams)
    except YardError as error:  # no answer allows nothing
        logger.warning("%s", error.message)
        is_at_limit = isinstance(error, LimitReached)
        return Authority(role=None, teams=None, fault=error.message, is_at_limit=is_at_limit)


def _refuse_all(
    workspace: Workspace, conversation: Conversation, event: CommentEvent, why: str
) -> tuple[Handled, ...]:
    """Answer commands below a pull request to another branch, if their author may command."""
    if not may_command(conversation, event.comment.author):
        return ()
    handled = tuple(
        Handled(
            line=name_command(command),
            decision=Decision(
                is_accepted=False, reason=ReasonCode.OTHER_BASE, sentence=why, key=key
            ),
            command=command,
        )
        for key, command in find_commands(event)
    )
    if handled:
        _react(conversation, event, Reaction.REFUSED)
        _answer(conversation, event, handled)
        _log(workspace, event, handled)
    return handled


def find_commands(event: CommentEvent, *, after: int = -1) -> Iterator[tuple[str, Command]]:
    """Yield the commands of a comment, those `after` a line, with the keys of the log."""
    for index, found in enumerate(read_comment(event.comment.body).found):
        if index > after and not isinstance(found, Misread):
            key = command_key(found, index, event.comment.id, repository=event.repository)
            yield key, found


def _may_command(authority: Authority) -> bool:
    return authority.role is not None and authority.role.includes(Role.WRITE)


def _decide_all(
    workspace: Workspace, conversation: Conversation, comment: _Comment
) -> Iterator[Handled]:
    if comment.reading.refused is not None:
        if comment.may_be_answered:
            refused = comment.reading.refused
            decision = Decision(is_accepted=False, reason=refused.reason, sentence=refused.why)
            yield Handled(line="the comment", decision=decision)
        return
    log = workspace.facts.read_commands(comment.event.number)
    for index, found in enumerate(comment.reading.found):
        if isinstance(found, Misread):
            if comment.may_be_answered:
                decision = decide_misread(found, comment.read.subject)
                yield Handled(line=found.line, decision=decision)
            continue
        yield _decide_one(found, index, comment, log, workspace, conversation)


def _decide_one(
    command: Command,
    index: int,
    comment: _Comment,
    log: CommandLog,
    workspace: Workspace,
    conversation: Conversation,
) -> Handled:
    request = Request(
        command=command,
        index=index,
        repository=comment.event.repository,
        event=comment.event.comment,
        # Fetched for each: the one before it may have taken minutes.
        fetched=conversation.fetch_comment(comment.event.comment.id),
        authority=comment.authority,
        subject=comment.read.subject,
        environments=frozenset(comment.read.catalog.environments),
        done=log.done,
        now=workspace.services.clock.now(),
    )
    return Handled(
        line=name_command(command),
        decision=decide(request),
        command=command,
        environment=command_environment(command, comment.read.subject),
    )


def _do(
    each: Handled,
    command: Command,
    comment: _Comment,
    workspace: Workspace,
    conversation: Conversation,
) -> Handled:
    author = comment.event.comment.author
    try:
        sentence = do_command(
            command,
            comment.read,
            by=author,
            at=comment.event.comment.created_at,
            authority=comment.authority,
            workspace=workspace,
            conversation=conversation,
        )
        decision = replace(each.decision, reason=ReasonCode.DONE, sentence=sentence)
    except YardError as error:
        decision = replace(
            each.decision,
            is_accepted=False,
            reason=find_reason(error),
            sentence=describe_error(error),
        )
    done = replace(each, decision=decision)
    _log(workspace, comment.event, [done], read=comment.read)
    return done


def find_reason(error: YardError) -> ReasonCode:
    """Return why a command that was accepted is not done."""
    if isinstance(error, LimitReached):
        return ReasonCode.LIMIT_REACHED
    return ReasonCode.REFUSED_BY_RULES if isinstance(error, Refused) else ReasonCode.COULD_NOT


def describe_error(error: YardError) -> str:
    """Return in a sentence why a command is not done, and what to do next."""
    return f"{error.message}; next: {error.hint}" if error.hint else error.message


def _left_over(comment: _Comment, index: int, why: str) -> Iterator[Handled]:
    """The commands after one that met the limit: the sweeper does them after it, in their order."""
    for key, command in find_commands(comment.event, after=index):
        limit = ReasonCode.LIMIT_REACHED
        decision = Decision(is_accepted=False, reason=limit, sentence=why, key=key)
        yield Handled(line=name_command(command), decision=decision, command=command)


def _was_tried(each: Handled) -> bool:
    tried = {ReasonCode.DONE, ReasonCode.REFUSED_BY_RULES, ReasonCode.COULD_NOT}
    return each.decision.reason in tried


def _log(
    workspace: Workspace,
    event: CommentEvent,
    handled: Sequence[Handled],
    *,
    read: ReadSubject | None = None,
) -> None:
    """Write down what became of commands.

    A line that is none, a repetition, and what the sweeper is to do later leave no trace.
    """
    author, now = event.comment.author, workspace.services.clock.now()
    entries = [
        LogEntry(
            key=each.decision.key,
            at=now,
            login=author.login,
            person=author.id,
            line=each.line,
            head=read.subject.head if read else "",
            reason=each.decision.reason,
            sentence=each.decision.sentence,
            written_at=event.comment.created_at,
        )
        for each in handled
        if each.decision.key and each.decision.reason not in _LEAVES_NO_TRACE
    ]

    def add(log: CommandLog) -> CommandLog:
        return reduce(CommandLog.with_entry, entries, log)

    if entries:
        workspace.facts.update_commands(event.number, add, topic=read.topic if read else Topic())


def _heard(handled: Sequence[Handled]) -> list[Handled]:
    return [each for each in handled if each.decision.reason not in _SILENT]


def _react(conversation: Conversation, event: CommentEvent, reaction: Reaction) -> None:
    # For the eye alone: a forge that refuses it stops no command.
    try:
        conversation.react(event.comment.id, reaction)
    except YardError as error:
        logger.warning("no reaction: %s", error.message)


def _answer(conversation: Conversation, event: CommentEvent, handled: Sequence[Handled]) -> None:
    body = "\n\n".join("\n".join(_answer_lines(each)) for each in handled)
    # One answer a comment, edited when the event arrives again.
    marker = f"chatops-{event.comment.id}"
    try:
        conversation.answer(event.number, body=f"{body}\n", marker=marker)
    except YardError as error:
        logger.warning("no answer: %s", error.message)


def _answer_lines(each: Handled) -> Iterator[str]:
    decision = each.decision
    is_done = decision.reason is ReasonCode.DONE
    what = "done" if is_done else f"not done (`{decision.reason}`)"
    yield f"{escape_markdown(each.line)}: {what}"
    yield ""
    yield from (f"- {escape_markdown(line)}" for line in decision.sentence.split("\n"))
    if decision.reason is ReasonCode.LIMIT_REACHED:
        yield "- it is tried again within a day, once the limit ends: do not write it again"
    if decision.paste:
        yield from ("", "Paste this as a new comment:", "", "```", decision.paste, "```")
