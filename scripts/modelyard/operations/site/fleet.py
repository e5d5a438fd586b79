"""The first page: every model in every environment, and what needs somebody."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import model_file

OK, WAITING, BAD, NOTHING = "good", "warn", "bad", "none"
STATES: Mapping[str, str] = {
    OK: "verified",
    WAITING: "on its way",
    BAD: "bad",
    NOTHING: "no release",
}
"""What the kinds of cells are called; the filter offers them."""

_BAD = ("judged fail", "aborted", "no release, unreviewed", "not ready: ")


@dataclass(frozen=True, kw_only=True)
class FleetCell:
    """One model in one environment.

    Args:
        environment: The environment.
        version: The version there; None if there is none.
        kind: A key of `STATES`.
        state: The state in a sentence, as `modelyard status` has it.
        since: When it began, in ISO 8601; None if the facts do not show it.
        command: The command that goes on with it.
    """

    environment: str
    version: str | None
    kind: str
    state: str
    since: str | None
    command: str | None


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """An open pull request, and what it waits for."""

    number: int
    title: str
    waits_for: tuple[str, ...]
    command: str | None


@dataclass(frozen=True, kw_only=True)
class FleetRow:
    """One model; `has_pages` is false if there are none of it."""

    name: str
    team: str
    cells: tuple[FleetCell, ...]
    waiting: tuple[Waiting, ...] = ()
    holds: int = 0
    incidents: int = 0
    has_pages: bool = True

    @property
    def kinds(self) -> str:
        """What the filter finds it by."""
        extra = [name for name, count in self._extra() if count]
        return " ".join(dict.fromkeys([*(cell.kind for cell in self.cells), *extra]))

    def _extra(self) -> Iterator[tuple[str, int]]:
        yield "waiting", len(self.waiting)
        yield "held", self.holds
        yield "incident", self.incidents


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The first page."""

    commit: str
    problems: int
    environments: tuple[str, ...]
    rows: tuple[FleetRow, ...]
    freezes: tuple[Mapping[str, Any], ...]
    incidents: tuple[Mapping[str, Any], ...]
    others: tuple[Waiting, ...]

    @property
    def teams(self) -> tuple[str, ...]:
        """Every team, by name."""
        return tuple(sorted({row.team for row in self.rows if row.team}))


def fleet_of(report: Mapping[str, Any], models: Mapping[str, Model]) -> Fleet:
    """The fleet as a document of schemas/output/status.schema.json tells it."""
    cells: dict[str, list[FleetCell]] = defaultdict(list)
    for each in report["releases"]:
        cells[each["model"]].append(_cell(each))
    waiting: dict[str | None, list[Waiting]] = defaultdict(list)
    for pull in report["pulls"]:
        branch = parse_branch(pull["branch"])
        waiting[branch.model if branch else None].append(_waiting(pull))
    retired = {each["model"] for each in report["retired"]}
    told = [each for each in report["incidents"] if each["model"] not in retired]
    holds = Counter(each["model"] for each in report["holds"] if each["model"] not in retired)
    incidents = Counter(each["model"] for each in told)
    environments = dict.fromkeys(cell.environment for row in cells.values() for cell in row)
    return Fleet(
        commit=report["commit"],
        problems=report["problems"],
        environments=tuple(environments),
        rows=tuple(
            FleetRow(
                name=name,
                team=models[name].owner.team if name in models else "",
                cells=tuple(map(_retired_cell, row)) if name in retired else tuple(row),
                waiting=tuple(waiting.get(name, ())),
                holds=holds[name],
                incidents=incidents[name],
            )
            for name, row in sorted(cells.items())
        ),
        freezes=tuple(report["freezes"]),
        incidents=tuple(sorted(told, key=lambda each: each["at"], reverse=True)),
        others=tuple(waiting.get(None, ())),
    )


def with_unread(
    fleet: Fleet, catalog: Catalog, unread: Iterable[str], *, shown: Collection[str]
) -> Fleet:
    """The fleet with the models whose model.yaml cannot be read: their releases run all the same.

    Args:
        fleet: The fleet of the others.
        catalog: The specs that can be read.
        unread: The names of these models.
        shown: Those that have pages of an earlier time.
    """
    environments = fleet.environments or tuple(sorted(catalog.environments))
    more = [
        FleetRow(
            name=name,
            team="",
            cells=tuple(_unread_cell(catalog, name, each) for each in environments),
            has_pages=name in shown,
        )
        for name in unread
    ]
    rows = sorted([*fleet.rows, *more], key=lambda row: row.name)
    return replace(fleet, environments=environments, rows=tuple(rows))


def _unread_cell(catalog: Catalog, model: str, environment: str) -> FleetCell:
    release = catalog.releases.get((environment, model))
    what = f"{model_file(model)} cannot be read"
    return FleetCell(
        environment=environment,
        version=None,  # its page may not be there
        kind=BAD,
        state=f"{release.version}: {what}" if release is not None else what,
        since=None,
        command="modelyard validate",
    )


def _cell(release: Mapping[str, Any]) -> FleetCell:
    return FleetCell(
        environment=release["environment"],
        version=release["version"],
        kind=_kind(release),
        state=release["state"],
        since=release["since"],
        command=release["next"],
    )


def _retired_cell(cell: FleetCell) -> FleetCell:
    return replace(cell, state="no release: the model is retired")


def _kind(release: Mapping[str, Any]) -> str:
    if release["verified"]:
        return OK
    if str(release["state"]).startswith(_BAD):
        return BAD
    return NOTHING if release["version"] is None else WAITING


def _waiting(pull: Mapping[str, Any]) -> Waiting:
    return Waiting(
        number=pull["number"],
        title=pull["title"],
        waits_for=tuple(pull["waits_for"]),
        command=pull["next"],
    )
