"""Quality drift: whether the served version's loss on new labelled rows exceeds its held-out loss.

Each day gives one number between 0 and 1: the mean loss of its rows, cut off at a high quantile of
the held-out losses. An e-detector bets that this number exceeds what held-out days show (Shin,
Ramdas and Rinaldo 2024; bets as in Waudby-Smith and Ramdas 2024). If on no day it is expected to,
whatever the days before, the mean time to a false alarm is at least `ALARM` days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from modelyard.domain.drift.column_checks import ColumnCheck
from modelyard.domain.gate.metric import find_metric, row_values
from modelyard.domain.specs.column_values import Array, Floats

ALARM = 1000.0
"""Evidence that is an alarm, and the least mean days to a false one."""

LOOKBACK = 90
"""Days that are scored; older ones only delay an alarm."""

_LARGEST = 1e12  # evidence beyond it means nothing more, and could overflow
_CUT = 0.995  # quantile of held-out losses: a few wild rows are no drift
_LEAST_RISE = 0.1  # of the held-out loss
_STAKES = (0.05, 0.1, 0.2, 0.4, 0.8)  # of the largest stake that cannot be ruinous


@dataclass(frozen=True, kw_only=True)
class HeldOutLoss:
    """The loss of a version on held-out rows.

    Args:
        metric: The metric whose row values are the losses.
        mean: The mean loss.
        cut: Losses are cut off here.
        allowed: The largest mean loss of a day that is expected, in units of `cut`.
    """

    metric: str
    mean: float
    cut: float
    allowed: float


@dataclass(frozen=True, kw_only=True)
class DayLoss:
    """The losses of one day's rows.

    Args:
        day: The day.
        mean: The mean loss, not cut off.
        share: The mean loss, cut off, in units of the cut.
        rows: The number of rows.
    """

    day: date
    mean: float
    share: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What the new labelled days say about a version's quality.

    Args:
        metric: The metric.
        held_out: The mean loss on held-out rows.
        recent: The mean loss since `since`.
        evidence: The e-detector's value on the last day.
        since: The day since which the loss seems to be larger.
        days: Days that were scored.
        rows: Rows that were scored.
        losses: The loss of each day.
    """

    metric: str
    held_out: float
    recent: float
    evidence: float
    since: date
    days: int
    rows: int
    losses: tuple[DayLoss, ...] = field(default=(), compare=False, repr=False)

    @property
    def drifted(self) -> bool:
        """Whether the evidence is an alarm."""
        return self.evidence >= ALARM

    def as_check(self, column: str) -> ColumnCheck:
        """The alarm as drift of the target's column."""
        return ColumnCheck(
            column=column,
            reason="quality",
            measure="loss",
            effect=self.recent,
            floor=self.held_out,
            p=1 / max(1.0, self.evidence),
            limit=1 / ALARM,
            rows=self.rows,
            enough_blocks=True,
            detail=self.detail,
        )

    @property
    def detail(self) -> str:
        """The losses and the evidence in a phrase."""
        return (
            f"{self.metric} {self.held_out:.4g} on held-out rows, {self.recent:.4g} since "
            f"{self.since}; evidence {self.evidence:.3g} of {ALARM:,.0f}"
        )


def loss_metric(metric: str) -> str:
    """The metric with a loss for each row that stands for the gate's metric."""
    return {"auc": "log_loss", "rmse": "mse"}.get(metric, metric)


def row_losses(metric: str, labels: Array, scores: Array, classes: Sequence[str]) -> Floats:
    """The loss of each row, shape (rows,); more is worse."""
    chosen = find_metric(metric)
    values = row_values(chosen, labels, scores, classes, "served version")
    return 1 - values if chosen.greater_is_better else values


def loss_cut(losses: Floats) -> float | None:
    """From where on held-out losses are cut off; None if they have no loss that could grow."""
    known = losses[np.isfinite(losses)]
    cut = float(np.quantile(known, _CUT)) if known.size else 0.0
    return cut if cut > 0 else None


def held_out_loss(metric: str, losses: Floats, clusters: Array) -> HeldOutLoss | None:
    """The reference; None if the held-out rows have no loss that could grow.

    Args:
        metric: The metric.
        losses: Shape (rows,), from `row_losses`.
        clusters: Shape (rows,): the day of each row, or its cluster if days are not known.
    """
    known, cut = np.isfinite(losses), loss_cut(losses)
    if cut is None:
        return None
    share = np.minimum(losses[known] / cut, 1.0)
    _, codes, rows = np.unique(clusters[known], return_inverse=True, return_counts=True)
    days = np.bincount(codes, share) / rows
    # Days differ by more than their rows do. A standard deviation of theirs is no drift.
    spread = float(np.std(days, ddof=1)) if 1 < len(days) < len(share) else 0.0
    mean = float(share.mean())
    allowed = mean + max(spread, _LEAST_RISE * mean)
    if allowed >= 1:
        return None
    return HeldOutLoss(metric=metric, mean=float(losses[known].mean()), cut=cut, allowed=allowed)


def day_loss(day: date, losses: Floats, reference: HeldOutLoss) -> DayLoss:
    """One day's losses; a row that cannot be scored counts as the cut."""
    known = np.where(np.isfinite(losses), losses, reference.cut)
    share = float(np.minimum(known / reference.cut, 1.0).mean())
    return DayLoss(day=day, mean=float(known.mean()), share=share, rows=len(losses))


def judge_quality(days: Sequence[DayLoss], reference: HeldOutLoss) -> Quality | None:
    """The evidence of some days in order, none of which the version was trained or judged on.

    For each stake l the detector is M = (M + 1) (1 + l (share - allowed)), which sums the bets that
    began on each day so far (Shiryaev and Roberts). The mean over stakes is the evidence.
    """
    if not days:
        return None
    detectors, sums, begins = np.zeros(len(_STAKES)), np.zeros(len(_STAKES)), 0
    stakes = np.array(_STAKES) / reference.allowed
    for number, each in enumerate(days):
        if sums.max() <= 0:
            sums, begins = np.zeros(len(_STAKES)), number
        growth = 1 + stakes * (each.share - reference.allowed)
        detectors = np.minimum((detectors + 1) * growth, _LARGEST)
        sums += np.log(growth)
    since = days[begins:]
    rows = sum(each.rows for each in since)
    return Quality(
        metric=reference.metric,
        held_out=reference.mean,
        recent=sum(each.mean * each.rows for each in since) / rows,
        evidence=min(float(detectors.mean()), _LARGEST),
        since=since[0].day,
        days=len(days),
        rows=sum(each.rows for each in days),
        losses=tuple(days),
    )
