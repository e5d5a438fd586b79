"""Reads the rows of pinned files, and refuses what breaks the contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.adapters.store.table_files import read_table
from modelyard.adapters.store.tables import (
    clusters_of,
    columns_of,
    file_breaches,
    rows_within,
    with_labels,
)
from modelyard.domain.specs.contract import Breach, describe_breach, find_breaches
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract, Model
from modelyard.domain.specs.version import DataFile, ModelVersion
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.services import repository_of
from modelyard.operations.training.data_root import data_root

if TYPE_CHECKING:
    import pandas as pd

Known = dict[DataFile, "pd.DataFrame"]
"""The rows of files that were read already."""


def read_rows(
    files: Sequence[DataFile],
    read: Callable[[DataFile], bytes],
    data: DataContract,
    known: Known,
    what: str,
) -> pd.DataFrame:
    """The contract's columns of the files' rows; trainers get no other column.

    Raises:
        Refused: A file breaks the contract in what its rows must not be joined with others for.
        CannotAnswer: A file is no table.
    """
    import pandas as pd

    names = [column.name for column in data.columns]
    for file in files:
        if file not in known:
            frame = read_table(read(file), uri=file.uri, data=data)
            # File by file: joined with others, a column that one lacks would be full of nulls.
            refuse_breaches(file_breaches(frame, data), f"{what} {file.uri}")
            known[file] = frame[names]
    return pd.concat([known[file] for file in files], ignore_index=True)


def refuse_breaches(found: Sequence[Breach], what: str) -> None:
    """Raise `Refused` if there is a breach."""
    if found:
        reasons = "; ".join(describe_breach(breach) for breach in found)
        raise Refused(f"{what} breaks the contract: {reasons}")


def refuse_unusable(
    root: Path, model: Model, spec: ModelVersion | HeldOut, files: Sequence[DataFile]
) -> None:
    """Refuse a spec whose files `fetch` would refuse, before anything of it is written.

    Args:
        root: The checkout's root.
        model: The model.
        spec: The version, or the held-out set.
        files: Those of its files to look into.

    Raises:
        Refused: A file is no table, breaks the contract, or leaves no labelled row.
        CannotAnswer: A file is out of reach.
    """
    if not files:
        return
    known: Known = {}
    if isinstance(spec, ModelVersion):
        what, spans = "training data", spec.data.spans
    else:
        what, spans = f"held-out set {spec.name}", (spec.window,) if spec.window else ()
    rows = _read_tables(root, model.data, files, known, what)
    within = _within(rows, model.data, spans)
    _refuse_by_file(
        model.data, rows if isinstance(spec, ModelVersion) else within, files, known, what
    )
    labelled, _ = with_labels(within, model)
    if labelled.empty:
        uris = ", ".join(file.uri for file in files)
        raise Refused(f"{what}: no labelled rows are left of {uris} in the window")
    if isinstance(spec, HeldOut):
        clusters_of(labelled, spec.cluster)


def _read_tables(
    root: Path, data: DataContract, files: Sequence[DataFile], known: Known, what: str
) -> pd.DataFrame:
    """The rows of files; one that is no table, or has no rows, is refused."""
    place = data_root(root, repository_of(root))
    contents = {file: place.read_pinned(file) for file in files}
    try:
        rows = read_rows(files, contents.__getitem__, data, known, what)
    except CannotAnswer as error:  # its bytes are here, and they are no table
        raise Refused(error.message, hint=error.hint) from error
    for file in files:
        if known[file].empty:
            raise Refused(f"{what} {file.uri} has no rows")
    return rows


def _within(rows: pd.DataFrame, data: DataContract, spans: Sequence[Interval]) -> pd.DataFrame:
    if not spans or data.timestamp is None:
        return rows
    return rows_within(rows, timestamp=data.timestamp, spans=spans)


def _refuse_by_file(
    data: DataContract, rows: pd.DataFrame, files: Sequence[DataFile], known: Known, what: str
) -> None:
    """Refuse rows that break the contract, by the files that do so alone where there are any."""
    found = find_breaches(data.columns, columns_of(rows))
    if not found:
        return
    for file in files:
        refuse_breaches(find_breaches(data.columns, columns_of(known[file])), f"{what} {file.uri}")
    refuse_breaches(found, what)
