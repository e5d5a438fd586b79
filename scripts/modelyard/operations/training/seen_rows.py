"""Whether held-out rows were trained on, by their content, where no days can tell.

Not found are rows of which a value was changed, and a few copies in a table whose own rows repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modelyard.domain.specs.contract import Column

if TYPE_CHECKING:
    import pandas as pd

_CHANCE = 1e-6
"""Probability that more held-out rows repeat training rows than training rows repeat each other."""

_NAMED = 3


def describe_seen_rows(
    held_out: pd.DataFrame, training: pd.DataFrame, columns: Sequence[Column], *, cluster: str
) -> str | None:
    """How held-out rows were trained on, or None.

    - A cluster has rows that are not independent, so it is on one side only.
    - A row with the same values in all columns is the same row. If the training rows repeat each
      other, as in a table of a few categories, as large a share of repetitions is chance.

    Args:
        held_out: The held-out rows.
        training: The training rows.
        columns: The contract, which both keep.
        cluster: The cluster of the held-out set; `row` makes every row its own.
    """
    if cluster != "row":
        both = sorted({*held_out[cluster].dropna()} & {*training[cluster].dropna()}, key=str)
        if both:
            named = ", ".join(str(each) for each in both[:_NAMED])
            more = f" and {len(both) - _NAMED} more" if len(both) > _NAMED else ""
            return f"{len(both)} of its clusters ({cluster}) were trained on: {named}{more}"
    seen, twins = _digests(held_out, columns), _digests(training, columns)
    repeated = seen.isin(twins)
    count = int(repeated.sum())
    if count <= _by_chance(len(seen), float(twins.duplicated(keep=False).mean())):
        return None
    first = int(repeated.to_numpy().argmax()) + 1
    return f"{count} of its {len(seen)} rows were trained on; the first is row {first}"


def _by_chance(rows: int, share: float) -> int:
    """The most rows that repeat a training row by chance, if a share of those repeat each other."""
    if not share:
        return 0
    from scipy.stats import binom

    return int(binom.isf(_CHANCE, rows, min(share, 1.0)))


def _digests(frame: pd.DataFrame, columns: Sequence[Column]) -> pd.Series[Any]:
    """A number for each row that depends on its values alone, not on how pandas keeps them."""
    import pandas as pd

    same = {}
    for column in columns:
        values = frame[column.name]
        if column.type == "integer":
            values = values.astype("Int64")
        elif column.type == "number":
            values = values + 0.0  # so that -0.0 is 0.0
        elif column.type == "boolean":
            values = values.astype(object).map({True: "true", False: "false"})
        same[column.name] = values
    return pd.util.hash_pandas_object(pd.DataFrame(same), index=False)
