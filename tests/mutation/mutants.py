"""Small changes of a module's code that a test should notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_CHANGED = (ast.expr, ast.stmt)
_SYMMETRIC = {"min", "max", "minimum", "maximum", "logaddexp"}
_OTHERS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "ever_rejects": "rejects_now",
    "rejects_now": "ever_rejects",
}

Change = Callable[[Any], object]
"""Changes a node."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of a module.

    Args:
        line: Where it is.
        change: What it is, in code.
        node: The place of the changed node among all that `ast.walk` gives.
        number: Which of the changes of this node it is.
        where: The name of the innermost function or class, and the code of the line: what a line
            is known by when others come before it.
        function: First and last line of the body of the innermost function; None outside of one.
    """

    line: int
    change: str
    node: int
    number: int
    where: str
    function: tuple[int, int] | None = None

    def tree(self, source: str) -> ast.Module:
        """The module with the change."""
        tree = ast.parse(source)
        node = next(islice(ast.walk(tree), self.node, None))
        list(_changes_of(node))[self.number](node)
        # Read again, as code has no `and` with one operand, which cannot be compiled.
        return ast.parse(ast.unparse(ast.fix_missing_locations(tree)))


def mutants_of(source: str) -> Iterator[Mutant]:
    """All mutants of a module."""
    tree = ast.parse(source)
    left_alone, functions, names = set(_left_alone(tree)), _functions(tree), _names(tree)
    lines = source.splitlines()
    for place, node in enumerate(ast.walk(tree)):
        if node in left_alone:
            continue
        before = ast.unparse(node) if isinstance(node, _CHANGED) else ""
        for number, change in enumerate(_changes_of(node)):
            changed = copy.deepcopy(node)
            change(changed)
            after = ast.unparse(ast.fix_missing_locations(changed))
            if after != before:
                said = f"{_short(before)}  ->  {_short(after)}"
                yield Mutant(
                    line=node.lineno,
                    change=said,
                    node=place,
                    number=number,
                    where=f"{names.get(node, 'module')}: {lines[node.lineno - 1].strip()}",
                    function=functions.get(node),
                )


def _left_alone(tree: ast.Module) -> Iterator[ast.AST]:
    """What only guards against mistakes in code: how a dataclass is one, and strict `zip`s."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                yield from ast.walk(decorator)
        if _is_strict_zip(node):
            yield from (node, *node.keywords, node.keywords[-1].value)


def _functions(tree: ast.Module) -> dict[ast.AST, tuple[int, int]]:
    """The lines of the innermost function's body, of each node in one or that is one."""
    found: dict[ast.AST, tuple[int, int]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            lines = node.body[0].lineno, node.body[-1].end_lineno or 0
            inside = (each for statement in node.body for each in ast.walk(statement))
            found |= dict.fromkeys((node, *inside), lines)
    return found


def _names(tree: ast.Module) -> dict[ast.AST, str]:
    """The name of the innermost function or class, of each node in one or that is one."""
    found: dict[ast.AST, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            known = f"{found[node]}." if node in found else ""
            found |= dict.fromkeys(ast.walk(node), f"{known}{node.name}")
    return found


def _is_strict_zip(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and [each.arg for each in node.keywords] == ["strict"]


def _changes_of(node: ast.AST) -> Iterator[Change]:
    changes = _CHANGES.get(type(node))
    return iter(()) if changes is None else changes(node)


def _of_compare(node: Any) -> Iterator[Change]:
    for place, operator in enumerate(node.ops):
        for other in _COMPARISONS[type(operator)]:
            yield lambda n, at=place, new=other: n.ops.__setitem__(at, new())


def _of_bool(node: Any) -> Iterator[Change]:
    other = ast.Or if isinstance(node.op, ast.And) else ast.And
    yield lambda n: setattr(n, "op", other())
    yield lambda n: n.values.pop()
    yield lambda n: n.values.pop(0)


def _of_unary(node: Any) -> Iterator[Change]:
    if isinstance(node.op, ast.Not):
        # Twice is none: the node itself cannot become another.
        yield lambda n: setattr(n, "operand", ast.UnaryOp(op=ast.Not(), operand=n.operand))
    elif isinstance(node.op, ast.USub):
        yield lambda n: setattr(n, "op", ast.UAdd())


def _of_operator(node: Any) -> Iterator[Change]:
    if type(node.op) in _OPERATORS:
        yield lambda n: setattr(n, "op", _OPERATORS[type(n.op)]())


def _of_constant(node: Any) -> Iterator[Change]:
    value = node.value
    others: tuple[object, ...] = ()
    if isinstance(value, bool):
        others = (not value,)
    elif isinstance(value, int):
        others = (value + 1, value - 1)
    elif isinstance(value, float):
        others = (1.5 * value if value else 1.0,)
    for other in others:
        yield lambda n, new=other: setattr(n, "value", new)


def _of_call(node: Any) -> Iterator[Change]:
    if isinstance(node.func, ast.Name) and node.func.id in _OTHERS:
        yield lambda n: setattr(n.func, "id", _OTHERS[n.func.id])
    if len(node.args) == 2 and not _is_symmetric(node.func):
        yield lambda n: n.args.reverse()
    for place in range(len(node.keywords)):
        yield lambda n, at=place: n.keywords.pop(at)


def _is_symmetric(function: ast.expr) -> bool:
    return getattr(function, "attr", getattr(function, "id", "")) in _SYMMETRIC


def _of_choice(node: Any) -> Iterator[Change]:
    yield lambda n: n.__dict__.update(body=n.orelse, orelse=n.body)


def _of_attribute(node: Any) -> Iterator[Change]:
    if node.attr in _OTHERS:
        yield lambda n: setattr(n, "attr", _OTHERS[n.attr])


def _of_function(node: Any) -> Iterator[Change]:
    """Returns None at once; a generator gives nothing at all."""
    if all(isinstance(each, (ast.Expr, ast.Pass, ast.Return)) for each in node.body):
        return
    first = int(isinstance(node.body[0], ast.Expr))
    yield lambda n: n.body.insert(first, ast.Return(value=None))


def _of_if(node: Any) -> Iterator[Change]:
    yield lambda n: setattr(n, "test", ast.Constant(value=False))


_CHANGES: dict[type[ast.AST], Callable[[Any], Iterator[Change]]] = {
    ast.Compare: _of_compare,
    ast.BoolOp: _of_bool,
    ast.UnaryOp: _of_unary,
    ast.BinOp: _of_operator,
    ast.Constant: _of_constant,
    ast.Call: _of_call,
    ast.IfExp: _of_choice,
    ast.Attribute: _of_attribute,
    ast.FunctionDef: _of_function,
    ast.If: _of_if,
}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 70 else f"{line[:67]}..."
