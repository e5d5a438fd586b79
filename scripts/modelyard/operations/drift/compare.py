"""One look at a feed: the contract first, then drift from what production's version trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from modelyard.domain.drift.column_checks import ColumnDrift
from modelyard.domain.drift.detection import LEAST_BLOCKS, checks, confirm
from modelyard.domain.drift.profile import Profile
from modelyard.domain.promotion.facts import Incident, ModelFacts
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Breach, describe
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import model_file
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.version import DataFile, ModelVersion
from modelyard.errors import CannotAnswer
from modelyard.operations.drift.feed import Feed, Slice, latest, read_feed, read_windows
from modelyard.operations.training.pins import DataRoot
from modelyard.operations.workspace import Workspace

FORMAT = 1
"""Version of the evidence document."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window, compared.

    Args:
        slice: Its rows.
        checks: Every check of every column, the largest effect first; None for too few rows.
    """

    slice: Slice
    checks: tuple[ColumnDrift, ...] | None

    @property
    def drifted(self) -> tuple[ColumnDrift, ...] | None:
        """The checks that drifted; None for too few rows."""
        if self.checks is None:
            return None
        return tuple(check for check in self.checks if check.drifted)


@dataclass(frozen=True, kw_only=True)
class Look:
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
class Breached(Look):
    """The contract is broken, so drift was not asked.

    Args:
        slices: The windows; none where rows cannot be told by day.
        breaches: Rules that are not kept, each once.
    """

    slices: tuple[Slice, ...]
    breaches: tuple[Breach, ...]

    @property
    def outcome(self) -> str:
        """The answer in one word."""
        return "breached"


@dataclass(frozen=True, kw_only=True)
class Compared(Look):
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
    windows: tuple[Window, ...]
    confirmed: tuple[ColumnDrift, ...]

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
                days, rows = window.slice.days, window.slice.rows
                few = f"{rows:,} rows from {days.since} to {days.until} are too few to be judged"
                said.append(f"{few}: {policy.least_rows:,} are needed (drift.least_rows)")
        if self.profile.blocks < LEAST_BLOCKS:
            said.append(
                f"the profile of {self.parent.version} has {self.profile.blocks} calendar blocks "
                f"of {policy.window_days} days and {LEAST_BLOCKS} are needed: what the calendar "
                f"alone does is not known, so nothing is confirmed"
            )
        return tuple(said)


def look_at(
    workspace: Workspace, name: str, *, feed: str | None, until: date | None
) -> Breached | Compared:
    """Look at the feed's last windows before `until`, by default at its newest rows.

    Raises:
        CannotAnswer: There is no model, feed, row, release in production or profile, or the
            latest window has too few rows.
    """
    commit = workspace.main()
    catalog = workspace.catalog(commit)
    model = catalog.models.get(name)
    if model is None:
        raise CannotAnswer(
            f"the main branch has no valid {model_file(name)}", hint="modelyard validate"
        )
    data = DataRoot(base=workspace.services.repository.data, root=workspace.services.root)
    found = read_feed(model, feed, data)
    look = Look(model=model, catalog=catalog, commit=commit, feed=found, until=until,
                newest=until is None)  # fmt: skip
    if found.breaches:
        return Breached(**vars(look), slices=(), breaches=found.breaches)
    day = until or found.end
    slices, pins = read_windows(model, found, data, until=day)
    look = replace(look, until=day)
    if broken := latest(breach for each in slices for breach in each.breaches):
        return Breached(**vars(look), slices=slices, breaches=broken)
    return _compared(workspace, look, slices, pins)


def produced(catalog: Catalog, model: str) -> tuple[ModelVersion, Record]:
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


def evidence_of(look: Compared) -> bytes:
    """The document a verdict on drift rests on: the same rows give the same bytes."""
    document = {
        "format": FORMAT,
        "model": look.model.name,
        "version": look.parent.version,
        "profile": look.digest,
        "feed": look.feed.uri,
        "files": [asdict(pin) for pin in look.pins],
        "policy": asdict(look.model.drift),
        "windows": [window_document(window.slice, window.checks) for window in look.windows],
        "confirmed": [{"column": one.column, "reason": one.reason} for one in look.confirmed],
    }
    return json.dumps(document, sort_keys=True, allow_nan=False).encode()


def window_document(rows: Slice, found: tuple[ColumnDrift, ...] | None) -> dict[str, Any]:
    """One window for JSON; `usable` says whether it was compared."""
    return {
        "since": rows.days.since.isoformat(),
        "until": rows.days.until.isoformat(),
        "rows": rows.rows,
        "usable": found is not None,
        "columns": [{**asdict(check), "drifted": check.drifted} for check in found or ()],
    }


def named(confirmed: Iterable[ColumnDrift]) -> str:
    """The columns and why, as `temp (range), dest (new)`."""
    return ", ".join(f"{one.column} ({one.reason})" for one in confirmed)


def closing(look: Compared) -> str:
    """The answer in one sentence."""
    policy = look.model.drift
    where = f"{policy.needed} of {policy.of} windows before {look.until}"
    subject = f"{look.model.name}: drift from what {look.parent.version} was trained on"
    if not look.confirmed:
        return f"{subject} is not confirmed by {where}"
    return f"{subject} is confirmed by {where}: {named(look.confirmed)}"


def note_incidents(workspace: Workspace, look: Breached | Compared) -> tuple[Incident, ...]:
    """Write each breach down as an incident, once; returns those of this feed that are open.

    A look at the newest rows also takes back what it does not find any more.
    """
    at = workspace.services.clock.now()

    def change(before: ModelFacts) -> ModelFacts:
        return replace(before, incidents=incidents_after(before.incidents, look, at=at))

    after = workspace.facts.update_model(look.model.name, change)
    return tuple(i for i in after.incidents if is_of(i, look.feed))


def incidents_after(
    before: tuple[Incident, ...], look: Breached | Compared, *, at: datetime
) -> tuple[Incident, ...]:
    """The incidents once a look is written down: one a column and rule, worded as first seen."""
    broken = look.breaches if isinstance(look, Breached) else ()
    found = {_key(what): what for what in (incident_text(look.feed, each) for each in broken)}
    kept = [
        incident
        for incident in before
        if _key(incident.what) in found or not (look.newest and is_of(incident, look.feed))
    ]
    known = {_key(incident.what) for incident in kept}
    new = [Incident(what=what, at=at) for key, what in found.items() if key not in known]
    return (*kept, *new)


def incident_text(feed: Feed, breach: Breach) -> str:
    """What an incident says of a breach: the feed, the column, what was expected and found."""
    return f"{_prefix(feed)}{describe(breach)}"


def _prefix(feed: Feed) -> str:
    return f"contract of {feed.uri} broken: "


def is_of(incident: Incident, feed: Feed) -> bool:
    """Whether the incident is a breach of this feed."""
    return incident.what.startswith(_prefix(feed))


def _key(what: str) -> str:
    """What stays the same of a breach from one night to the next: numbers found do not."""
    return what.partition(", found ")[0]


def _compared(
    workspace: Workspace, look: Look, slices: tuple[Slice, ...], pins: tuple[DataFile, ...]
) -> Compared:
    model, policy = look.model, look.model.drift
    spec, record = produced(look.catalog, model.name)
    digest = record.profile or ""
    profile = Profile.from_document(json.loads(workspace.store.evidence(digest)))
    windows = tuple(Window(slice=each, checks=_checks(profile, each, model)) for each in slices)
    if windows[-1].checks is None:
        days = slices[-1].days
        raise CannotAnswer(
            f"{look.feed.uri}: {slices[-1].rows:,} rows from {days.since} to {days.until}, "
            f"{policy.least_rows:,} are needed to judge the latest window (drift.least_rows)",
            hint=f"modelyard drift {model.name} --until DATE looks at an earlier one",
        )
    return Compared(
        **vars(look),
        parent=spec,
        digest=digest,
        profile=profile,
        pins=pins,
        windows=windows,
        confirmed=confirm([w.drifted for w in windows], needed=policy.needed, of=policy.of),
    )


def _checks(profile: Profile, rows: Slice, model: Model) -> tuple[ColumnDrift, ...] | None:
    if rows.rows < model.drift.least_rows:
        return None
    return checks(profile, rows.table, least_rows=model.drift.least_rows)
