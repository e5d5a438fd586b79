"""What is observed of releases in traffic: serving counts, and the state of a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from modelyard.domain.server_fault import ServerFault

JUDGED_BAD = "the judge failed it"
"""The reason where the cluster asked the judge itself, and its abort carries no numbers."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Cumulative counts of server processes since they started.

    Args:
        requests: Requests by class of status code: `2xx`, `4xx`, `5xx`.
        rows: Rows answered.
        predictions: Rows by bin of the primary output, shape (bins,); see `Grid`.
        nulls: Rows in which an input column was null, by column.
        unseen: Rows in which an input column had a level that training had not, by column.
        pairs: Measures of the pairs of rows within a request, summed over requests; see
            `design_effect.pair_measures`. Empty if a server does not count them.
        refused: Requests refused for what they contain: 4xx, but not 401, 403, 404, 408, 429 and
            499. None if
            a server does not count them, as in version 0.1: that is no data, not zero.
        within: Requests answered within a time, by the time as `latency.bound_name` writes it;
            `inf` has all requests. Empty if a server does not measure them.
        inputs: Rows by cell of each input, by `input_mix.cell_name`. Empty if a server does not
            count them.
        segments: Rows by segment and bin of the primary output, by `segments.cells.segment_name`.
            Empty if a server does not count them.
        shadow: Rows of copied requests by both answers, by `shadow.pairs.pair_name`. Empty if a
            server copies none.
        lost: Copies that have no answer to compare, by why.
        servers: How many servers these are the sum of; 0 if that is not known.
        process: Tells the process of one server from an earlier one of the same release; empty if
            that is not known.
    """

    requests: Mapping[str, int] = field(default_factory=dict)
    rows: int = 0
    predictions: tuple[int, ...] = ()
    nulls: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, int] = field(default_factory=dict)
    pairs: Mapping[str, int] = field(default_factory=dict)
    refused: int | None = None
    within: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, int] = field(default_factory=dict)
    segments: Mapping[str, int] = field(default_factory=dict)
    shadow: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    servers: int = 1
    process: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The counts of all servers of a model at one time.

    Args:
        at: The time.
        counts: By release identity, summed over its servers; a release without servers is absent.
    """

    at: datetime
    counts: Mapping[str, Counts]


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """The observed state of the release that servers run.

    Args:
        release: Identity of the release that the servers run or try to run.
        ready: Whether all of its servers answer.
        share: Its share of the model's requests, 0 to 1.
        aborted: Why it was taken out of traffic, if it was.
        fault: What keeps its servers from being ready, or took it out of traffic, where a server
            or the cluster said so; None if a judge or a person took it out.
    """

    release: str
    ready: bool
    share: float
    aborted: str | None = None
    fault: ServerFault | None = None
