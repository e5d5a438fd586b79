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


def number_effects(
    values: Floats, bins: Integers, blocks: Integers, edges: Floats, scale: float
) -> dict[str, BlockEffects]:
    """The block effects of a number or integer column, by measure.

    Args:
        values: Shape (rows,), NaN for null.
        bins: Shape (rows,), the bin between `edges`; -1 for null.
        blocks: Shape (rows,), 0, 1, 2 ...; -1 for rows of a block that was cut off.
        edges: Shape (edges,), ascending.
        scale: The unit of distances.
    """
    alone = {
        "null share": _null_gaps(bins < 0, blocks),
        "rows outside": _outside_shares(values, blocks),
    }
    pairs = _pairs(bins, blocks, len(edges) + 1)
    return {**_summaries(alone), **number_shapes(pairs, edges, scale)}


def number_shapes(pairs: Pairs, edges: Floats, scale: float) -> dict[str, BlockEffects]:
    """The effects of shape by measure, from pairs of other rows and a block's rows by bin."""
    return _summaries(
        {
            "W1": [wasserstein_distance(rest, window, edges, scale) for rest, window in pairs],
            "KS D": [ks_distance(rest, window) for rest, window in pairs],
        }
    )


def level_effects(codes: Integers, blocks: Integers, *, listed: int) -> dict[str, BlockEffects]:
    """The block effects of a category or boolean column, by measure.

    Args:
        codes: Shape (rows,), the level's number by descending frequency; -1 for null.
        blocks: Shape (rows,), 0, 1, 2 ...; -1 for rows of a block that was cut off.
        listed: Levels from this number on are counted together.
    """
    pooled = np.minimum(codes, listed)
    pairs = _pairs(pooled, blocks, listed + 1)
    alone = {
        "null share": _null_gaps(codes < 0, blocks),
        "unlisted rows": _unlisted_shares(codes, blocks, pairs, listed),
    }
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


def by_group(bins: Integers, groups: Integers, width: int, height: int) -> Counts:
    """The rows of each group by bin, shape (height, width); without rows of a bin or group -1."""
    kept = (bins >= 0) & (groups >= 0)
    flat = np.bincount(groups[kept] * width + bins[kept], minlength=height * width)
    return flat.reshape(height, width)


def _pairs(bins: Integers, blocks: Integers, width: int) -> Pairs:
    """For each block the rows of all others and its own, by bin."""
    total = np.bincount(bins[bins >= 0], minlength=width)
    windows = by_group(bins, blocks, width, int(blocks.max(initial=-1)) + 1)
    return [(total - window, window) for window in windows]


def _null_gaps(null: npt.NDArray[np.bool_], blocks: Integers) -> list[float]:
    # Counts of the rest are differences, so no block is compared row by row.
    nulls, rows = int(np.count_nonzero(null)), len(null)
    inside = blocks >= 0
    block_rows = np.bincount(blocks[inside])
    block_nulls = np.bincount(blocks[inside & null], minlength=len(block_rows))
    return [
        null_share_change((nulls - k) / (rows - n), k / n) if rows > n else 0.0
        for k, n in zip(block_nulls.tolist(), block_rows.tolist(), strict=True)
    ]


def _outside_shares(values: Floats, blocks: Integers) -> list[float]:
    """Each block's share of rows outside the range of all other rows."""
    # Most blocks are inside the range of the rest: only the others are compared row by row.
    height = int(blocks.max(initial=-1)) + 1
    known = ~np.isnan(values)
    low, high = np.full(height + 1, np.inf), np.full(height + 1, -np.inf)
    np.minimum.at(low, blocks[known], values[known])  # -1, cut off, is the last place
    np.maximum.at(high, blocks[known], values[known])
    shares = [0.0] * height
    for block in range(height):
        rest_low, rest_high = np.delete(low, block).min(), np.delete(high, block).max()
        if rest_low <= rest_high and (low[block] < rest_low or high[block] > rest_high):
            own = values[known & (blocks == block)]
            shares[block] = float(np.mean((own < rest_low) | (own > rest_high)))
    return shares


def _unlisted_shares(codes: Integers, blocks: Integers, pairs: Pairs, listed: int) -> list[float]:
    """The share of unlisted rows in each block, less the share in the rest.

    A row is unlisted if its level is not in the rest, or is not among the listed levels.
    """
    # A level with the same first and last block exists in that block alone.
    height = len(pairs)
    known = codes >= 0
    levels = int(codes.max(initial=-1)) + 1
    first, last = np.full(levels, height), np.full(levels, -2)
    np.minimum.at(first, codes[known], blocks[known])
    np.maximum.at(last, codes[known], blocks[known])
    own = known & (blocks >= 0)
    own[own] = (first == last)[codes[own]] | (codes[own] >= listed)
    unlisted = np.bincount(blocks[own], minlength=height)
    return [
        share_increase(rest[-1] / max(1, rest.sum()), rows / max(1, window.sum()))
        for rows, (rest, window) in zip(unlisted, pairs, strict=True)
    ]
