"""`modelyard chatops`: what a workflow calls when somebody comments on a pull request."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.errors import CannotAnswer
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.adapters.forge.events import CommentEvent
    from modelyard.operations.chatops.answer import Handled
    from modelyard.operations.chatops.conversation import Conversation
    from modelyard.operations.workspace import Workspace

    Answering = Callable[[Workspace, Conversation, CommentEvent], tuple[Handled, ...]]

event_option = click.option(
    "--event",
    type=click.Path(path_type=Path),
    envvar="GITHUB_EVENT_PATH",
    required=True,
    help="The event's file. [default: the one that GITHUB_EVENT_PATH names]",
)


@click.group()
def chatops() -> None:
    """Answer commands such as `/hold` in comments of pull requests.

    The comment is read from the event's file and fetched again by its id. What its author may do,
    the forge says. `/help` in a comment lists the commands.
    """


@chatops.command()
@event_option
@pass_services
def ack(services: Services, /, *, event: Path) -> None:
    """Decide about the commands of a comment and react to it; do none of them.

    In GitHub Actions the output `environment` is set to what `act` works on, and is empty where
    there is nothing to do.
    """
    from modelyard.operations.chatops.answer import acknowledge, concurrency_group

    handled = _handle(services, event, acknowledge)
    _set_output("environment", concurrency_group(handled))


@chatops.command()
@event_option
@pass_services
def act(services: Services, /, *, event: Path) -> None:
    """Decide again about the commands of a comment, do them, and answer.

    Exit 1 if something was missing or broken; the same event may be given again.
    """
    from modelyard.domain.chatops.reasons import ReasonCode
    from modelyard.operations.chatops.answer import act as act_on

    handled = _handle(services, event, act_on)
    failed = [each for each in handled if each.decision.reason is ReasonCode.COULD_NOT]
    if failed:
        raise CannotAnswer(f"{failed[0].line}: {failed[0].decision.sentence}")


@chatops.command()
@pass_services
def sweep(services: Services, /) -> None:
    """Act on commands of the last day that got no answer, once for each.

    A job can be killed, or never start. A command of the last 15 minutes is left to its own job.
    """
    from modelyard.operations.chatops.conversation import conversation_for
    from modelyard.operations.chatops.sweep import sweep as sweep_comments
    from modelyard.operations.workspace import workspace_of

    is_quiet = True
    for event, handled in sweep_comments(workspace_of(services), conversation_for(services)):
        is_quiet = False
        for each in handled:
            decision = each.decision
            print_line(f"#{event.number}: {each.line}: {decision.reason}: {decision.sentence}")
    if is_quiet:
        print_line("every command of the last day has its answer")


def _handle(services: Services, file: Path, answering: Answering) -> tuple[Handled, ...]:
    from modelyard.adapters.forge.events import read_comment_event
    from modelyard.operations.chatops.conversation import conversation_for
    from modelyard.operations.workspace import workspace_of

    event = read_comment_event(file)
    if event is None:
        print_line("this event is no new comment on a pull request")
        return ()
    handled = answering(workspace_of(services), conversation_for(services), event)
    for each in handled:
        print_line(f"{each.line}: {each.decision.reason}: {each.decision.sentence}")
    if not handled:
        print_line(f"the comment on #{event.number} holds no command")
    return handled


def _set_output(name: str, value: str) -> None:
    """Write an output of the workflow's step, where there is one; the value is a name or empty."""
    file = os.environ.get("GITHUB_OUTPUT")
    if file:
        with Path(file).open("a", encoding="utf-8") as outputs:
            outputs.write(f"{name}={value}\n")
