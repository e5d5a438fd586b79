"""The response times that servers count requests by, and which of them counts as slow."""

from __future__ import annotations

LATENCY_BOUNDS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
"""Servers of every version count by these, so a threshold needs no restart and no argument."""

ALL_REQUESTS = "inf"
"""The name of the bound that every request keeps."""

LEAST_DERIVED_MS = 10.0
"""Below this a caller hardly notices, and one busy moment of a machine is more."""

DERIVED_FACTOR = 5.0
"""A derived threshold is the greatest bound up to this many times the verified latency."""


def bound_name(seconds: float) -> str:
    """How a bound is named: exporters write one number in several ways, such as 1.0 and 1."""
    return f"{seconds:g}"


def slow_threshold(slow_ms: float | None, stable_p95_ms: float | None) -> float | None:
    """The response time in milliseconds above which a request is slow; None to judge no latency.

    Args:
        slow_ms: As in `canary.slow_ms` of model.yaml: 0 is never, None derives it.
        stable_p95_ms: The 95th percentile that `verify` measured for the stable version, of
            requests of 20 rows; None without a stable release.
    """
    if slow_ms is not None:
        return slow_ms or None
    # Without a stable release nothing says how fast these machines are.
    if stable_p95_ms is None:
        return None
    most = max(DERIVED_FACTOR * stable_p95_ms, LEAST_DERIVED_MS)
    return max(float(bound) for bound in LATENCY_BOUNDS_MS if bound <= most)
