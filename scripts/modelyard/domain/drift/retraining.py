"""The version to train after confirmed drift: its days and held-out sets, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from modelyard.domain.people import is_same_person
from modelyard.domain.promotion.change import Branch, Purpose
from modelyard.domain.promotion.facts import Hold
from modelyard.domain.promotion.pulls import PullState, PullSummary
from modelyard.domain.promotion.training_workflows import version_order
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import HeldOut, Role
from modelyard.domain.specs.interval import Interval, subtract_intervals
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.names import is_version
from modelyard.domain.specs.version import Code, DataFile, ModelVersion, Runtime, TrainingData
from modelyard.errors import Refused

MAX_LOOKS = 20
"""`max_looks` of a new held-out set if the parent has no sets to take it from."""

_NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>\d+)")


@dataclass(frozen=True, kw_only=True)
class FeedFile:
    """One file of a feed, and the days of its rows."""

    uri: str
    days: frozenset[date]

    def reaches(self, spans: Iterable[Interval]) -> bool:
        """Whether it has rows in one of the spans."""
        return any(span.since <= day < span.until for span in spans for day in self.days)


@dataclass(frozen=True, kw_only=True)
class RetrainingDays:
    """The days of the next version.

    Args:
        window: The training window, with held-out days inside it.
        excludes: The held-out days inside the window.
        held_out: The days of the new held-out set.
        new: The training days on which the parent did not train.
    """

    window: Interval
    excludes: tuple[Interval, ...]
    held_out: Interval
    new: tuple[Interval, ...]


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
    """

    version: ModelVersion
    held_out: HeldOut
    aged: tuple[HeldOut, ...]


def excluded_days(window: Interval | None, sets: Iterable[HeldOut]) -> tuple[Interval, ...]:
    """The held-out days that overlap the window, in order, each once; retired sets count too."""
    days = {each.window for each in sets if each.window is not None}
    return tuple(sorted(d for d in days if window is not None and d.overlaps(window)))


def plan_days(
    model: Model, parent: ModelVersion, sets: Collection[HeldOut], *, until: date
) -> RetrainingDays:
    """The days that the next version trains on and is judged on.

    - Held out are the last `drift.held_out_days` days with labels known before `until`.
    - Training starts where the parent's training started. It ends early enough that its own labels
      are known before the first held-out day.

    Args:
        model: The model.
        parent: The version that production runs.
        sets: All held-out sets of the model, also retired ones.
        until: The day after the last row.

    Raises:
        Refused: The parent has no training days or trained on the days to hold out, or there is no
            new training day.
    """
    if parent.data.window is None:
        raise Refused(f"{parent.model} {parent.version} has no training window to continue")
    # Days within `delay` of the end have no labels yet.
    delay = timedelta(days=model.target.delay_days)
    length = timedelta(days=model.drift.held_out_days)
    held_out = Interval(since=until - delay - length, until=until - delay)
    known = parent.data.spans[-1].until + delay
    if held_out.since < known:
        raise Refused(
            f"{parent.version} trained on days before {parent.data.spans[-1].until}, so there are "
            f"{model.drift.held_out_days} held-out days that it has not seen only from "
            f"{known + length + delay} on",
            hint="wait for newer data, or lower drift.held_out_days in model.yaml",
        )
    # The delay again: training labels must be known when the held-out days begin.
    longest = Interval(since=parent.data.window.since, until=held_out.since - delay)
    window = _training_window(longest, sets, kept=held_out_in_use(parent, sets), delay=delay)
    excludes = excluded_days(window, sets)
    spans = subtract_intervals(window, excludes)
    new = tuple(part for span in spans for part in subtract_intervals(span, (parent.data.window,)))
    if not new:
        raise Refused(
            f"there is no new training day between {parent.data.window.until} and {window.until}: "
            f"all are held out, or not labelled yet",
            hint="wait for newer data",
        )
    return RetrainingDays(window=window, excludes=excludes, held_out=held_out, new=new)


def plan_retraining(inputs: RetrainingInputs) -> Retraining:
    """The next version: the parent's settings, trained on the parent's days and the new ones.

    It is judged on the new held-out days and on the parent's held-out sets that are still in use.
    """
    parent, catalog = inputs.parent, inputs.catalog
    kept = held_out_in_use(parent, catalog.held_out_of(parent.model))
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
        code=inputs.code,
        runtime=inputs.runtime,
        evidence=inputs.evidence,
    )
    end = version.data.spans[-1].until
    return Retraining(
        version=version,
        held_out=held_out,
        aged=tuple(replace(each, role=Role.OLD) for each in kept if _has_aged(each, end)),
    )


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


def held_out_in_use(parent: ModelVersion, sets: Iterable[HeldOut]) -> tuple[HeldOut, ...]:
    """The parent's held-out sets that are still in use, in the parent's order."""
    known = {each.name: each for each in sets}
    found = (known.get(name) for name in parent.held_out)
    return tuple(each for each in found if each is not None and not each.retired)


def existing_answer(
    catalog: Catalog, parent: ModelVersion, *, evidence: str, holds: Mapping[str, Hold]
) -> str | None:
    """Why this drift needs no new version: an earlier one answers it. None if it needs one."""
    others = [v for v in catalog.versions_of(parent.model) if v.version != parent.version]
    same = [other for other in others if other.evidence == evidence]
    if same:
        return f"{same[-1].version} was made for the same evidence"
    newest = max(others, key=lambda v: version_order(v.version), default=None)
    if newest is None or newest.evidence is None or newest.version in holds:
        return None
    if version_order(newest.version) < version_order(parent.version):
        return None
    record = catalog.records.get((parent.model, newest.version))
    if record is None:
        return f"{newest.version} was made for drift and has no verdict yet"
    if record.verdict.passed:
        return f"{newest.version} was made for drift, passed, and is on its way to production"
    return None


def declined_by(pulls: Iterable[PullSummary], model: str, *, evidence: str, bot: str) -> str | None:
    """That a person closed the pull request for this evidence; None if nobody did."""
    branch = str(Branch(purpose=Purpose.RETRAIN, model=model))
    for pull in pulls:
        # The bot closes its own pull requests when drift is gone, which declines nothing.
        closed = pull.branch == branch and pull.state is PullState.CLOSED
        is_bot = pull.closed_by is not None and is_same_person(pull.closed_by, bot)
        if closed and evidence in pull.body and not is_bot:
            who = pull.closed_by or "somebody"
            return f"{who} closed pull request {pull.number} for the same evidence"
    return None


def _training_window(
    longest: Interval, sets: Collection[HeldOut], *, kept: Iterable[HeldOut], delay: timedelta
) -> Interval:
    """The longest window with labels that are known before each later held-out set begins."""
    # A set amid the training days stands for an earlier regime and may stay. A set that reaches
    # beyond the last training day would profit from labels that were not known at its start. A
    # shorter window can leave another set beyond its end, hence the loop.
    window, judged = longest, [each.window for each in kept if each.window is not None]
    while window.since < window.until:
        end = max((span.until for span in subtract_intervals(window, excluded_days(window, sets))),
                  default=window.since)  # fmt: skip
        early = [days.since for days in judged if days.until > end and days.since < end + delay]
        if not early:
            break
        window = Interval(since=window.since, until=min(early) - delay)
    return window


def _held_out(inputs: RetrainingInputs, kept: tuple[HeldOut, ...]) -> HeldOut:
    """The new held-out set, or the existing one with the same days."""
    sets, days = inputs.catalog.held_out_of(inputs.parent.model), inputs.days.held_out
    for each in sets:
        if each.window == days and not each.retired:
            return each
    # An older set of the model says what a cluster is and how often a set may be used.
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
        cluster=like.cluster if like else inputs.model.data.timestamp or "row",
        role=Role.RECENT,
        max_looks=like.max_looks if like else MAX_LOOKS,
        window=days,
    )


def _has_aged(held_out: HeldOut, end: date) -> bool:
    days = held_out.window
    return held_out.role is Role.RECENT and days is not None and days.until <= end
