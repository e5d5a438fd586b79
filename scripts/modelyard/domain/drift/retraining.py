"""The version to train after confirmed drift, with the held-out sets that change with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

from modelyard.domain.drift.regime import RetrainingDays, held_out_in_use
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.names import is_version
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.errors import Refused

MAX_LOOKS = 20
"""`max_looks` of a new held-out set if the parent has no sets to take it from."""

_NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>\d+)")


@dataclass(frozen=True, kw_only=True)
class FeedFile:
    """One file of a feed, and the rows of its days."""

    uri: str
    rows: Mapping[date, int]

    @property
    def days(self) -> frozenset[date]:
        """The days of its rows."""
        return frozenset(self.rows)

    def reaches(self, spans: Iterable[Interval]) -> bool:
        """Whether it has rows in one of the spans."""
        return any(span.since <= day < span.until for span in spans for day in self.rows)


@dataclass(frozen=True, kw_only=True)
class RetrainingInputs:
    """Everything that the next version is made from.

    Args:
        model: The model.
        parent: The version that production runs.
        catalog: The specs of the main branch.
        days: The days of the next version.
        training: The feed's pinned files with rows in the new training days.
        judging: The feed's pinned files with rows in the new held-out days.
        reason: Why the version is made, for people.
        evidence: Digest of the drift evidence.
        code: The trainer on the main branch.
        runtime: The runtime of the trainer.
    """

    model: Model
    parent: ModelVersion
    catalog: Catalog
    days: RetrainingDays
    training: tuple[DataFile, ...]
    judging: tuple[DataFile, ...]
    reason: str
    evidence: str
    code: Code
    runtime: Runtime


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """A version and the held-out sets that change with it.

    Args:
        version: The version.
        held_out: Its new held-out set.
        aged: Sets of the parent that end before the new training ends, with their role now `old`.
        retired: Sets that as many versions were judged on as may be; their rows train again.
    """

    version: ModelVersion
    held_out: HeldOut
    aged: tuple[HeldOut, ...]
    retired: tuple[HeldOut, ...] = ()


def plan_retraining(inputs: RetrainingInputs) -> Retraining:
    """The next version: the parent's settings, trained on the parent's days and the new ones.

    It must be better than the champion on the new held-out days, and not worse on the parent's
    held-out sets that are still in use.
    """
    parent, catalog = inputs.parent, inputs.catalog
    kept = held_out_in_use(parent, current_sets(catalog, parent.model))
    held_out = _held_out(inputs, kept)
    window, excludes = inputs.days.window, inputs.days.excludes
    files = dict.fromkeys((*parent.data.files, *inputs.training))
    names = [held_out.name, *(each.name for each in kept if each.name != held_out.name)]
    version = replace(
        parent,
        version=next_version_name(
            parent.version, [v.version for v in catalog.versions_of(parent.model)]
        ),
        reason=inputs.reason,
        parent=parent.version,
        data=TrainingData(files=tuple(files), window=window, excludes=excludes),
        held_out=tuple(names),
        better_on=(held_out.name,),
        code=inputs.code,
        runtime=inputs.runtime,
        evidence=inputs.evidence,
    )
    end = version.data.spans[-1].until
    return Retraining(
        version=version,
        held_out=held_out,
        aged=tuple(replace(each, role=Role.OLD) for each in kept if _has_aged(each, end)),
        retired=tuple(replace(each, retired=True) for each in _used_up(catalog, parent.model)),
    )


def current_sets(catalog: Catalog, model: str) -> tuple[HeldOut, ...]:
    """The model's held-out sets; those that no further version may be judged on are retired."""
    used_up = {each.name for each in _used_up(catalog, model)}
    sets = catalog.held_out_of(model)
    return tuple(replace(each, retired=True) if each.name in used_up else each for each in sets)


def next_version_name(parent: str, names: Iterable[str]) -> str:
    """The parent's name with a number that is one above the highest trailing number of all names.

    Raises:
        Refused: The name is too long.
    """
    # The highest number of all names, not the parent's: v3 may exist although v2 is in production.
    numbers = [int(match["number"]) for name in names if (match := _NUMBERED.fullmatch(name))]
    match = _NUMBERED.fullmatch(parent)
    stem = match["stem"] if match else f"{parent}-"
    name = f"{stem}{max(numbers, default=1) + 1}"
    if not is_version(name):
        raise Refused(
            f"{name!r}, the next name after {parent}, is no valid version name",
            hint=f"modelyard version new MODEL VERSION --parent {parent}",
        )
    return name


def cluster_of(model: Model, parent: ModelVersion, sets: Iterable[HeldOut]) -> str:
    """The cluster of a new held-out set: that of an older one, or the time of a row."""
    known = tuple(sets)
    like = next(iter((*held_out_in_use(parent, known), *known)), None)
    return like.cluster if like else model.data.timestamp or "row"


def _held_out(inputs: RetrainingInputs, kept: tuple[HeldOut, ...]) -> HeldOut:
    """The new held-out set, or the existing one with the same days."""
    sets, days = current_sets(inputs.catalog, inputs.parent.model), inputs.days.held_out
    for each in sets:
        if each.window == days and not each.retired:
            return each
    like = next(iter((*kept, *sets)), None)
    taken = {each.name for each in sets}
    name, count = f"recent-{days.since.isoformat()}", 1
    while name in taken:
        count += 1
        name = f"recent-{days.since.isoformat()}-{count}"
    return HeldOut(
        model=inputs.parent.model,
        name=name,
        files=inputs.judging,
        cluster=cluster_of(inputs.model, inputs.parent, sets),
        role=Role.RECENT,
        max_looks=like.max_looks if like else MAX_LOOKS,
        window=days,
    )


def _used_up(catalog: Catalog, model: str) -> tuple[HeldOut, ...]:
    judged = catalog.judged_versions
    return tuple(
        each
        for each in catalog.held_out_of(model)
        if not each.retired and len(judged.get((model, each.name), ())) >= each.max_looks
    )


def _has_aged(held_out: HeldOut, end: date) -> bool:
    days = held_out.window
    return held_out.role is Role.RECENT and days is not None and days.until <= end
