"""Whether two columns of a window were swapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from modelyard.domain.drift.causes.nearness import (
    distance_apart,
    is_explained,
    is_like_a_block,
    shape_distance,
)
from modelyard.domain.drift.profile import NumberProfile
from modelyard.domain.specs.column_values import Floats


def find_swaps(
    columns: Mapping[str, NumberProfile], windows: Mapping[str, Floats]
) -> Iterator[tuple[str, str]]:
    """Pairs of columns of which each looks like the other's reference."""
    names: Sequence[str] = list(columns)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            pairs = ((one, other), (other, one))
            if all(_fits(columns[here], windows[here], windows[there]) for here, there in pairs):
                yield one, f"looks as if it was swapped with {other}"
                yield other, f"looks as if it was swapped with {one}"


def _fits(column: NumberProfile, own: Floats, others: Floats) -> bool:
    """Whether the other column's values look like this one's reference, and its own do not."""
    before, after = shape_distance(column, own), shape_distance(column, others)
    if is_explained(column, before, after):
        return True
    return is_like_a_block(column, distance_apart(column, own, before), after, others)
