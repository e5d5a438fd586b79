"""Reads a model's feed: the days of its files, and its last windows with their breaches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from modelyard.adapters.tables.frames import columns_of, rows_by_day, rows_within
from modelyard.adapters.tables.parts_check import PartsCheck
from modelyard.adapters.tables.table_files import read_table
from modelyard.domain.drift.feed_faults import Delivery, last_day
from modelyard.domain.drift.retraining import FeedFile
from modelyard.domain.specs.contract import Breach, Column
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract, Model
from modelyard.domain.specs.paths import model_file
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import CannotAnswer
from modelyard.operations.drift.feed_files import open_feed_column
from modelyard.operations.training.data_root import DataRoot
from modelyard.operations.training.pins import expand_uri

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A model's feed.

    Args:
        uri: Its URI, with `*`.
        files: Its files by name, with the days of their rows.
        breaches: Breaches that leave the rows of some files without days.
    """

    uri: str
    files: tuple[FeedFile, ...]
    breaches: tuple[Breach, ...] = ()

    def end(self, today: date) -> date:
        """The day after the newest row that is not of the future.

        Raises:
            CannotAnswer: There is no such row.
        """
        newest = last_day([day for file in self.files for day in file.rows], today)
        if newest is None:
            raise CannotAnswer(f"{self.uri}: no row in {len(self.files)} files until {today}")
        return newest + timedelta(days=1) if newest < date.max else date.max

    def delivery(self, model: Model, today: date) -> Delivery:
        """Its files as they were delivered."""
        rows: Counter[date] = Counter()
        for file in self.files:
            rows.update(file.rows)
        return Delivery(
            timestamp=model.data.timestamp or "",
            rows=rows,
            ends=[max(file.rows) for file in self.files if file.rows],
            today=today,
            late_days=model.drift.late_days,
            window_days=model.drift.window_days,
        )


_WHY = {
    "data.timestamp": "drift compares windows of days, and its rows have none",
    "data.feed": "drift does not know where new data arrives",
}
# The main branch is read, so an edit of the checkout alone changes nothing.
_HINTS = {
    "data.timestamp": "name the column with the time of a row as data.timestamp, by a pull request;"
    " a model whose rows have no time cannot be compared by days",
    "data.feed": "merge it by a pull request: the main branch is read, not this checkout; or give "
    "--feed URI",
}


def find_feed(model: Model, uri: str | None = None) -> tuple[str, str]:
    """Return where the feed of a model is, and the column of its rows' times.

    Raises:
        CannotAnswer: It has none.
    """
    where, timestamp = uri or model.data.feed, model.data.timestamp
    if timestamp is not None and where is not None:
        return where, timestamp
    lacking = "data.timestamp" if timestamp is None else "data.feed"
    raise CannotAnswer(
        f"{model_file(model.name)} of the main branch has no {lacking}: " + _WHY[lacking],
        hint=_HINTS[lacking],
    )


def read_feed(model: Model, uri: str | None, data: DataRoot) -> Feed:
    """The files of a feed with the days of their rows; only one column of Parquet files is read.

    Raises:
        CannotAnswer: There is no feed, its rows have no days, or it is out of reach.
    """
    where, timestamp = find_feed(model, uri)
    column = next(c for c in model.data.columns if c.name == timestamp)
    files: list[FeedFile] = []
    found: list[Breach] = []
    for file in expand_uri(where, data):
        rows, wrong = _rows_in(file, column, model.data, data)
        files.append(FeedFile(uri=file, rows=rows))
        found += wrong
    return Feed(uri=where, files=tuple(files), breaches=latest_breaches(found))


def windows_before(until: date, *, days: int, of: int) -> tuple[Interval, ...]:
    """The last `of` intervals of `days` days before `until`, oldest first."""
    # Days are counted from the first one of the calendar, before which there is none.
    ends = [max(until.toordinal() - number * days, 1) for number in range(of, -1, -1)]
    moments = [date.fromordinal(end) for end in ends]
    return tuple(Interval(since=since, until=end) for since, end in pairwise(moments))


def latest_breaches(found: Iterable[Breach]) -> tuple[Breach, ...]:
    """The last breach of each column, rule and expectation."""
    # What was found differs from file to file, so it is no part of the key.
    return tuple({(b.column, b.rule, b.expected): b for b in found}.values())


def _rows_in(
    uri: str, column: Column, contract: DataContract, data: DataRoot
) -> tuple[Mapping[date, int], tuple[Breach, ...]]:
    """The rows of a file by day, or the breaches that leave them without."""
    rows: Counter[date] = Counter()
    check = PartsCheck([column])
    with open_feed_column(uri, column.name, contract, data) as file:
        if not file.is_whole:
            return {}, tuple(each for each in file.breaches if each.column == column.name)
        for part in file.parts():
            check.add(part)
            if not check.has_misfits:
                rows.update(rows_by_day(part, column.name))
        breaches = check.breaches(lambda name: columns_of(file.whole([name]))[name])
    return ({}, breaches) if breaches else (rows, ())


def training_rows(
    model: Model, spec: ModelVersion, data: DataRoot, names: Sequence[str]
) -> pd.DataFrame:
    """Some columns of a version's training rows, read again.

    Raises:
        CannotAnswer: A file is out of reach.
        Refused: A file does not have the digest that the version pins.
    """
    import pandas as pd

    tables = []
    for pin in spec.data.files:
        # The page must show the rows that trained, not what the file has now.
        content = data.read_pinned(pin, version=spec.version)
        frame = read_table(content, uri=pin.uri, data=model.data)
        if spec.data.window is not None and model.data.timestamp is not None:
            frame = rows_within(frame, timestamp=model.data.timestamp, spans=spec.data.spans)
        tables.append(frame[list(names)])
    return pd.concat(tables, ignore_index=True)
