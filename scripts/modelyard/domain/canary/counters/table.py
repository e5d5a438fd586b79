"""All counters of a release at each sample: hundreds of counters, and hundreds of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.traffic import Counts

Key = tuple[str, str]
"""Kind and name of a counter, such as `("requests", "5xx")`."""

Counters = Mapping[Key, float]

CLIENT_ERROR = "4xx"
ASKED, REFUSED = ("refusals", "asked"), ("refusals", "refused")


@dataclass(frozen=True, kw_only=True, eq=False)
class CountSeries:
    """Many counters at each sample; 0 before a counter first has something.

    Args:
        places: The column of each counter, by name.
        values: Shape (samples, counters).
    """

    places: Mapping[str, int] = field(default_factory=dict)
    values: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    def __len__(self) -> int:
        """The number of samples; 0 if there is no counter."""
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same counters, in any order."""
        if not isinstance(other, CountSeries):
            return NotImplemented
        return self.places.keys() == other.places.keys() and all(
            np.array_equal(self.column(name), other.column(name)) for name in self.places
        )

    __hash__ = None  # type: ignore[assignment]  # its arrays may change

    @property
    def last(self) -> dict[str, float]:
        """The counters at the last sample, by name."""
        return dict(zip(self.places, self.values[-1].tolist(), strict=True)) if len(self) else {}

    def column(self, name: str) -> NDArray[np.float64]:
        """One counter at each sample."""
        found: NDArray[np.float64] = self.values[:, self.places[name]]
        return found

    def sum_of(self, names: Sequence[str]) -> list[float]:
        """The sum of these counters at each sample."""
        found: list[float] = self.values[:, [self.places[name] for name in names]].sum(1).tolist()
        return found


@dataclass(frozen=True, kw_only=True)
class CounterTable:
    """Counters of one release at each sample: hundreds of counters, and hundreds of samples.

    Args:
        columns: The column of each counter, by kind and by name.
        values: Shape (samples, counters); 0 for one that is not there.
        known: Shape (samples, counters): whether it is there.
        is_readable: By sample: whether the release is there, and no counter is negative or not
            finite.
    """

    columns: Mapping[str, Mapping[str, int]]
    values: NDArray[np.float64]
    known: NDArray[np.bool_]
    is_readable: tuple[bool, ...]

    def counter(self, key: Key) -> tuple[float, ...]:
        """One counter at each sample."""
        kind, name = key
        place = self.columns[kind].get(name)
        found: list[float] = (
            [0.0] * len(self.values) if place is None else self.values[:, place].tolist()
        )
        return tuple(found)

    def series(self, kind: str) -> tuple[dict[str, float], ...]:
        """The counters of one kind by name, at each sample; no name ever goes away."""
        places = [*self.columns[kind].values()]
        names, rows = [*self.columns[kind]], self.values[:, places].tolist()
        known = self.known[:, places]
        return tuple(
            dict(zip(names, row, strict=True))
            if here.all()
            else {name: row[place] for place, name in enumerate(names) if here[place]}
            for row, here in zip(rows, known, strict=True)
        )

    def from_zero(self, kind: str) -> CountSeries:
        """The same with 0 for a name that comes later; empty if none comes."""
        names = self.last(kind)
        if not names:
            return CountSeries()
        columns = [self.columns[kind][name] for name in names]
        return CountSeries(
            places={name: place for place, name in enumerate(names)},
            values=self.values[:, columns],
        )

    def last(self, kind: str) -> dict[str, float]:
        """The counters of one kind at the last sample, by name."""
        places = self.columns[kind].items()
        if not len(self.values):
            return {}
        row, known = self.values[-1].tolist(), self.known[-1]
        return {name: row[place] for name, place in places if known[place]}

    def histograms(self) -> tuple[tuple[float, ...], ...]:
        """Rows by bin at each sample."""
        names = self.last("predictions")
        places = [self.columns["predictions"][name] for name in names]
        return tuple(map(tuple, self.values[:, places].tolist()))


_MAPPINGS = (
    *("requests", "nulls", "unseen", "pairs", "within", "inputs", "segments", "shadow", "lost"),
)
_SINGLE = {"rows": ("",), "refusals": ("asked", "refused")}


def read_counters(counts: Sequence[Counts | None]) -> CounterTable:
    """All counters of a release."""
    there = [each for each in counts if each is not None]
    names: dict[str, dict[str, None]] = {
        kind: dict.fromkeys(chain.from_iterable(getattr(each, kind) for each in there))
        for kind in _MAPPINGS
    }
    bins = max((len(each.predictions) for each in there), default=0)
    names |= {"predictions": dict.fromkeys(map(str, range(bins)))}
    names |= {kind: dict.fromkeys(single) for kind, single in _SINGLE.items()}
    columns: dict[str, dict[str, int]] = {}
    size = 0
    for kind, found in names.items():
        columns[kind] = {name: size + place for place, name in enumerate(found)}
        size += len(found)
    values = np.zeros((len(counts), size))
    known = np.zeros((len(counts), size), dtype=np.bool_)
    for row, each in enumerate(counts):
        if each is not None:
            _fill(values[row], known[row], each, columns)
    is_sound = [bool(row.all()) for row in np.isfinite(values) & (values >= 0)]
    is_there = [each is not None for each in counts]
    is_readable = tuple(a and b for a, b in zip(is_there, is_sound, strict=True))
    return CounterTable(columns=columns, values=values, known=known, is_readable=is_readable)


def _fill(
    values: NDArray[np.float64],
    known: NDArray[np.bool_],
    counts: Counts,
    columns: Mapping[str, Mapping[str, int]],
) -> None:
    """The row of one sample."""
    for kind in _MAPPINGS:
        found: Mapping[str, float] = getattr(counts, kind)
        places = columns[kind]
        if not found:
            continue
        start, end = next(iter(places.values())), next(iter(places.values())) + len(places)
        # Hundreds of names in hundreds of samples: each is looked up without a line of Python.
        values[start:end] = [*map(found.get, places, repeat(0.0))]
        known[start:end] = len(found) == len(places) or [*map(found.__contains__, places)]
    for kind, row in (("predictions", counts.predictions), ("rows", (counts.rows,))):
        for name, place in zip(columns[kind], row, strict=False):
            values[columns[kind][name]] = place
            known[columns[kind][name]] = True
    if counts.refused is not None:
        # Together, so that no request counts as asked while refusals were not counted.
        answered = sum(n for code, n in counts.requests.items() if code != CLIENT_ERROR)
        for (kind, name), count in (
            (REFUSED, counts.refused),
            (ASKED, counts.refused + answered),
        ):
            values[columns[kind][name]] = count
            known[columns[kind][name]] = True
