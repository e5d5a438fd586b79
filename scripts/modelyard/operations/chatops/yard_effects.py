"""Does one accepted command that changes the yard, wherever a person typed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from modelyard.domain.chatops.commands import (
    Freeze,
    Hold,
    Promote,
    Retrain,
    Rollback,
    Unfreeze,
    Unhold,
    YardCommand,
)
from modelyard.domain.chatops.paste import comment_line
from modelyard.domain.people import Person
from modelyard.domain.promotion.promote import Missing
from modelyard.operations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a command is about.

    Args:
        model: The model; empty if it is about none.
        version: The version; empty if it is about none.
        environment: The environment; empty if it is about none.
        asked: Where it was asked for, so that who reads a hold a year later finds the conversation.
    """

    model: str
    version: str
    environment: str
    asked: str


def do_to_yard(command: YardCommand, target: Target, *, by: Person, workspace: Workspace) -> str:
    """Do a command in a person's name, and return what was done, in lines.

    Raises:
        Refused: The rules forbid it.
        CannotAnswer: Something is missing or broken; the command may be given again.
    """
    match command:
        case Hold() | Unhold():
            said = _hold(command, target, by=by, workspace=workspace)
        case Promote():
            said = _promote(command, target, by=by, workspace=workspace)
        case Rollback():
            said = _roll_back(command, target, by=by, workspace=workspace)
        case Freeze() | Unfreeze():
            said = _freeze(command, target, by=by, workspace=workspace)
        case Retrain():
            said = _retrain(target, workspace=workspace)
        case _:
            assert_never(command)
    return said


def describe_missing(missing: Missing, head: str) -> str:
    """Return what a pull request waits for, with how a person goes on."""
    word = "blocked by" if missing.blocks else "waits for"
    return f"{word} {missing.what}{_as_comment(missing.command, head)}"


def _as_comment(command: str, head: str) -> str:
    """Return how a person goes on: the line to paste where a comment can do it."""
    if line := comment_line(command, head=head):
        return f"; paste: {line}"
    return f"; run: {command}" if command else ""


def _hold(command: Hold | Unhold, target: Target, *, by: Person, workspace: Workspace) -> str:
    from modelyard.operations.holds import decide_hold, find_hold, lift_hold, place_hold

    services, model, version = workspace.services, target.model, target.version
    if isinstance(command, Hold):
        reason = command.reason or target.asked
        hold = decide_hold(services, model, version, reason=reason, by=by.login)
        return place_hold(services, model, version, hold)
    find_hold(services, model, version)
    lift_hold(services, model, version, by=by.login)
    return f"{model} {version} is no longer on hold"


def _promote(command: Promote, target: Target, *, by: Person, workspace: Workspace) -> str:
    from modelyard.operations.promote import (
        check_promotion,
        decide_promotion,
        find_environment,
        propose_promotion,
    )
    from modelyard.operations.reconcile.collect import collect_world, with_makers

    services, version = workspace.services, target.version
    world = collect_world(workspace, target.model, with_registry=False)
    environment = find_environment(world, target.environment)
    world = with_makers(workspace, world, {version})
    image = services.repository.server_image
    promotion = decide_promotion(world, environment, version, server_image=image)
    replaced = check_promotion(promotion, replace=command.replace)
    pull = propose_promotion(services, promotion, requester=by)
    lines = [f"#{pull.number} is open: {pull.title}, requested by {by}"]
    lines += [f"replaces {replaced}"] if replaced else []
    return "\n".join(
        [*lines, *(describe_missing(each, pull.head) for each in promotion.missing(pull))]
    )


def _roll_back(command: Rollback, target: Target, *, by: Person, workspace: Workspace) -> str:
    from modelyard.operations.rollback import apply_rollback, decide_rollback

    lines: list[str] = []
    decided = decide_rollback(
        workspace,
        target.environment,
        target.model,
        reason=command.reason or target.asked,
        by=by.login,
        remove=command.remove,
    )
    apply_rollback(workspace, decided, lines.append)
    return "\n".join(lines)


def _freeze(command: Freeze | Unfreeze, target: Target, *, by: Person, workspace: Workspace) -> str:
    from modelyard.operations.holds import decide_freeze, find_freeze, lift_freeze, place_freeze

    services, where = workspace.services, target.environment
    if isinstance(command, Freeze):
        freeze = decide_freeze(
            services, where, reason=command.reason, by=by.login, until=command.until
        )
        place_freeze(services, where, freeze)
        return f"{where} is frozen until {command.until.isoformat()}: {command.reason}"
    find_freeze(services, where)
    lift_freeze(services, where, by=by.login)
    return f"{where} is open again"


def _retrain(target: Target, *, workspace: Workspace) -> str:
    from modelyard.operations.reconcile.runs import forget_failure

    attempt = forget_failure(workspace, target.model, target.version, dry_run=False)
    return f"{target.model} {target.version}: attempt {attempt} is next"
