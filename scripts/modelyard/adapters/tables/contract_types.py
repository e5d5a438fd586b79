"""Brings one column of a file to its type in the contract, or names the value that does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from modelyard.domain.specs.column_values import Unread
from modelyard.domain.specs.contract import Column, ColumnType
from modelyard.domain.specs.times import SecondSixtyError, clock_time, parse_time

if TYPE_CHECKING:
    import pyarrow as pa

_EXACT = 2**53  # from here on float64 skips whole numbers, so a float may have lost digits
_INT64 = 2**63
_SHOWN = 40
_TRUTHS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
OFTEN_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "nil", "nat", "-", "?", "."})
"""Texts, in lower case, that mean a missing value in many files."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the values of a column come from.

    Args:
        locate: Says where a row is, such as `a.csv, line 7`.
        zone: The zone of the model's days.
        missing: The texts of a text file that mean a missing value; None for a typed file.
        by_value: The columns whose texts are read as times one by one; see `are_plain_times`.
    """

    locate: Callable[[int], str]
    zone: tzinfo
    missing: tuple[str, ...] | None = None
    by_value: frozenset[str] = frozenset()


def to_contract(column: Column, values: pa.ChunkedArray, source: Source) -> Any:
    """The column as a pandas array of its contract type.

    - number: float64.
    - integer: int64, or Int64 where values are missing; never a float, which loses digits.
    - category: text and None as objects.
    - boolean: bool, or objects with None where values are missing.
    - timestamp: datetime64[us], on the clock of the model's zone.

    A column in which a value does not fit is of objects, with an `Unread` for each such value. One
    whose type in the file has nothing to do with the contract stays as it is.
    """
    import pyarrow as pa

    values = _plain(values)
    if source.missing is not None and column.type != "category":
        values = _without_missing(values, source.missing)
    if values.null_count == len(values):
        # A file may give any type to a column without values.
        values = pa.chunked_array([pa.nulls(len(values), pa.string())])
        return _READERS_OF_TEXT[column.type](values, source)
    if column.name in source.by_value:
        return _times_by_value(values, source)
    readers = _READERS if source.missing is None else _READERS_OF_TEXT
    return readers[column.type](values, source)


def is_of_contract(kind: ColumnType, dtype: object) -> bool:
    """Whether `to_contract` gives columns of the type a dtype like this, or it is that of the file.

    Objects are of the contract too: each of them is right or wrong by itself.
    """
    return str(dtype) in {"object", *_DTYPES[kind]}


def are_plain_times(values: pa.ChunkedArray, source: Source) -> bool:
    """Whether all texts are times without an offset; if one of a file is not, all are read slowly.

    The slow way reads some texts in another way, so that a column in parts must know it of all.
    """
    values = _plain(values)
    if source.missing is not None:
        values = _without_missing(values, source.missing)
    return _plain_times(values) is not None


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values without a dictionary, with one kind of text, and with one kind of null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    is_text = values.type in {pa.large_string(), pa.string_view()}
    return values.cast(pa.string()) if is_text else values


def _without_missing(values: pa.ChunkedArray, missing: tuple[str, ...]) -> pa.ChunkedArray:
    """Null for the texts that mean a missing value; blanks around a value mean nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pc.utf8_trim_whitespace(values)
    absent = pc.is_in(values, value_set=pa.array(missing, pa.string()))
    return pc.if_else(absent, pa.scalar(None, pa.string()), values)


def _number(values: pa.ChunkedArray, _: Source) -> Any:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_decimal(kind):
        values = values.cast(pa.string())  # text is rounded to the nearest float64
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _as_it_is(values)
    return values.cast(pa.float64(), safe=False).to_numpy()


def _number_of_text(values: pa.ChunkedArray, source: Source) -> Any:
    import numpy as np
    import pyarrow as pa

    try:
        floats = values.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return _by_level(values, source, _finite, _floats)
    # `nan` and `inf` are numbers to every parser, and no values of a contract.
    strays = np.count_nonzero(~np.isfinite(floats)) > values.null_count
    return _by_level(values, source, _finite, _floats) if strays else floats


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0 or "_" in text:
        raise ValueError
    return number


def _integer(values: pa.ChunkedArray, source: Source) -> Any:
    import pyarrow as pa

    kind = values.type
    if pa.types.is_floating(kind):
        return _integer_of_floats(values, source)
    if not (pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return _as_it_is(values)
    try:
        return _whole_numbers(values.cast(pa.int64()))
    except pa.ArrowInvalid:
        return _by_level(values, source, _whole, _integers)


def _integer_of_floats(values: pa.ChunkedArray, source: Source) -> Any:
    import numpy as np
    import pyarrow as pa

    floats = values.cast(pa.float64()).to_numpy()
    known = floats[~np.isnan(floats)]
    with np.errstate(invalid="ignore"):  # the rest of infinity
        fit = (known % 1 == 0) & (np.abs(known) < _EXACT)
    if not fit.all():
        return _by_level(values, source, _whole, _integers)
    return _whole_numbers(values.cast(pa.int64()))


def _integer_of_text(values: pa.ChunkedArray, source: Source) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        # pyarrow reads hexadecimal numbers too.
        if not pc.any(pc.match_substring(values, "x", ignore_case=True)).as_py():
            return _whole_numbers(values.cast(pa.int64()))
    except pa.ArrowInvalid:
        pass
    return _by_level(values, source, _whole, _integers)


def _whole_numbers(values: pa.ChunkedArray) -> Any:
    import pandas as pd

    if not values.null_count:
        return values.to_numpy()
    return pd.arrays.IntegerArray(values.fill_null(0).to_numpy(), values.is_null().to_numpy())


def _whole(value: object) -> int:
    """A whole number of 64 bits.

    Raises:
        ValueError: It is none; the message is the reason.
    """
    if isinstance(value, float) and _EXACT <= abs(value) < math.inf:
        raise ValueError("a float, which holds no whole number above 2**53 exactly")
    try:
        number = Decimal(value)  # type: ignore[arg-type]  # text, a number, or a decimal
    except InvalidOperation:
        raise ValueError("") from None
    if not number.is_finite() or number.adjusted() > len(str(_INT64)):
        raise ValueError("beyond 64 bits" if number.is_finite() else "")
    if number != int(number) or (isinstance(value, str) and "_" in value):
        raise ValueError("")
    if not -_INT64 <= number < _INT64:
        raise ValueError("beyond 64 bits")
    return int(number)


def _category(values: pa.ChunkedArray, _: Source) -> Any:
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_string(values.type):
        return _as_it_is(values)
    found, known, at = np.empty(len(values), dtype=object), dict[str, str](), 0
    # Each text is one object, however many rows have it. In chunks: Arrow cannot join those of a
    # column with more than 2 GiB of text.
    for chunk in values.chunks:
        coded = chunk.dictionary_encode()
        texts = [known.setdefault(text, text) for text in coded.dictionary.to_pylist()]
        places = coded.indices.fill_null(-1).to_numpy()
        found[at : at + len(chunk)] = np.array([*texts, None], dtype=object)[places]
        at += len(chunk)
    return found


def _boolean(values: pa.ChunkedArray, _: Source) -> Any:
    import numpy as np
    import pyarrow as pa

    kind = values.type
    if pa.types.is_boolean(kind):
        floats = values.cast(pa.int8()).cast(pa.float64()).to_numpy()
    else:
        floats = _number(values, _)
    if floats.dtype.kind != "f":
        return floats
    known = ~np.isnan(floats)
    # Other numbers than 0 and 1 stay, so that the contract names one.
    return _truths(floats == 1, known) if np.isin(floats[known], (0.0, 1.0)).all() else floats


def _boolean_of_text(values: pa.ChunkedArray, source: Source) -> Any:
    return _by_level(values, source, lambda text: _TRUTHS[text.lower()], _booleans)


def _truths(truths: Any, known: Any) -> Any:
    if known.all():
        return truths
    objects = truths.astype(object)
    objects[~known] = None
    return objects


def _timestamp(values: pa.ChunkedArray, source: Source) -> Any:
    import numpy as np
    import pyarrow as pa

    kind = values.type
    if pa.types.is_string(kind):
        return _timestamp_of_text(values, source)
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return _as_it_is(values)
    found = values.to_numpy()
    strays = _outside_calendar(found)
    times = found.astype("datetime64[us]")
    times[strays] = np.datetime64("NaT")
    if getattr(kind, "tz", None) is not None and source.zone is not UTC:
        aware = pa.chunked_array([pa.array(times, pa.timestamp("us", "UTC"))])
        times = _by_level(aware, source, lambda at: clock_time(at, source.zone), _times)
    return _times_with(times, strays, found, source) if strays.any() else times


def _outside_calendar(found: Any) -> Any:
    """Which dates are not of the years 1 to 9999; nanoseconds reach from 1677 to 2262 only."""
    import numpy as np

    if np.datetime_data(found.dtype)[0] == "ns":
        return np.zeros(len(found), dtype=bool)
    first, end = (np.datetime64(day).astype(found.dtype) for day in ("0001-01-01", "9999-12-31"))
    return (found < first) | (found >= end + np.timedelta64(1, "D"))


def _times_with(times: Any, strays: Any, found: Any, source: Source) -> Any:
    """The times as objects, with an `Unread` where the file has one outside of the calendar."""
    objects = times.astype(object)
    objects[strays] = [Unread(value=str(each), found=f"the date {each}") for each in found[strays]]
    first = int(strays.argmax())
    place = source.locate(first)
    objects[first] = Unread(value=str(found[first]), found=f"the date {found[first]} ({place})")
    return objects


def _timestamp_of_text(values: pa.ChunkedArray, source: Source) -> Any:
    # Twenty times faster where all are plain: dates and times without an offset.
    times = _plain_times(values)
    return _times_by_value(values, source) if times is None else times


def _plain_times(values: pa.ChunkedArray) -> Any:
    import pyarrow as pa

    with suppress(pa.ArrowInvalid):
        times = values.cast(pa.timestamp("us")).to_numpy()
        if not _outside_calendar(times).any():
            return times
    return None


def _times_by_value(values: pa.ChunkedArray, source: Source) -> Any:
    return _by_level(values, source, lambda text: parse_time(text, source.zone), _times)


def _by_level(
    values: pa.ChunkedArray,
    source: Source,
    read: Callable[[Any], Any],
    pack: Callable[[Any, Any], Any],
) -> Any:
    """The values read one by one, each different one once; what cannot be read is `Unread`."""
    import numpy as np
    import pyarrow.compute as pc

    levels = values.unique()
    codes = pc.index_in(values, value_set=levels).to_numpy()
    made = np.empty(len(levels), dtype=object)
    strays: dict[int, str] = {}
    for code, level in enumerate(levels.to_pylist()):
        try:
            made[code] = None if level is None else read(level)
        except (ValueError, KeyError, OverflowError) as error:
            is_ours = isinstance(error, SecondSixtyError) or (
                isinstance(error, ValueError) and read is _whole
            )
            reason = str(error) if is_ours else ""
            strays[code] = reason
            made[code] = Unread(value=level, found=_description(level, reason))
    if not strays:
        known = np.array([level is not None for level in made], dtype=bool)
        return pack(made, known)[codes]
    first = int(np.isin(codes, list(strays)).argmax())
    code = int(codes[first])
    value, place = made[code].value, source.locate(first)
    made[code] = Unread(value=value, found=_description(value, strays[code], place))
    return made[codes]


def _description(value: object, reason: str, place: str = "") -> str:
    at = f" ({place})" if place else ""
    why = f", {reason}" if reason else ""
    if not isinstance(value, str):
        kind = "time" if isinstance(value, datetime) else "number"
        return f"the {kind} {value}{why}{at}"
    hint = ""
    if value.strip().lower() in OFTEN_MISSING:
        hint = "; if it means a missing value, list it in data.missing of model.yaml"
    return f"text such as {value[:_SHOWN]!r}{why}{at}{hint}"


def _floats(levels: Any, known: Any) -> Any:
    import numpy as np

    return np.where(known, levels, np.nan).astype(np.float64)


def _integers(levels: Any, known: Any) -> Any:
    import numpy as np
    import pandas as pd

    numbers = np.where(known, levels, 0).astype(np.int64)
    return numbers if known.all() else pd.arrays.IntegerArray(numbers, ~known)


def _booleans(levels: Any, known: Any) -> Any:
    import numpy as np

    return _truths(np.where(known, levels, False).astype(bool), known)


def _times(levels: Any, known: Any) -> Any:
    import numpy as np

    return np.where(known, levels, np.datetime64("NaT")).astype("datetime64[us]")


def _as_it_is(values: pa.ChunkedArray) -> Any:
    """The values as pandas has them; the contract then says what is wrong with them."""
    import numpy as np
    import pyarrow as pa

    try:
        return values.to_pandas().array
    except (pa.ArrowException, ValueError, OverflowError):
        found = Unread(value=None, found=f"an array of {values.type}")
        return np.array([found] * len(values), dtype=object)


_DTYPES: Mapping[ColumnType, frozenset[str]] = {
    "number": frozenset({"float64"}),
    "integer": frozenset({"int64", "Int64"}),
    "category": frozenset(),
    "boolean": frozenset({"bool", "float64"}),
    "timestamp": frozenset({"datetime64[us]"}),
}
_READERS: Mapping[ColumnType, Callable[[pa.ChunkedArray, Source], Any]] = {
    "number": _number,
    "integer": _integer,
    "category": _category,
    "boolean": _boolean,
    "timestamp": _timestamp,
}
_READERS_OF_TEXT: Mapping[ColumnType, Callable[[pa.ChunkedArray, Source], Any]] = {
    "number": _number_of_text,
    "integer": _integer_of_text,
    "category": _category,
    "boolean": _boolean_of_text,
    "timestamp": _timestamp_of_text,
}
