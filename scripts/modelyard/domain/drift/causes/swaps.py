"""Whether two columns of a window were swapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from modelyard.domain.drift.causes.nearness import is_explained, shape_distance
from modelyard.domain.drift.profile import NumberProfile
from modelyard.domain.specs.column_values import Floats


def find_swaps(
    columns: Mapping[str, NumberProfile], windows: Mapping[str, Floats]
) -> Iterator[tuple[str, str]]:
    """Pairs of columns of which each looks like the other's reference."""
    names: Sequence[str] = list(columns)
    for number, one in enumerate(names):
        for other in names[number + 1 :]:
            pairs = [
                (
                    shape_distance(columns[here], windows[here]),
                    shape_distance(columns[here], windows[there]),
                )
                for here, there in ((one, other), (other, one))
            ]
            if all(
                is_explained(columns[here], *pair)
                for here, pair in zip((one, other), pairs, strict=True)
            ):
                yield one, f"looks as if it was swapped with {other}"
                yield other, f"looks as if it was swapped with {one}"
