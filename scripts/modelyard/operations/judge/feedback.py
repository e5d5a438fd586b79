"""Labels that arrive later: joins them to logged rows by request, and keeps each delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelyard.adapters.tables.frames import LABEL, with_labels
from modelyard.adapters.tables.table_files import read_table
from modelyard.domain.proposal.separator import commas_hint, find_separator
from modelyard.domain.specs.column_values import Unread
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import DataContract, Model, Task
from modelyard.errors import CannotAnswer, Refused, join_first
from modelyard.operations.judge.deliveries import (
    LOGGED,
    REQUEST,
    ROW,
    delivering,
    read_deliveries,
    write_delivery,
)
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

_KEY = [REQUEST, ROW]
_KNOWN = "delivered before"
_SHOWN = 3
_REPEATED = "several logged rows have this request and row"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Labels that were left out.

    Args:
        why: The reason.
        labels: How many.
        example: One of them, as `request` or `request row N`.
    """

    why: str
    labels: int
    example: str


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What came of one file of labels.

    Args:
        labels: Labels in the file.
        rows: The joined rows, by version.
        faults: Labels that were left out, by why.
    """

    labels: int
    rows: dict[str, int]
    faults: tuple[Fault, ...]

    @property
    def has_known(self) -> bool:
        """Whether a label of the file is kept, by this delivery or by an earlier one."""
        return bool(self.rows) or any(fault.why == _KNOWN for fault in self.faults)


def deliver_labels(
    workspace: Workspace,
    name: str,
    path: Path,
    *,
    payloads: Sequence[Path] = (),
    keep: bool = True,
) -> Delivery:
    """Join the labels of a file to the logged rows of a model, and keep what is new.

    A label is kept once: the same one again changes nothing, and another one for the same row is
    left out. Labels of releases that run no more are kept too, for drift.

    Args:
        workspace: What to work with.
        name: The model's name.
        path: Parquet or CSV with `request`, the target's column, and `row` where requests have more
            than one row.
        payloads: Folders of payload logs; by default those of this machine's servers.
        keep: Whether the delivery is written.

    Raises:
        CannotAnswer: The file or a log cannot be read, or no row is logged.
        Refused: The file lacks a column, or a value is of another type.
    """
    model = workspace.catalog(workspace.main()).require_model(name)
    labels = _read_labels(path, model)
    total, faults = len(labels), list[Fault]()
    labels = _once(labels, model, faults)
    folders = list(payloads) or sorted(_payloads(workspace).glob(f"*/{name}"))
    with delivering(workspace, name) as folder:
        labels = _unknown_yet(labels, read_deliveries(workspace, name), faults)
        rows = dict[str, int]()
        if len(labels):  # the logs of labels that are known may be gone
            joined = _joined(labels, folders, name, faults)
            versions = joined["version"].value_counts().sort_index()
            rows = {str(version): int(n) for version, n in versions.items()}
            if keep and len(joined):
                write_delivery(folder, joined)
    return Delivery(labels=total, rows=rows, faults=tuple(faults))


def _joined(
    labels: pd.DataFrame, folders: Sequence[Path], name: str, faults: list[Fault]
) -> pd.DataFrame:
    """The labels beside the one logged row that each is of."""
    logged = _logged(folders, labels[REQUEST].unique().tolist(), name)
    repeated = logged.duplicated(_KEY, keep=False)
    clear = logged[~repeated]
    labels = _without(labels, logged[repeated], _REPEATED, faults)
    labels = _within(labels, clear, "no logged row has this request and row", faults)
    return labels.merge(clear, on=_KEY)


def _read_labels(path: Path, model: Model) -> pd.DataFrame:
    target = next(each for each in model.data.columns if each.name == model.target.column)
    columns = (
        Column(name=REQUEST, type="category"),
        Column(name=ROW, type="integer", nullable=True),
        target,
    )
    contract = DataContract(
        columns=columns,
        timezone=model.data.timezone,
        missing=model.data.missing,
        max_unpacked_megabytes=model.data.max_unpacked_megabytes,
    )
    try:
        frame = read_table(path.read_bytes(), uri=str(path), data=contract)
    except OSError as error:
        raise CannotAnswer(f"{path}: {error.strerror}") from error
    for name in (REQUEST, target.name):
        if name not in frame.columns:
            found = ", ".join(map(str, frame.columns[:_SHOWN])) or "none"
            raise Refused(
                f"{path}: column {name} is missing; found {found}",
                hint=commas_hint(separator)
                if len(frame.columns) == 1 and (separator := find_separator(found))
                else f"write {REQUEST}, {target.name}, and {ROW} for requests of several rows",
            )
    frame = frame.assign(**{} if ROW in frame.columns else {ROW: 0})
    for name in (REQUEST, ROW, target.name):
        strays = [value.found for value in frame[name].tolist() if isinstance(value, Unread)]
        if strays:
            raise Refused(f"{path}: {name}: found {join_first(strays, _SHOWN, between='; ')}")
    return frame[[REQUEST, ROW, target.name]].assign(**{ROW: frame[ROW].fillna(0).astype("int64")})


def _once(labels: pd.DataFrame, model: Model, faults: list[Fault]) -> pd.DataFrame:
    """Each row's label, once; a row with two different ones has none."""
    labels = _drop(labels, labels[REQUEST].isna(), "without a request id", faults)
    before = labels
    labels = with_labels(labels, model)[0]
    gone = before[before[model.target.column].isna()] if len(labels) < len(before) else before[:0]
    _count(gone, "without a label", faults)
    if model.task is Task.MULTICLASS:  # one kept would leave no label judged any more
        strays = ~labels[LABEL].isin(model.primary.classes)
        labels = _drop(labels, strays, "of no class of the model", faults)
    labels = _drop(labels, labels.duplicated([*_KEY, LABEL]), "twice in the file", faults)
    return _drop(
        labels, labels.duplicated(_KEY, keep=False), "in the file with different labels", faults
    )


def _unknown_yet(labels: pd.DataFrame, known: pd.DataFrame, faults: list[Fault]) -> pd.DataFrame:
    if known.empty or labels.empty:
        return labels
    before = known.set_index(_KEY)[LABEL]
    keys = labels.set_index(_KEY).index
    earlier = before.reindex(keys)
    is_known = keys.isin(before.index)
    same = is_known & (earlier.to_numpy() == labels[LABEL].to_numpy())
    _count(labels[same], _KNOWN, faults)
    _count(labels[is_known & ~same], "delivered before with another label, which stays", faults)
    return labels[~is_known]


def _logged(folders: Sequence[Path], requests: list[str], name: str) -> pd.DataFrame:
    """The rows of these requests that were answered, with the prediction as a list."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    parts = [str(part) for folder in folders for part in sorted(folder.glob("*.parquet"))]
    if not parts:
        where = ", ".join(map(str, folders)) or "this machine's servers"
        raise CannotAnswer(
            f"{name}: no payload log in {where}",
            hint="name the folders of the logs with --payloads",
        )
    wanted = pc.field(REQUEST).isin(pa.array(requests, pa.string())) & (
        pc.field("status") == HTTPStatus.OK
    )
    try:
        table = ds.dataset(parts).to_table(columns=list(LOGGED), filter=wanted)
    except (OSError, pa.ArrowException) as error:
        raise CannotAnswer(
            f"{name}: a part of the payload log cannot be read: {error}",
            hint="move a damaged part to another folder, and run it again: only its rows are lost",
        ) from error
    frame: pd.DataFrame = table.to_pandas()
    frame["prediction"] = [np.atleast_1d(each).tolist() for each in frame["prediction"]]
    return frame.assign(**{ROW: frame[ROW].astype("int64")})


def _without(
    labels: pd.DataFrame, others: pd.DataFrame, why: str, faults: list[Fault]
) -> pd.DataFrame:
    """The labels of rows that are not among the others."""
    keys = others.set_index(_KEY).index
    return _drop(labels, labels.set_index(_KEY).index.isin(keys), why, faults)


def _within(
    labels: pd.DataFrame, rows: pd.DataFrame, why: str, faults: list[Fault]
) -> pd.DataFrame:
    keys = rows.set_index(_KEY).index
    return _drop(labels, ~labels.set_index(_KEY).index.isin(keys), why, faults)


def _drop(labels: pd.DataFrame, which: Any, why: str, faults: list[Fault]) -> pd.DataFrame:
    _count(labels[which], why, faults)
    kept: pd.DataFrame = labels[~which]
    return kept


def _count(gone: pd.DataFrame, why: str, faults: list[Fault]) -> None:
    if len(gone):
        request, row = gone.iloc[0][REQUEST], gone.iloc[0][ROW]
        example = f"{request} row {row}" if row else f"{request}"
        if request is None or request != request:  # noqa: PLR0124 - pandas' null
            example = f"row {gone.index[0]} of the file"
        faults.append(Fault(why=why, labels=len(gone), example=example))


def _payloads(workspace: Workspace) -> Path:
    services = workspace.services
    return services.root / services.repository.state / "payloads"
