"""Step `train`: runs the model's trainer in a clean environment and seals its artifact."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.adapters.isolation.removal import scratch_folder
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.adapters.store.signatures import sign_artifact
from modelyard.adapters.tables.stored_rows import StoredRows
from modelyard.artifact_digest import artifact_digest
from modelyard.domain.signatures import key_hint
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes.closed_in import reach_of_model
from modelyard.operations.runtimes.scoring import Artifact, measured_alone, score_tables
from modelyard.operations.signing.keys import find_key, refuse_key_beside_code, refuse_reachable_key
from modelyard.operations.training.apart import APART, bring_order, read_trained
from modelyard.operations.training.job import Job
from modelyard.operations.training.profile.build import SHARDS, put_profile, split_of
from modelyard.operations.training.trainer import (
    LOG,
    check_trained,
    order_of,
    reach_of,
    run_trainer,
)
from modelyard.runtime_measure import Measured
from modelyard.serving import artifact
from modelyard.serving.documents import GOLDEN, Golden, json_rows, write_golden, write_serving

logger = logging.getLogger(__name__)

GOLDEN_ROWS = 20
EXACT = {"double": 53, "float": 24, "integer": 31}
"""Bits up to which the types of a signature hold whole numbers exactly."""


def bring_inputs(job: Job) -> None:
    """In a pod: leave the inputs for the container that trains."""
    bring_order(job, Path(os.environ[APART]), lambda folder: _write_inputs(job, folder))


def train_model(job: Job, *, may_split: bool = False) -> tuple[str, ...]:
    """Run the trainer; store its model with `serving.json` and `golden.json` as the artifact.

    In a pod the trainer ran already, in a container of its own.

    Args:
        job: The job.
        may_split: Whether steps after this one build the shards of the drift profile.

    Returns:
        The names of these shards; none if the profile was built here.
    """
    apart = os.environ.get(APART)
    runtime = job.find_runtime()
    key = None if job.is_trial else find_key(job.services.root, job.asked_signature())
    with scratch_folder("modelyard-train-") as folder:
        if key is not None:
            refuse_key_beside_code(job.services.repository, job.all_models())
            reaches = (
                reach_of(job.model.trainer, folder, folder, runtime),
                reach_of_model(runtime, readable=(folder,), writable=folder),
            )
            refuse_reachable_key(reaches, folder / "means-of-signing")
        if apart is None:
            _write_inputs(job, folder)
            job.follow(folder / LOG)
            trained, left = run_trainer(order_of(job, folder), folder, folder, runtime), folder
        else:
            trained, left = read_trained(Path(apart))
        check_trained(job, trained, left)
        # After the trainer has ended: the rows are those that `fetch` left, whatever it did.
        job.fetch_file("train.parquet", folder / "rows.parquet")
        rows = StoredRows(folder / "rows.parquet", name="train.parquet")
        try:
            sealed = _seal(job, folder, left / "out" / "model", rows, runtime)
        except Refused as refusal:
            raise job.refuse(refusal.message, hint=refusal.hint, folder=folder) from refusal
        job.store.put_model(sealed.folder, sealed.digest)
        if key is not None:
            names = {"model": job.model_name, "version": job.version}
            sign_artifact(job.store, sealed.folder, key, **names)
        split = split_of(job, sealed.description.inputs) if may_split else ()
        job.put_document(
            "artifact.json",
            {
                "digest": sealed.digest,
                "size": sealed.description.size,
                "format": sealed.description.format,
                "inputs": list(sealed.description.inputs),
                "signed_by": None if key is None else key_hint(key.public),
                **(
                    {SHARDS: len(split)}
                    if split
                    else put_profile(job, rows, sealed.description.inputs)
                ),
                "golden": job.store.put_evidence((sealed.folder / GOLDEN).read_bytes()),
                "runtime": job.describe_runtime(sealed.measured),
            },
        )
    logger.info("artifact %s, %d bytes", sealed.digest, sealed.description.size)
    return split


@dataclass(frozen=True, kw_only=True)
class _Sealed:
    folder: Path
    digest: str
    description: artifact.Description
    measured: Measured


def _seal(job: Job, folder: Path, model: Path, rows: StoredRows, runtime: Runtime) -> _Sealed:
    import numpy as np

    sealed = folder / "artifact"
    sealed.mkdir()
    shutil.move(str(model), sealed / "model")
    try:
        description = artifact.describe_artifact(sealed, job.model.inputs)
    except CannotAnswer as error:
        # A model that cannot be read is the trainer's fault too, so a retry is no use. That the
        # machine could not score it is not.
        raise Refused(error.message, hint=error.hint) from error
    policy = job.model.artifact
    if description.size > policy.max_megabytes * 1_000_000:
        size = description.size / 1_000_000
        raise Refused(f"the artifact has {size:.1f} MB, the limit is {policy.max_megabytes} MB")
    _refuse_lost_digits(job, description.inputs, rows)
    inputs = list(description.inputs)
    write_serving(sealed, model=job.model, inputs=inputs, training=rows.parts(inputs))
    # With replacement, because there may be fewer training rows than golden ones.
    places = np.random.RandomState(job.spec.seed).choice(len(rows), GOLDEN_ROWS, replace=True)
    sample = rows.take(places.tolist(), inputs)
    golden = json_rows(sample, inputs)
    mine = Artifact(folder=sealed, digest=artifact_digest(sealed))
    scored = score_tables(runtime, [mine], [golden], job.model, unisolated=job.unisolated)
    scores = scored.scores(0, 0, what="the model cannot predict rows that it was trained on")
    write_golden(sealed, Golden(rows=tuple(golden), scores=tuple(scores.tolist())))
    # The digest is of all files, so it is computed again after the golden rows.
    return _Sealed(
        folder=sealed,
        digest=artifact_digest(sealed),
        description=description,
        measured=measured_alone(runtime, scored, job.model, unisolated=job.unisolated),
    )


def _refuse_lost_digits(job: Job, types: Mapping[str, str], rows: StoredRows) -> None:
    """Refuse a signature whose floats cannot hold the whole numbers that were trained on."""
    for column in job.model.inputs:
        exact = EXACT.get(types.get(column.name, ""))
        if column.type != "integer" or exact is None:
            continue
        largest = 0
        for part in rows.parts([column.name]):
            known = part[column.name].dropna()
            if len(known):
                largest = max(largest, abs(int(known.min())), abs(int(known.max())))
        if largest > 2**exact:
            raise Refused(
                f"column {column.name} has whole numbers up to {largest}, but its type in the "
                f"signature, {types[column.name]}, holds them only up to 2**{exact}",
                hint="use long in the signature; if values may be missing, add a default to the "
                "column in model.yaml or declare it a category",
            )


def _write_inputs(job: Job, folder: Path) -> None:
    (folder / "data").mkdir()
    job.fetch_file("train.parquet", folder / "data" / "train.parquet")
    (folder / "params.json").write_text(json.dumps(dict(job.spec.parameters)))
    with tarfile.open(fileobj=io.BytesIO(job.read_file("trainer.tar"))) as code:
        _unpack(code, folder / "trainer")


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Write the archive's files below a folder."""
    # `extractall` has no filter against paths outside the folder before Python 3.11.4.
    for member in archive.getmembers():
        target = (folder / member.name).resolve()
        content = archive.extractfile(member) if member.isfile() else None
        if content is None or not target.is_relative_to(folder.resolve()):
            raise Refused(f"trainer.tar: {member.name!r} is no file below the trainer's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.read())
        target.chmod(member.mode & 0o755)
