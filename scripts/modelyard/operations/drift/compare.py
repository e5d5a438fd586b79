"""Compares a feed with the training data of production's version: the contract, then drift."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.drift.detection import (
    LEAST_BLOCKS,
    absent_columns,
    confirm_drift,
    refuse_absent,
)
from modelyard.domain.drift.feed_faults import (
    LEVEL,
    WindowRows,
    count_windows,
    describe_new_level,
    describe_small_blocks,
    find_delivery_faults,
    find_gaps,
    find_repeats,
    find_volume_faults,
)
from modelyard.domain.drift.profile import (
    Profile,
    seasonal_columns,
)
from modelyard.domain.drift.quality import ALARM, Quality
from modelyard.domain.drift.second_look.findings import Finding, confirm_findings
from modelyard.domain.drift.watched.block_length import (
    describe_other_length,
    find_window_days,
    fit_to_windows,
)
from modelyard.domain.drift.watched.not_watched import find_not_watched
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import ALL_ROWS, Breach
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import model_file
from modelyard.domain.specs.record import Record, UnwatchedMeasure, describe_not_watched
from modelyard.domain.specs.times import find_zone
from modelyard.domain.specs.version import DataFile, ModelVersion
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.drift.feed import (
    Feed,
    latest_breaches,
    read_feed,
    windows_before,
)
from modelyard.operations.drift.quality import NotWatched, watch_quality
from modelyard.operations.drift.window_evidence import (
    SeenWindows,
    WindowComparison,
    see_windows,
)
from modelyard.operations.drift.window_rows import OpenedWindow, open_windows
from modelyard.operations.training.data_root import DataRoot, data_root
from modelyard.operations.workspace import Workspace

FORMAT = 1
"""Version of the evidence document."""


@dataclass(frozen=True, kw_only=True)
class FeedResult:
    """What the last windows of a feed showed.

    Args:
        model: The model, with windows of the length that was compared.
        catalog: The specs of the main branch.
        commit: The commit of the main branch.
        feed: The feed.
        until: The day after the last window; None if no row has a day.
        newest: Whether the windows are the feed's newest ones.
        windows: The windows, oldest first; none if the rows have no days.
    """

    model: Model
    catalog: Catalog
    commit: str
    feed: Feed
    until: date | None
    newest: bool
    windows: tuple[WindowComparison, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ContractBreach(FeedResult):
    """The data breaks the contract, so drift was not tested.

    Args:
        breaches: The broken rules, each once.
    """

    breaches: tuple[Breach, ...]

    @property
    def outcome(self) -> str:
        """The outcome as one word: `breached`."""
        return "breached"


@dataclass(frozen=True, kw_only=True)
class FeedComparison(FeedResult):
    """The data keeps the contract and was compared.

    Args:
        parent: The version that production runs.
        digest: Digest of its profile.
        profile: Its profile.
        pins: The files that were read.
        confirmed: Drift of the latest window that enough windows share.
        faults: Faults of the feed that leave its rows comparable, such as late ones.
        quality: The quality of the version on new labelled rows, or why it is not watched.
        volumes: The rows of the last windows, also of some before those that were compared.
        second_look: Habits of the training data that enough windows do not keep; only reported.
    """

    parent: ModelVersion
    digest: str
    profile: Profile
    pins: tuple[DataFile, ...]
    confirmed: tuple[ColumnCheck, ...]
    faults: tuple[Breach, ...] = ()
    quality: Quality | NotWatched
    volumes: tuple[WindowRows, ...] = ()
    second_look: tuple[Finding, ...] = ()

    @property
    def outcome(self) -> str:
        """The outcome as one word: `breached`, `confirmed` or `none`."""
        if self.faults:
            return "breached"
        return "confirmed" if self.confirmed else "none"

    @property
    def not_watched(self) -> tuple[UnwatchedMeasure, ...]:
        """What the profile does not show, but for times, which no night needs to be told of."""
        return find_not_watched(self.profile, (), self.model.drift)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What limits the result, each in a sentence."""
        policy, warnings = self.model.drift, []
        asked = self.catalog.models[self.model.name].drift.window_days
        if other := describe_other_length(self.profile, asked, version=self.parent.version):
            warnings.append(other)
        if small := describe_small_blocks(self.profile, policy):
            warnings.append(small)
        if not self.profile.block_rows:
            warnings.append(
                f"the rows of a window and rows that are there twice are not watched: the profile "
                f"of {self.parent.version} is of an earlier version of modelyard"
            )
        if level := describe_new_level(self.profile, self.volumes):
            warnings.append(level)
        for window in self.windows:
            if window.checks is None:
                days, rows = window.data.days, window.data.rows
                few = f"{rows:,} rows from {days.since} to {days.until} are too few to compare"
                warnings.append(f"{few}: {policy.least_rows:,} are needed (drift.least_rows)")
        if self.profile.blocks < LEAST_BLOCKS:
            length = self.profile.block_days or policy.window_days
            warnings.append(
                f"the profile of {self.parent.version} has {self.profile.blocks} calendar blocks "
                f"of {length} days, but {LEAST_BLOCKS} are needed: the effect of the calendar "
                f"alone is unknown, so nothing is confirmed"
            )
        # What concerns every column is said above, with what to do.
        hidden = [each for each in self.not_watched if each.column != ALL_ROWS]
        warnings += [f"not watched: {each}" for each in describe_not_watched(hidden)]
        if isinstance(self.quality, NotWatched):
            warnings.append(f"quality is not watched: {self.quality.why}")
        return tuple(warnings)


def compare_feed(
    workspace: Workspace, name: str, *, feed: str | None, until: date | None
) -> ContractBreach | FeedComparison:
    """Compare the feed's last windows before `until` with the training data.

    Args:
        workspace: Holds the specs and the evidence.
        name: The model's name.
        feed: The feed's URI; None for the model's own.
        until: The day after the last window; None for the day after the newest row.

    Raises:
        CannotAnswer: There is no model, feed, row, release in production or profile, or the
            latest window has too few rows.
    """
    commit = workspace.main()
    catalog = workspace.catalog(commit)
    model = catalog.require_model(name)
    data = data_root(workspace.services.root, workspace.services.repository, commit=commit)
    found = read_feed(model, feed, data)
    result = FeedResult(model=model, catalog=catalog, commit=commit, feed=found, until=until,
                newest=until is None)  # fmt: skip
    # Drift of data that breaks its contract means nothing: a change of unit looks like drift.
    if found.breaches:
        return ContractBreach(**vars(result), breaches=found.breaches)
    today = workspace.services.clock.now().astimezone(find_zone(model.data.timezone)).date()
    day = until or found.end(today)
    model, profile = _fit_to_each_other(model, _find_profile(workspace, catalog, model.name))
    with open_windows(model, found, data, until=day, of=model.drift.of) as (opened, pins):
        seen = see_windows(model, opened, _usable(profile, model))
    result = replace(result, model=model, until=day, windows=seen.windows)
    rows = [window.data for window in seen.windows]
    if broken := latest_breaches(breach for each in rows for breach in each.breaches):
        compared = tuple(WindowComparison(data=each) for each in rows)
        return ContractBreach(**vars(replace(result, windows=compared)), breaches=broken)
    delivery = found.delivery(model, today)
    faults = (
        # Of the past nobody asks whether rows are late or too early.
        *(find_delivery_faults(delivery) if until is None else ()),
        *find_gaps(delivery, [each.days for each in rows]),
    )
    spans = windows_before(day, days=model.drift.window_days, of=max(LEVEL, model.drift.of))
    volumes = count_windows(delivery, spans)
    if isinstance(profile, YardError):
        raise profile
    return _compare_windows(workspace, result, seen, profile, pins, faults, volumes)


@contextmanager
def opened_again(result: FeedComparison, data: DataRoot) -> Iterator[tuple[OpenedWindow, ...]]:
    """The windows that were compared.

    Raises:
        CannotAnswer: Their files are others now.
    """
    until = result.windows[-1].data.days.until
    opened = open_windows(result.model, result.feed, data, until=until, of=len(result.windows))
    with opened as (windows, pins):
        if pins != result.pins:
            raise CannotAnswer(
                f"{result.feed.uri}: files changed after they were compared",
                hint="run the command again once nobody writes them",
            )
        yield windows


def production_version(catalog: Catalog, model: str) -> tuple[ModelVersion, Record]:
    """The version that production runs, and its record.

    Raises:
        CannotAnswer: Production has no release, or its version has no record with a profile.
    """
    production = catalog.production
    where = production.name if production else "production"
    release = catalog.releases.get((where, model))
    if release is None:
        raise CannotAnswer(
            f"{where} has no release of {model}, so there is nothing to compare with",
            hint="modelyard status",
        )
    spec = catalog.versions.get((model, release.version))
    record = catalog.records.get((model, release.version))
    if spec is None or record is None or record.profile is None:
        raise CannotAnswer(
            f"{release.version}, which {where} runs, has no record with a drift profile",
            hint="add a version and promote it: a profile is written with every training",
        )
    return spec, record


def drift_evidence(result: FeedComparison) -> bytes:
    """The evidence of a result as JSON; the same rows give the same bytes."""
    document = {
        "format": FORMAT,
        "model": result.model.name,
        "version": result.parent.version,
        "profile": result.digest,
        "feed": result.feed.uri,
        "files": [asdict(pin) for pin in result.pins],
        "policy": asdict(result.model.drift),
        "windows": [window_document(window) for window in result.windows],
        "confirmed": confirmed_document(result.confirmed),
        "quality": quality_document(result.quality),
        "second_look": second_look_document(result.second_look),
        "warnings": list(result.warnings),
        "not_watched": [asdict(each) for each in result.not_watched],
        "seasonal": list(seasonal_columns(result.profile)),
    }
    return json.dumps(document, sort_keys=True, allow_nan=False).encode()


def window_document(window: WindowComparison) -> dict[str, Any]:
    """One window for JSON; `usable` is whether it was compared."""
    return {
        "since": window.data.days.since.isoformat(),
        "until": window.data.days.until.isoformat(),
        "rows": window.data.rows,
        "usable": window.checks is not None,
        "columns": [{**asdict(check), "drifted": check.drifted} for check in window.checks or ()],
    }


def confirmed_document(confirmed: Iterable[ColumnCheck]) -> list[dict[str, str]]:
    """The columns with confirmed drift for JSON."""
    return [{"column": one.column, "reason": one.reason} for one in confirmed]


def quality_document(quality: Quality | NotWatched) -> dict[str, Any]:
    """The quality for JSON."""
    if isinstance(quality, NotWatched):
        return {"watched": False, "why": quality.why}
    known = {**asdict(quality), "since": quality.since.isoformat(), "alarm": ALARM}
    del known["losses"]  # for the page
    return {"watched": True, "drifted": quality.drifted, **known}


def second_look_document(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """What the second look found for JSON."""
    return [{**asdict(each), "columns": list(each.columns)} for each in found]


def describe_finding(found: Finding) -> str:
    """What the second look found, in a sentence."""
    of = f" of {' and '.join(found.columns)}" if found.columns else " of the timestamps"
    return (
        f"second look: {found.kind}{of} is not as in training: {found.detail}; effect "
        f"{found.effect:.3g}, floor {found.floor:.3g}"
    )


def format_drift(confirmed: Iterable[ColumnCheck]) -> str:
    """The columns with their reasons, as `temp (range), dest (new)`."""
    return ", ".join(f"{one.column} ({one.reason})" for one in confirmed)


def window_rows(window: WindowComparison) -> Iterator[tuple[str | None, ...]]:
    """A table row for each column that drifted, or a single row if none did."""
    day, rows = str(window.data.days.since), f"{window.data.rows:,}"
    if not window.drifted:
        text = "too few rows" if window.drifted is None else "nothing drifted"
        yield (day, rows, *[None] * 5, text)
    for one in window.drifted or ():
        numbers = (f"{one.measure} {one.effect:.3g}", f"{one.floor:.3g}", f"{one.p:.1e}")
        yield (day, rows, one.column, one.reason, *numbers, one.detail)


def summarize_comparison(result: FeedComparison) -> str:
    """The result in one sentence."""
    policy = result.model.drift
    where = f"{policy.needed} of {policy.of} windows before {result.until}"
    if result.confirmed and result.confirmed[0].reason == "quality":
        also = result.confirmed[1:]
        more = f"; {format_drift(also)} drifted too" if also else ""
        worse = f"{result.parent.version} predicts worse: {result.confirmed[0].detail}"
        return f"{result.model.name}: {worse}{more}"
    subject = f"{result.model.name}: drift from what {result.parent.version} was trained on"
    if not result.confirmed:
        return f"{subject} is not confirmed by {where}"
    return f"{subject} is confirmed by {where}: {format_drift(result.confirmed)}"


def _find_profile(workspace: Workspace, catalog: Catalog, model: str) -> Profile | YardError:
    """The profile that windows are counted by, or why there is none.

    That is said once the rows were found to keep the contract.
    """
    try:
        _, record = production_version(catalog, model)
        return Profile.from_document(
            json.loads(workspace.store.read_evidence(record.profile or ""))
        )
    except YardError as error:
        return error


def _fit_to_each_other(
    model: Model, profile: Profile | YardError
) -> tuple[Model, Profile | YardError]:
    """Windows that the profile can judge, and the profile for windows of that length."""
    if isinstance(profile, YardError):
        return model, profile
    days = find_window_days(profile, model.drift.window_days)
    fitting = replace(model, drift=replace(model.drift, window_days=days))
    return fitting, fit_to_windows(profile, days)


def _usable(profile: Profile | YardError, model: Model) -> Profile | None:
    """The profile, if there is one that windows with the contract's columns can be counted by."""
    if isinstance(profile, YardError) or absent_columns(profile, _column_names(model)):
        return None
    return profile


def _column_names(model: Model) -> frozenset[str]:
    return frozenset(column.name for column in model.data.columns)


def _where_rows_suffice(result: FeedResult) -> str:
    """What to do about a window with too few rows."""
    earlier = f"modelyard drift {result.model.name} --until DATE compares earlier windows"
    rows = [window.data.rows for window in result.windows]
    if not any(rows):
        return f"the feed has no row of these days: {earlier}"
    if max(rows) < result.model.drift.least_rows:
        where = model_file(result.model.name)
        return f"raise drift.window_days in {where}, or lower drift.least_rows there"
    return earlier


def _compare_windows(
    workspace: Workspace,
    result: FeedResult,
    seen: SeenWindows,
    profile: Profile,
    pins: tuple[DataFile, ...],
    faults: tuple[Breach, ...],
    volumes: tuple[WindowRows, ...],
) -> ContractBreach | FeedComparison:
    model, policy = result.model, result.model.drift
    spec, record = production_version(result.catalog, model.name)
    least, windows = policy.least_rows, result.windows
    if any(window.data.rows >= least for window in windows):
        refuse_absent(profile, _column_names(model))
    since = windows[0].data.days.since
    earlier = [each for each in volumes if each.days.since < since]
    latest = [each for each in volumes if each.days.since >= since]
    faults = (*faults, *find_volume_faults(profile, latest, earlier))
    if windows[-1].checks is None and faults:
        return ContractBreach(**vars(result), breaches=faults)
    if windows[-1].checks is None:
        days, rows = windows[-1].data.days, windows[-1].data.rows
        raise CannotAnswer(
            f"{result.feed.uri}: {rows:,} rows from {days.since} to {days.until}, but {least:,} "
            f"are needed to compare the latest window (drift.least_rows)",
            hint=_where_rows_suffice(result),
        )
    until = windows[-1].data.days.until
    served = (model, spec, record)
    quality = watch_quality(workspace, result.catalog, result.commit, result.feed, served, until)
    # First: a model that predicts worse matters more than a column that moved.
    worse = (
        (quality.as_check(model.target.column),)
        if isinstance(quality, Quality) and quality.drifted
        else ()
    )
    moved = confirm_drift([w.drifted for w in windows], needed=policy.needed, of=policy.of)
    return FeedComparison(
        **vars(result),
        parent=spec,
        digest=record.profile or "",
        profile=profile,
        pins=pins,
        faults=(
            *faults,
            *seen.duplicates,
            *find_repeats(pins, seen.again),
            *_label_faults(model, quality),
            *seen.causes,
        ),
        volumes=volumes,
        confirmed=(*worse, *moved),
        quality=quality,
        second_look=confirm_findings(
            [each.second_look for each in windows], needed=policy.needed, of=policy.of
        ),
    )


def _label_faults(model: Model, quality: Quality | NotWatched) -> Iterator[Breach]:
    if isinstance(quality, NotWatched) and quality.is_unlabelled:
        yield Breach(
            column=model.target.column,
            rule="null",
            expected=f"labels {model.target.delay_days} days after the rows",
            found=quality.why,
            rows=0,
        )
