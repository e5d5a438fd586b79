"""One look at a feed: the contract first, then drift from what production's version trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.drift.detection import LEAST_BLOCKS, check_window, confirm_drift
from modelyard.domain.drift.profile import Profile
from modelyard.domain.promotion.facts import ModelFacts
from modelyard.domain.promotion.incidents import Incident, breach_key, breach_prefix
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Breach, describe_breach
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.version import DataFile, ModelVersion
from modelyard.errors import CannotAnswer
from modelyard.operations.drift.feed import (
    Feed,
    WindowData,
    latest_breaches,
    read_feed,
    read_windows,
)
from modelyard.operations.training.pins import DataRoot
from modelyard.operations.workspace import Workspace

FORMAT = 1
"""Version of the evidence document."""


@dataclass(frozen=True, kw_only=True)
class WindowComparison:
    """One window, compared.

    Args:
        slice: Its rows.
        checks: Every check of every column, the largest effect first; None for too few rows.
    """

    data: WindowData
    checks: tuple[ColumnCheck, ...] | None

    @property
    def drifted(self) -> tuple[ColumnCheck, ...] | None:
        """The checks that drifted; None for too few rows."""
        if self.checks is None:
            return None
        return tuple(check for check in self.checks if check.drifted)


@dataclass(frozen=True, kw_only=True)
class FeedResult:
    """What a look at the last windows of a feed found.

    Args:
        model: The model.
        catalog: The main branch.
        commit: Its commit.
        feed: The feed.
        until: The day after the last one looked at; None where no row's day is known.
        newest: Whether these are the feed's newest rows.
    """

    model: Model
    catalog: Catalog
    commit: str
    feed: Feed
    until: date | None
    newest: bool


@dataclass(frozen=True, kw_only=True)
class ContractBreach(FeedResult):
    """The contract is broken, so drift was not asked.

    Args:
        slices: The windows; none where rows cannot be told by day.
        breaches: Rules that are not kept, each once.
    """

    window_data: tuple[WindowData, ...]
    breaches: tuple[Breach, ...]

    @property
    def outcome(self) -> str:
        """The answer in one word."""
        return "breached"


@dataclass(frozen=True, kw_only=True)
class FeedComparison(FeedResult):
    """Every window keeps the contract and was compared.

    Args:
        parent: The version production runs.
        digest: Digest of its profile.
        profile: Its profile.
        pins: The files that were read.
        windows: Oldest first.
        confirmed: Drift of the latest window that enough windows share.
    """

    parent: ModelVersion
    digest: str
    profile: Profile
    pins: tuple[DataFile, ...]
    windows: tuple[WindowComparison, ...]
    confirmed: tuple[ColumnCheck, ...]

    @property
    def outcome(self) -> str:
        """The answer in one word: `confirmed` or `none`."""
        return "confirmed" if self.confirmed else "none"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader should know of the answer, in sentences."""
        policy, said = self.model.drift, []
        for window in self.windows:
            if window.checks is None:
                days, rows = window.data.days, window.data.rows
                few = f"{rows:,} rows from {days.since} to {days.until} are too few to be judged"
                said.append(f"{few}: {policy.least_rows:,} are needed (drift.least_rows)")
        if self.profile.blocks < LEAST_BLOCKS:
            said.append(
                f"the profile of {self.parent.version} has {self.profile.blocks} calendar blocks "
                f"of {policy.window_days} days and {LEAST_BLOCKS} are needed: what the calendar "
                f"alone does is not known, so nothing is confirmed"
            )
        return tuple(said)


def compare_feed(
    workspace: Workspace, name: str, *, feed: str | None, until: date | None
) -> ContractBreach | FeedComparison:
    """Look at the feed's last windows before `until`, by default at its newest rows.

    Raises:
        CannotAnswer: There is no model, feed, row, release in production or profile, or the
            latest window has too few rows.
    """
    commit = workspace.main()
    catalog = workspace.catalog(commit)
    model = catalog.require_model(name)
    data = DataRoot(base=workspace.services.repository.data, root=workspace.services.root)
    found = read_feed(model, feed, data)
    result = FeedResult(model=model, catalog=catalog, commit=commit, feed=found, until=until,
                newest=until is None)  # fmt: skip
    if found.breaches:
        return ContractBreach(**vars(result), window_data=(), breaches=found.breaches)
    day = until or found.end
    window_data, pins = read_windows(model, found, data, until=day)
    result = replace(result, until=day)
    if broken := latest_breaches(breach for each in window_data for breach in each.breaches):
        return ContractBreach(**vars(result), window_data=window_data, breaches=broken)
    return _compare_windows(workspace, result, window_data, pins)


def production_version(catalog: Catalog, model: str) -> tuple[ModelVersion, Record]:
    """The version production runs, and its record.

    Raises:
        CannotAnswer: There is no production, or it runs nothing that has a record.
    """
    production = catalog.production
    where = production.name if production else "production"
    release = catalog.releases.get((where, model))
    if release is None:
        raise CannotAnswer(
            f"{where} runs no version of {model}, so there is nothing to compare with",
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
    """The document a verdict on drift rests on: the same rows give the same bytes."""
    document = {
        "format": FORMAT,
        "model": result.model.name,
        "version": result.parent.version,
        "profile": result.digest,
        "feed": result.feed.uri,
        "files": [asdict(pin) for pin in result.pins],
        "policy": asdict(result.model.drift),
        "windows": [window_document(window.data, window.checks) for window in result.windows],
        "confirmed": [{"column": one.column, "reason": one.reason} for one in result.confirmed],
    }
    return json.dumps(document, sort_keys=True, allow_nan=False).encode()


def window_document(rows: WindowData, found: tuple[ColumnCheck, ...] | None) -> dict[str, Any]:
    """One window for JSON; `usable` says whether it was compared."""
    return {
        "since": rows.days.since.isoformat(),
        "until": rows.days.until.isoformat(),
        "rows": rows.rows,
        "usable": found is not None,
        "columns": [{**asdict(check), "drifted": check.drifted} for check in found or ()],
    }


def format_drift(confirmed: Iterable[ColumnCheck]) -> str:
    """The columns and why, as `temp (range), dest (new)`."""
    return ", ".join(f"{one.column} ({one.reason})" for one in confirmed)


def summarize_comparison(result: FeedComparison) -> str:
    """The answer in one sentence."""
    policy = result.model.drift
    where = f"{policy.needed} of {policy.of} windows before {result.until}"
    subject = f"{result.model.name}: drift from what {result.parent.version} was trained on"
    if not result.confirmed:
        return f"{subject} is not confirmed by {where}"
    return f"{subject} is confirmed by {where}: {format_drift(result.confirmed)}"


def record_incidents(
    workspace: Workspace, result: ContractBreach | FeedComparison
) -> tuple[Incident, ...]:
    """Write each breach down as an incident, once; returns those of this feed that are open.

    A look at the newest rows also takes back what it does not find any more.
    """
    at = workspace.services.clock.now()

    def change(before: ModelFacts) -> ModelFacts:
        return replace(before, incidents=update_incidents(before.incidents, result, at=at))

    after = workspace.facts.update_model(result.model.name, change)
    return tuple(i for i in after.incidents if is_breach_of_feed(i, result.feed))


def update_incidents(
    before: tuple[Incident, ...], result: ContractBreach | FeedComparison, *, at: datetime
) -> tuple[Incident, ...]:
    """The incidents once a look is written down: one a column and rule, worded as first seen."""
    broken = result.breaches if isinstance(result, ContractBreach) else ()
    found = {breach_key(result.feed.uri, each): each for each in broken}
    kept = [
        incident
        for incident in before
        if incident.key in found or not (result.newest and is_breach_of_feed(incident, result.feed))
    ]
    known = {incident.key for incident in kept}
    new = [
        Incident(what=incident_text(result.feed, each), at=at, key=key)
        for key, each in found.items()
        if key not in known
    ]
    return (*kept, *new)


def incident_text(feed: Feed, breach: Breach) -> str:
    """What an incident says of a breach: the feed, the column, what was expected and found."""
    return f"contract of {feed.uri} broken: {describe_breach(breach)}"


def is_breach_of_feed(incident: Incident, feed: Feed) -> bool:
    """Whether the incident is a breach of this feed."""
    return incident.key.startswith(breach_prefix(feed.uri))


def _compare_windows(
    workspace: Workspace,
    result: FeedResult,
    window_data: tuple[WindowData, ...],
    pins: tuple[DataFile, ...],
) -> FeedComparison:
    model, policy = result.model, result.model.drift
    spec, record = production_version(result.catalog, model.name)
    digest = record.profile or ""
    profile = Profile.from_document(json.loads(workspace.store.evidence(digest)))
    windows = tuple(
        WindowComparison(data=each, checks=_check_rows(profile, each, model))
        for each in window_data
    )
    if windows[-1].checks is None:
        days = window_data[-1].days
        raise CannotAnswer(
            f"{result.feed.uri}: {window_data[-1].rows:,} rows from {days.since} to {days.until}, "
            f"{policy.least_rows:,} are needed to judge the latest window (drift.least_rows)",
            hint=f"modelyard drift {model.name} --until DATE looks at an earlier one",
        )
    return FeedComparison(
        **vars(result),
        parent=spec,
        digest=digest,
        profile=profile,
        pins=pins,
        windows=windows,
        confirmed=confirm_drift([w.drifted for w in windows], needed=policy.needed, of=policy.of),
    )


def _check_rows(profile: Profile, rows: WindowData, model: Model) -> tuple[ColumnCheck, ...] | None:
    if rows.rows < model.drift.least_rows:
        return None
    return check_window(profile, rows.table, least_rows=model.drift.least_rows)
