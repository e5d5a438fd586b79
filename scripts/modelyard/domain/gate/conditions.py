"""Conditions on the columns of a row, such as `distance > 1000 and origin in ["JFK", "EWR"]`.

They are text of people, and data: a tree of comparisons is read from them, and nothing is run.
Nothing here imports numpy, which `modelyard validate` does without; arrays bring their operators.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from modelyard.domain.specs.contract import ColumnType
from modelyard.domain.specs.times import parse_time
from modelyard.errors import Refused

LONGEST = 500
"""Characters of a condition."""

_NEAR = 3

Rows = Any
"""An array of one truth or value for each row."""

Reader = Callable[[str], tuple[Rows, Rows]]
"""The values of a column, and which rows have one: floats, or text for a category."""

_ORDERED: Mapping[type[ast.cmpop], tuple[Callable[[Any, Any], Any], type[ast.cmpop]]] = {
    ast.Lt: (operator.lt, ast.Gt),
    ast.LtE: (operator.le, ast.GtE),
    ast.Gt: (operator.gt, ast.Lt),
    ast.GtE: (operator.ge, ast.LtE),
}
"""Each operator of order, and the one for changed sides."""

_NULLS, _TRUTHS = ("null", "None"), {"true": True, "false": False, "True": True, "False": False}


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    column: str
    operator: type[ast.cmpop]
    values: tuple[Any, ...]

    def holds(self, read: Reader) -> Rows:
        values, known = read(self.column)
        if self.operator in {ast.Is, ast.IsNot}:
            return known if self.operator is ast.IsNot else ~known
        if self.operator in _ORDERED:
            return _ORDERED[self.operator][0](values, self.values[0]) & known
        found = values == self.values[0]
        for value in self.values[1:]:
            found = found | (values == value)
        return (~found if self.operator in {ast.NotEq, ast.NotIn} else found) & known


@dataclass(frozen=True, kw_only=True)
class _Joined:
    word: Callable[[Any, Any], Any]
    parts: tuple[_Node, ...]

    def holds(self, read: Reader) -> Rows:
        found = self.parts[0].holds(read)
        for part in self.parts[1:]:
            found = self.word(found, part.holds(read))
        return found


@dataclass(frozen=True, kw_only=True)
class _Not:
    part: _Node

    def holds(self, read: Reader) -> Rows:
        return ~self.part.holds(read)


_Node = _Comparison | _Joined | _Not


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition that was read; `columns` are those it asks for."""

    text: str
    columns: tuple[str, ...]
    _tree: _Node

    def holds(self, read: Reader) -> Rows:
        """Whether it holds, for each row; a comparison with a missing value does not."""
        return self._tree.holds(read)


def parse_condition(
    text: str,
    types: Mapping[str, ColumnType],
    levels: Mapping[str, Sequence[str]] | None = None,
) -> Condition:
    """Read a condition.

    Comparisons are `==`, `!=`, `<`, `<=`, `>`, `>=`, `in [...]`, `not in [...]`, `is null` and `is
    not null`, joined by `and`, `or` and `not`. Numbers and times have an order, other columns not.

    Args:
        text: The condition.
        types: The type of each column that it may ask for.
        levels: All levels of a category, where they are known: it may ask for no other.

    Raises:
        Refused: It is no such condition; the message says why.
    """
    if len(text) > LONGEST:
        raise Refused(f"a condition has at most {LONGEST} characters, not {len(text)}")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Refused(f"cannot read the condition {text!r}: {_lost_at(error)}{_GRAMMAR}") from error
    reader = _Parser(text, types, levels or {})
    tree = reader.node(body)
    return Condition(text=text, columns=tuple(dict.fromkeys(reader.asked)), _tree=tree)


_GRAMMAR = "; `==` asks for a value, and `and`, `or` and `not` join comparisons"


def _lost_at(error: Exception) -> str:
    """Why a text is no condition, and from where on."""
    if not isinstance(error, SyntaxError):
        return str(error)
    # It is 0 at the end of a text that is not complete.
    rest = (error.text or "")[error.offset - 1 :].strip() if error.offset else ""
    return f"{error.msg} from {rest!r} on" if rest else error.msg


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


class _Parser:
    def __init__(
        self, text: str, types: Mapping[str, ColumnType], levels: Mapping[str, Sequence[str]]
    ) -> None:
        self.text, self.types, self.levels = text, types, levels
        self.asked: list[str] = []

    def node(self, found: ast.expr) -> _Node:
        if isinstance(found, ast.BoolOp):
            word = operator.and_ if isinstance(found.op, ast.And) else operator.or_
            return _Joined(word=word, parts=tuple(self.node(each) for each in found.values))
        if isinstance(found, ast.UnaryOp) and isinstance(found.op, ast.Not):
            return _Not(part=self.node(found.operand))
        if isinstance(found, ast.Compare):
            parts = tuple(self.comparisons(found))
            return parts[0] if len(parts) == 1 else _Joined(word=operator.and_, parts=parts)
        if isinstance(found, ast.Name) and self.types.get(found.id) == "boolean":
            self.asked.append(found.id)
            return _Comparison(column=found.id, operator=ast.Eq, values=(True,))
        raise self.refuse(f"{self.shown(found)} is no comparison")

    def comparisons(self, found: ast.Compare) -> Iterator[_Comparison]:
        sides = pairwise([found.left, *found.comparators])
        for word, (left, right) in zip(found.ops, sides, strict=True):
            kind = type(word)
            if self.is_column(left):
                yield self.compared(left, kind, right)
            elif self.is_column(right) and kind in {*_ORDERED, ast.Eq, ast.NotEq}:
                yield self.compared(right, _ORDERED[kind][1] if kind in _ORDERED else kind, left)
            else:
                self.refuse_name(left)
                raise self.refuse(f"{self.shown(left)} is no column")

    def is_column(self, found: ast.expr) -> bool:
        return isinstance(found, ast.Name) and found.id in self.types

    def compared(self, column: ast.expr, kind: type[ast.cmpop], right: ast.expr) -> _Comparison:
        name = self.shown(column)
        self.asked.append(name)
        if kind in {ast.Is, ast.IsNot}:
            if self.shown(right) not in _NULLS:
                raise self.refuse("`is` asks for null alone")
            return _Comparison(column=name, operator=kind, values=())
        if kind in _ORDERED and self.types[name] in {"category", "boolean"}:
            raise self.refuse(f"{name} is a {self.types[name]}, which has no order")
        if kind in {ast.In, ast.NotIn}:
            if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
                raise self.refuse(f"`{name} in` needs a list, such as [1, 2]")
            values = tuple(self.value(name, each) for each in right.elts)
        else:
            values = (self.value(name, right),)
        return _Comparison(column=name, operator=kind, values=values)

    def value(self, column: str, found: ast.expr) -> float | str | bool:
        kind = self.types[column]
        if self.shown(found) in _NULLS:
            raise self.refuse(f"a missing value is asked for by `{column} is null`")
        if kind == "category" and isinstance(found, ast.Name):
            raise self.refuse(f"a level of {column} is in quotes: {found.id!r}")
        value = self.literal(found)
        if kind in {"number", "integer"} and isinstance(value, int | float):
            if not isinstance(value, bool) and _is_finite(value):
                return value
        elif kind == "timestamp" and isinstance(value, str):
            try:
                return parse_time(value, UTC).replace(tzinfo=UTC).timestamp()
            except ValueError as error:
                raise self.refuse(f"{value!r} is no time: {error}") from error
        elif kind == "category" and isinstance(value, str):
            self.refuse_level(column, value)
            return value
        elif kind == "boolean" and isinstance(value, bool):
            return value
        raise self.refuse(f"{column} is a {kind}, not {self.shown(found)}")

    def literal(self, found: ast.expr) -> object:
        if isinstance(found, ast.UnaryOp) and isinstance(found.op, ast.USub):
            value = self.literal(found.operand)
            return -value if isinstance(value, int | float) and value is not True else None
        if isinstance(found, ast.Name) and found.id in _TRUTHS:
            return _TRUTHS[found.id]
        if isinstance(found, ast.Constant):
            return found.value
        self.refuse_name(found)
        return None

    def refuse_level(self, column: str, value: str) -> None:
        known = self.levels.get(column)
        if known and value not in known:
            folded = {each.casefold(): each for each in known}
            near = [folded[each] for each in get_close_matches(value.casefold(), folded, n=_NEAR)]
            which = "the nearest" if near else "the first"
            raise self.refuse(
                f"{value!r} is no level of {column}; {which} of its {len(known)} levels: "
                f"{', '.join(map(repr, near or known[:_NEAR]))}"
            )

    def refuse_name(self, found: ast.expr) -> None:
        if isinstance(found, ast.Name) and found.id not in self.types:
            raise self.refuse(f"{found.id} is no column of the contract")

    def shown(self, found: ast.expr) -> str:
        return ast.get_source_segment(self.text.strip(), found) or "it"

    def refuse(self, why: str) -> Refused:
        return Refused(f"cannot read the condition {self.text!r}: {why}")
