"""Writes the site: the page of the fleet, and of each model, its versions and its drift."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TypeVar

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.site.folder import SiteFolder
from modelyard.adapters.site.templates import content_policy, render_page
from modelyard.domain.pictures.deliveries import draw_deliveries
from modelyard.domain.pictures.forest import draw_forest, find_intervals
from modelyard.domain.pictures.story import draw_story
from modelyard.domain.promotion.timeline import Event, Kind
from modelyard.domain.promotion.training_workflows import version_order
from modelyard.domain.promotion.world import World
from modelyard.domain.signatures import describe_signer
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.record import Record, describe_not_watched
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import YardError
from modelyard.operations.history import History, read_story
from modelyard.operations.site.canary import Missed, read_canaries
from modelyard.operations.site.drift import read_drift
from modelyard.operations.site.fleet import STATES, WAITING, Fleet, FleetRow, fleet_of, with_unread
from modelyard.operations.site.links import Links
from modelyard.operations.status.report import status_report
from modelyard.operations.status.worlds import collect_worlds
from modelyard.operations.workspace import Workspace

FLEET = ""
"""The group of the first page."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class SiteWritten:
    """What was done.

    Args:
        models: How many models there are.
        renewed: Of how many the pages were made anew.
        is_judging: Whether pages change without anything moving, as requests are counted.
    """

    models: int
    renewed: int
    is_judging: bool


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """The specs of one model, its versions in their order."""

    versions: tuple[ModelVersion, ...] = ()
    records: Mapping[str, Record] = field(default_factory=dict)
    held_out: tuple[HeldOut, ...] = ()


def write_site(workspace: Workspace, out: Path) -> SiteWritten:
    """Write the pages of the main branch, the facts and the open pull requests.

    Pages of a model of which nothing changed, or whose model.yaml cannot be read now, are left as
    they are. The first page comes last, so that every page that it names is there.

    Args:
        workspace: What to read from.
        out: The folder: a new or empty one, or one that this wrote before.

    Raises:
        CannotAnswer: The checkout is shallow, or the folder cannot be written.
        Refused: The folder holds something else.
    """
    folder = SiteFolder.open(out)
    with one_snapshot(), workspace.services.pulls.one_listing():
        collected = collect_worlds(workspace)
        report = status_report(collected)
        worlds = collected.worlds
        catalog = collected.catalog
        unread = [name for name in workspace.models() if name not in catalog.models]
        kept = [name for name in unread if folder.has(name)]
        fleet = with_unread(fleet_of(report, catalog.models), catalog, unread, shown=kept)
        files = _by_model(catalog)
        rows = {row.name: row for row in fleet.rows}
        renewed, logs = 0, workspace.facts.log_objects()
        for world in worlds:
            own, row = files[world.model], rows[world.model]
            key, missed = _key(world, own, row, logs), list[YardError]()
            if not folder.is_current(world.model, key):
                pages = _model_pages(workspace, world, own, row, missed.append)
                folder.write(world.model, key, pages)
                renewed += 1
            if missed:
                folder.keys[world.model] = ""  # made anew next time, with what is in reach then
    now = workspace.services.clock.now()
    page = fleet_page(fleet, Links(repository=workspace.services.repository), now)
    folder.write(FLEET, "", [("index.html", page)])
    folder.finish([FLEET, *(world.model for world in worlds), *kept])
    is_judging = any(map(_is_judged, fleet.rows))
    return SiteWritten(models=len(rows), renewed=renewed, is_judging=is_judging)


def fleet_page(fleet: Fleet, links: Links, now: datetime) -> bytes:
    """The first page."""
    values = {"fleet": fleet, "states": STATES, "links": links, "now": now, "root": ""}
    return render_page("fleet.html.j2", values)


def _by_model(catalog: Catalog) -> Mapping[str, ModelFiles]:
    """Each model's specs, from one walk over those of all."""
    versions, records = _grouped(catalog.versions), _grouped(catalog.records)
    held_out = _grouped(catalog.held_out)
    return {
        name: ModelFiles(
            versions=tuple(
                versions[name][each] for each in sorted(versions[name], key=version_order)
            ),
            records=records[name],
            held_out=tuple(each for _, each in sorted(held_out[name].items())),
        )
        for name in catalog.models
    }


def _grouped(specs: Mapping[tuple[str, str], T]) -> Mapping[str, dict[str, T]]:
    found: dict[str, dict[str, T]] = defaultdict(dict)
    for (model, name), each in specs.items():
        found[model][name] = each
    return found


def _is_judged(row: FleetRow) -> bool:
    return any(cell.kind == WAITING for cell in row.cells)


def _key(world: World, own: ModelFiles, row: FleetRow, logs: Mapping[str, str]) -> str:
    """What the pages of a model are made of; another key where anything of it changed."""
    catalog, closed = world.catalog, [(p.number, p.state) for p in world.closed_pulls]
    log = (path for path in logs if path.startswith("glass/") or f"/{world.model}." in path)
    releases = [world.release(name) for name in sorted(catalog.environments)]
    parts = (
        installed_version("modelyard"),
        content_policy(),
        catalog.models[world.model],
        own,
        row,
        releases,
        sorted(catalog.environments.items()),
        sorted(world.facts.items()),
        world.model_facts,
        closed,
        [(path, logs[path]) for path in sorted(log)],
        world.now if _is_judged(row) else None,  # counts grow, and nothing else tells
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()


def _model_pages(
    workspace: Workspace, world: World, own: ModelFiles, row: FleetRow, missed: Missed
) -> Iterator[tuple[str, bytes]]:
    catalog, name = world.catalog, world.model
    story = read_story(workspace, name)
    links = Links(repository=workspace.services.repository)
    drift = read_drift(workspace.store, own.versions, missed=missed)
    common = {"model": catalog.models[name], "world": world, "own": own, "links": links}
    records = [own.records[each.version] for each in own.versions if each.version in own.records]
    folder = f"models/{name}"
    for spec in own.versions:
        record = own.records.get(spec.version)
        events = [each for each in story.events if spec.version in {each.version, each.rolled_back}]
        values = {
            **common,
            "spec": spec,
            "record": record,
            "signer": _signer(record, catalog.models[name]),
            "not_watched": describe_not_watched(record.not_watched) if record else (),
            "row": row,
            "events": events,
            "children": [each.version for each in own.versions if each.parent == spec.version],
            "approved": _releases(catalog, events),
            "canaries": read_canaries(
                workspace, catalog, name, spec.version, story.events, missed=missed
            ),
            "forests": _forests([record] if record else []),
            "root": "../../../",
        }
        yield f"{folder}/versions/{spec.version}.html", render_page("version.html.j2", values)
    values = {**common, "drift": drift, "root": "../../"}
    yield f"{folder}/drift.html", render_page("drift.html.j2", values)
    values = {
        **common,
        "row": row,
        "story": story,
        "picture": draw_story(story.events, _environments(catalog)),
        "forests": _forests(records),
        "deliveries": _deliveries(catalog, story),
        "root": "../../",
    }
    yield f"{folder}/index.html", render_page("model.html.j2", values)


def _signer(record: Record | None, model: Model) -> str:
    """Who signed the version's artifact, in words; empty if training signed nothing."""
    hint = record.artifact.signed_by if record and record.artifact else None
    return "" if hint is None else describe_signer(hint, model)


def _environments(catalog: Catalog) -> tuple[str, ...]:
    path = [each.name for each in catalog.path_to_production()]
    return tuple(dict.fromkeys((*path, *sorted(catalog.environments))))


def _forests(records: Sequence[Record]) -> tuple[tuple[str, object], ...]:
    """A picture of each kind of comparison: they have no scale in common."""
    found = (
        ("the champion", draw_forest(find_intervals(records, against_baseline=False))),
        ("the best constant", draw_forest(find_intervals(records, against_baseline=True))),
    )
    return tuple((title, picture) for title, picture in found if picture is not None)


def _deliveries(catalog: Catalog, story: History) -> object:
    production = catalog.production.name if catalog.production else ""
    joined = [each.name for each in catalog.environments.values() if each.joins == production]
    return draw_deliveries(story.events, production=production, joined=joined)


def _releases(catalog: Catalog, events: Iterable[Event]) -> tuple[Event, ...]:
    """The releases of a version to environments that ask for approvals."""
    asking = {each.name for each in catalog.environments.values() if each.approvals.needed}
    return tuple(e for e in events if e.kind is Kind.RELEASE and e.environment in asking)
