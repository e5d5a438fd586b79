"""Training rows in the calendar blocks of their windows, as the drift profile reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from modelyard.adapters.tables.frames import columns_of
from modelyard.adapters.tables.stored_rows import StoredRows
from modelyard.domain.drift.profiling.parts import Part, ReadParts
from modelyard.domain.specs.column_values import Array

if TYPE_CHECKING:
    import pandas as pd


def parts_of_rows(rows: StoredRows, timestamp: str | None, window_days: int) -> ReadParts:
    """Rows as the profile reads them, in calendar blocks as long as a window."""
    first = np.datetime64("NaT", "us")
    for frame in rows.parts([timestamp]) if timestamp is not None else ():
        first = np.fmin(first, np.fmin.reduce(_moments(frame, timestamp or "")))

    def read(names: Sequence[str]) -> Iterator[Part]:
        wanted = list(names) if timestamp is None else list(dict.fromkeys([timestamp, *names]))
        for frame, coded in rows.coded_parts(wanted, plain=[timestamp or ""]):
            # Rows without days are one block: their floors are the fixed ones.
            blocks, times = np.zeros(len(frame), dtype=np.int64), None
            if timestamp is not None:
                times = _moments(frame, timestamp)
                days = (times - first).astype("timedelta64[D]").astype(np.int64)
                blocks = np.where(np.isnat(times), 0, days // window_days)
            # Chosen as arrays: a frame of some columns would be a copy of them.
            table = columns_of(frame)
            yield Part(
                table={name: table[name] for name in names if name in table},
                blocks=blocks,
                times=times,
                coded=coded,
            )

    return read


def _moments(frame: pd.DataFrame, timestamp: str) -> Array:
    moments: Array = frame[timestamp].to_numpy().astype("datetime64[us]")
    return moments
