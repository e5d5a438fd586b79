"""The losses of rows that labels were joined to, for the judge and for drift."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from modelyard.adapters.tables.frames import LABEL, scores_from_parquet
from modelyard.domain.canary.feedback.findings import (
    MOST_RATIO,
    LabelledRows,
    LiveLoss,
    is_other_mix,
    live_loss,
)
from modelyard.domain.drift.quality import DayLoss, HeldOutLoss, day_loss, loss_metric, row_losses
from modelyard.domain.specs.column_values import Floats
from modelyard.domain.specs.model import Model, Task
from modelyard.errors import CannotAnswer
from modelyard.operations.judge.deliveries import REQUEST, read_deliveries
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


def live_loss_of(
    workspace: Workspace,
    model: Model,
    *,
    canary: str,
    stable: str,
    held_out: str,
    since: datetime,
) -> LiveLoss | None:
    """What the labels of rows since a time say of two releases; None without labels.

    Args:
        workspace: What to work with.
        model: The model.
        canary: The canary's identity.
        stable: Stable's.
        held_out: Digest of stable's scores on held-out rows.
        since: When the canary started.

    Raises:
        CannotAnswer: A delivery or the scores cannot be read, a release answers otherwise than
            model.yaml says now, or labels came for some classes alone.
        Refused: The scores are not what their digest says.
    """
    metric, classes = loss_metric(model.gate.metric), model.primary.classes

    def held_out_losses() -> tuple[Floats, NDArray[Any]]:
        scored = scores_from_parquet(workspace.store.read_evidence(held_out), digest=held_out)
        return row_losses(metric, scored.labels, scored.scores, classes), scored.labels

    among = {"release": [canary, stable]}
    frame = read_deliveries(workspace, model.name, since=since, among=among)
    if frame.empty:
        return None
    # Scores never change, so they are read once: the store may go away while a release is judged.
    reference, labels = workspace.once(
        "held-out losses", held_out, held_out_losses, metric, repr(classes)
    )
    if model.task is not Task.REGRESSION:
        frame = _of_usual_mix(frame, labels, model.name)
    hours = frame["at"].dt.floor("h")
    rows = LabelledRows(
        looks=np.asarray(frame.groupby(["delivery", hours]).ngroup(), dtype=np.intp),
        requests=np.asarray(frame.groupby(["release", REQUEST]).ngroup(), dtype=np.intp),
        is_canary=(frame["release"] == canary).to_numpy(np.bool_),
        losses=_losses(metric, model, frame),
    )
    return live_loss(rows, metric=metric, reference=reference)


def day_losses_of(
    workspace: Workspace, model: Model, version: str, reference: HeldOutLoss, since: date
) -> Iterator[DayLoss]:
    """The loss of each day on which a version answered rows that have labels now."""
    start = datetime.combine(since, time.min, UTC)
    among = {"version": [version]}
    frame = read_deliveries(workspace, model.name, since=start, among=among)
    if frame.empty:
        return
    losses = _losses(reference.metric, model, frame)
    days = frame["at"].dt.date.to_numpy()
    for day in sorted(set(days.tolist())):
        yield day_loss(day, losses[days == day], reference)


def _of_usual_mix(frame: pd.DataFrame, held_out: NDArray[Any], model: str) -> pd.DataFrame:
    """The frame without the deliveries whose mix of classes is not that of held-out rows."""
    kept = frame.groupby("delivery")[LABEL].transform(
        lambda labels: not is_other_mix(labels.to_numpy(), held_out)
    )
    found: pd.DataFrame = frame[kept.astype(bool)]
    if found.empty or is_other_mix(found[LABEL].to_numpy(), held_out):
        raise CannotAnswer(
            f"{model}: a class has more than {MOST_RATIO:g} times, or less than one "
            f"{MOST_RATIO:g}th, of its share of held-out rows among the labels that arrived",
            hint="deliver the labels of all rows of a time together",
        )
    return found


def _losses(metric: str, model: Model, frame: pd.DataFrame) -> Floats:
    width = len(model.primary.classes) if model.task is Task.MULTICLASS else 1
    others = frame[frame["prediction"].str.len() != width]
    if len(others):
        first = others.iloc[0]
        raise CannotAnswer(
            f"{model.name}: {first['version']} answered {len(first['prediction'])} numbers for a "
            f"row, and model.yaml now says {width}",
            hint="move the deliveries of labels from before that change out of .modelyard/feedback",
        )
    scores = np.concatenate(frame["prediction"].tolist()).reshape(len(frame), width)
    if model.task is not Task.MULTICLASS:
        scores = scores[:, 0]
    return row_losses(metric, frame[LABEL].to_numpy(), scores, model.primary.classes)
