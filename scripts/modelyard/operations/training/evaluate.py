"""Step `evaluate`: the platform, never the trainer, scores the held-out sets for the gate."""

from __future__ import annotations

import logging
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.adapters.store.tables import (
    CLUSTER,
    LABEL,
    read_frame,
    scores_from_parquet,
    scores_to_parquet,
)
from modelyard.domain.gate.gate import (
    Comparison,
    SetVerdicts,
    compare_on_set,
    overall_verdict,
    with_contract,
)
from modelyard.domain.specs.heldout import seen_by
from modelyard.domain.specs.record import Champion, GuardResult, HeldOutResult
from modelyard.errors import Refused
from modelyard.operations.gate import served_contract, served_contract_verdict
from modelyard.operations.training.job import Job, blame_model

if TYPE_CHECKING:
    import pandas as pd

    from modelyard.serving.predictor import Predictor

logger = logging.getLogger(__name__)

# `mse` is left out: it is the square of `rmse`.
REPORTED = ("auc", "log_loss", "brier", "accuracy", "mae", "rmse")


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """One held-out set, scored by challenger and champion."""

    name: str
    comparison: Comparison
    scores: str
    champion_scores: str | None


def score_held_out_sets(job: Job) -> None:
    """Score challenger and champion on the same rows, store every score, and run the gate."""
    from modelyard.adapters.specs.documents import document_of

    champion = find_champion(job)
    with tempfile.TemporaryDirectory(prefix="modelyard-evaluate-") as name:
        digest = job.read_document("artifact.json")["digest"]
        challenger = _load(job, digest, Path(name) / "challenger")
        other = _load(job, champion.artifact, Path(name) / "champion") if champion else None
        sets = [_score(job, each, challenger, other, champion) for each in job.spec.held_out]
        contract = None
        if other is not None and champion is not None:
            contract = served_contract_verdict(
                served_contract(other.serving),
                served_contract(challenger.serving),
                job.spec,
                champion.version,
            )
    each = [compare_on_set(job.model, scored.comparison) for scored in sets]
    judged = overall_verdict([scored.name for scored in sets], [found.verdict for found in each])
    overall = with_contract(judged, contract)
    results = [_result(job, scored, found) for scored, found in zip(sets, each, strict=True)]
    job.put_document(
        "evaluation.json",
        {
            "champion": document_of(champion) if champion else None,
            "verdict": document_of(overall),
            "contract": document_of(contract) if contract else None,
            "held_out": [document_of(result) for result in results],
        },
    )
    logger.info("gate: %s: %s", overall.outcome, overall.reason)


def find_champion(job: Job) -> Champion | None:
    """The version that production runs at the job's commit; None before its first release."""
    production = job.catalog.production
    release = job.catalog.releases.get((production.name, job.model_name)) if production else None
    # A version that is trained again must not be compared with itself.
    if release is None or release.version == job.version:
        return None
    return Champion(version=release.version, artifact=release.artifact)


def _load(job: Job, digest: str, folder: Path) -> Predictor:
    from modelyard.serving.predictor import load_predictor

    policy = job.model.artifact
    fetched = job.store.fetch_model(digest, folder)
    return load_predictor(fetched, digest, policy.trusted_types, formats=policy.formats)


def _score(
    job: Job,
    name: str,
    challenger: Predictor,
    other: Predictor | None,
    champion: Champion | None,
) -> _Scored:
    frame = read_frame(job.read_file(f"heldout-{name}.parquet"), name=f"heldout-{name}.parquet")
    identity = job.read_document("data.json")["held_out"][name]["digest"]
    spec = job.catalog.held_out[job.model_name, name]
    try:
        with blame_model(f"the model cannot predict the rows of held-out set {name}"):
            mine = _parquet(frame, challenger)
    except Refused as refusal:
        raise job.refuse(refusal.message) from refusal
    theirs = _parquet(frame, other) if other else None
    versions = [job.spec]
    if champion is not None:
        versions.append(job.catalog.versions[job.model_name, champion.version])
    comparison = Comparison(
        name=name,
        challenger=scores_from_parquet(mine, digest=identity),
        champion=scores_from_parquet(theirs, digest=identity) if theirs else None,
        look=len({*job.catalog.judged_versions.get((job.model_name, name), ()), job.version}),
        max_looks=spec.max_looks,
        seen_by=tuple(each.version for each in versions if seen_by(each, spec)),
        must_be_better=name in job.spec.better_on,
    )
    return _Scored(
        name=name,
        comparison=comparison,
        scores=job.store.put_evidence(mine),
        champion_scores=job.store.put_evidence(theirs) if theirs else None,
    )


def _parquet(frame: pd.DataFrame, predictor: Predictor) -> bytes:
    return scores_to_parquet(frame[LABEL], frame[CLUSTER], predictor.scores(frame))


def _result(job: Job, scored: _Scored, found: SetVerdicts) -> HeldOutResult:
    known = job.read_document("data.json")["held_out"][scored.name]
    return HeldOutResult(
        name=scored.name,
        digest=known["digest"],
        rows=known["rows"],
        unlabelled=known["unlabelled"],
        clusters=known["clusters"],
        look=scored.comparison.look,
        metrics=_metrics(job, scored.comparison),
        scores=scored.scores,
        champion_scores=scored.champion_scores,
        verdict=found.verdict,
        against_baseline=found.baseline,
        against_champion=found.champion,
        guards=tuple(
            GuardResult(metric=metric, verdict=verdict) for metric, verdict in found.guards.items()
        ),
    )


def _metrics(job: Job, comparison: Comparison) -> dict[str, float]:
    """The metrics that can be computed and are finite."""
    from modelyard.domain.gate.paired import baseline_difference
    from modelyard.errors import YardError

    scores = comparison.challenger
    values: dict[str, float] = {}
    for name in REPORTED:
        try:
            value = baseline_difference(
                name,
                scores.labels,
                scores.scores,
                scores.clusters,
                classes=job.model.primary.classes,
            ).challenger
        except (YardError, ValueError):
            continue  # the metric does not fit these labels
        if math.isfinite(value):
            values[name] = value
    return values
