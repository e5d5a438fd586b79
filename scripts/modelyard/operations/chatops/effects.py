"""Does one accepted command by the operation that the command line has for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import assert_never

from modelyard.domain.audit import YARD
from modelyard.domain.chatops.authority import Authority, Role
from modelyard.domain.chatops.commands import (
    Approve,
    BreakGlass,
    Command,
    Freeze,
    Help,
    Hold,
    Override,
    Plan,
    Promote,
    Retrain,
    Rollback,
    Unapprove,
    Unfreeze,
    Unhold,
    Why,
)
from modelyard.domain.chatops.decide import command_environment
from modelyard.domain.chatops.grammar import FORMS
from modelyard.domain.people import Person
from modelyard.domain.promotion.plan import find_missing_for_pull, plan
from modelyard.operations.chatops.break_glass import break_glass
from modelyard.operations.chatops.conversation import Conversation
from modelyard.operations.chatops.subject import ReadSubject
from modelyard.operations.chatops.yard_effects import Target, describe_missing, do_to_yard
from modelyard.operations.rollback import refuse_newer_release
from modelyard.operations.workspace import Workspace

_LAST_COMMANDS = 5


def do_command(
    command: Command,
    read: ReadSubject,
    *,
    by: Person,
    at: datetime,
    authority: Authority,
    workspace: Workspace,
    conversation: Conversation,
) -> str:
    """Do a command in a person's name, and return what was done, in lines.

    Args:
        command: The command, which was accepted.
        read: The pull request.
        by: The person.
        at: When they wrote it, by the forge's clock.
        authority: What the forge says they may do.
        workspace: What to read and write with.
        conversation: The forge's reviews.

    Raises:
        Refused: The rules forbid it.
        CannotAnswer: Something is missing or broken; the command may be given again.
    """
    match command:
        case Approve() | Unapprove():
            said = _review(
                command,
                read,
                by=by,
                authority=authority,
                workspace=workspace,
                conversation=conversation,
            )
        case Rollback():
            target = _target_of(command, read)
            refuse_newer_release(workspace, target.environment, target.model, asked_at=at)
            said = do_to_yard(command, target, by=by, workspace=workspace)
        case Hold() | Unhold() | Promote() | Freeze() | Unfreeze() | Retrain():
            said = do_to_yard(command, _target_of(command, read), by=by, workspace=workspace)
        case Override():
            said = _override(command, read, by=by, authority=authority, workspace=workspace)
        case BreakGlass():
            said = break_glass(
                command, read, by=by, at=at, workspace=workspace, conversation=conversation
            )
        case Why() | Plan() | Help():
            said = "\n".join(_explain(command, read, workspace))
        case _:
            assert_never(command)
    return said


def _target_of(command: Command, read: ReadSubject) -> Target:
    subject = read.subject
    return Target(
        model=subject.model,
        version=subject.version,
        environment=command_environment(command, subject),
        asked=f"asked for in #{subject.number}",
    )


def _review(
    command: Approve | Unapprove,
    read: ReadSubject,
    *,
    by: Person,
    authority: Authority,
    workspace: Workspace,
    conversation: Conversation,
) -> str:
    number, head = read.subject.number, read.subject.head
    if isinstance(command, Approve):
        conversation.review(number, sha=command.sha, by=by, approved=True)
        return f"{by} approves {command.sha[:10]}"
    taken_back = ""
    if authority.role is Role.ADMIN and (word := read.pull.glass) is not None:
        workspace.facts.write_glass(number, None, by=by.login)
        taken_back = f"; the word of {word.login} to merge without approvals is taken back"
    conversation.review(number, sha=head, by=by, approved=False)
    return f"{by} does not approve {head[:10]} any more{taken_back}"


def _explain(command: Why | Plan | Help, read: ReadSubject, workspace: Workspace) -> Iterator[str]:
    match command:
        case Why():
            yield from _why(read)
            yield from _said_before(workspace, read)
        case Plan():
            yield from _plan(workspace, read)
        case Help():
            yield from (f"{form.usage}: {form.does}" for form in FORMS.values())


def _override(
    command: Override,
    read: ReadSubject,
    *,
    by: Person,
    authority: Authority,
    workspace: Workspace,
) -> str:
    from modelyard.operations.chatops.gate_override import decide_override, place_override

    model, version = read.subject.model, read.subject.version
    decided = decide_override(
        workspace,
        model,
        version,
        reason=command.reason,
        by=by,
        until=command.until,
        teams=authority.teams or frozenset(),
    )
    place_override(workspace, model, version, decided)
    end = decided.until.isoformat(timespec="minutes")
    return f"{model} {version} may pass its inconclusive gate until {end}: {decided.reason}"


def _why(read: ReadSubject) -> Iterator[str]:
    pull, world = read.pull, read.world
    missing = find_missing_for_pull(world, pull) if world else None
    if missing is None:
        yield f"a person merges #{pull.number}, once its checks and reviews allow it"
    elif not missing:
        yield f"nothing is missing; the next round merges #{pull.number}"
    else:
        yield from (describe_missing(each, pull.head) for each in missing)


def _said_before(workspace: Workspace, read: ReadSubject) -> Iterator[str]:
    """What was last commanded below this pull request, and what became of it."""
    lines = workspace.facts.read_audit(read.subject.model or YARD)
    here = [each for each in lines if each.command and each.pull == read.subject.number]
    for each in here[-_LAST_COMMANDS:]:
        yield f"{each.at:%Y-%m-%d %H:%M} UTC, {each.who}: {each.command}: {each.reason}"


def _plan(workspace: Workspace, read: ReadSubject) -> Iterator[str]:
    from modelyard.operations.reconcile.collect import collect_world
    from modelyard.operations.reconcile.describe import describe_action

    if not read.subject.model:
        yield f"#{read.subject.number} is about no model"
        return
    actions = plan(collect_world(workspace, read.subject.model))
    yield from (f"the next round would {describe_action(action)}" for action in actions)
    if not actions:
        yield "the next round would change nothing"
