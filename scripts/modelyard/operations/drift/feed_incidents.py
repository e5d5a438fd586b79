"""The incidents of a feed: one for each rule that it breaks, until it keeps the rule again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from modelyard.domain.promotion.facts import ModelFacts
from modelyard.domain.promotion.incidents import (
    Incident,
    breach_key,
    breach_prefix,
    is_incident_of_breach,
)
from modelyard.domain.specs.contract import Breach, describe_breach
from modelyard.operations.drift.compare import ContractBreach, FeedComparison
from modelyard.operations.drift.feed import Feed
from modelyard.operations.workspace import Workspace

_WITHOUT_CAUSE = re.compile(r" rows?\)$")  # a sentence ends with its rows, and then with its cause


def record_incidents(
    workspace: Workspace, result: ContractBreach | FeedComparison
) -> tuple[Incident, ...]:
    """Record each breach as an incident, once, and return the open incidents of this feed.

    If the windows are the newest ones, incidents of breaches that are gone are removed. Of another
    feed than the model's own nothing is recorded: no nightly run would ever close the incident.
    """
    at = workspace.services.clock.now()

    def change(before: ModelFacts) -> ModelFacts:
        return replace(before, incidents=update_incidents(before.incidents, result, at=at))

    if is_own_feed(result):
        after = workspace.facts.update_model(result.model.name, change)
    else:
        after = change(workspace.facts.read_model(result.model.name))
    return tuple(i for i in after.incidents if is_breach_of_feed(i, result.feed))


def update_incidents(
    before: tuple[Incident, ...], result: ContractBreach | FeedComparison, *, at: datetime
) -> tuple[Incident, ...]:
    """The incidents after a result: one for each rule, with its first text and a cause."""
    broken, uri = broken_rules(result), result.feed.uri
    found = {breach_key(uri, each): each for each in broken}
    # Windows of the past show nothing about breaches of today, so they remove no incident.
    kept = [
        _with_cause(incident, result.feed, broken)
        for incident in before
        if any(is_incident_of_breach(incident, uri, each) for each in broken)
        or not (result.newest and is_breach_of_feed(incident, result.feed))
    ]
    new = [
        Incident(what=incident_text(result.feed, each), at=at, key=key)
        for key, each in found.items()
        if not any(is_incident_of_breach(incident, uri, each) for incident in kept)
    ]
    return (*kept, *new)


def _with_cause(incident: Incident, feed: Feed, broken: Sequence[Breach]) -> Incident:
    """The incident with its cause, once that is known: on the first night it may not be."""
    for each in broken:
        text = incident_text(feed, each)
        same = incident.what.startswith(text.partition(", found ")[0])
        if each.cause and same and _WITHOUT_CAUSE.search(incident.what):
            return replace(incident, what=text)
    return incident


def broken_rules(result: ContractBreach | FeedComparison) -> tuple[Breach, ...]:
    """The rules that the feed breaks, of columns or of the feed as a whole."""
    return result.breaches if isinstance(result, ContractBreach) else result.faults


def incident_text(feed: Feed, breach: Breach) -> str:
    """The text of a breach's incident: the feed, the column, what was expected and found."""
    return f"contract of {feed.uri} broken: {describe_breach(breach)}"


def is_own_feed(result: ContractBreach | FeedComparison) -> bool:
    """Whether the feed is the one that model.yaml names, and not one that was given by hand."""
    return result.feed.uri == result.model.data.feed


def is_breach_of_feed(incident: Incident, feed: Feed) -> bool:
    """Whether the incident is a breach of this feed."""
    return incident.key.startswith(breach_prefix(feed.uri))
