"""Step `fetch`: the pinned data and code, checked; held-out rows are stored apart."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelyard.adapters.store.artifacts import sha256_of
from modelyard.adapters.store.table_files import read_table
from modelyard.adapters.store.tables import (
    CLUSTER,
    clusters_of,
    columns_of,
    rows_within,
    to_parquet,
    with_labels,
)
from modelyard.domain.specs.contract import find_breaches
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.paths import held_out_file
from modelyard.domain.specs.version import DataFile
from modelyard.errors import CannotAnswer, OverLimit, Refused
from modelyard.operations.training.data_root import data_root
from modelyard.operations.training.evaluate import find_champion
from modelyard.operations.training.job import INPUTS, Job, dump_document
from modelyard.operations.training.rows import read_rows, refuse_breaches
from modelyard.operations.training.seen_rows import describe_seen_rows

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def fetch_inputs(job: Job) -> str:
    """Read and check the inputs of training and evaluation, and pass them on.

    Returns:
        The SHA-256 of the list of all that it left, by which the steps after it know that nobody
        changed a file in between. It reaches them past the store.
    """
    left = _Left(job)
    left.put_file("trainer.tar", _trainer(job))
    known: dict[DataFile, pd.DataFrame] = {}
    rows = _rows(job, job.spec.data.files, known, "training data")
    # Whole files, before rows are dropped: a breach outside the window is a breach too.
    _check_contract(job, rows, "training data")
    if job.spec.data.window is not None and job.model.data.timestamp is not None:
        rows = rows_within(rows, timestamp=job.model.data.timestamp, spans=job.spec.data.spans)
    training, unlabelled = with_labels(rows, job.model)
    if training.empty:
        raise job.refuse("no labelled training rows are left in the window")
    left.put_file("train.parquet", to_parquet(training))
    trained = {job.version: rows, **_champion_rows(job, known)}
    held_out = {name: _held_out(left, name, known, trained) for name in job.spec.held_out}
    left.put_document(
        "data.json",
        {"training_rows": len(training), "unlabelled": unlabelled, "held_out": held_out},
    )
    logger.info("%d training rows, held out: %s", len(training), held_out)
    return left.close()


class _Left:
    """The files that the step leaves for those after it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._digests: dict[str, str] = {}

    def put_file(self, name: str, content: bytes) -> None:
        self._digests[name] = sha256_of(content)
        self.job.put_file(name, content)

    def put_document(self, name: str, document: dict[str, object]) -> None:
        self.put_file(name, dump_document(document))

    def close(self) -> str:
        """Leave the list of them; returns its SHA-256."""
        content = dump_document(self._digests)
        self.job.put_file(INPUTS, content)
        return sha256_of(content)


def held_out_digest(held_out: HeldOut, job: Job) -> str:
    """The digest that identifies a held-out set's rows, from its files, days and label rule."""
    target = job.model.target
    parts = {
        "files": [file.sha256 for file in held_out.files],
        "days": str(held_out.window),
        "cluster": held_out.cluster,
        "target": [target.column, target.above, target.positive_class, target.missing],
    }
    return "sha256:" + hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _trainer(job: Job) -> bytes:
    """The trainer's files as a tar, read by the hash of their Git tree."""
    from modelyard.adapters.git.kept_files import find_unkept
    from modelyard.adapters.git.repository import Git

    # Not from the working tree, which may have changed since the version was pinned.
    git, tree = Git(job.services.root), job.spec.code.tree
    for fault in find_unkept(git, tree):  # as an empty file, or as a file with the link's target
        raise job.refuse(f"{job.spec.code.tree}: {fault}, so the trainer is not whole")
    entries = git.ls_tree(tree)
    contents = git.read_many([entry.blob for entry in entries])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry in entries:
            content = contents[entry.blob] or b""
            member = tarfile.TarInfo(entry.path)
            member.size = len(content)
            member.mode = 0o755 if entry.mode == "100755" else 0o644
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _rows(
    job: Job, files: tuple[DataFile, ...], known: dict[DataFile, pd.DataFrame], what: str
) -> pd.DataFrame:
    root = data_root(job.services.root, job.services.repository, commit=job.commit)
    # A retry would read the same file: changed data is the version's fault, not a failure.
    with _refusing(job):
        return read_rows(files, root.read_pinned, job.model.data, known, what)


def _check_contract(job: Job, frame: pd.DataFrame, what: str) -> None:
    with _refusing(job):
        refuse_breaches(find_breaches(job.model.data.columns, columns_of(frame)), what)


@contextmanager
def _refusing(job: Job) -> Iterator[None]:
    """Make a refusal of data one of the version."""
    try:
        yield
    except OverLimit:  # a record is for ever, and the limit is not
        raise
    except Refused as refusal:
        raise job.refuse(refusal.message) from refusal


def _champion_rows(job: Job, known: dict[DataFile, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows that the champion trained on, by its name, where days cannot tell."""
    import pandas as pd

    champion = find_champion(job)
    spec = job.catalog.versions.get((job.model_name, champion.version)) if champion else None
    if spec is None or (spec.data.window is not None and job.spec.data.window is not None):
        return {}
    root = data_root(job.services.root, job.services.repository, commit=job.commit)
    names = [column.name for column in job.model.data.columns]
    frames = []
    for file in spec.data.files:
        try:
            if file not in known:
                frame = read_table(root.read_pinned(file), uri=file.uri, data=job.model.data)
                known[file] = frame[names]
            frames.append(known[file])
        except (CannotAnswer, Refused, KeyError) as error:
            # Old data may be gone, or of an older contract: that must not stop a new version.
            logger.warning("%s: not compared with the held-out rows: %s", spec.version, error)
    return {spec.version: pd.concat(frames, ignore_index=True)} if frames else {}


def _refuse_seen_rows(
    job: Job, spec: HeldOut, rows: pd.DataFrame, trained: Mapping[str, pd.DataFrame]
) -> None:
    """Refuse a held-out set whose rows were trained on, where no days can tell."""
    if spec.window is not None and job.spec.data.window is not None:
        return
    for version, training in trained.items():
        columns = job.model.data.columns
        if seen := describe_seen_rows(rows, training, columns, cluster=spec.cluster):
            raise job.refuse(f"held-out set {spec.name}: {seen} by {version}")


def _held_out(
    left: _Left,
    name: str,
    known: dict[DataFile, pd.DataFrame],
    trained: Mapping[str, pd.DataFrame],
) -> dict[str, object]:
    job = left.job
    spec = job.catalog.held_out.get((job.model_name, name))
    if spec is None:
        raise Refused(f"{held_out_file(job.model_name, name)} does not exist")
    rows = _rows(job, spec.files, known, f"held-out set {name}")
    if spec.window is not None and job.model.data.timestamp is not None:
        rows = rows_within(rows, timestamp=job.model.data.timestamp, spans=(spec.window,))
    _check_contract(job, rows, f"held-out set {name}")
    _refuse_seen_rows(job, spec, rows, trained)
    frame, unlabelled = with_labels(rows, job.model)
    clusters = clusters_of(frame, spec.cluster)
    left.put_file(f"heldout-{name}.parquet", to_parquet(frame.assign(**{CLUSTER: clusters})))
    return {
        "digest": held_out_digest(spec, job),
        "rows": len(frame),
        "unlabelled": unlabelled,
        "clusters": len(set(clusters)),
    }
