"""Opens the rows of a feed's windows: they are read in parts, as often as somebody asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol

from modelyard.adapters.tables.frames import WHOLE_COLUMN, columns_of
from modelyard.adapters.tables.parts_check import PartsCheck
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.domain.drift.retraining import FeedFile
from modelyard.domain.specs.column_values import Columns, Table, Values
from modelyard.domain.specs.contract import Breach, find_breaches
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract, Model
from modelyard.domain.specs.version import DataFile
from modelyard.operations.drift.feed import Feed, latest_breaches, windows_before
from modelyard.operations.drift.feed_files import open_feed_file
from modelyard.operations.training.data_root import DataRoot

if TYPE_CHECKING:
    import pandas as pd

    from modelyard.domain.specs.column_values import CodedValues


@dataclass(frozen=True, kw_only=True)
class OpenedWindow:
    """The rows of one window, in the files that reach it.

    Args:
        days: Its days.
        contract: The contract.
        files: The files, open.
    """

    days: Interval
    contract: DataContract
    files: Sequence[TableFile]

    def read(self, names: Sequence[str]) -> Iterator[Columns]:
        """The rows in parts, with these columns of the contract; of files without breaches."""
        for frame, coded in self.frames(names):
            yield {**columns_of(frame), **coded}

    def frames(
        self, names: Sequence[str]
    ) -> Iterator[tuple[pd.DataFrame, Mapping[str, CodedValues]]]:
        """As `read`, with the types that the files give."""
        for file in self.files:
            if file.is_whole:
                yield from file.coded_parts(names, (self.days,))

    def read_whole(self, names: Sequence[str]) -> Table:
        """All rows at once, for what can only be said of a column as a whole."""
        import pandas as pd

        frames = [file.rows_within((self.days,), names) for file in self.files]
        whole = (
            pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(names))
        )
        return columns_of(whole)

    def count_broken(self) -> tuple[int, tuple[Breach, ...]]:
        """The rows in files that lack a column or have one twice, and what is wrong with them."""
        rows, found = 0, []
        for file in self.files:
            if not file.is_whole:
                frame = file.rows_within((self.days,))
                breaches = find_breaches(self.contract.columns, columns_of(frame))
                rows += len(frame)
                found += [b for b in breaches if b.rule in WHOLE_COLUMN] if len(frame) else []
        return rows, latest_breaches(found)


@dataclass(frozen=True, kw_only=True)
class WindowData:
    """What the rows of one window are.

    Args:
        days: Its days.
        rows: The number of rows.
        breaches: The contract's rules that the rows break.
    """

    days: Interval
    rows: int
    breaches: tuple[Breach, ...]

    @property
    def is_whole(self) -> bool:
        """Whether it has rows, and every column of the contract once."""
        return bool(self.rows) and not any(each.rule in WHOLE_COLUMN for each in self.breaches)


class Tally(Protocol):
    """What is made of a window's rows while they are read."""

    def add(self, part: Columns) -> None:
        """Take the next rows."""


@contextmanager
def open_windows(
    model: Model, feed: Feed, data: DataRoot, *, until: date, of: int
) -> Iterator[tuple[tuple[OpenedWindow, ...], tuple[DataFile, ...]]]:
    """The last `of` windows before `until`, oldest first, and the pins of the files they are in.

    Raises:
        CannotAnswer: A file is out of reach, or was written to before the end.
    """
    spans = windows_before(until, days=model.drift.window_days, of=of)
    with ExitStack() as stack:
        files: list[tuple[FeedFile, TableFile]] = []
        pins = []
        for file in feed.files:
            if file.reaches(spans):
                opened = open_feed_file(file.uri, model.data, data)
                table, digest = stack.enter_context(opened)
                files.append((file, table))
                pins.append(DataFile(uri=file.uri, sha256=digest))
        windows = [
            OpenedWindow(
                days=days,
                contract=model.data,
                files=[table for file, table in files if file.reaches((days,))],
            )
            for days in spans
        ]
        yield tuple(windows), tuple(pins)


def read_window(window: OpenedWindow, tallies: Sequence[Tally] = ()) -> WindowData:
    """Read a window once, for its breaches and for tallies.

    Tallies get rows that break the contract too, but none of a file with broken names.
    """
    columns = window.contract.columns
    names = [column.name for column in columns]
    broken_rows, broken = window.count_broken()
    check, rows = PartsCheck(columns), 0
    for frame, coded in window.frames(names):
        check.add(frame, coded)
        part: dict[str, Values] = {**columns_of(frame), **coded}
        for tally in tallies:
            tally.add(part)
        rows += len(frame)
    # Of values nothing is said where names are broken.
    breaches = broken or check.breaches(lambda name: window.read_whole([name])[name])
    return WindowData(days=window.days, rows=rows + broken_rows, breaches=breaches)
