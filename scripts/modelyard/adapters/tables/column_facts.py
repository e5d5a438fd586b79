"""Finds the types of the contract that a file's columns fit, by the reader of the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from modelyard.adapters.tables.contract_types import OFTEN_MISSING, Source, to_contract
from modelyard.adapters.tables.csv_files.packed import unpacked
from modelyard.adapters.tables.csv_files.reading import read_csv_text
from modelyard.adapters.tables.csv_files.rows import CsvText, LineFinder
from modelyard.adapters.tables.table_files import CSV, read_parquet_table
from modelyard.domain.proposal.columns import ColumnFacts, is_code_name
from modelyard.domain.proposal.header import find_header_fault
from modelyard.domain.proposal.task import MOST_CLASSES
from modelyard.domain.specs.column_values import read_column, read_levels
from modelyard.domain.specs.contract import Column, ColumnType
from modelyard.domain.specs.model import MAX_UNPACKED_MEGABYTES
from modelyard.errors import CannotAnswer, Refused

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE = 200
_FIRST_ROWS = 20
_WHOLE = r"^\s*[+-]?[0-9]+\s*$"
_LEADING_ZERO = r"^\s*[+-]?0[0-9]+\s*$"


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """What a table has, column by column.

    Args:
        columns: Its columns, in order.
        missing: The texts that mean a missing value; those of a CSV file beside the empty one are
            found in columns of numbers and times.
        table: The table as it was read: text for a CSV file, otherwise typed.
        is_text: Whether it is of a CSV file.
        content: The bytes of the file, unpacked.
    """

    columns: tuple[ColumnFacts, ...]
    missing: tuple[str, ...]
    table: pa.Table
    is_text: bool
    content: bytes


def read_facts(
    content: bytes,
    *,
    uri: str,
    types: Mapping[str, ColumnType] | None = None,
    missing: tuple[str, ...] | None = None,
    zone: tzinfo = UTC,
    megabytes: int = MAX_UNPACKED_MEGABYTES,
) -> TableFacts:
    """What a Parquet or CSV file has in its columns.

    Args:
        content: The bytes of the file.
        uri: Its address.
        types: The types that columns have if all their values fit; others are guessed.
        missing: The texts of a CSV file that mean a missing value; None to guess them.
        zone: The zone on whose clock times are.
        megabytes: What a packed file may unpack to.

    Raises:
        CannotAnswer: Another kind of file, or a damaged one.
        Refused: It has no rows, two columns of one name, or unpacks to more than it may.
    """
    is_text = uri.endswith(CSV)
    if is_text:
        content = unpacked(content, uri=uri, megabytes=megabytes)
        text = CsvText(content, uri=uri)
        table = plain = read_csv_text(text, missing=missing or ("",))
        if missing is None:
            missing = ("", *_guess_missing(table, zone))
            table = read_csv_text(text, missing=missing)
    elif uri.endswith(".parquet"):
        missing, table = missing or ("",), read_parquet_table(content, uri=uri)
    else:
        raise CannotAnswer(f"{uri}: not a table; expected .parquet, .csv or .csv.gz")
    _refuse_shape(table, uri=uri, text=content if is_text else None)
    source = Source(locate=lambda row: f"row {row + 1}", zone=zone,
                    missing=missing if is_text else None)  # fmt: skip
    columns = tuple(
        _facts(name, table.column(name), source, wanted=(types or {}).get(name))
        for name in table.column_names
    )
    if is_text:
        columns = tuple(map(_with_lost_levels, columns, plain.columns))
    return TableFacts(
        columns=columns, missing=missing, table=table, is_text=is_text, content=content
    )


def _refuse_shape(table: pa.Table, *, uri: str, text: bytes | None) -> None:
    names = list(table.column_names)
    rows = [] if text is None else [
        [column[row].as_py() for column in table.columns]
        for row in range(min(_FIRST_ROWS, table.num_rows))
    ]  # fmt: skip
    if (fault := find_header_fault(names, rows)) is not None:
        hint = fault.hint
        if text is not None and fault.row is not None:
            line = LineFinder(CsvText(text, uri=uri)).line(fault.row)
            unpack = f"zcat {uri}" if uri.endswith(".gz") else f"cat {uri}"
            hint += f"; line {line} seems to have them: {unpack} | tail -n +{line} > NEW.csv"
        where = uri if text is None else f"{uri}, line 1"
        raise Refused(f"{where}: {fault.what}", hint=hint)
    if not table.num_rows:
        raise Refused(f"{uri}: it has no rows", hint="give a file with rows below its header")


def _guess_missing(table: pa.Table, zone: tzinfo) -> list[str]:
    """The words for missing values without which a column would be numbers or times."""
    found: dict[str, None] = {}
    for values in table.columns:
        levels = (level.strip() for level in _levels(values))
        words = [level for level in levels if level and level.lower() in OFTEN_MISSING]
        if not words:
            continue
        without = Source(locate=str, zone=zone, missing=("", *words))
        kind = _type_of_text(values, without)
        if kind not in {None, "category"} and _fit(kind, values, without).known:
            found |= dict.fromkeys(words)
    return list(found)


def _with_lost_levels(facts: ColumnFacts, plain: pa.ChunkedArray) -> ColumnFacts:
    """The facts of a category, with a word that other columns made a missing value of it."""
    if facts.type != "category" or facts.nulls == plain.null_count:
        return facts
    words = [level for level in _levels(plain) if level.lower() in OFTEN_MISSING]
    told = (
        f"{', '.join(words)} means a missing value here, as it does in columns of numbers; is it a "
        f"level? Then quote it in the file, or write the missing numbers as empty fields"
    )
    return _with(facts, fault=facts.fault or told)


def _levels(values: pa.ChunkedArray) -> list[str]:
    return [level for level in values.unique().to_pylist() if level is not None]


def _facts(
    name: str, values: pa.ChunkedArray, source: Source, *, wanted: ColumnType | None
) -> ColumnFacts:
    kind: ColumnType | None
    if wanted is not None and _holds(wanted, values, source):
        kind, fault = wanted, ""
    elif source.missing is None:
        kind, fault = _type_of_values(values, source)
    else:
        kind, fault = _type_of_text(values, source, is_code=is_code_name(name)), ""
    if kind is None:
        return ColumnFacts(
            name=name, type=None, rows=len(values), nulls=values.null_count, fault=fault
        )
    fit = _fit(kind, values, source)
    return _describe(name, kind, fit, values)


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A column brought to a type.

    Args:
        array: The column as the contract reads it.
        nulls: Rows without a value.
        wrong: Rows with a value that the type does not hold.
        example: One of those.
        numbers: The values as floats; None for a category.
        levels: Rows by level of a category.
    """

    array: Any
    nulls: int
    wrong: int
    example: str
    numbers: Any
    levels: Mapping[str, int]

    @property
    def known(self) -> bool:
        return self.nulls < len(self.array)


def _fit(kind: ColumnType, values: pa.ChunkedArray, source: Source) -> _Fit:
    import numpy as np

    array = to_contract(Column(name="_", type=kind), values, source)
    plain = array.to_numpy(dtype=np.float64, na_value=np.nan) if hasattr(array, "_mask") else array
    plain = np.asarray(plain)
    if kind == "category":
        seen = read_levels(plain)
        return _Fit(array=array, nulls=seen.nulls, wrong=seen.wrong, example=seen.example,
                    numbers=None, levels=seen.counts)  # fmt: skip
    read = read_column(kind, plain)
    return _Fit(array=array, nulls=read.nulls, wrong=read.wrong, example=read.example,
                numbers=read.values, levels={})  # fmt: skip


def _type_of_text(values: pa.ChunkedArray, source: Source, *, is_code: bool = False) -> ColumnType:
    """The narrowest type that holds the text of a CSV file."""
    import pyarrow.compute as pc

    if values.null_count == len(values):
        return "category"
    if _all_match(values, _WHOLE, source):
        has_zeros = pc.any(pc.match_substring_regex(values, _LEADING_ZERO)).as_py()
        if has_zeros or is_code:  # `02139` is no number
            return "category"
        if _holds("integer", values, source):
            return "integer"
    kinds: tuple[ColumnType, ...] = ("number", "timestamp")
    # `0` and `1` are whole numbers above; here are only true and false.
    kinds = ("boolean", *kinds) if _says_truth(values) else kinds
    return next((kind for kind in kinds if _holds(kind, values, source)), "category")


def _all_match(values: pa.ChunkedArray, pattern: str, source: Source) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    match = pc.match_substring_regex(values, pattern)
    absent = pc.is_in(pc.utf8_trim_whitespace(values), pa.array(source.missing, pa.string()))
    found = pc.or_(pc.fill_null(match, fill_value=True), pc.fill_null(absent, fill_value=True))
    return bool(pc.all(found).as_py())


def _says_truth(values: pa.ChunkedArray) -> bool:
    head = values.drop_null().slice(0, _SAMPLE).to_pylist()
    return any(text.strip().lower() in {"true", "false"} for text in head)


def _holds(kind: ColumnType, values: pa.ChunkedArray, source: Source) -> bool:
    """Whether the type holds every value, at first of some: most texts are no numbers."""
    for part in (values.drop_null().slice(0, _SAMPLE), values):
        if _fit(kind, part, source).wrong:
            return False
    return True


def _type_of_values(values: pa.ChunkedArray, source: Source) -> tuple[ColumnType | None, str]:
    """The type of a typed column, and why none holds it."""
    import pyarrow as pa

    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    tried: tuple[ColumnType, ...]
    if pa.types.is_boolean(kind):
        tried = ("boolean",)
    elif pa.types.is_integer(kind):
        tried = ("integer", "number")
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        tried = ("number",)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        tried = ("timestamp",)
    elif pa.types.is_null(kind):
        tried = ("category",)
    elif is_text or kind == pa.string_view():
        tried = ("timestamp", "category") if values.null_count < len(values) else ("category",)
    else:
        return None, f"values of {kind}, which no type of the contract holds"
    example = ""
    for each in tried:
        fit = _fit(each, values, source)
        if not fit.wrong:
            return each, ""
        example = fit.example
    return None, f"{tried[-1]}s with a value that is none: {example}"


def _describe(name: str, kind: ColumnType, fit: _Fit, values: pa.ChunkedArray) -> ColumnFacts:
    import numpy as np
    import pyarrow.compute as pc

    facts = ColumnFacts(name=name, type=kind, rows=len(values), nulls=fit.nulls)
    if kind == "category":
        levels = fit.levels
        is_code = bool(levels) and all(re.fullmatch(r"\d+", level) for level in levels)
        return _with(facts, distinct=len(levels), levels=levels, is_code=is_code)
    known = fit.numbers[~np.isnan(fit.numbers)]
    distinct = len(np.unique(known))
    if kind == "integer":  # two whole numbers beyond 2**53 may be one float
        distinct = max(distinct, int(pc.count_distinct(values.drop_null()).as_py()) if len(known)
                       and float(np.abs(known).max()) >= 2**53 else 0)  # fmt: skip
    if kind == "timestamp":
        times = fit.array.astype("datetime64[us]") if len(known) else np.array([], "datetime64[us]")
        times = times[~np.isnat(times)]
        whole = bool((times == times.astype("datetime64[D]")).all())
        return _with(facts, distinct=distinct, whole_days=whole)
    if kind == "boolean" or not len(known):
        return _with(facts, distinct=distinct)
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(np.abs(known - known.mean()).mean())
    return _with(
        facts,
        distinct=distinct,
        low=float(known.min()),
        high=float(known.max()),
        spread=spread if np.isfinite(spread) else 0.0,
        levels=_number_levels(known) if kind == "integer" else {},
    )


def _number_levels(known: Any) -> dict[str, int]:
    """The few whole numbers as the levels of a label."""
    import numpy as np

    found, rows = np.unique(known, return_counts=True)
    if len(found) > MOST_CLASSES or float(np.abs(found).max()) >= 2**53:
        return {}
    return {str(int(each)): int(n) for each, n in zip(found, rows, strict=True)}


def _with(facts: ColumnFacts, **changed: Any) -> ColumnFacts:
    from dataclasses import replace

    return replace(facts, **changed)
