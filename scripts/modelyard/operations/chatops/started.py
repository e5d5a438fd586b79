"""Answers a command that a person started the workflow with: decides, does it, writes it down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus

from modelyard.adapters.forge.events import StartEvent
from modelyard.adapters.forge.hosted.api import Answered, LimitReached
from modelyard.adapters.forge.hosted.runs import CHATOPS, STARTED, WorkflowRuns
from modelyard.domain.audit import Topic
from modelyard.domain.chatops.decide import Decision, command_environment, decide
from modelyard.domain.chatops.grammar import name_command
from modelyard.domain.chatops.log import LogEntry
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.chatops.request import Comment, Request, Subject, run_key
from modelyard.domain.chatops.typed import USAGES, Typed, parse_typed
from modelyard.domain.promotion.pulls import PullState
from modelyard.errors import YardError
from modelyard.operations.chatops.answer import Handled, ask_authority, describe_error, find_reason
from modelyard.operations.chatops.conversation import Conversation
from modelyard.operations.chatops.yard_effects import Target, do_to_yard
from modelyard.operations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Start:
    """The workflow as somebody started it.

    Args:
        event: What they gave it.
        run: The id of its run.
        runs: The runs of the forge.
    """

    event: StartEvent
    run: int
    runs: WorkflowRuns


def acknowledge_start(workspace: Workspace, conversation: Conversation, start: Start) -> Handled:
    """Decide about the command that the workflow was started with; does not do it."""
    typed = _parse(start.event.line)
    handled = _decide(workspace, conversation, start, typed)
    if not handled.decision.is_accepted:
        _log(workspace, start, handled, typed)
    return handled


def act_on_start(workspace: Workspace, conversation: Conversation, start: Start) -> Handled:
    """Decide again about the command that the workflow was started with, and do it."""
    typed = _parse(start.event.line)
    handled = _decide(workspace, conversation, start, typed)
    if handled.decision.is_accepted and typed is not None:
        handled = _do(workspace, start, handled, typed)
    _log(workspace, start, handled, typed)
    return handled


def _parse(line: str) -> Typed | None:
    try:
        return parse_typed(line)
    except ValueError:  # no time
        return None


def _decide(
    workspace: Workspace, conversation: Conversation, start: Start, typed: Typed | None
) -> Handled:
    if typed is None:
        why = f"this is no command; there are: {', '.join(USAGES)}"
        return _refuse(start, ReasonCode.WRONG_USAGE, why)
    try:
        fault = _find_fault(workspace, start)
    except LimitReached as error:  # who typed it reads why on the branch of the facts
        return _refuse(start, ReasonCode.LIMIT_REACHED, error.message)
    if fault:
        return _refuse(start, ReasonCode.RUN_UNKNOWN, fault)
    request = _request(workspace, conversation, start, typed)
    return Handled(
        line=name_command(typed.command),
        # The line to paste would be a comment's.
        decision=replace(decide(request), paste=""),
        command=typed.command,
        environment=command_environment(typed.command, request.subject),
    )


def _refuse(start: Start, reason: ReasonCode, why: str) -> Handled:
    key = run_key(start.run, repository=start.event.repository)
    decision = Decision(is_accepted=False, reason=reason, sentence=why, key=key)
    return Handled(line="the command", decision=decision)


def _find_fault(workspace: Workspace, start: Start) -> str | None:
    """Return why the run is not the one that the event tells of; None if it is.

    An event is a file of the machine that runs the job, and a run may be started again by another.
    """
    try:
        run = start.runs.get(start.run)
    except Answered as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return f"the forge knows no run {start.run}"
    main = workspace.services.repository.main
    file = run.path.partition("@")[0].rpartition("/")[2]
    if (run.event, run.branch, file) != (STARTED, main, CHATOPS):
        return f"run {start.run} was not started as {CHATOPS} of {main}"
    if run.people != {start.event.author}:
        return f"run {start.run} was not started by {start.event.author} alone"
    return None


def _request(
    workspace: Workspace, conversation: Conversation, start: Start, typed: Typed
) -> Request:
    event, now = start.event, workspace.services.clock.now()
    # It has all that a comment has, and nobody can edit it.
    said = Comment(
        id=f"run-{start.run}",
        author=event.author,
        is_bot=event.is_bot,
        body=event.line,
        created_at=now,
        updated_at=now,
    )
    return Request(
        command=typed.command,
        index=0,
        repository=event.repository,
        event=said,
        fetched=said,
        authority=ask_authority(conversation, event.author, ()),
        subject=_subject(typed),
        environments=frozenset(workspace.catalog(workspace.main()).environments),
        done=workspace.facts.read_run(start.run).done,
        now=now,
    )


def _subject(typed: Typed) -> Subject:
    return Subject(
        number=0, state=PullState.OPEN, head="", model=typed.model, version=typed.version
    )


def _do(workspace: Workspace, start: Start, handled: Handled, typed: Typed) -> Handled:
    target = Target(
        model=typed.model,
        version=typed.version,
        environment=handled.environment,
        asked=f"asked for in run {start.run}",
    )
    try:
        sentence = do_to_yard(typed.command, target, by=start.event.author, workspace=workspace)
        reason = ReasonCode.DONE
    except YardError as error:
        reason = find_reason(error)
        sentence = describe_error(error)
        if reason is ReasonCode.LIMIT_REACHED:  # no sweeper does what was typed
            reason = ReasonCode.COULD_NOT
            sentence += "; it may be done in part: look at `modelyard status`, then type it again"
    is_done = reason is ReasonCode.DONE
    decision = replace(handled.decision, is_accepted=is_done, reason=reason, sentence=sentence)
    return replace(handled, decision=decision)


def _log(workspace: Workspace, start: Start, handled: Handled, typed: Typed | None) -> None:
    decision, author = handled.decision, start.event.author
    if decision.reason is ReasonCode.ALREADY_DONE:
        return
    entry = LogEntry(
        key=decision.key,
        at=workspace.services.clock.now(),
        login=author.login,
        person=author.id,
        line=handled.line,
        head="",
        reason=decision.reason,
        sentence=decision.sentence,
    )
    topic = _topic(typed, handled.environment)
    workspace.facts.update_run(start.run, lambda log: log.with_entry(entry), topic=topic)


def _topic(typed: Typed | None, environment: str) -> Topic:
    if typed is None:
        return Topic()
    return Topic(model=typed.model, version=typed.version, environment=environment)
