"""The DORA measures of a model, computed from its timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median

from modelyard.domain.promotion.timeline import Event, Kind
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.verdict import Outcome

RETIRED_WITHIN = timedelta(days=7)
"""For a model to leave every environment. A removal is merged at once, so a retirement takes
minutes; what stays for longer was not given up when the first release was taken out."""


@dataclass(frozen=True, kw_only=True)
class Lead:
    """The lead time of one version.

    Args:
        version: The version.
        merged_at: When its spec was merged.
        outcome: Its record's verdict, once it has one.
        production_at: When it was first verified in production.
        counted_from: When its lead time begins, if not with the merge: a spec that came with the
            history of another repository could be delivered only once this one was in use.
    """

    version: str
    merged_at: datetime
    outcome: Outcome | None = None
    production_at: datetime | None = None
    counted_from: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """From the merge to production. Git dates commits and refs to the second."""
        if self.production_at is None:
            return None
        return (self.production_at - (self.counted_from or self.merged_at)).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One `fail` of the judge, and the time until Git and the servers agreed again.

    Args:
        environment: Where.
        version: The version that was judged bad.
        failed_at: When the judge failed it.
        restored: The version that was restored, once its servers are healthy.
        agreed_at: When they became healthy.
    """

    environment: str
    version: str | None
    failed_at: datetime
    restored: str | None = None
    agreed_at: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """From the verdict to the agreement."""
        if self.agreed_at is None:
            return None
        return (self.agreed_at - self.failed_at).total_seconds()


@dataclass(frozen=True, kw_only=True)
class DoraMeasures:
    """The four DORA measures of a model: lead time, frequency, failures and recovery.

    Args:
        leads: The lead time of every version, in the order of the merges.
        releases_to_production: How many merges released to production, rollbacks left out.
        exposed: Versions released to production or an environment that joins it, in order.
        rolled_back: The exposed versions that were rolled back there; retirements left out.
        agreements: Every `fail` of the judge, oldest first.
    """

    leads: tuple[Lead, ...]
    releases_to_production: int
    exposed: tuple[str, ...]
    rolled_back: tuple[str, ...]
    agreements: tuple[Agreement, ...]

    @property
    def lead_time_median(self) -> float | None:
        """Median seconds to production; None if no version reached it."""
        known = [lead.seconds for lead in self.leads if lead.seconds is not None]
        return median(known) if known else None

    @property
    def rolled_back_share(self) -> float | None:
        """Share of the exposed versions that were rolled back, 0 to 1; None without any."""
        return len(self.rolled_back) / len(self.exposed) if self.exposed else None


def dora_measures(
    events: tuple[Event, ...], catalog: Catalog, *, began: datetime | None = None
) -> DoraMeasures:
    """The measures of a timeline.

    Args:
        events: The timeline, in order.
        catalog: Has the environments, of which production and those that join it count.
        began: When this repository was first used: a spec from before came with its history, and
            its lead time begins here.
    """
    # Users meet a version in production and in what joins it, so it can fail them in both.
    production = catalog.production.name if catalog.production else ""
    facing = {e.name for e in catalog.environments.values() if e.joins == production}
    there = [e for e in events if e.environment in {production, *facing}]
    exposed = _in_order(e.version for e in there if e.kind is Kind.RELEASE)
    retired = find_retirements(events)
    gone = {e.rolled_back for e in there if e.kind is Kind.ROLLBACK and e not in retired}
    return DoraMeasures(
        leads=tuple(_leads(events, production, began)),
        releases_to_production=sum(
            e.kind is Kind.RELEASE and e.environment == production for e in events
        ),
        exposed=exposed,
        rolled_back=tuple(version for version in exposed if version in gone),
        agreements=find_agreements(events),
    )


def find_agreements(events: Iterable[Event]) -> tuple[Agreement, ...]:
    """Every `fail` of the judge, and when the restored release was healthy.

    Whether a rollback happened is taken from the main branch, and when from the facts alone: the
    events of one environment are in order, and the clocks of Git and the watcher may differ.
    """
    known = tuple(events)
    back = {(e.environment, e.rolled_back, e.version) for e in known if e.kind is Kind.ROLLBACK}
    over: list[Agreement] = []
    newest: dict[str, Agreement] = {}
    for event in known:
        where = event.environment or ""
        if event.kind is Kind.JUDGED and event.outcome is Outcome.FAIL:
            # The next `fail` ends the search: a restored release may be bad as well.
            over += [newest.pop(where)] if where in newest else []
            newest[where] = Agreement(environment=where, version=event.version, failed_at=event.at)
        elif where in newest and (where, newest[where].version, event.version) in back:
            newest[where] = _followed(newest[where], event)
    return tuple(sorted((*over, *newest.values()), key=lambda each: each.failed_at))


def find_retirements(events: Iterable[Event]) -> tuple[Event, ...]:
    """The removals by which a model left every environment, of releases that nothing had failed.

    A person then took the whole model out: that is the end of a delivery, and no failure of one.
    Nothing in Git says so but the removals themselves, so they belong together by their times.
    """
    pinned: set[str | None] = set()
    bad: set[tuple[str | None, str | None]] = set()
    removed: list[Event] = []
    retired: list[Event] = []
    for event in events:
        if event.kind is Kind.ABORTED or event.outcome is Outcome.FAIL:
            bad.add((event.environment, event.version))
        elif event.kind is Kind.ROLLBACK and event.version is None:
            pinned.discard(event.environment)
            removed += [] if (event.environment, event.rolled_back) in bad else [event]
            if not pinned:
                retired += [each for each in removed if event.at - each.at <= RETIRED_WITHIN]
                removed = []
        elif event.kind in {Kind.RELEASE, Kind.ROLLBACK}:
            pinned.add(event.environment)
            removed = []
    return tuple(retired)


def _followed(agreement: Agreement, event: Event) -> Agreement:
    if agreement.agreed_at is not None or event.kind is not Kind.HEALTHY:
        return agreement
    return replace(agreement, restored=event.version, agreed_at=event.at)


def _leads(events: tuple[Event, ...], production: str, began: datetime | None) -> Iterator[Lead]:
    merged = _first(events, Kind.SPEC)
    recorded = _first(events, Kind.RECORD)
    arrived = _first((e for e in events if e.environment == production), Kind.VERIFIED)
    for version, event in merged.items():
        yield Lead(
            version=version,
            merged_at=event.at,
            outcome=recorded[version].outcome if version in recorded else None,
            production_at=arrived[version].at if version in arrived else None,
            counted_from=began if began is not None and event.at < began else None,
        )


def _first(events: Iterable[Event], kind: Kind) -> dict[str, Event]:
    """Each version's first event of a kind, in order."""
    found: dict[str, Event] = {}
    for event in events:
        if event.kind is kind and event.version is not None:
            # A version that comes back after a rollback keeps its first lead time.
            found.setdefault(event.version, event)
    return found


def _in_order(versions: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(version for version in versions if version is not None))
