"""Notifies people of what happened to a model, and records that it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from modelyard.adapters.git.remote_refs import joined_pushes
from modelyard.adapters.messages import send_message
from modelyard.domain.promotion.change import is_branch_of
from modelyard.domain.promotion.facts import ModelFacts
from modelyard.domain.promotion.notifications import (
    Notification,
    add_notified_key,
    find_notifications,
)
from modelyard.operations.reconcile.loop import run_all
from modelyard.operations.workspace import Workspace


def pending_notifications(workspace: Workspace, model: str) -> tuple[Notification, ...]:
    """Recent events of a model of which nobody has been notified."""
    facts = workspace.facts.read_model(model)
    pulls = [p for p in workspace.services.pulls.closed() if is_branch_of(p.branch, model)]
    return find_notifications(model, facts, pulls, workspace.services.clock.now())


def notify(
    workspace: Workspace,
    pending: Iterable[Notification],
    on_notified: Callable[[Notification], None],
) -> bool:
    """Send the pending notifications; True if one was sent.

    Args:
        workspace: What to work with.
        pending: What to send.
        on_notified: Called with every notification that was sent.

    Raises:
        Exception: The first failure; the other notifications were sent all the same.
    """
    with joined_pushes():  # each would start another pass as well
        return run_all(partial(_notify_one, workspace, notice, on_notified) for notice in pending)


def _notify_one(
    workspace: Workspace, notice: Notification, on_notified: Callable[[Notification], None]
) -> bool:
    # Recorded after it was sent: a watcher killed in between sends it twice rather than never.
    if not send_message(notice.title, notice.body):
        return False
    workspace.facts.update_model(notice.model, partial(_with_key, notice.key))
    on_notified(notice)
    return True


def _with_key(key: str, before: ModelFacts) -> ModelFacts:
    return replace(before, told=add_notified_key(before.told, key))
