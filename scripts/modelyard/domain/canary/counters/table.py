"""All counters of a release at each sample: hundreds of counters, and hundreds of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.canary.traffic import Counts

Key = tuple[str, str]
"""Kind and name of a counter, such as `("requests", "5xx")`."""

Counters = Mapping[Key, float]

CLIENT_ERROR = "4xx"
ASKED, REFUSED = ("refusals", "asked"), ("refusals", "refused")

MOST_COUNTED = 2.0**50
"""A million a second for 35 years. A greater counter is broken, and sums of some are not exact."""

MOST_MEASURED = 1e30
"""The same for measures of pairs of rows: squares of large requests, which only need be finite."""


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

    def columns(self, places: list[int]) -> NDArray[np.float64]:
        """Counters by their columns at each sample; not a copy where these follow each other."""
        return _columns_of(self.values, places)

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
        is_readable: By sample: whether the release is there, and no counter is negative, no number
            or beyond `MOST_COUNTED`.
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
        return CountSeries(
            places={name: place for place, name in enumerate(names)},
            # Most often all of a kind.
            values=_columns_of(self.values, [self.columns[kind][name] for name in names]),
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
_SINGLE = {"rows": ("",), "refusals": (ASKED[1], REFUSED[1])}


def read_counters(counts: Sequence[Counts | None]) -> CounterTable:
    """All counters of a release."""
    rows = [row for row, each in enumerate(counts) if each is not None]
    there = [each for each in counts if each is not None]
    found: dict[str, Sequence[Mapping[str, float]]] = {
        kind: [getattr(each, kind) for each in there] for kind in _MAPPINGS
    }
    found["predictions"] = [_by_place(each.predictions) for each in there]
    found["rows"] = [{"": each.rows} for each in there]
    found["refusals"] = [_refusals(each) for each in there]
    listed = {kind: _list_names(each) for kind, each in found.items()}
    names = {kind: _names_of(each, _SINGLE.get(kind, ())) for kind, each in listed.items()}
    size, columns = 0, dict[str, dict[str, int]]()
    for kind, each in names.items():
        columns[kind] = {name: size + place for place, name in enumerate(each)}
        size += len(each)
    values = np.zeros((len(counts), size))
    known = np.zeros((len(counts), size), dtype=np.bool_)
    for kind, each in names.items():
        if each:
            part = slice(columns[kind][each[0]], columns[kind][each[-1]] + 1)
            filled = values[:, part], known[:, part]
            _fill(*filled, [*zip(rows, found[kind], listed[kind], strict=True)], each)
    most = np.full(size, MOST_COUNTED)
    most[[*columns["pairs"].values()]] = MOST_MEASURED
    is_readable = ((values >= 0) & (values <= most)).all(axis=1)  # a NaN is neither
    is_readable &= np.isin(np.arange(len(counts)), rows)
    return CounterTable(
        columns=columns, values=values, known=known, is_readable=tuple(is_readable.tolist())
    )


def _list_names(found: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """The names of each sample; one list for samples that follow each other and have the same."""
    listed, last = list[list[str]](), list[str]()
    for each in found:
        # Nearly all samples have the same names: hundreds of names in hundreds of samples.
        if (names := [*each]) != last:
            last = names
        listed.append(last)
    return listed


def _names_of(listed: Sequence[list[str]], first: Sequence[str]) -> list[str]:
    """All names that occur, after these."""
    every, last = dict.fromkeys(first), list[str]()
    for names in listed:
        if names is not last:
            every |= dict.fromkeys(names)
            last = names
    return [*every]


def _fill(
    values: NDArray[np.float64],
    known: NDArray[np.bool_],
    found: Sequence[tuple[int, Mapping[str, float], list[str]]],
    names: list[str],
) -> None:
    """The counters of one kind, of the row, the counters and the names of each sample."""
    last, is_whole = names, True
    for row, each, listed in found:
        if listed is not last:
            last, is_whole = listed, listed == names
        try:
            if is_whole:
                values[row] = np.fromiter(each.values(), np.float64, len(names))
                known[row] = True
            elif each:
                values[row] = [*map(each.get, names, repeat(0.0))]
                known[row] = [*map(each.__contains__, names)]
        except OverflowError:  # an integer of more than 308 digits
            values[row] = np.nan


def _columns_of(values: NDArray[np.float64], places: list[int]) -> NDArray[np.float64]:
    """Columns of a table; a part of it where they follow each other, which need not be copied."""
    start, end = (places[0], places[-1] + 1) if places else (0, 0)
    return values[:, start:end] if places == [*range(start, end)] else values[:, places]


def _by_place(histogram: Sequence[float]) -> Mapping[str, float]:
    return dict(zip(_places(len(histogram)), histogram, strict=True))


@lru_cache(maxsize=16)
def _places(bins: int) -> tuple[str, ...]:
    return tuple(map(str, range(bins)))


def _refusals(counts: Counts) -> Mapping[str, float]:
    """Requests asked and refused; nothing if a server does not count refusals."""
    if counts.refused is None:
        return {}
    # Together, so that no request counts as asked while refusals were not counted.
    answered = sum(n for code, n in counts.requests.items() if code != CLIENT_ERROR)
    return {ASKED[1]: counts.refused + answered, REFUSED[1]: counts.refused}
