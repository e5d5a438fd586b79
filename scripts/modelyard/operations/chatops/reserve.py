"""Lets the command of a rollback use the calls of the forge that are kept for rollbacks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from modelyard.adapters.forge.events import CommentEvent, StartEvent
from modelyard.adapters.forge.hosted.api import urgent
from modelyard.domain.chatops.commands import Rollback
from modelyard.domain.chatops.typed import parse_typed
from modelyard.operations.chatops.answer import find_commands, may_command
from modelyard.operations.chatops.conversation import Conversation


def calls_for(
    conversation: Conversation, event: CommentEvent | StartEvent
) -> AbstractContextManager[None]:
    """Return what an event is answered within.

    Whoever may give no command uses one of these calls, which tells that.
    """
    if not _asks_for_rollback(event):
        return nullcontext()
    author = event.author if isinstance(event, StartEvent) else event.comment.author
    with urgent():
        is_heard = may_command(conversation, author)
    return urgent() if is_heard else nullcontext()


def _asks_for_rollback(event: CommentEvent | StartEvent) -> bool:
    if isinstance(event, CommentEvent):
        return any(isinstance(command, Rollback) for _, command in find_commands(event))
    try:
        typed = parse_typed(event.line)
    except ValueError:
        return False
    return typed is not None and isinstance(typed.command, Rollback)
