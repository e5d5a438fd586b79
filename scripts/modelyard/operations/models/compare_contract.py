"""Compares the contract of a model with a file, column by column, and proposes it again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from modelyard.adapters.tables.column_facts import read_facts
from modelyard.adapters.tables.frames import columns_of
from modelyard.adapters.tables.table_files import read_table
from modelyard.domain.proposal.columns import ColumnFacts, ColumnProposal, propose_column
from modelyard.domain.specs.contract import Breach, Column, find_breaches
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.times import find_zone
from modelyard.errors import join_first

_SHOWN = 6


class Standing(StrEnum):
    """How a column of a file stands to the contract."""

    SAME = "same"
    DIFFERS = "differs"
    NOT_IN_CONTRACT = "not in contract"


@dataclass(frozen=True, kw_only=True)
class ColumnComparison:
    """One column of the contract or of the file.

    Args:
        name: The column's name.
        standing: Whether the file keeps the contract there.
        contract: What the contract asks for; None if it does not have the column.
        file: What the file has; None if it does not have the column.
        breaches: The rules that the file breaks.
    """

    name: str
    standing: Standing
    contract: str | None
    file: str | None
    breaches: tuple[Breach, ...] = ()


def compare_contract(model: Model, content: bytes, *, uri: str) -> tuple[ColumnComparison, ...]:
    """What a file has against the contract: first its columns, then those of the file alone.

    Columns outside of the contract are no difference, unless they are called almost like one in it.
    """
    facts = {each.name: each for each in _facts(model, content, uri=uri)}
    frame = read_table(content, uri=uri, data=model.data)
    broken: dict[str, list[Breach]] = {}
    for breach in find_breaches(model.data.columns, columns_of(frame)):
        broken.setdefault(breach.column, []).append(breach)
    declared = {column.name: column for column in model.data.columns}
    return tuple(
        _compare(name, declared.get(name), facts.get(name), tuple(broken.get(name, ())))
        for name in dict.fromkeys([*declared, *facts])
    )


def infer_columns(model: Model, content: bytes, *, uri: str) -> tuple[ColumnProposal, ...]:
    """The columns that the file suggests; what people said of a column stays.

    A column keeps its place, its description, its unit, its default and when it is available. A
    type stays too, if all values of the file fit it.
    """
    facts = {each.name: each for each in _facts(model, content, uri=uri)}
    known = {column.name: column for column in model.data.columns}
    found = []
    for name in dict.fromkeys([*known, *facts]):
        if name not in facts:
            gone = ("QUESTION: it is not in this file; is it still delivered?",)
            found.append(replace(propose_column(_nothing(name)), column=known[name], notes=gone))
            continue
        proposal, before = propose_column(facts[name]), known.get(name)
        if before is None:
            told = "QUESTION: new in this file; does a model need it?"
            found.append(replace(proposal, notes=(told, *proposal.notes)))
        else:
            found.append(_keep_said(proposal, before, facts[name]))
    return tuple(found)


def _keep_said(proposal: ColumnProposal, before: Column, facts: ColumnFacts) -> ColumnProposal:
    fresh = proposal.column or Column(name=before.name, type=facts.type or before.type)
    notes = tuple(note for note in proposal.notes if before.unit is None or "unit" not in note)
    said = replace(
        before,
        type=fresh.type,
        nullable=fresh.nullable or before.nullable,
        minimum=fresh.minimum,
        maximum=fresh.maximum,
        levels=_more_levels(before, fresh),
        max_null_share=fresh.max_null_share,
    )
    return replace(proposal, column=said, notes=notes)


def _more_levels(before: Column, fresh: Column) -> tuple[str, ...] | None:
    """The levels of both: one file need not have all of them."""
    if before.levels is None or fresh.levels is None:
        return fresh.levels
    return (*before.levels, *(level for level in fresh.levels if level not in before.levels))


def _facts(model: Model, content: bytes, *, uri: str) -> tuple[ColumnFacts, ...]:
    types = {column.name: column.type for column in model.data.columns}
    zone = find_zone(model.data.timezone)
    facts = read_facts(
        content, uri=uri, types=types, missing=model.data.missing, zone=zone,
        megabytes=model.data.max_unpacked_megabytes,
    )  # fmt: skip
    return facts.columns


def _nothing(name: str) -> ColumnFacts:
    return ColumnFacts(name=name, type=None, rows=0, nulls=0)


def _compare(
    name: str, column: Column | None, facts: ColumnFacts | None, breaches: tuple[Breach, ...]
) -> ColumnComparison:
    standing = Standing.SAME if column is not None else Standing.NOT_IN_CONTRACT
    return ColumnComparison(
        name=name,
        standing=Standing.DIFFERS if breaches else standing,
        contract=None if column is None else describe_column(column),
        file=None if facts is None else describe_facts(facts),
        breaches=breaches,
    )


def describe_column(column: Column) -> str:
    """What the contract asks of a column, in a few words."""
    words = [f"{column.type} in {column.unit}" if column.unit else column.type]
    if column.minimum is not None or column.maximum is not None:
        low, high = column.limits
        words.append(f"{low:.6g} to {high:.6g}")
    if column.levels is not None:
        words.append(join_first(column.levels, _SHOWN, between=" | "))
    if not column.nullable:
        words.append("no nulls")
    elif column.max_null_share is not None:
        words.append(f"at most {column.max_null_share:.1%} nulls")
    return ", ".join(words)


def describe_facts(facts: ColumnFacts) -> str:
    """What a file has in a column, in a few words."""
    if facts.type is None:
        return facts.fault
    words: list[str] = [facts.type]
    if facts.low is not None and facts.high is not None:
        words.append(f"{facts.low:.6g} to {facts.high:.6g}")
    elif facts.levels:
        words.append(join_first(facts.levels, _SHOWN, between=" | "))
    words.append(f"{facts.nulls / facts.rows:.1%} nulls" if facts.nulls else "no nulls")
    return ", ".join(words)
