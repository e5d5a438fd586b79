"""What each series of a model server's metrics counts, and which values are counts."""

from __future__ import annotations

import sys

from modelyard.domain.canary.counters.table import MOST_MEASURED, Key
from modelyard.domain.canary.latency import bound_name

STARTED = ("started", "")

KINDS = {
    "modelyard_requests_total": ("requests", "code_class"),
    "modelyard_rows_total": ("rows", ""),
    "modelyard_predictions_total": ("predictions", "bin"),
    "modelyard_input_nulls_total": ("nulls", "column"),
    "modelyard_input_unseen_total": ("unseen", "column"),
    "modelyard_request_row_pairs_total": ("pairs", "measure"),
    "modelyard_requests_refused_total": ("refused", ""),
    "modelyard_request_seconds_bucket": ("within", "le"),
    "modelyard_input_cells_total": ("inputs", "cell"),
    "modelyard_segment_predictions_total": ("segments", "cell"),
    "modelyard_shadow_rows_total": ("shadow", "pair"),
    "modelyard_shadow_lost_total": ("lost", "why"),
    "modelyard_start_time_seconds": STARTED,
}
"""The kind of each series' counter, and the label that names it."""

MOST_BINS = 100_000
"""A histogram has a place for each bin below the greatest, so a wrong one would fill the memory."""


def key_of(series: str, labels: dict[str, str]) -> Key | None:
    """What a series counts, with its own label removed from `labels`; None for another one."""
    kind, label = KINDS.get(series, ("", ""))
    name = labels.pop(label, None) if label else ""
    if not kind or name is None or (kind == "predictions" and not _is_bin(name)):
        return None
    # Days of samples have the same names: one object for each is compared sooner than many.
    return kind, sys.intern(_bound_of(name) if kind == "within" else name)


def count_of(text: object) -> float:
    """A cumulative count; negative for anything else, such as NaN."""
    try:
        value = float(text)  # type: ignore[arg-type]  # the answer may hold anything
    except (OverflowError, TypeError, ValueError):
        return -1.0
    return value if 0 <= value <= MOST_MEASURED else -1.0


def _is_bin(name: str) -> bool:
    return name.isdecimal() and len(name) <= len(str(MOST_BINS)) and int(name) < MOST_BINS


def _bound_of(text: str) -> str:
    """A bound's name; versions of Prometheus write 1.0 or 1."""
    try:
        return bound_name(float(text))
    except ValueError:
        return text
