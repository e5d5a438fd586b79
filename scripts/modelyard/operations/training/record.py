"""Step `record`: the MLflow run, the registered version, and the record for reconcile."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelyard.adapters.store.registry import Registry, TrainingRun
from modelyard.adapters.store.signatures import find_signer
from modelyard.domain.signatures import Asked
from modelyard.domain.specs.record import (
    Artifact,
    Champion,
    HeldOutResult,
    MeasuredRuntime,
    Record,
    ServerCheck,
    UnwatchedMeasure,
)
from modelyard.domain.verdict import Verdict
from modelyard.errors import Refused
from modelyard.operations.training.job import OUTCOME, Job
from modelyard.operations.training.profile.build import SHARDS, merge_profile

logger = logging.getLogger(__name__)

ARTIFACT = "artifact.json"
"""The run file with what `train` says of the artifact."""


def record_training(job: Job) -> None:
    """Log the run, register the version and store the record; a second call finds the first's."""
    from modelyard.adapters.specs.documents import document_of

    record = _record(job)
    registry = Registry(job.services.repository.tracking_uri, job.services.root)
    run_id = registry.log_run(job.model_name, _run(job, record))
    digest = record.artifact.digest if record.artifact else ""
    number = registry.register_version(
        job.model_name,
        version=job.version,
        artifact=digest,
        source=f"{job.store.uri_of('models', digest.removeprefix('sha256:'))}/model",
        run_id=run_id,
    )
    record = replace(record, run_id=run_id, registered=number)
    job.put_document(OUTCOME, document_of(record))
    logger.info("run %s, registered version %s", run_id, number)


def _record(job: Job) -> Record:
    from modelyard.adapters.specs.documents import build_spec

    artifact, evaluation = job.read_document(ARTIFACT), job.read_document("evaluation.json")
    if SHARDS in artifact:
        artifact |= merge_profile(job, artifact)
    blank = job.blank_record(build_spec(Verdict, evaluation["verdict"]))
    # An evaluation that version 0.1 left has no verdict on the contract.
    champion, contract = evaluation["champion"], evaluation.get("contract")
    # Nor did a training of then measure its runtime.
    runtime = artifact.get("runtime")
    return replace(
        blank,
        training_rows=job.read_document("data.json")["training_rows"],
        champion=build_spec(Champion, champion) if champion else None,
        artifact=Artifact(
            digest=artifact["digest"],
            size=artifact["size"],
            format=artifact["format"],
            inputs=tuple(artifact["inputs"]),
            signed_by=_signer(job, artifact),
        ),
        held_out=tuple(build_spec(HeldOutResult, each) for each in evaluation["held_out"]),
        profile=artifact["profile"],
        # A training of an earlier version did not say so.
        not_watched=tuple(
            build_spec(UnwatchedMeasure, each) for each in artifact.get("not_watched", ())
        ),
        golden=artifact["golden"],
        server=build_spec(ServerCheck, job.read_document("server.json")),
        contract=build_spec(Verdict, contract) if contract else None,
        runtime=build_spec(MeasuredRuntime, runtime) if runtime else None,
    )


def _signer(job: Job, artifact: Mapping[str, Any]) -> str | None:
    """The key by which `train` signed, once the signature names it too."""
    asked, digest = job.asked_signature(), artifact["digest"]
    # A training of an earlier version did not say who signed, and a trial signs nothing.
    told = artifact.get("signed_by")
    if asked is None and told is None:
        return None
    asked = asked or Asked(model=job.model_name, version=job.version, keys=())
    found = find_signer(job.store, digest, asked)
    if found != told and "signed_by" in artifact:
        raise Refused(
            f"{job.store.uri_of('runs', job.workflow, ARTIFACT)}: expected signed_by "
            f"{found or 'null'}, as {job.store.signature_uri(digest, asked.subject)} says; found "
            f"{told or 'null'}: it was changed after training",
            hint=job.changed_hint,
        )
    return found


def _run(job: Job, record: Record) -> TrainingRun:
    spec = job.spec
    params: dict[str, Any] = {
        **{name: json.dumps(value) for name, value in spec.parameters.items()},
        "seed": spec.seed,
        "window": str(spec.data.window) if spec.data.window else "all rows",
    }
    metrics = {
        f"{result.name}.{name}": value
        for result in record.held_out
        for name, value in result.metrics.items()
    }
    return TrainingRun(
        workflow=job.workflow,
        # MLflow refuses longer values.
        params={name: str(value)[:6000] for name, value in params.items()},
        metrics=metrics,
        tags={
            "mlflow.source.git.commit": job.commit,
            "modelyard.version": job.version,
            "modelyard.verdict": str(record.verdict.outcome),
            "modelyard.artifact": record.artifact.digest if record.artifact else "",
            "modelyard.trainer": spec.code.tree,
            "modelyard.lock": spec.runtime.lock,
            **{f"modelyard.data.{n}": f.sha256 for n, f in enumerate(spec.data.files)},
        },
        datasets={file.uri: file.sha256 for file in spec.data.files},
    )
