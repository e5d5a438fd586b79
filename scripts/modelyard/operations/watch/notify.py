"""Notifies people of what happened to a model, and records that it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from modelyard.adapters.messages import send
from modelyard.domain.promotion.branches import is_of
from modelyard.domain.promotion.facts import ModelFacts
from modelyard.domain.promotion.notice import Notice, notices, with_told
from modelyard.operations.reconcile.loop import run_all
from modelyard.operations.workspace import Workspace


def pending_notifications(workspace: Workspace, model: str) -> tuple[Notice, ...]:
    """Recent events of a model of which nobody has been notified."""
    facts = workspace.facts.read_model(model)
    pulls = [p for p in workspace.services.pulls.list(every=True) if is_of(p.branch, model)]
    return notices(model, facts, pulls, workspace.services.clock.now())


def notify(
    workspace: Workspace, pending: Iterable[Notice], on_notified: Callable[[Notice], None]
) -> bool:
    """Send the pending notifications; True if one was sent.

    Args:
        workspace: What to work with.
        pending: What to send.
        on_notified: Called with every notification that was sent.

    Raises:
        Exception: The first failure; the other notifications were sent all the same.
    """
    return run_all(partial(_notify_one, workspace, notice, on_notified) for notice in pending)


def _notify_one(
    workspace: Workspace, notice: Notice, on_notified: Callable[[Notice], None]
) -> bool:
    # Recorded after it was sent: a watcher killed in between sends it twice rather than never.
    if not send(notice.title, notice.body):
        return False
    workspace.facts.update_model(notice.model, partial(_with_key, notice.key))
    on_notified(notice)
    return True


def _with_key(key: str, before: ModelFacts) -> ModelFacts:
    return replace(before, told=with_told(before.told, key))
