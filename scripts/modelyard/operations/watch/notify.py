"""Notifies people of what happened to a model, and records that it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial, reduce

from modelyard.adapters.messages import send_message
from modelyard.domain.promotion.facts import ModelFacts
from modelyard.domain.promotion.notifications import (
    Notification,
    add_notified_key,
    find_notifications,
)
from modelyard.operations.forge.merges import closed_pulls_of
from modelyard.operations.reconcile.loop import raise_first, run_all, run_each
from modelyard.operations.workspace import Workspace


def pending_notifications(workspace: Workspace, model: str) -> tuple[Notification, ...]:
    """Recent events of a model of which nobody has been notified."""
    facts = workspace.facts.read_model(model)
    pulls = closed_pulls_of(workspace, model)
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
    by_model: dict[str, list[Notification]] = {}
    for notice in pending:
        by_model.setdefault(notice.model, []).append(notice)
    return run_all(
        partial(_notify_of_model, workspace, model, notices, on_notified)
        for model, notices in by_model.items()
    )


def _notify_of_model(
    workspace: Workspace,
    model: str,
    notices: Sequence[Notification],
    on_notified: Callable[[Notification], None],
) -> bool:
    # Recorded after they were sent: a watcher killed in between sends them twice rather than never.
    # In one push, which others cannot make fail for long: each starts another pass as well.
    unrecorded, sent = workspace.unrecorded_news.get(model, ()), list[Notification]()
    new = [each for each in notices if each.key not in unrecorded]
    changed, failures = run_each((None, partial(_send, notice, sent)) for notice in new)
    for notice in sent:
        on_notified(notice)
    if keys := (*unrecorded, *(each.key for each in sent)):
        # While they cannot be recorded, as on a full disk, each pass would send them again.
        workspace.unrecorded_news[model] = keys
        workspace.facts.update_model(model, partial(_with_keys, keys))
        del workspace.unrecorded_news[model]
    raise_first([error for _, error in failures])
    return changed


def _send(notice: Notification, sent: list[Notification]) -> bool:
    if not send_message(notice.title, notice.body):
        return False
    sent.append(notice)
    return True


def _with_keys(keys: Sequence[str], before: ModelFacts) -> ModelFacts:
    return replace(before, told=reduce(add_notified_key, keys, before.told))
