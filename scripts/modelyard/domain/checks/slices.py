"""Slices of the gate: each can be told from the columns of a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from modelyard.domain.gate.conditions import parse_condition
from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.model import Model, Slice
from modelyard.domain.specs.paths import model_file
from modelyard.errors import Refused


def slices_can_be_told(catalog: Catalog) -> Iterator[Problem]:
    """Each slice has a column that is not the target, or a condition that can be read."""
    for name, model in catalog.models.items():
        for index, each in enumerate(model.gate.slices):
            for fault in _slice_faults(model, each):
                yield Problem(file=model_file(name), path=("gate", "slices", index), message=fault)
        policy = model.gate
        asked = Counter((each.title, each.metric or policy.metric) for each in policy.slices)
        for title, metric in sorted(each for each, times in asked.items() if times > 1):
            message = (
                f"{title!r} is there twice with the metric {metric}; leave one, or give one of "
                "them another `metric`"
            )
            yield Problem(file=model_file(name), path=("gate", "slices"), message=message)


def _slice_faults(model: Model, each: Slice) -> Iterator[str]:
    if (each.by is None) == (each.where is None):
        yield "give either `by` or `where`"
        return
    # The target is no input, and a slice by it would choose rows by their answer.
    types = {c.name: c.type for c in model.data.columns if c.name != model.target.column}
    if each.where is not None:
        try:
            levels = {c.name: c.levels for c in model.data.columns if c.levels}
            parse_condition(each.where, types, levels)
        except Refused as refusal:
            yield refusal.message
    elif each.by not in types:
        yield f"{each.by} is no column of data.columns, or the target"
    elif types[each.by] == "timestamp":
        yield f"{each.by} is a timestamp: choose its rows by `where`"
