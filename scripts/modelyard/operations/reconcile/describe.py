"""Describes actions, for `modelyard reconcile --dry-run`."""

from __future__ import annotations

from functools import singledispatch

from modelyard.domain.promotion.actions import (
    Action,
    ClosePull,
    GiveUpTraining,
    Merge,
    PlaceHold,
    ProposeRecord,
    ProposeRelease,
    RaiseIncident,
    RemoveAlias,
    RetryTraining,
    RollBack,
    SetAlias,
    SetStatus,
    StartTraining,
)
from modelyard.domain.promotion.pulls import PROMOTE


@singledispatch
def describe_action(action: Action) -> str:
    """The end of a sentence that starts with `would`."""
    raise TypeError(action)


@describe_action.register
def _(action: StartTraining) -> str:
    return f"train {action.version}, attempt {action.attempt}"


@describe_action.register
def _(action: RetryTraining) -> str:
    return f"train {action.version} again, as attempt {action.attempt}: the last was lost"


@describe_action.register
def _(action: GiveUpTraining) -> str:
    return f"record that training {action.version} failed for good: {action.reason}"


@describe_action.register
def _(action: ProposeRecord) -> str:
    release = f" and its release to {action.environment}" if action.environment else ""
    return f"propose the record of {action.record.version}{release}"


@describe_action.register
def _(action: ProposeRelease) -> str:
    return f"propose the release of {action.version} to {action.environment}"


@describe_action.register
def _(action: ClosePull) -> str:
    return f"close #{action.number}: {action.reason}"


@describe_action.register
def _(action: SetStatus) -> str:
    return f"set {PROMOTE} of #{action.number} to {action.state}: {action.description}"


@describe_action.register
def _(action: Merge) -> str:
    return f"merge #{action.number} at {action.sha[:10]}"


@describe_action.register
def _(action: PlaceHold) -> str:
    return f"put {action.version} on hold: {action.reason}"


@describe_action.register
def _(action: RollBack) -> str:
    target = action.target.release.version
    if not action.version:
        return f"restore {target} in {action.environment}: {action.reason}"
    return f"roll {action.environment} back from {action.version} to {target}: {action.reason}"


@describe_action.register
def _(action: SetAlias) -> str:
    return f"point alias {action.alias} at {action.version}"


@describe_action.register
def _(action: RemoveAlias) -> str:
    return f"remove alias {action.alias}, which points at {action.version}"


@describe_action.register
def _(action: RaiseIncident) -> str:
    return f"raise an incident: {action.what}"
