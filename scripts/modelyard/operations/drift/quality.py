"""Scores the served version on the newly labelled rows of a feed."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelyard.adapters.isolation.removal import scratch_folder
from modelyard.adapters.runtimes.find import find_runtime
from modelyard.adapters.store.signatures import fetch_artifact
from modelyard.adapters.tables.frames import (
    LABEL,
    has_whole_targets,
    rows_by_day,
    scores_from_parquet,
    to_parquet,
    with_labels,
)
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.domain.drift.quality import (
    LOOKBACK,
    DayLoss,
    HeldOutLoss,
    Quality,
    day_loss,
    held_out_loss,
    judge_quality,
    loss_metric,
    row_losses,
)
from modelyard.domain.signatures import asked_signature
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.column_values import Array
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.interval import Interval, count_days
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.version import DataFile, ModelVersion
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.drift.feed import Feed
from modelyard.operations.drift.feed_files import open_feed_file
from modelyard.operations.judge.live_losses import day_losses_of
from modelyard.operations.runtimes.scoring import Artifact, score_tables
from modelyard.operations.training.data_root import DataRoot, data_root
from modelyard.operations.training.pins import platform_runtime
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from modelyard.serving.predictor import Scores

logger = logging.getLogger(__name__)

ROWS_A_DAY = 2000
"""Rows of a day that are scored; more would add little to a day's mean."""


@dataclass(frozen=True, kw_only=True)
class NotWatched:
    """The quality cannot be judged.

    Args:
        why: The reason, in a few words.
        is_unlabelled: Whether a window or more of rows should have labels, and none has.
    """

    why: str
    is_unlabelled: bool = False


def watch_quality(
    workspace: Workspace,
    catalog: Catalog,
    commit: str,
    feed: Feed,
    served: tuple[Model, ModelVersion, Record],
    until: date,
) -> Quality | NotWatched:
    """The served version's quality on the feed's labelled days before `until`.

    Where the feed has none, on the requests that it answered and that have labels since then.
    """
    found = _quality_of_feed(workspace, catalog, commit, feed, served, until)
    if isinstance(found, Quality):
        return found
    return _quality_of_requests(workspace, catalog, commit, served, until) or found


def _quality_of_requests(
    workspace: Workspace,
    catalog: Catalog,
    commit: str,
    served: tuple[Model, ModelVersion, Record],
    until: date,
) -> Quality | NotWatched | None:
    """The quality on labels that `modelyard feedback` has joined to requests; None without any."""
    model, spec, record = served
    try:
        reference = _reference(workspace, catalog, commit, model, record)
        if reference is None:
            return None
        since = until - timedelta(days=LOOKBACK)
        days = day_losses_of(workspace, model, spec.version, reference, since)
        return judge_quality(list(days), reference)
    except YardError as error:
        logger.warning("labels of requests to %s: %s", spec.version, error.message)
        return NotWatched(why=f"labels of requests cannot be judged: {error.message}")


def _quality_of_feed(
    workspace: Workspace,
    catalog: Catalog,
    commit: str,
    feed: Feed,
    served: tuple[Model, ModelVersion, Record],
    until: date,
) -> Quality | NotWatched:
    model, spec, record = served
    try:
        reference = _reference(workspace, catalog, commit, model, record)
        if reference is None:
            return NotWatched(why=f"the record of {spec.version} has no held-out scores to compare")
        span = _new_days(catalog, model, spec, until)
        if not any(file.reaches((span,)) for file in feed.files):
            return NotWatched(why=f"no day after those of {spec.version} has labels yet")
        frame = _labelled_rows(workspace, commit, model, feed, span)
        if frame.empty:
            why = f"no row from {span.since} to {span.until} has a label"
            long = count_days([span]) >= model.drift.window_days
            return NotWatched(why=why, is_unlabelled=long)
        days = list(_day_losses(workspace, commit, model, record, frame, reference))
    except YardError as error:
        return NotWatched(why=error.message)
    except Exception as error:  # noqa: BLE001 - the model's own code may raise anything
        logger.warning("the quality of %s: %r", spec.version, error)
        return NotWatched(why=f"{spec.version} cannot be scored: {error}")
    return judge_quality(days, reference) or NotWatched(why="no labelled day")


def _reference(
    workspace: Workspace, catalog: Catalog, commit: str, model: Model, record: Record
) -> HeldOutLoss | None:
    """The loss on the newest held-out set that the version was judged on."""

    def newest(name: str) -> date:
        spec = catalog.held_out.get((model.name, name))
        return spec.window.until if spec is not None and spec.window is not None else date.min

    result = max(record.held_out, key=lambda one: newest(one.name), default=None)
    if result is None:
        return None
    scores = scores_from_parquet(workspace.store.read_evidence(result.scores), digest=result.digest)
    metric = loss_metric(model.gate.metric)
    losses = row_losses(metric, scores.labels, scores.scores, model.primary.classes)
    spec = catalog.held_out.get((model.name, result.name))
    days = None if spec is None else _held_out_days(workspace, commit, model, spec, scores.labels)
    return held_out_loss(metric, losses, scores.clusters if days is None else days)


def _held_out_days(
    workspace: Workspace, commit: str, model: Model, spec: HeldOut, labels: Array
) -> Array | None:
    """The day of each held-out row; None if the rows cannot be read as they were scored."""
    # Clusters may be rows or hours, but what is compared with the losses later are days.
    timestamp = model.data.timestamp
    if timestamp is None or spec.window is None:
        return None
    try:
        data = data_root(workspace.services.root, workspace.services.repository, commit=commit)
        parts = [_pinned_rows(pin, model, data, spec.window) for pin in spec.files]
        rows = with_labels(_joined(parts), model)[0]
    except YardError as error:
        logger.info("the days of held-out set %s: %s", spec.name, error.message)
        return None
    if not np.array_equal(rows[LABEL].to_numpy(), labels):
        return None
    days: Array = rows[timestamp].to_numpy().astype("datetime64[D]")
    return days


def _pinned_rows(pin: DataFile, model: Model, data: DataRoot, days: Interval) -> pd.DataFrame:
    """The times and targets of the rows of some days."""
    with scratch_folder("modelyard-quality-") as folder:
        data.copy_pinned(pin, folder / "file")
        names = [model.data.timestamp or "", model.target.column]
        table = TableFile(folder / "file", uri=pin.uri, data=model.data, only=names)
        return table.rows_within((days,))


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _new_days(catalog: Catalog, model: Model, spec: ModelVersion, until: date) -> Interval:
    """The last days with labels that the version was neither trained nor judged on."""
    end = until - timedelta(days=model.target.delay_days)
    sets = (catalog.held_out.get((model.name, name)) for name in spec.held_out)
    known = [each.window.until for each in sets if each is not None and each.window is not None]
    since = max([end - timedelta(days=LOOKBACK), *known, *(s.until for s in spec.data.spans)])
    return Interval(since=min(since, end), until=end)


def _labelled_rows(
    workspace: Workspace, commit: str, model: Model, feed: Feed, span: Interval
) -> pd.DataFrame:
    data = data_root(workspace.services.root, workspace.services.repository, commit=commit)
    parts: list[pd.DataFrame] = []
    for file in feed.files:
        if file.reaches((span,)):
            with open_feed_file(file.uri, model.data, data) as (table, _):
                parts += few_a_day(table, model, span)
    return _joined(parts)


def few_a_day(table: TableFile, model: Model, span: Interval) -> Iterator[pd.DataFrame]:
    """At most `ROWS_A_DAY` labelled rows of each day of a file, spread evenly over it."""
    timestamp, rows, are_whole = model.data.timestamp or "", Counter[date](), True
    for part in _parts(table, [timestamp, model.target.column], span):
        rows.update(rows_by_day(with_labels(part, model)[0], timestamp))
        are_whole = are_whole and has_whole_targets(part, model)
    done: Counter[date] = Counter()
    # Parts of which no row is kept have a say in the types of the whole, too.
    for part in _parts(table, None, span):
        frame = with_labels(part, model, are_whole=are_whole)[0]
        days = frame[timestamp].to_numpy().astype("datetime64[D]")
        is_kept = np.zeros(len(frame), dtype=bool)
        for day in np.unique(days):
            own, at = np.flatnonzero(days == day), day.item()
            places = done[at] + np.arange(len(own))
            is_kept[own[places % -(-rows[at] // ROWS_A_DAY) == 0]] = True
            done[at] += len(own)
        yield frame[is_kept]


def _parts(table: TableFile, only: Sequence[str] | None, span: Interval) -> Iterator[pd.DataFrame]:
    # A file that lacks a column is read as a whole, to say so.
    if not table.is_whole:
        return iter([table.rows_within((span,))])
    return table.parts_within((span,), only)


def _day_losses(
    workspace: Workspace,
    commit: str,
    model: Model,
    record: Record,
    frame: pd.DataFrame,
    reference: HeldOutLoss,
) -> Iterator[DayLoss]:
    scores = _scores(workspace, commit, model, record, frame)
    labels = frame[LABEL].to_numpy()
    losses = row_losses(reference.metric, labels, scores, model.primary.classes)
    days = frame[model.data.timestamp or ""].to_numpy().astype("datetime64[D]")
    for day in sorted(set(days.tolist())):
        yield day_loss(day, losses[days == day], reference)


def _scores(
    workspace: Workspace, commit: str, model: Model, record: Record, frame: pd.DataFrame
) -> Scores:
    """The scores of a recorded version for these rows, from its own runtime."""
    root = workspace.services.root
    pin = record.runtime.lock if record.runtime else platform_runtime(root, commit)
    runtime = find_runtime(root, pin, commit=commit, model=model.name)
    digest = record.artifact.digest if record.artifact else ""
    try:
        table = to_parquet(frame)
    except (TypeError, ValueError) as error:  # of pyarrow, about values that the contract refuses
        raise CannotAnswer(f"the new rows cannot be scored: {error}") from error
    with tempfile.TemporaryDirectory(prefix="modelyard-quality-") as name:
        asked = asked_signature(model, record.version)
        folder = fetch_artifact(workspace.store, digest, Path(name) / "model", asked)
        artifact = Artifact(folder=folder, digest=digest)
        unisolated = workspace.services.repository.unisolated_trainers
        scored = score_tables(runtime, [artifact], [table], model, unisolated=unisolated)
        return scored.scores(0, 0, what=f"{record.version} cannot predict the new rows")
