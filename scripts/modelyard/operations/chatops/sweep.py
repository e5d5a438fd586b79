"""Finds the commands that got no answer, because a job was killed or never started."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

from modelyard.adapters.forge.events import CommentEvent
from modelyard.errors import YardError
from modelyard.operations.chatops.answer import Handled, act, find_commands, may_command
from modelyard.operations.chatops.conversation import Conversation
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

OLDEST = timedelta(days=1)
"""An older command is not what its author would say today."""

YOUNGEST = timedelta(minutes=15)
"""A younger one may still wait for the job of its own event."""


def sweep(
    workspace: Workspace, conversation: Conversation
) -> Iterator[tuple[CommentEvent, tuple[Handled, ...]]]:
    """Act on each comment of the last day with a command that is not in the log; once for each.

    One that cannot be acted on is left for the next time, and the others go on.
    """
    now = workspace.services.clock.now()
    repository = conversation.repository_id()
    for number, comment in conversation.recent_comments(now - OLDEST):
        if not now - OLDEST <= comment.created_at <= now - YOUNGEST:
            continue
        event = CommentEvent(repository=repository, number=number, comment=comment)
        try:
            if _has_unanswered(workspace, event) and may_command(conversation, comment.author):
                yield event, act(workspace, conversation, event)
        except YardError as error:
            logger.warning("#%d, comment %s: %s", number, comment.id, error.message)


def _has_unanswered(workspace: Workspace, event: CommentEvent) -> bool:
    keys = set() if event.comment.is_bot else {key for key, _ in find_commands(event)}
    if not keys:
        return False
    log = workspace.facts.read_commands(event.number)
    return not keys <= {entry.key for entry in log.entries}
