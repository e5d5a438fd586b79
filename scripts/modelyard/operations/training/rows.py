"""Reads the rows of pinned files, and refuses what breaks the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.adapters.isolation.removal import scratch_folder
from modelyard.adapters.tables.frames import (
    CLUSTER,
    LABEL,
    clusters_of,
    columns_of,
    finest_time,
    has_whole_targets,
    rows_within,
    with_labels,
)
from modelyard.adapters.tables.parts_check import PartsCheck
from modelyard.adapters.tables.stored_rows import StoredRows, StoredTable
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.adapters.tables.written_rows import Layout, write_rows
from modelyard.domain.specs.contract import Breach, describe_breach
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract, MissingLabels, Model, Task
from modelyard.domain.specs.version import DataFile, ModelVersion
from modelyard.errors import CannotAnswer, Refused, join_first
from modelyard.operations.services import repository_of
from modelyard.operations.training.data_root import data_root

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


_SHOWN = 5


class PinnedRows:
    """The rows of files within some days, read in parts.

    Args:
        files: The files.
        model: The model.
        spans: The days; None for all rows.
        what: What they are, in messages.
    """

    def __init__(
        self,
        files: Sequence[TableFile],
        model: Model,
        spans: Sequence[Interval] | None,
        *,
        what: str,
    ) -> None:
        self.files, self._model, self.what = files, model, what
        self._spans = None if model.data.timestamp is None else spans

    def parts(self) -> Iterator[pd.DataFrame]:
        """The rows in order, with the contract's columns; trainers get no other column."""
        for file in self.files:
            yield from file.parts(spans=self._spans)

    def check(
        self,
        see: Callable[[pd.DataFrame, pd.DataFrame], None] | None = None,
        *,
        whole_files: bool = False,
    ) -> None:
        """Refuse rows that break the contract.

        Args:
            see: Is shown each part of the files, and those of its rows that are within the days,
                until a value does not fit.
            whole_files: Whether the rows of other days must keep the contract too.

        Raises:
            Refused: They break it; or a file does, in what its rows must not be joined with others
                for.
            CannotAnswer: A file is no table.
        """
        check = PartsCheck(self._model.data.columns)
        for file in self.files:
            # File by file: joined with others, a column that one lacks would be full of nulls.
            refuse_breaches(file.breaches, f"{self.what} {file.uri}")
            for part in file.parts():
                within = self._within(part)
                check.add(part if whole_files else within)
                if see is not None and not check.has_misfits:
                    see(part, within)
        spans = None if whole_files else self._spans
        refuse_breaches(check.breaches(lambda name: self._column(name, spans)), self.what)

    def _within(self, part: pd.DataFrame) -> pd.DataFrame:
        if self._spans is None:
            return part
        return rows_within(part, timestamp=self._model.data.timestamp or "", spans=self._spans)

    def _column(self, name: str, spans: Sequence[Interval] | None) -> NDArray[Any]:
        import pandas as pd

        timestamp = self._model.data.timestamp
        only = [name] if timestamp is None else list(dict.fromkeys([name, timestamp]))
        parts = (file.whole(only) for file in self.files)
        if spans is not None:
            parts = (rows_within(part, timestamp=only[-1], spans=spans) for part in parts)
        return columns_of(pd.concat([part[[name]] for part in parts], ignore_index=True))[name]


class LabelledRows:
    """Rows as trainers and models get them: with a label, and held-out ones with a cluster.

    They are looked at once for what must be known of all of them, and written in parts. The file is
    the one of all rows in one frame.

    Args:
        rows: The rows.
        model: The model.
        cluster: The cluster of a held-out set; None for rows to train on.
    """

    def __init__(self, rows: PinnedRows, model: Model, cluster: str | None = None) -> None:
        self._rows, self._model, self._cluster = rows, model, cluster
        self._layout, self._are_whole = Layout(), True
        self._finest: np.datetime64 | None = None
        self._clusters: set[str] = set()
        self._labels: Counter[object] = Counter()
        self._different: set[object] = set()
        self.rows = self.unlabelled = 0

    def check(self, *, whole_files: bool = False) -> None:
        """Refuse rows that break the contract, and look at the others; see `PinnedRows.check`."""
        self._rows.check(self._see, whole_files=whole_files)
        if self._labels:
            self._refuse_strange_labels()
        if self._cluster is not None and len(self._different) == 1 and self.rows > 1:
            raise Refused(
                f"{self._rows.what}: all {self.rows:,} rows have the label "
                f"{next(iter(self._different))}, so no version can be better there than a constant,"
                f" and none can pass: hold out rows with other labels too"
            )

    def _refuse_strange_labels(self) -> None:
        """Raise for labels of no class: no model could be trained or scored on them."""
        import pandas as pd

        found = pd.DataFrame({self._model.target.column: list(self._labels)})
        labels = with_labels(found, self._model, are_whole=self._are_whole)[0][LABEL].tolist()
        rows = dict(zip(labels, self._labels.values(), strict=True))
        classes = self._model.primary.classes
        if strange := [label for label in rows if label not in classes]:
            names = join_first(map(repr, strange), _SHOWN)
            count = sum(rows[label] for label in strange)
            raise Refused(
                f"{self._rows.what}: the labels {names} ({count:,} rows) are no class of"
                f" outputs in model.yaml, which has {', '.join(classes)}"
            )

    def _see(self, part: pd.DataFrame, within: pd.DataFrame) -> None:
        import numpy as np

        # A null anywhere in the files makes another type, also where its row is left out.
        self._layout.see_types(part.drop(columns=[self._model.target.column]))
        self._are_whole = self._are_whole and has_whole_targets(within, self._model)
        frame, unlabelled = with_labels(within, self._model)
        if self._model.task is Task.MULTICLASS and self._model.primary.classes:
            target = self._model.target
            is_left_out = target.missing is MissingLabels.EXCLUDE
            counted = within[target.column].value_counts(dropna=is_left_out)
            self._labels.update(dict(zip(counted.index.tolist(), counted.tolist(), strict=True)))
        self.rows += len(frame)
        self.unlabelled += unlabelled
        if len(self._different) < 2:  # noqa: PLR2004 - more than one is all that is asked
            self._different.update(frame[LABEL].unique()[:2].tolist())
        if self._cluster in frame.columns and frame[self._cluster].dtype.kind == "M":
            times = frame[self._cluster].to_numpy()
            self._finest = finest_time(
                times if self._finest is None else np.append(times, self._finest)
            )
        if self._cluster is not None:
            frame = frame.assign(**{CLUSTER: ""})  # the names themselves are made to be written
        self._layout.see(frame)

    def write(self, path: Path) -> None:
        """Write them as a Parquet file.

        Raises:
            Refused: They have no such cluster.
        """
        write_rows(self._parts(), self._layout.schema(), path)

    def _parts(self) -> Iterator[pd.DataFrame]:
        first = 0
        for part in self._rows.parts():
            frame, _ = with_labels(part, self._model, are_whole=self._are_whole)
            if self._cluster is not None:
                names = clusters_of(frame, self._cluster, first=first, finest=self._finest)
                if self._cluster != "row":
                    self._clusters.update(names)
                frame = frame.assign(**{CLUSTER: names})
            first += len(frame)
            yield frame

    @property
    def clusters(self) -> int:
        """The number of clusters that were written."""
        return self.rows if self._cluster == "row" else len(self._clusters)


def refuse_breaches(found: Sequence[Breach], what: str) -> None:
    """Raise `Refused` if there is a breach."""
    if found:
        reasons = "; ".join(describe_breach(breach) for breach in found)
        raise Refused(f"{what} breaks the contract: {reasons}")


def find_undecided_in(path: Path, model: Model, *, what: str) -> list[str]:
    """What the gate can decide for no version on written held-out rows; see `find_undecided`.

    Raises:
        Refused: A slice cannot be told from the rows.
    """
    from modelyard.domain.gate.reach import find_undecided
    from modelyard.domain.gate.slices import slice_names

    rows = StoredRows(path, name=what)
    names = slice_names(model.gate.slices, model.data.columns, StoredTable(rows))
    labels, clusters = rows.column(LABEL).to_numpy(), rows.column(CLUSTER).to_numpy()
    return [f"{what}: {each}" for each in find_undecided(model.gate, labels, clusters, names)]


def refuse_unusable(
    root: Path, model: Model, spec: ModelVersion | HeldOut, files: Sequence[DataFile]
) -> list[str]:
    """Refuse a spec whose files `fetch` would refuse, before anything of it is written.

    Returns:
        Of a held-out set what its gate can decide for no version; see `find_undecided`.

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
        return []
    if isinstance(spec, ModelVersion):
        what, spans, cluster = "training data", spec.data.spans, None
    else:
        what, spans = f"held-out set {spec.name}", (spec.window,) if spec.window else ()
        cluster = spec.cluster
    with scratch_folder("modelyard-data-") as folder:
        tables = _copied(root, model.data, files, folder)
        _refuse_no_tables(tables, what)
        rows = PinnedRows(tables, model, spans or None, what=what)
        labelled = LabelledRows(rows, model, cluster)
        try:
            labelled.check(whole_files=cluster is None)
        except Refused:
            for table in tables:  # a file that breaks the contract alone is named
                PinnedRows([table], model, None, what=f"{what} {table.uri}").check()
            raise
        if not labelled.rows:
            uris = ", ".join(file.uri for file in files)
            raise Refused(f"{what}: no labelled rows are left of {uris} in the window")
        if cluster is None:
            return []
        labelled.write(folder / "rows.parquet")
        return find_undecided_in(folder / "rows.parquet", model, what=what)


def _copied(
    root: Path, data: DataContract, files: Sequence[DataFile], folder: Path
) -> list[TableFile]:
    place = data_root(root, repository_of(root))
    tables = []
    for number, file in enumerate(files):
        path = folder / f"{number}.pinned"
        place.copy_pinned(file, path)
        tables.append(TableFile(path, uri=file.uri, data=data))
    return tables


def _refuse_no_tables(tables: Sequence[TableFile], what: str) -> None:
    """Refuse files that are no tables, cannot be joined with others, or have no rows."""
    try:
        for table in tables:
            refuse_breaches(table.breaches, f"{what} {table.uri}")
    except CannotAnswer as error:  # its bytes are here, and they are no table
        raise Refused(error.message, hint=error.hint) from error
    for table in tables:
        if not table.rows:
            raise Refused(f"{what} {table.uri} has no rows")
