"""The task, label, output and gate of a new model, guessed from its target column."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from modelyard.domain.proposal.columns import (
    ASK_UNIT,
    ColumnFacts,
    ColumnProposal,
    Use,
    room_around,
)
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import GatePolicy, Output, OutputKind, Target, Task
from modelyard.errors import Refused

MOST_CLASSES = 50
"""A target with more levels is refused as a class: it names rows more than it groups them."""

_FEW_NUMBERS = 10
_TWO = 2
_YES = ("true", "yes", "y", "1", "t", "positive", "pos")
_PART_OF_SPREAD = 0.02


@dataclass(frozen=True, kw_only=True)
class TargetProposal:
    """What a target column makes of a model.

    Args:
        task: The task.
        why: Why, as one sentence.
        target: Where the label comes from.
        output: The primary output.
        gate: The metric and its margin.
        column: The target as a column of the contract.
        notes: Guesses about the label.
    """

    task: Task
    why: str
    target: Target
    output: Output
    gate: GatePolicy
    column: ColumnProposal
    notes: tuple[str, ...] = ()


def propose_target(facts: ColumnFacts, wanted: Task | None = None) -> TargetProposal:
    """The task and all that follows from it.

    Args:
        facts: What the table has in the target column.
        wanted: The task that a person asks for; None to guess it.

    Raises:
        Refused: The column can be no target, or none of this task.
    """
    task, why = _choose_task(facts, wanted)
    column = Column(
        name=facts.name,
        type=facts.type or "category",
        nullable=facts.nulls > 0,
        available_at="later",
    )
    notes = []
    if facts.nulls:
        other = "; `missing: negative` would count them as 0" if task is Task.BINARY else ""
        notes.append(f"GUESS: {facts.nulls:,} rows without a label are left out{other}")
    target, output, rule = _label(facts, task)
    asked: list[str] = []
    if task is Task.REGRESSION and facts.low is not None and facts.high is not None:
        low, high = room_around(facts.low, facts.high, whole=facts.type == "integer")
        column = replace(column, minimum=low, maximum=high)
        asked = [ASK_UNIT]
    elif facts.type == "category" and all(level.isprintable() for level in facts.levels):
        column = replace(column, levels=tuple(sorted(facts.levels)))
    return TargetProposal(
        task=task,
        why=why,
        target=target,
        output=output,
        gate=_gate(facts, task),
        column=ColumnProposal(column=column, use=Use.INPUT, notes=tuple(asked)),
        notes=(*rule, *notes),
    )


def _choose_task(facts: ColumnFacts, wanted: Task | None) -> tuple[Task, str]:
    name, kinds = facts.name, facts.distinct
    if facts.type is None or facts.type == "timestamp":
        found = "times" if facts.type else facts.fault
        raise Refused(f"target column {name} can be no label: {found}")
    if kinds < _TWO:
        values = f"one value, {next(iter(facts.levels), facts.low)!r}" if kinds == 1 else "no value"
        raise Refused(
            f"target column {name} has {values}; a label needs two",
            hint="give a file with more rows, or name another column with --target",
        )
    fitting = _fitting_tasks(facts)
    if wanted is not None and wanted not in fitting:
        raise Refused(
            f"target column {name} is a {facts.type} with {kinds:,} different values, which fits "
            f"no {wanted} task; fitting: {', '.join(fitting) or 'none'}"
        )
    if not fitting:
        raise Refused(
            f"target column {name} has {kinds:,} different texts; a class has at most "
            f"{MOST_CLASSES}",
            hint="group them, or choose another target",
        )
    task = wanted or fitting[0]
    what = "two different values" if kinds == _TWO else f"{kinds:,} different values"
    if wanted is None and len(fitting) > 1:
        rest = " or ".join(f"--task {other}" for other in fitting[1:])
        return task, f"{what} of type {facts.type}; otherwise give {rest}"
    return task, f"{what} of type {facts.type}"


def _fitting_tasks(facts: ColumnFacts) -> tuple[Task, ...]:
    """The tasks that the column can be the label of, the likeliest first."""
    is_number = facts.type in {"number", "integer"}
    if facts.distinct == _TWO:
        return (Task.BINARY, Task.REGRESSION) if is_number else (Task.BINARY,)
    if facts.type == "integer" and facts.distinct <= _FEW_NUMBERS:
        return (Task.MULTICLASS, Task.REGRESSION)
    if is_number:
        few = facts.type == "integer" and facts.distinct <= MOST_CLASSES
        return (Task.REGRESSION, Task.MULTICLASS) if few else (Task.REGRESSION,)
    return (Task.MULTICLASS,) if facts.distinct <= MOST_CLASSES else ()


def _label(facts: ColumnFacts, task: Task) -> tuple[Target, Output, tuple[str, ...]]:
    name = facts.name
    if task is Task.REGRESSION:
        low, high = room_around(facts.low or 0.0, facts.high or 0.0, whole=False)
        output = Output(name=name, kind=OutputKind.VALUE, primary=True, minimum=low, maximum=high)
        return Target(column=name), output, ()
    if task is Task.MULTICLASS:
        classes = tuple(sorted(facts.levels))
        output = Output(name=name, kind=OutputKind.CLASS, primary=True, classes=classes)
        return Target(column=name), output, ()
    output = Output(name=name, kind=OutputKind.PROBABILITY, primary=True)
    if facts.low is not None and facts.high is not None:
        middle = (facts.low + facts.high) / 2
        told = () if middle == _MIDDLE_OF_TRUTH else (f"GUESS: {facts.high:g} counts as 1",)
        return Target(column=name, above=middle), output, told
    if facts.type == "boolean":
        return Target(column=name, positive_class="True"), output, ()
    positive = _positive_class(facts)
    told = (f"GUESS: {positive!r} counts as 1",)
    return Target(column=name, positive_class=positive), output, told


_MIDDLE_OF_TRUTH = 0.5


def _positive_class(facts: ColumnFacts) -> str:
    """The level that says yes; otherwise the rarer one, which is mostly the one to find."""
    said = [level for level in facts.levels if level.strip().lower() in _YES]
    return said[0] if len(said) == 1 else min(facts.levels, key=lambda each: facts.levels[each])


def _gate(facts: ColumnFacts, task: Task) -> GatePolicy:
    if task is Task.BINARY:
        return GatePolicy(metric="auc", margin=0.01)
    if task is Task.MULTICLASS:
        return GatePolicy(metric="log_loss", margin=0.05)
    return GatePolicy(metric="mae", margin=_one_digit(_PART_OF_SPREAD * facts.spread))


def _one_digit(value: float) -> float:
    if value <= 0 or not math.isfinite(value):
        return 0.0
    return float(f"{value:.0e}")
