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
from modelyard.domain.chatops.paste import comment_line
from modelyard.domain.people import Person
from modelyard.domain.promotion.plan import find_missing_for_pull, plan
from modelyard.domain.promotion.promote import Missing
from modelyard.operations.chatops.break_glass import break_glass
from modelyard.operations.chatops.conversation import Conversation
from modelyard.operations.chatops.subject import ReadSubject
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
    where = command_environment(command, read.subject)
    # Who reads a hold a year later finds the conversation.
    asked = f"asked for in #{read.subject.number}"
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
        case Hold() | Unhold():
            said = _hold(command, read, by=by, workspace=workspace, asked=asked)
        case Promote():
            said = _promote(read, where, by=by, workspace=workspace)
        case Rollback(reason=reason):
            said = _roll_back(read, where, reason or asked, by=by, workspace=workspace)
        case Freeze() | Unfreeze():
            said = _freeze(command, where, by=by, workspace=workspace)
        case Retrain():
            said = _retrain(read, workspace=workspace)
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


def _retrain(read: ReadSubject, *, workspace: Workspace) -> str:
    from modelyard.operations.reconcile.runs import forget_failure

    model, version = read.subject.model, read.subject.version
    attempt = forget_failure(workspace, model, version, dry_run=False)
    return f"{model} {version}: attempt {attempt} is next"


def _explain(command: Why | Plan | Help, read: ReadSubject, workspace: Workspace) -> Iterator[str]:
    match command:
        case Why():
            yield from _why(read)
            yield from _said_before(workspace, read)
        case Plan():
            yield from _plan(workspace, read)
        case Help():
            yield from (f"{form.usage}: {form.does}" for form in FORMS.values())


def _hold(
    command: Hold | Unhold, read: ReadSubject, *, by: Person, workspace: Workspace, asked: str
) -> str:
    from modelyard.operations.holds import decide_hold, find_hold, lift_hold, place_hold

    services, model, version = workspace.services, read.subject.model, read.subject.version
    if isinstance(command, Hold):
        reason = command.reason or asked
        hold = decide_hold(services, model, version, reason=reason, by=by.login)
        place_hold(services, model, version, hold)
        return f"{model} {version} is on hold: {reason}"
    find_hold(services, model, version)
    lift_hold(services, model, version, by=by.login)
    return f"{model} {version} is no longer on hold"


def _override(
    command: Override,
    read: ReadSubject,
    *,
    by: Person,
    authority: Authority,
    workspace: Workspace,
) -> str:
    from modelyard.operations.gate_override import decide_override, place_override

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


def _freeze(command: Freeze | Unfreeze, where: str, *, by: Person, workspace: Workspace) -> str:
    from modelyard.operations.holds import decide_freeze, find_freeze, lift_freeze, place_freeze

    services = workspace.services
    if isinstance(command, Freeze):
        freeze = decide_freeze(
            services, where, reason=command.reason, by=by.login, until=command.until
        )
        place_freeze(services, where, freeze)
        return f"{where} is frozen until {command.until.isoformat()}: {command.reason}"
    find_freeze(services, where)
    lift_freeze(services, where, by=by.login)
    return f"{where} is open again"


def _promote(read: ReadSubject, where: str, *, by: Person, workspace: Workspace) -> str:
    from modelyard.operations.promote import (
        check_promotion,
        decide_promotion,
        find_environment,
        propose_promotion,
    )
    from modelyard.operations.reconcile.collect import collect_world, with_makers

    subject, services = read.subject, workspace.services
    world = collect_world(workspace, subject.model, with_registry=False)
    environment = find_environment(world, where)
    world = with_makers(workspace, world, {subject.version})
    image = services.repository.server_image
    promotion = decide_promotion(world, environment, subject.version, server_image=image)
    check_promotion(promotion, replace=False)
    pull = propose_promotion(services, promotion, requester=by)
    lines = [f"#{pull.number} is open: {pull.title}, requested by {by}"]
    return "\n".join([*lines, *(_lacking(each, pull.head) for each in promotion.missing(pull))])


def _roll_back(
    read: ReadSubject, where: str, reason: str, *, by: Person, workspace: Workspace
) -> str:
    from modelyard.operations.rollback import apply_rollback, decide_rollback

    lines: list[str] = []
    decided = decide_rollback(
        workspace, where, read.subject.model, reason=reason, by=by.login, remove=False
    )
    apply_rollback(workspace, decided, lines.append)
    return "\n".join(lines)


def _why(read: ReadSubject) -> Iterator[str]:
    pull, world = read.pull, read.world
    missing = find_missing_for_pull(world, pull) if world else None
    if missing is None:
        yield f"a person merges #{pull.number}, once its checks and reviews allow it"
    elif not missing:
        yield f"nothing is missing; the next round merges #{pull.number}"
    else:
        yield from (_lacking(each, pull.head) for each in missing)


def _said_before(workspace: Workspace, read: ReadSubject) -> Iterator[str]:
    """What was last commanded below this pull request, and what became of it."""
    lines = workspace.facts.read_audit(read.subject.model or YARD)
    here = [each for each in lines if each.command and each.pull == read.subject.number]
    for each in here[-_LAST_COMMANDS:]:
        yield f"{each.at:%Y-%m-%d %H:%M} UTC, {each.who}: {each.command}: {each.reason}"


def _lacking(missing: Missing, head: str) -> str:
    word = "blocked by" if missing.blocks else "waits for"
    return f"{word} {missing.what}{_as_comment(missing.command, head)}"


def _as_comment(command: str, head: str) -> str:
    """Return how a person goes on: the line to paste where a comment can do it."""
    if line := comment_line(command, head=head):
        return f"; paste: {line}"
    return f"; run: {command}" if command else ""


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
