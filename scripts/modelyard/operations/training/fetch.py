"""Step `fetch`: the pinned data and code, checked; held-out rows are stored apart."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from modelyard.adapters.isolation.removal import scratch_folder
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.paths import held_out_file
from modelyard.domain.specs.version import DataFile
from modelyard.errors import CannotAnswer, OverLimit, Refused
from modelyard.operations.training.data_root import data_root
from modelyard.operations.training.evaluate import find_champion
from modelyard.operations.training.job import INPUTS, Job, dump_document
from modelyard.operations.training.rows import LabelledRows, PinnedRows, find_undecided_in
from modelyard.operations.training.seen_rows import RowKeys, describe_seen_rows

logger = logging.getLogger(__name__)

UNDECIDED = "undecided"
"""The key of a held-out set with what its gate can decide for no version."""


def fetch_inputs(job: Job) -> str:
    """Read and check the inputs of training and evaluation, and pass them on.

    Returns:
        The SHA-256 of the list of all that it left, by which the steps after it know that nobody
        changed a file in between. It reaches them past the store.
    """
    left = _Left(job)
    left.put_file("trainer.tar", _trainer(job))
    with scratch_folder("modelyard-fetch-") as folder:
        pinned = _Pinned(job, folder)
        spans = None if job.spec.data.window is None else job.spec.data.spans
        rows = pinned.rows(job.spec.data.files, spans, what="training data")
        training = LabelledRows(rows, job.model)
        # Whole files, before rows are dropped: a breach outside the window is a breach too.
        with _refusing(job):
            training.check(whole_files=True)
        if not training.rows:
            raise job.refuse("no labelled training rows are left in the window")
        left.write("train.parquet", training, folder)
        trained = _Trained(job, pinned, rows)
        held_out = {name: _held_out(left, name, pinned, trained) for name in job.spec.held_out}
    left.put_document(
        "data.json",
        {
            "training_rows": training.rows,
            "unlabelled": training.unlabelled,
            "held_out": held_out,
        },
    )
    logger.info("%d training rows, held out: %s", training.rows, held_out)
    return left.close()


class _Left:
    """The files that the step leaves for those after it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._digests: dict[str, str] = {}

    def put_file(self, name: str, content: bytes) -> None:
        self._digests[name] = sha256_of(content)
        self.job.put_file(name, content)

    def write(
        self,
        name: str,
        rows: LabelledRows,
        folder: Path,
        look: Callable[[Path], None] | None = None,
    ) -> None:
        """Write rows to a file of this folder, which may be looked at, and leave a copy of it."""
        rows.write(folder / name)
        if look is not None:
            look(folder / name)
        self._digests[name] = self.job.copy_file(name, folder / name)
        (folder / name).unlink()

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


class _Pinned:
    """The pinned files, each copied to this disk once: nobody changes it between two readings."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.folder, self._job = folder, job
        self._root = data_root(job.services.root, job.services.repository, commit=job.commit)
        self._files: dict[DataFile, TableFile] = {}

    def file(self, pin: DataFile) -> TableFile:
        if pin not in self._files:
            path = self.folder / f"{len(self._files)}.pinned"
            self._root.copy_pinned(pin, path)
            self._files[pin] = TableFile(path, uri=pin.uri, data=self._job.model.data)
        return self._files[pin]

    def rows(
        self, pins: Sequence[DataFile], spans: Sequence[Interval] | None, *, what: str
    ) -> PinnedRows:
        # A retry would read the same file: changed data is the version's fault, not a failure.
        with _refusing(self._job):
            return PinnedRows([self.file(pin) for pin in pins], self._job.model, spans, what=what)


@contextmanager
def _refusing(job: Job) -> Iterator[None]:
    """Make a refusal of data one of the version."""
    try:
        yield
    except OverLimit:  # a record is for ever, and the limit is not
        raise
    except Refused as refusal:
        raise job.refuse(refusal.message) from refusal


class _Trained:
    """The rows that were trained on, by the version and by the champion, where no days can tell."""

    def __init__(self, job: Job, pinned: _Pinned, rows: PinnedRows) -> None:
        self._job, self._pinned, self._rows = job, pinned, rows

    def refuse(self, spec: HeldOut, rows: PinnedRows) -> None:
        """Refuse a held-out set with rows that were trained on."""
        if not self._compares(spec):
            return
        held_out = RowKeys(self._job.model.data.columns, {spec.cluster} - {"row"})
        for part in rows.parts():
            held_out.add(part)
        for version, training in self._keys.items():
            if seen := describe_seen_rows(held_out, training, cluster=spec.cluster):
                raise self._job.refuse(f"held-out set {spec.name}: {seen} by {version}")

    def _compares(self, spec: HeldOut) -> bool:
        return spec.window is None or self._job.spec.data.window is None

    @cached_property
    def _keys(self) -> dict[str, RowKeys]:
        """The rows by the name of the version."""
        keys = self._new_keys()
        for part in self._rows.parts():
            keys.add(part)
        keys.sort()
        return {self._job.version: keys, **self._champion_keys()}

    def _new_keys(self) -> RowKeys:
        sets = self._job.catalog.held_out
        specs = [sets.get((self._job.model_name, name)) for name in self._job.spec.held_out]
        clusters = {spec.cluster for spec in specs if spec is not None and self._compares(spec)}
        return RowKeys(self._job.model.data.columns, clusters - {"row"})

    def _champion_keys(self) -> dict[str, RowKeys]:
        job, champion = self._job, find_champion(self._job)
        spec = job.catalog.versions.get((job.model_name, champion.version)) if champion else None
        if spec is None or (spec.data.window is not None and job.spec.data.window is not None):
            return {}
        keys, is_empty = self._new_keys(), True
        for pin in spec.data.files:
            try:
                for part in self._pinned.file(pin).parts():
                    keys.add(part)
                    is_empty = False
            except (CannotAnswer, Refused, KeyError, TypeError, ValueError) as error:
                # Old data may be gone, or of an older contract: that must not stop a new version.
                logger.warning("%s: not compared with the held-out rows: %s", spec.version, error)
        keys.sort()
        return {} if is_empty else {spec.version: keys}


def _held_out(left: _Left, name: str, pinned: _Pinned, trained: _Trained) -> dict[str, object]:
    job = left.job
    spec = job.catalog.held_out.get((job.model_name, name))
    if spec is None:
        raise Refused(f"{held_out_file(job.model_name, name)} does not exist")
    spans = None if spec.window is None else (spec.window,)
    rows = pinned.rows(spec.files, spans, what=f"held-out set {name}")
    labelled = LabelledRows(rows, job.model, spec.cluster)
    with _refusing(job):
        labelled.check()
    trained.refuse(spec, rows)
    undecided: list[str] = []

    def look(path: Path) -> None:
        with _refusing(job):
            undecided.extend(find_undecided_in(path, job.model, what=f"held-out set {name}"))

    left.write(f"heldout-{name}.parquet", labelled, pinned.folder, look)
    for each in () if job.is_trial else undecided:  # a trial says it with what it found
        logger.warning("the gate cannot decide: %s", each)
    return {
        "digest": held_out_digest(spec, job),
        "rows": labelled.rows,
        "unlabelled": labelled.unlabelled,
        "clusters": labelled.clusters,
        UNDECIDED: undecided,
    }
