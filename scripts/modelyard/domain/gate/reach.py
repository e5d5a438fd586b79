"""What a gate can say of no version on a held-out set: known before one trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelyard.domain.gate.inputs import cluster_codes, number_names
from modelyard.domain.gate.slices import LEAST_SHARE, Names
from modelyard.domain.specs.model import GatePolicy
from modelyard.errors import join_first

_SHOWN = 5


def find_undecided(
    policy: GatePolicy, labels: NDArray[Any], clusters: NDArray[Any], names: Mapping[str, Names]
) -> Iterator[str]:
    """What the gate can decide for no version, a sentence each with what would help.

    With too few clusters every comparison is `inconclusive`, and a slice that has all rows is no
    slice.

    Args:
        policy: The gate.
        labels: Shape (n,).
        clusters: Shape (n,).
        names: The name of each row's slice, see `slices.slice_names`.
    """
    codes, least = cluster_codes(clusters, labels.size), policy.least_clusters
    if (found := _count(codes)) < least:
        yield (
            f"{found} clusters, but gate.least_clusters of model.yaml asks for {least}: hold out "
            f"more with `modelyard version held-out`, or lower it"
        )
        return  # each slice has even fewer
    few: list[str] = []
    told: set[str] = set()
    for each in policy.slices:
        is_told = each.title in told  # the same rows in another metric
        told.add(each.title)
        titles, of_row = number_names(names[each.title])
        parts = {t: of_row == place for place, t in enumerate(titles) if t}
        if each.by is not None and len(titles) == 1 and not is_told:
            yield (
                f"slice {each.title}: all rows are one slice, {titles[0]}, as a level of less than "
                f"{LEAST_SHARE:.0%} of the rows has none of its own, so no level is looked at: "
                f"name those that matter, such as `where: {each.by} in [...]`"
            )
        if not parts and not is_told:
            yield (
                f"slice {each.title}: no held-out row is in it: hold out such rows, or remove it "
                f"from gate.slices"
            )
        for title, rows in parts.items():
            # Without AUC a slice of one label can pass: it is compared with the champion alone.
            one_label = (each.metric or policy.metric) == "auc" and _count(labels[rows]) == 1
            if each.harm_only:
                continue
            if (found := _count(codes[rows])) < least:
                few.append(f"{title} ({int(rows.sum()):,} rows in {found} clusters)")
            elif one_label:
                few.append(f"{title} ({int(rows.sum()):,} rows of one label, which have no auc)")
    if few:
        yield (
            f"too few for a verdict in slice {join_first(list(dict.fromkeys(few)), _SHOWN)}; "
            f"gate.least_clusters is {least}: hold out more with `modelyard version held-out`, or "
            f"let only shown harm count there (harm_only: true)"
        )


def _count(values: NDArray[Any]) -> int:
    return int(np.unique(values).size)
