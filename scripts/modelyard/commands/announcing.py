"""Tells people what happened to a model, and remembers that it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from modelyard.adapters.messages import send
from modelyard.commands.reconciling.collect import Desk
from modelyard.domain.branches import is_of
from modelyard.domain.facts import ModelFacts
from modelyard.domain.notice import Notice, notices, with_told


def announce(desk: Desk, model: str, told: Callable[[Notice], None]) -> bool:
    """Tell what was not told yet, once everything else is done; True if something was.

    Remembered after it was sent: killed in between, it is sent twice rather than never.

    Args:
        desk: What to work with.
        model: The model.
        told: Hears every notice that went out.
    """
    facts, _ = desk.facts.read_model(model)
    pulls = [p for p in desk.services.pulls.list(every=True) if is_of(p.branch, model)]
    sent = False
    for notice in notices(model, facts, pulls, desk.services.clock.now()):
        if send(notice.title, notice.body):
            desk.facts.update_model(model, partial(_remembering, notice.key))
            told(notice)
            sent = True
    return sent


def _remembering(key: str, before: ModelFacts) -> ModelFacts:
    return replace(before, told=with_told(before.told, key))
