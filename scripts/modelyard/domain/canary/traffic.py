"""Serving counts of one release, as read at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

JUDGED_BAD = "the judge failed it"
"""Why a cluster took a release out of traffic that asked the judge itself, and told no numbers."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Cumulative counts of one server process since it started.

    Args:
        requests: Requests by code class: `2xx`, `4xx`, `5xx`.
        rows: Rows answered.
        predictions: Rows by bin of the primary output, shape (bins,); see `Grid`.
        nulls: Rows by input column whose value was null.
        unseen: Rows by input column whose level was not seen in training.
        pairs: Of the rows of each request, summed over requests; see `design_effect.pair_measures`.
            Empty where a server does not count them.
    """

    requests: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    predictions: tuple[int, ...] = ()
    nulls: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, int] = field(default_factory=dict)
    pairs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What every server of a model said at one moment.

    Args:
        at: When it was read.
        counts: By release identity, summed over its servers; a release without servers is absent.
    """

    at: datetime
    counts: Mapping[str, Counts]


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """What is seen of one release in the world.

    Args:
        release: Identity of the release the servers run or try to run.
        ready: Whether all of its servers answer.
        share: Part of the model's requests it is given, 0 to 1.
        aborted: Why it was taken out of traffic, if it was.
    """

    release: str
    ready: bool
    share: float
    aborted: str | None = None
