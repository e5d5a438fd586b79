"""Slices of a held-out set: parts of its rows in each of which a challenger must do no harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.gate.conditions import Reader, parse_condition
from modelyard.domain.gate.inputs import number_names
from modelyard.domain.gate.paired import non_inferiority, p_of_harm, paired_difference
from modelyard.domain.specs.column_values import Table, read_column, read_levels
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import GatePolicy, Slice
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import CannotAnswer, Refused

LEAST_SHARE = 0.05
"""Levels with a smaller share of the rows are one slice together."""

OTHERS, NULL = "other levels", "null"
QUARTERS = (0.25, 0.5, 0.75)

Names = NDArray[Any]
"""Shape (n,): the name of each row's slice, as text; empty for a row in none."""


@dataclass(frozen=True, kw_only=True)
class SliceVerdict:
    """The comparison with the champion in one slice.

    Args:
        name: The rows, such as `origin = JFK` or `distance > 1000`.
        verdict: The verdict on these rows alone.
        harm_only: Whether only a `fail` counts; False where no row was compared.
    """

    name: str
    verdict: Verdict
    harm_only: bool = False

    @property
    def counts(self) -> bool:
        """Whether the gate's verdict depends on it."""
        return not self.harm_only or self.verdict.outcome is Outcome.FAIL


def slice_names(slices: Sequence[Slice], columns: Sequence[Column], table: Table) -> dict[str, Any]:
    """The name of each row's slice, for each entry of `gate.slices` by its title.

    A category or boolean has a slice for each level, and one for all levels of less than 5 % of the
    rows together; a number has quarters of the held-out rows. Rows without a value are a slice.

    Raises:
        Refused: A column is missing, or a condition cannot be read.
    """
    kinds = {column.name: column for column in columns}
    return {each.title: _names_of(each, kinds, table) for each in slices}


def slice_verdicts(
    policy: GatePolicy,
    labels: NDArray[Any],
    scores: tuple[NDArray[Any], NDArray[Any]],
    clusters: NDArray[Any],
    names: Mapping[str, Names],
    *,
    classes: Sequence[Any],
) -> tuple[SliceVerdict, ...]:
    """The verdict of each slice.

    A slice passes as a held-out set does, at alpha: all must pass, so this needs no correction. It
    fails only if harm is shown at alpha over all slices together, by Holm's (1979) steps: of many
    slices of an equal model some look worse by chance. What only looks so is inconclusive.

    Args:
        policy: The gate.
        labels: Shape (n,).
        scores: The champion's and the challenger's.
        clusters: Shape (n,).
        names: The name of each row's slice by title, see `slice_names`. An entry without one is
            inconclusive: the rows were scored before it was declared.
        classes: The levels of a multiclass output.
    """
    found: list[SliceVerdict] = []
    harms: list[float] = []
    for each in policy.slices:
        suffix = _metric_suffix(policy, each)
        if each.title not in names:
            found.append(_unknown(f"{each.title}{suffix}"))
            harms.append(1.0)
            continue
        titles, of_row = number_names(names[each.title])
        for place, name in enumerate(titles):
            if name == "":
                continue
            rows = np.flatnonzero(of_row == place)
            part = labels[rows], scores[0][rows], scores[1][rows], clusters[rows]
            verdict, harm = _compare(policy, each, part, classes)
            found.append(
                SliceVerdict(name=f"{name}{suffix}", verdict=verdict, harm_only=each.harm_only)
            )
            harms.append(harm)
        if not set(titles) - {""}:
            found.append(_empty(f"{each.title}{suffix}"))
            harms.append(1.0)
    shown = holm(harms, policy.alpha)
    return tuple(
        each if each.verdict.outcome is not Outcome.FAIL or is_shown else _by_chance(each, policy)
        for each, is_shown in zip(found, shown, strict=True)
    )


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected at alpha over all of them together (Holm 1979)."""
    rejected, left = [False] * len(p_values), len(p_values)
    for place in sorted(range(len(p_values)), key=lambda number: p_values[number]):
        if p_values[place] > alpha / left:
            break
        rejected[place], left = True, left - 1
    return rejected


def _compare(
    policy: GatePolicy, each: Slice, part: tuple[Any, Any, Any, Any], classes: Sequence[Any]
) -> tuple[Verdict, float]:
    """The verdict on the rows of one slice, and the p of its harm."""
    labels, champion, challenger, clusters = part
    metric = each.metric or policy.metric
    try:
        found = paired_difference(metric, labels, champion, challenger, clusters, classes=classes)
    except CannotAnswer as error:  # such as an AUC of rows of one label
        return Verdict(outcome=Outcome.INCONCLUSIVE, reason=error.message), 1.0
    verdict = non_inferiority(
        found,
        margin=each.margin,
        alpha=policy.alpha,
        least_clusters=policy.least_clusters,
        least_informative=policy.least_informative,
    )
    failed = verdict.outcome is Outcome.FAIL
    return verdict, p_of_harm(found, each.margin) if failed else 1.0


def _by_chance(each: SliceVerdict, policy: GatePolicy) -> SliceVerdict:
    reason = f"{each.verdict.reason}, but of so many slices one looks so by chance"
    reason = f"{reason} (Holm, alpha {policy.alpha:g})"
    verdict = replace(each.verdict, outcome=Outcome.INCONCLUSIVE, reason=reason)
    return replace(each, verdict=verdict)


def _metric_suffix(policy: GatePolicy, each: Slice) -> str:
    """The metric behind a name, where the same rows are compared in several."""
    # Only there: the names of other slices are in records, with which verdicts are compared.
    is_shared = sum(other.title == each.title for other in policy.slices) > 1
    return f", {each.metric or policy.metric}" if is_shared else ""


def _unknown(name: str) -> SliceVerdict:
    reason = "the rows were scored before this slice was declared; train the version again"
    return SliceVerdict(name=name, verdict=Verdict(outcome=Outcome.INCONCLUSIVE, reason=reason))


def _empty(name: str) -> SliceVerdict:
    verdict = Verdict(outcome=Outcome.INCONCLUSIVE, reason="no held-out row is in this slice")
    return SliceVerdict(name=name, verdict=verdict)


def _names_of(each: Slice, kinds: Mapping[str, Column], table: Table) -> Names:
    if each.where is not None:
        types = {name: column.type for name, column in kinds.items()}
        condition = parse_condition(each.where, types)
        return np.where(condition.holds(_reader(kinds, table)), each.title, "")
    if each.by is None or each.by not in kinds:
        raise Refused(f"slice {each.title}: {each.by} is no column of the contract")
    column = kinds[each.by]
    values, known = _reader(kinds, table)(column.name)
    if column.type in {"category", "boolean"}:
        return np.array([*_levels(column, values, known)])
    return _quarters(column.name, values, known)


def _reader(kinds: Mapping[str, Column], table: Table) -> Reader:
    def read(name: str) -> tuple[Any, Any]:
        if name not in table:
            raise Refused(f"column {name} is not in the held-out rows")
        if kinds[name].type != "category":
            numbers = read_column(kinds[name].type, table[name]).values
            return numbers, ~np.isnan(numbers)
        values = table[name].astype(object)
        known = np.array([isinstance(value, str) for value in values], dtype=bool)
        return values, known

    return read


def _levels(column: Column, values: Any, known: Any) -> Iterator[str]:
    texts = values
    if column.type == "boolean":
        texts = np.where(values == 1, "true", "false").astype(object)
    counts = read_levels(np.where(known, texts, np.array(None))).counts
    many = {level for level, rows in counts.items() if rows >= LEAST_SHARE * len(values)}
    for text, is_known in zip(texts.tolist(), known.tolist(), strict=True):
        level = f"= {text}" if text in many else f"in {OTHERS}"
        yield f"{column.name} {level}" if is_known else f"{column.name} is {NULL}"


def _shown(edges: NDArray[Any]) -> list[str]:
    """Numbers with six digits, or as many more as they differ in."""
    for digits in range(6, 17):
        shown = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(shown)) == len(shown):
            return shown
    return [repr(float(edge)) for edge in edges]


def _quarters(name: str, values: Any, known: Any) -> Names:
    edges = np.unique(np.quantile(values[known], QUARTERS)) if known.any() else np.array([])
    shown = _shown(edges)
    titles = [f"{name} <= {shown[0]}" if shown else name]
    titles += [f"{low} < {name} <= {high}" for low, high in pairwise(shown)]
    titles += [f"{name} > {shown[-1]}"] if shown else []
    place = np.searchsorted(edges, values, side="left")
    found: Names = np.where(known, np.array([*titles, ""])[place], f"{name} is {NULL}")
    return found
