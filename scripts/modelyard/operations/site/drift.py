"""What drifted: the evidence of the versions that were made for drift, as weeks by columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelyard.adapters.specs.documents import build_spec
from modelyard.adapters.store.artifacts import Store
from modelyard.domain.specs.record import UnwatchedMeasure, describe_not_watched
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import YardError

_ONLY_REASON = "the calendar alone moves it nearly as far as the measure can show"
"""Why a column was not watched in evidence of before reasons were kept."""

_STEPS = (0.25, 0.5, 1.0, 2.0)
"""Where the colour of a cell changes, in units of the floor."""


@dataclass(frozen=True, kw_only=True)
class DriftCell:
    """One check of one window.

    Args:
        effect: The effect.
        floor: The least effect that counts.
        drifted: Whether it reached the floor and is not chance.
    """

    effect: float
    floor: float
    drifted: bool

    @property
    def ratio(self) -> float:
        """The effect in units of its floor."""
        return self.effect / self.floor

    @property
    def heat(self) -> int:
        """How strong the cell's colour is, 0 to 4."""
        return sum(self.ratio >= step for step in _STEPS)


@dataclass(frozen=True, kw_only=True)
class DriftRow:
    """One column, checked for one reason by one measure, in every window."""

    column: str
    reason: str
    measure: str
    cells: tuple[DriftCell | None, ...]


@dataclass(frozen=True, kw_only=True)
class DriftTable:
    """One evidence of drift.

    Args:
        version: The version that was made for it.
        parent: The version whose training data it was compared with.
        feed: The feed.
        windows: First day and rows of each window.
        rows: The checks, those that drifted most first.
        confirmed: What was confirmed.
        quality: The quality on new labels in a sentence; None where it was not watched.
        not_watched: What is not watched, each with its reason.
        seasonal: The columns that were compared with their own season.
        unread: Why the evidence cannot be shown; None if it can.
    """

    version: str
    parent: str = ""
    feed: str = ""
    windows: tuple[tuple[str, int], ...] = ()
    rows: tuple[DriftRow, ...] = ()
    confirmed: tuple[str, ...] = ()
    quality: str | None = None
    not_watched: tuple[str, ...] = ()
    seasonal: tuple[str, ...] = ()
    unread: str | None = None


def read_drift(
    store: Store, versions: Iterable[ModelVersion], *, missed: Callable[[YardError], None]
) -> tuple[DriftTable, ...]:
    """The evidence of every version that was made for drift, the newest version first.

    Args:
        store: Where the evidence is.
        versions: The versions of a model.
        missed: Called with what is out of reach; its table says so.
    """
    made = [spec for spec in versions if spec.evidence is not None]
    return tuple(_read(store, spec, missed) for spec in reversed(made))


def _read(store: Store, spec: ModelVersion, missed: Callable[[YardError], None]) -> DriftTable:
    try:
        return drift_table(spec.version, json.loads(store.read_evidence(spec.evidence or "")))
    except YardError as error:
        missed(error)
        return DriftTable(version=spec.version, unread=error.message)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        unread = f"the evidence is of another format ({type(error).__name__})"
        return DriftTable(version=spec.version, unread=unread)


def drift_table(version: str, evidence: Mapping[str, Any]) -> DriftTable:
    """The table of one evidence document; `KeyError` or the like for another format."""
    windows = evidence["windows"]
    found: dict[tuple[str, str, str], dict[int, DriftCell]] = {}
    for number, window in enumerate(windows):
        for check in window["columns"]:
            key = (str(check["column"]), str(check["reason"]), str(check["measure"]))
            floor = float(check["floor"])
            cell = DriftCell(
                effect=float(check["effect"]), floor=floor, drifted=bool(check["drifted"])
            )
            if floor > 0:
                found.setdefault(key, {})[number] = cell
    rows = [
        DriftRow(
            column=column,
            reason=reason,
            measure=measure,
            cells=tuple(cells.get(number) for number in range(len(windows))),
        )
        for (column, reason, measure), cells in found.items()
    ]
    rows.sort(key=lambda row: -max(cell.ratio for cell in row.cells if cell is not None))
    return DriftTable(
        version=version,
        parent=str(evidence["version"]),
        feed=str(evidence["feed"]),
        windows=tuple((str(each["since"]), int(each["rows"])) for each in windows),
        rows=tuple(rows),
        confirmed=tuple(_confirmed(evidence["confirmed"])),
        quality=_quality(evidence.get("quality")),
        not_watched=describe_not_watched(
            [
                build_spec(UnwatchedMeasure, {"why": _ONLY_REASON, **each})
                for each in evidence.get("not_watched", ())
            ]
        ),
        seasonal=tuple(map(str, evidence.get("seasonal", ()))),
    )


def _confirmed(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for each in found:
        yield f"{each['column']} ({each['reason']})"


def _quality(found: Mapping[str, Any] | None) -> str | None:
    if not found:
        return None
    if not found.get("watched"):
        return f"not watched: {found.get('why', 'no reason was recorded')}"
    return "worse than at training" if found.get("drifted") else "as at training"
