"""The calendar's own effects: each block of the reference compared with all its other blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelyard.domain.drift.effect_sizes import (
    Counts,
    ks_distance,
    largest_share_ratio,
    null_share_change,
    share_increase,
    total_variation_distance,
    wasserstein_distance,
)
from modelyard.domain.specs.column_values import Floats

_OUTAGE_SHARE = 0.05
_OUTAGE_FACTOR = 2.0
_OUTAGE_LEAST = 0.2  # a share, a distance of shares, or standard deviations

Integers = npt.NDArray[np.int64]
Pairs = list[tuple[Counts, Counts]]


@dataclass(frozen=True, kw_only=True)
class BlockEffects:
    """The effects of a measure when each block in turn is compared with all the others.

    Args:
        largest: The largest effect.
        mean: The mean effect.
        deviation: The sample standard deviation of the effects; 0 with one block.

    Left out are at most 5 % of the blocks whose effects are more than twice all others, unless the
    last block is among them: an outage in the training data must not hide the next one.
    """

    largest: float
    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class BlockRows:
    """The rows of a column by bin or level.

    Args:
        rows: Rows, with and without a value.
        total: Shape (bins,), all rows with a value.
        blocks: Shape (blocks, bins), those of each block.
        block_rows: Shape (blocks,), its rows with and without a value.
    """

    rows: int
    total: Counts
    blocks: Counts
    block_rows: Integers

    def pairs(self) -> Pairs:
        """For each block the rows of all others and its own, by bin."""
        return [(self.total - window, window) for window in self.blocks]


def number_effects(
    rows: BlockRows, outside: Integers, edges: Floats, scale: float
) -> dict[str, BlockEffects]:
    """The block effects of a number or integer column, by measure.

    Args:
        rows: The rows by bin between `edges`.
        outside: Shape (blocks,), the rows of each block outside the range of all other rows.
        edges: Shape (edges,), ascending.
        scale: The unit of distances.
    """
    known = np.maximum(1, rows.blocks.sum(axis=1))
    alone = {"null share": _null_gaps(rows), "rows outside": (outside / known).tolist()}
    return {**_summaries(alone), **number_shapes(rows.pairs(), edges, scale)}


def number_shapes(pairs: Pairs, edges: Floats, scale: float) -> dict[str, BlockEffects]:
    """The effects of shape by measure, from pairs of other rows and a block's rows by bin."""
    return _summaries(
        {
            "W1": [wasserstein_distance(rest, window, edges, scale) for rest, window in pairs],
            "KS D": [ks_distance(rest, window) for rest, window in pairs],
        }
    )


def level_effects(rows: BlockRows, unlisted: Integers) -> dict[str, BlockEffects]:
    """The block effects of a category or boolean column, by measure.

    Args:
        rows: The rows by listed level, those of all others last.
        unlisted: Shape (blocks,), the rows of each block whose level no other block has, or that is
            not listed.
    """
    pairs = rows.pairs()
    shares = [
        share_increase(rest[-1] / max(1, rest.sum()), count / max(1, window.sum()))
        for count, (rest, window) in zip(unlisted, pairs, strict=True)
    ]
    alone = {"null share": _null_gaps(rows), "unlisted rows": shares}
    return {**_summaries(alone), **level_shapes(pairs)}


def level_shapes(pairs: Pairs) -> dict[str, BlockEffects]:
    """The effects of shape by measure, from pairs of other rows and a block's rows by level."""
    return _summaries(
        {
            "TV": [total_variation_distance(rest, window) for rest, window in pairs],
            "doublings": [largest_share_ratio(rest[:-1], window[:-1])[0] for rest, window in pairs],
        }
    )


def _summaries(effects: Mapping[str, Iterable[float]]) -> dict[str, BlockEffects]:
    summaries = {}
    for measure, listed in effects.items():
        values = _without_outages(np.array(list(listed)))
        if len(values):
            summaries[measure] = BlockEffects(
                largest=_short(values.max()),
                mean=_short(values.mean()),
                deviation=_short(values.std(ddof=1)) if len(values) > 1 else 0.0,
            )
    return summaries


def _without_outages(values: Floats) -> Floats:
    """The effects but for those of a few blocks that stand far apart, such as a week's outage."""
    # More blocks than these, or the last ones, are a regime, which the floors must know.
    order = np.argsort(values)
    for number in range(1, int(len(values) * _OUTAGE_SHARE) + 1):
        rest, apart = order[:-number], order[-number:]
        least = float(values[apart].min())
        if least >= _OUTAGE_LEAST and least > _OUTAGE_FACTOR * values[rest].max():
            return values if len(values) - 1 in apart else values[rest]
    return values


def _short(value: float) -> float:
    # More digits than a floor needs would only make the stored profile larger.
    return round(float(value), 6)


def _null_gaps(rows: BlockRows) -> list[float]:
    # Counts of the rest are differences, so no block is compared row by row.
    nulls = rows.rows - int(rows.total.sum())
    block_nulls = rows.block_rows - rows.blocks.sum(axis=1)
    return [
        null_share_change((nulls - k) / (rows.rows - n), k / n) if rows.rows > n else 0.0
        for k, n in zip(block_nulls.tolist(), rows.block_rows.tolist(), strict=True)
    ]
