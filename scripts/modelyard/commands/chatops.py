"""`modelyard chatops`: what a workflow calls for the commands that people give on a forge."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.errors import CannotAnswer, Refused
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.adapters.forge.events import CommentEvent, StartEvent
    from modelyard.operations.chatops.answer import Handled
    from modelyard.operations.chatops.conversation import Conversation
    from modelyard.operations.chatops.started import Start
    from modelyard.operations.workspace import Workspace

    Answering = Callable[[Workspace, Conversation, CommentEvent], tuple[Handled, ...]]
    Starting = Callable[[Workspace, Conversation, Start], Handled]

event_option = click.option(
    "--event",
    type=click.Path(path_type=Path),
    envvar="GITHUB_EVENT_PATH",
    required=True,
    help="The event's file. [default: the one that GITHUB_EVENT_PATH names]",
)
run_option = click.option(
    "--run",
    type=click.IntRange(min=1),
    envvar="GITHUB_RUN_ID",
    help="The run of a workflow that a person started. [default: the one of GITHUB_RUN_ID]",
)


@click.group()
def chatops() -> None:
    """Answer commands such as `/hold` in comments, and those that a workflow was started with.

    A comment is read from the event's file and fetched again by its id; a start is compared with
    its run. What a person may do, the forge says. `/help` in a comment lists the commands.
    """


@chatops.command()
@event_option
@run_option
@pass_services
def ack(services: Services, /, *, event: Path, run: int | None) -> None:
    """Decide about the commands of an event and react to a comment; do none of them.

    In GitHub Actions the output `environment` is set to what `act` works on, and is empty where
    there is nothing to do. Exit 1 if the forge's limit is reached; a comment's commands are then
    done by `sweep`. Exit 3 if a workflow was started with a command that is refused.
    """
    from modelyard.operations.chatops.answer import acknowledge, concurrency_group
    from modelyard.operations.chatops.started import acknowledge_start

    handled = _handle(services, event, acknowledge, run, acknowledge_start)
    group = concurrency_group(handled)
    _set_output("environment", group)
    if not group:  # otherwise `act` says it, once it did the others
        _raise_limit(handled)


@chatops.command()
@event_option
@run_option
@pass_services
def act(services: Services, /, *, event: Path, run: int | None) -> None:
    """Decide again about the commands of an event, do them, and answer.

    Exit 1 if something was missing or broken, or the forge's limit is reached; the same event may
    be given again. Exit 3 if a workflow was started with a command that is refused.
    """
    from modelyard.domain.chatops.reasons import ReasonCode
    from modelyard.operations.chatops.answer import act as act_on
    from modelyard.operations.chatops.started import act_on_start

    handled = _handle(services, event, act_on, run, act_on_start)
    failed = [each for each in handled if each.decision.reason is ReasonCode.COULD_NOT]
    if failed:
        raise CannotAnswer(f"{failed[0].line}: {failed[0].decision.sentence}")
    _raise_limit(handled)


@chatops.command()
@pass_services
def sweep(services: Services, /) -> None:
    """Act on commands of the last day that got no answer, once for each.

    A job can be killed, or never start. A command of the last 15 minutes is left to its own job.
    """
    from modelyard.operations.chatops.conversation import conversation_for
    from modelyard.operations.chatops.sweep import sweep as sweep_comments
    from modelyard.operations.open_workspace import workspace_of

    is_quiet = True
    for event, handled in sweep_comments(workspace_of(services), conversation_for(services)):
        is_quiet = False
        for each in handled:
            decision = each.decision
            print_line(f"#{event.number}: {each.line}: {decision.reason}: {decision.sentence}")
    if is_quiet:
        print_line("every command of the last day has its answer")


def _handle(
    services: Services, file: Path, answering: Answering, run: int | None, starting: Starting
) -> tuple[Handled, ...]:
    from modelyard.adapters.forge.events import StartEvent, read_event
    from modelyard.operations.chatops.conversation import conversation_for
    from modelyard.operations.chatops.reserve import calls_for
    from modelyard.operations.open_workspace import workspace_of

    event = read_event(file)
    if event is None:
        print_line("this event is no new comment on a pull request, and starts no command")
        return ()
    workspace, conversation = workspace_of(services), conversation_for(services)
    with calls_for(conversation, event):
        if isinstance(event, StartEvent):
            return (_handle_start(workspace, conversation, event, run, starting),)
        handled = answering(workspace, conversation, event)
    for each in handled:
        print_line(f"{each.line}: {each.decision.reason}: {each.decision.sentence}")
    if not handled:
        print_line(f"the comment on #{event.number} holds no command")
    return handled


def _handle_start(
    workspace: Workspace,
    conversation: Conversation,
    event: StartEvent,
    run: int | None,
    starting: Starting,
) -> Handled:
    from modelyard.domain.chatops.reasons import ReasonCode
    from modelyard.operations.chatops.started import Start

    if run is None:
        raise click.UsageError("give --run: the run that was started with this command")
    start = Start(event=event, run=run, runs=conversation.runs)
    handled = starting(workspace, conversation, start)
    reason, sentence = handled.decision.reason, handled.decision.sentence
    print_line(f"{handled.line}: {reason}: {sentence}")
    # Nobody is answered in a comment, so the run itself shows how it ended.
    _raise_limit((handled,))
    if reason not in {ReasonCode.ACCEPTED, ReasonCode.DONE, ReasonCode.COULD_NOT}:
        raise Refused(f"{handled.line}: {sentence}")
    return handled


def _raise_limit(handled: tuple[Handled, ...]) -> None:
    """Raise `CannotAnswer` for the first command that the forge's limit left undone."""
    from modelyard.domain.chatops.reasons import ReasonCode

    for each in handled:
        if each.decision.reason is ReasonCode.LIMIT_REACHED:
            raise CannotAnswer(f"{each.line}: {each.decision.sentence}")


def _set_output(name: str, value: str) -> None:
    """Write an output of the workflow's step, where there is one; the value is a name or empty."""
    file = os.environ.get("GITHUB_OUTPUT")
    if file:
        with Path(file).open("a", encoding="utf-8") as outputs:
            outputs.write(f"{name}={value}\n")
