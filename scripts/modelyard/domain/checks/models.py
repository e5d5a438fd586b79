"""Models: outputs, gate, target and columns fit each other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC

from modelyard.domain.problem import Path, Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import MissingLabels, Model, Output, OutputKind, Task
from modelyard.domain.specs.paths import environment_file, model_file
from modelyard.domain.specs.times import is_zone, parse_time

OUTPUTS: Mapping[Task, OutputKind] = {
    Task.BINARY: OutputKind.PROBABILITY,
    Task.MULTICLASS: OutputKind.CLASS,
    Task.REGRESSION: OutputKind.VALUE,
}
"""The kind of primary output that answers each task."""

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_NUMERIC = frozenset({"number", "integer"})


def one_output_is_primary(catalog: Catalog) -> Iterator[Problem]:
    """Exactly one output is primary: the one that the gate and the judge use."""
    for name, model in catalog.models.items():
        primary = [output.name for output in model.outputs if output.primary]
        if len(primary) != 1:
            named = f" ({', '.join(primary)})" if primary else ""
            message = f"{len(primary)} outputs are primary{named}; the gate needs exactly one"
            yield _problem(name, ("outputs",), message)


def output_names_are_unique(catalog: Catalog) -> Iterator[Problem]:
    """No two outputs have the same name."""
    for name, model in catalog.models.items():
        for index in _repeats([output.name for output in model.outputs]):
            message = f"output {model.outputs[index].name} is listed twice"
            yield _problem(name, ("outputs", index), message)


def primary_output_fits_the_task(catalog: Catalog) -> Iterator[Problem]:
    """The output is a probability for a binary task, a class for multiclass, else a value."""
    for name, model in catalog.models.items():
        for index, output in enumerate(model.outputs):
            place: Path = ("outputs", index)
            if output.primary and output.kind is not OUTPUTS[model.task]:
                wanted = OUTPUTS[model.task]
                message = f"the primary output of a {model.task} task is a {wanted}, not a"
                yield _problem(name, (*place, "kind"), f"{message} {output.kind}")
            for fault in _output_faults(output):
                yield _problem(name, place, f"output {output.name} {fault}")


def target_is_a_column(catalog: Catalog) -> Iterator[Problem]:
    """The target is a declared column."""
    for name, model in catalog.models.items():
        if model.target.column not in _columns(model):
            message = f"target column {model.target.column} is not in data.columns: declare it"
            yield _problem(name, ("target", "column"), message)


def label_is_defined(catalog: Catalog) -> Iterator[Problem]:
    """A binary label has exactly one rule, other labels have none; the column's type fits."""
    for name, model in catalog.models.items():
        for field, message in _label_faults(model):
            yield _problem(name, ("target", field) if field else ("target",), message)


def timestamp_is_a_column(catalog: Catalog) -> Iterator[Problem]:
    """The timestamp is a declared column."""
    for name, model in catalog.models.items():
        timestamp = model.data.timestamp
        if timestamp is not None and timestamp not in _columns(model):
            message = f"timestamp column {timestamp} is not in data.columns: declare it"
            yield _problem(name, ("data", "timestamp"), message)


def time_zones_exist(catalog: Catalog) -> Iterator[Problem]:
    """The time zone of the days is a name of the IANA database."""
    for name, model in catalog.models.items():
        if not is_zone(model.data.timezone):
            message = (
                f"there is no time zone {model.data.timezone!r}: use a name of the IANA database, "
                f"such as Europe/Rome"
            )
            yield _problem(name, ("data", "timezone"), message)


def columns_are_unique(catalog: Catalog) -> Iterator[Problem]:
    """No two columns have the same name."""
    for name, model in catalog.models.items():
        for index in _repeats([column.name for column in model.data.columns]):
            message = f"column {model.data.columns[index].name} is listed twice"
            yield _problem(name, ("data", "columns", index), message)


def column_limits_make_sense(catalog: Catalog) -> Iterator[Problem]:
    """Numbers have ranges that are not empty, categories have levels, nullable columns a share."""
    for name, model in catalog.models.items():
        for index, column in enumerate(model.data.columns):
            for field, fault in _limit_faults(column):
                place = ("data", "columns", index, field)
                yield _problem(name, place, f"column {column.name}: {fault}")


def column_defaults_fit(catalog: Catalog) -> Iterator[Problem]:
    """The default of a column keeps the column's own contract."""
    for name, model in catalog.models.items():
        for index, column in enumerate(model.data.columns):
            if column.default is not None and not _fits(column, column.default):
                message = (
                    f"column {column.name}: default {column.default!r} breaks its own contract"
                )
                yield _problem(name, ("data", "columns", index, "default"), message)


def trusted_types_are_dotted_names(catalog: Catalog) -> Iterator[Problem]:
    """A trusted type is one class with its module; a pattern would trust classes not reviewed."""
    for name, model in catalog.models.items():
        for index, trusted in enumerate(model.artifact.trusted_types):
            if not _DOTTED.fullmatch(trusted):
                message = f"{trusted!r} is no dotted name such as sklearn.tree._tree.Tree"
                yield _problem(name, ("artifact", "trusted_types", index), message)


def code_is_trusted_with_a_reason(catalog: Catalog) -> Iterator[Problem]:
    """Formats that run code of the artifact are listed only with the reason for it."""
    for name, model in catalog.models.items():
        policy = model.artifact
        listed = ", ".join(policy.code_formats)
        if listed and policy.trusted is None:
            message = (
                f"{listed} runs any code that is in the artifact: add artifact.trusted with the "
                f"reason, or list a format of data, such as skops or onnx"
            )
            yield _problem(name, ("artifact", "formats"), message)
        if not listed and policy.trusted is not None:
            message = "no format that runs code is listed, so nothing needs trust: leave it out"
            yield _problem(name, ("artifact", "trusted"), message)


def drift_windows_suffice(catalog: Catalog) -> Iterator[Problem]:
    """At least as many windows are compared as must drift."""
    for name, model in catalog.models.items():
        needed, compared = model.drift.needed, model.drift.of
        if needed > compared:
            message = f"{needed} windows must drift, but only {compared} are compared"
            yield _problem(name, ("drift", "needed"), message)


def canaries_can_pass_in_time(catalog: Catalog) -> Iterator[Problem]:
    """No environment gives a release up before the least seconds of its traffic are over."""
    limits = {
        name: environment.rollout.decide_within_seconds
        for name, environment in catalog.environments.items()
        if environment.rollout.judged
    }
    if not limits:
        return
    first = min(sorted(limits), key=limits.__getitem__)
    for name, model in catalog.models.items():
        least = model.canary.least_seconds
        if least >= limits[first]:
            message = (
                f"no release can pass: {first} rolls it back after {limits[first]} s; "
                f"raise rollout.decide_within_seconds there above {least}"
            )
            yield replace(
                _problem(name, ("canary", "least_seconds"), message),
                involves=(environment_file(first),),
            )


def segments_are_levels_of_a_request(catalog: Catalog) -> Iterator[Problem]:
    """The canary's segments are categories or booleans that a request carries."""
    for name, model in catalog.models.items():
        types = {column.name: column.type for column in model.inputs}
        for index, column in enumerate(model.canary.segments):
            if types.get(column) not in {"category", "boolean"}:
                found = f"is of type {types[column]}" if column in types else "is not in a request"
                message = f"{column} {found}; a segment is a level of a category or boolean of it"
                yield _problem(name, ("canary", "segments", index), message)


def _problem(model: str, path: Path, message: str) -> Problem:
    return Problem(file=model_file(model), path=path, message=message)


def _columns(model: Model) -> dict[str, Column]:
    return {column.name: column for column in model.data.columns}


def _repeats(names: list[str]) -> Iterator[int]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield index
        seen.add(name)


def _output_faults(output: Output) -> Iterator[str]:
    if output.kind is OutputKind.CLASS and not output.classes:
        yield "is a class without classes: list them in the order of the probability columns"
    if output.kind is not OutputKind.CLASS and output.classes:
        yield f"is a {output.kind}: only a class has classes"
    ends = (output.minimum, output.maximum)
    if output.kind is not OutputKind.VALUE:
        if ends != (None, None):
            yield f"is a {output.kind}: only a value has minimum and maximum"
    elif output.minimum is None or output.maximum is None:
        yield "is a value: it needs minimum and maximum for its histogram"
    elif output.minimum >= output.maximum:
        yield f"has a minimum of {output.minimum:g}, not below its maximum of {output.maximum:g}"


def _label_faults(model: Model) -> Iterator[tuple[str, str]]:
    target = model.target
    column = _columns(model).get(target.column)
    yield from _rule_faults(model)
    if column is None:
        return
    if model.task is Task.MULTICLASS:
        classes = (each for output in model.outputs if output.primary for each in output.classes)
        for each in (each for each in classes if not _has_level(column, each)):
            yield "column", f"the class {each} is no level of column {column.name}"
    # `above` compares, and a regression predicts, so both need a number.
    is_number = target.above is not None or model.task is Task.REGRESSION
    if is_number and column.type not in _NUMERIC:
        yield "column", f"the label is a number, but column {column.name} is a {column.type}"
    if target.positive_class is not None and not _has_level(column, target.positive_class):
        message = f"{target.positive_class} is no level of column {column.name}"
        yield "positive_class", message


def _rule_faults(model: Model) -> Iterator[tuple[str, str]]:
    """What the rule for a binary label lacks, or another label has of it."""
    target = model.target
    if model.task is Task.BINARY and (target.above is None) == (target.positive_class is None):
        yield "", "a binary label needs `above` or `positive_class`, and not both"
    if model.task is not Task.BINARY:
        for field in ("above", "positive_class"):
            if getattr(target, field) is not None:
                yield field, f"only a binary label has {field}; the task is {model.task}"
        if target.missing is MissingLabels.NEGATIVE:
            yield "missing", f"only a binary label can be negative; the task is {model.task}"


def _has_level(column: Column, level: str) -> bool:
    return column.levels is None or level in column.levels


def _limit_faults(column: Column) -> Iterator[tuple[str, str]]:
    low, high = column.minimum, column.maximum
    if column.type not in _NUMERIC:
        for field in ("minimum", "maximum"):
            if getattr(column, field) is not None:
                yield field, f"a {column.type} has no {field}"
    elif low is not None and high is not None and low > high:
        yield "minimum", f"minimum {low:g} is above maximum {high:g}"
    if column.levels is not None and column.type != "category":
        yield "levels", f"a {column.type} has no levels"
    if column.max_null_share is not None and not column.nullable:
        yield "max_null_share", "no value may be missing; add `nullable: true` or leave it out"


def _fits(column: Column, value: object) -> bool:
    if column.type == "category":
        return isinstance(value, str) and (column.levels is None or value in column.levels)
    if column.type == "timestamp":
        return isinstance(value, str) and _is_time(value)
    if column.type == "boolean":
        return isinstance(value, bool)
    # In Python true is an int, so booleans go first.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if not math.isfinite(value) or (column.type == "integer" and value != int(value)):
        return False
    low, high = column.limits
    return low <= value <= high


def _is_time(text: str) -> bool:
    try:
        parse_time(text, UTC)
    except ValueError:
        return False
    return True
