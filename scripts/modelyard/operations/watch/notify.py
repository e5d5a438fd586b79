"""Tells people what happened to a model, and remembers that it did."""

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


def untold(workspace: Workspace, model: str) -> tuple[Notice, ...]:
    """What happened to a model of late, and nobody was told yet."""
    facts, _ = workspace.facts.read_model(model)
    pulls = [p for p in workspace.services.pulls.list(every=True) if is_of(p.branch, model)]
    return notices(model, facts, pulls, workspace.services.clock.now())


def announce(workspace: Workspace, news: Iterable[Notice], told: Callable[[Notice], None]) -> bool:
    """Tell people each of these, once everything else is done; True if something was told.

    Args:
        workspace: What to work with.
        news: What nobody was told yet.
        told: Hears every notice that went out.

    Raises:
        Exception: The first thing that failed; the others were told all the same.
    """
    return run_all(partial(_announce_one, workspace, notice, told) for notice in news)


def _announce_one(workspace: Workspace, notice: Notice, told: Callable[[Notice], None]) -> bool:
    """Remembered after it was sent: killed in between, it is sent twice rather than never."""
    if not send(notice.title, notice.body):
        return False
    workspace.facts.update_model(notice.model, partial(_remembering, notice.key))
    told(notice)
    return True


def _remembering(key: str, before: ModelFacts) -> ModelFacts:
    return replace(before, told=with_told(before.told, key))
