"""Step `evaluate`: the platform, never the trainer, scores the held-out sets for the gate."""

from __future__ import annotations

import io
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.adapters.store.signatures import fetch_artifact
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.adapters.tables.frames import (
    CLUSTER,
    LABEL,
    scores_from_parquet,
    scores_to_parquet,
)
from modelyard.adapters.tables.stored_rows import StoredRows, StoredTable
from modelyard.domain.artifact_formats import CODE_FORMATS
from modelyard.domain.canary.segments.cells import SEGMENT, segment_levels
from modelyard.domain.gate.class_order import refuse_sorted_scores
from modelyard.domain.gate.gate import (
    Comparison,
    SetVerdicts,
    compare_on_set,
    overall_verdict,
    with_contract,
)
from modelyard.domain.gate.slices import slice_names
from modelyard.domain.specs.heldout import seen_by
from modelyard.domain.specs.model import Task
from modelyard.domain.specs.record import Champion, GuardResult, HeldOutResult, SliceResult
from modelyard.errors import Refused
from modelyard.operations.gate import served_contract, served_contract_verdict
from modelyard.operations.runtimes.scoring import Artifact, Scored, measured_alone, score_tables
from modelyard.operations.training.job import Job
from modelyard.runtime_measure import Measured
from modelyard.serving.documents import read_serving

if TYPE_CHECKING:
    from modelyard.serving.predictor import Scores

logger = logging.getLogger(__name__)

CHAMPION = "champion.json"
"""The run file that says that the champion's scores are there."""

ROWS = "rows"
"""Its key with the SHA-256 of the rows that the champion scored, by held-out set."""

SCORES = "scores"
"""Its key with the SHA-256 of the file of scores, by held-out set."""

_OLDER = "the rows that the champion scored were not compared: its step's image is older"

# `mse` is left out: it is the square of `rmse`.
REPORTED = ("auc", "log_loss", "brier", "accuracy", "mae", "rmse")


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """All scores of one of the two models, and its place among those of its process.

    Args:
        scored: The scores.
        place: The model's place in them.
        note: What people must know about them.
    """

    scored: Scored
    place: int
    note: str = ""

    def of(self, table: int, *, what: str) -> Scores:
        return self.scored.scores(self.place, table, what=what)


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The rows of a held-out set on this disk: never are all of them in memory.

    Args:
        name: The set.
        place: Its place among the sets.
        digest: SHA-256 of its file.
        rows: Its rows.
        unlabelled: A file of them without what a model must not find there.
    """

    name: str
    place: int
    digest: str
    rows: StoredRows
    unlabelled: Path


@dataclass(frozen=True, kw_only=True)
class _OnSet:
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
        challenger = _fetch(job, job.version, digest, Path(name))
        other = _fetch(job, champion.version, champion.artifact, Path(name)) if champion else None
        tables = _tables(job, Path(name))
        mine, theirs = _score_all(job, tables, challenger, other, champion)
        sets = [_score(job, each, mine, theirs, champion) for each in tables]
        contract = None
        if other is not None and champion is not None:
            contract = served_contract_verdict(
                served_contract(read_serving(other.folder)),
                served_contract(read_serving(challenger.folder)),
                job.spec,
                champion.version,
            )
    each = [compare_on_set(job.model, scored.comparison) for scored in sets]
    judged = overall_verdict([scored.name for scored in sets], [found.verdict for found in each])
    overall = with_contract(judged, contract)
    note = theirs.note if theirs is not None else ""
    if note:
        logger.warning("%s", note)
        overall = replace(overall, reason=f"{overall.reason}; {note}")
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


def score_champion(job: Job) -> None:
    """Score the champion on the held-out sets in this step's runtime, for `score_held_out_sets`.

    In a cluster a step has one image, so a champion of another runtime has a step of its own.
    """
    import numpy as np

    champion = find_champion(job)
    if champion is None:
        return
    with tempfile.TemporaryDirectory(prefix="modelyard-champion-") as name:
        other = _fetch(job, champion.version, champion.artifact, Path(name))
        runtime = job.find_runtime(champion.version)
        tables = _tables(job, Path(name))
        rows = [each.unlabelled for each in tables]
        scored = score_tables(runtime, [other], rows, job.model, unisolated=job.unisolated)
    digests = {}
    for place, each in enumerate(job.spec.held_out):
        buffer = io.BytesIO()
        np.save(buffer, scored.scores(0, place, what=f"the champion {_cannot(each)}"))
        job.put_file(_scores_file(each), buffer.getvalue())
        digests[each] = sha256_of(buffer.getvalue())
    measured = measured_alone(runtime, scored, job.model, unisolated=job.unisolated)
    job.put_document(
        CHAMPION,
        {
            "artifact": champion.artifact,
            "runtime": job.describe_runtime(measured),
            ROWS: {each.name: each.digest for each in tables},
            SCORES: digests,
        },
    )


def find_champion(job: Job) -> Champion | None:
    """The version that production runs at the job's commit; None before its first release."""
    production = job.catalog.production
    release = job.catalog.releases.get((production.name, job.model_name)) if production else None
    # A version that is trained again must not be compared with itself.
    if release is None or release.version == job.version:
        return None
    return Champion(version=release.version, artifact=release.artifact)


def _fetch(job: Job, version: str, digest: str, folder: Path) -> Artifact:
    target = folder / digest.removeprefix("sha256:")
    fetched = fetch_artifact(job.store, digest, target, job.asked_signature(version))
    return Artifact(folder=fetched, digest=digest)


def _score_all(
    job: Job,
    held_out: Sequence[_Table],
    challenger: Artifact,
    other: Artifact | None,
    champion: Champion | None,
) -> tuple[_Answers, _Answers | None]:
    """The scores of both models on every held-out set, each from its own runtime."""
    tables, runtime = [each.unlabelled for each in held_out], job.find_runtime()
    score = partial(score_tables, model=job.model, unisolated=job.unisolated)
    if other is None or champion is None:
        return _Answers(scored=score(runtime, [challenger], tables), place=0), None
    digests = {each.name: each.digest for each in held_out}
    if (known := _read_champion(job, champion, digests)) is not None:
        mine = score(runtime, [challenger], tables)
        return _Answers(scored=mine, place=0), known
    theirs = job.find_runtime(champion.version)
    # One process imports their libraries once; what runs code could change the other's scores.
    formats = job.model.artifact.accepted_formats
    if theirs == runtime and not set(CODE_FORMATS).intersection(formats):
        scored = score(runtime, [challenger, other], tables)
        return _Answers(scored=scored, place=0), _Answers(scored=scored, place=1)
    mine = score(runtime, [challenger], tables)
    return (
        _Answers(scored=mine, place=0),
        _Answers(scored=score(theirs, [other], tables), place=0),
    )


def _read_champion(job: Job, champion: Champion, digests: Mapping[str, str]) -> _Answers | None:
    """What the step `champion` left of this very artifact, if there was one.

    Raises:
        Refused: It scored other rows than these digests say, or its scores were changed.
    """
    import numpy as np

    known = job.store.read_run_document(job.workflow, CHAMPION)
    if known is None or known["artifact"] != champion.artifact:
        return None
    files = {each: job.read_file(_scores_file(each)) for each in job.spec.held_out}
    if ROWS in known:
        _refuse_other(job, digests, known[ROWS], "the champion scored held-out set {} of SHA-256")
    if SCORES in known:
        found = {each: sha256_of(content) for each, content in files.items()}
        _refuse_other(job, found, known[SCORES], "its scores of held-out set {} have SHA-256")
    measured = Measured(
        lock=known["runtime"]["lock"], python=known["runtime"]["python"], distributions={}
    )
    answers = {
        (0, place): np.load(io.BytesIO(content)) for place, content in enumerate(files.values())
    }
    scored = Scored(measured=measured, answers=answers)
    return _Answers(scored=scored, place=0, note="" if ROWS in known else _OLDER)


def _scores_file(name: str) -> str:
    return f"champion-{name}.npy"


def _refuse_other(job: Job, found: Mapping[str, str], told: Mapping[str, str], what: str) -> None:
    """Refuse digests that differ from what the step `champion` told, or are of other sets."""
    for name in sorted({*found, *told}):
        if found.get(name) != told.get(name):
            raise Refused(
                f"{job.store.uri_of('runs', job.workflow, CHAMPION)}: expected that "
                f"{what.format(name)} {found.get(name, 'none: it is not judged')}, as this step "
                f"found; it says {told.get(name, 'nothing')}: it was changed in between",
                hint=job.changed_hint,
            )


def _tables(job: Job, folder: Path) -> list[_Table]:
    """Copy the rows of the held-out sets to a folder, once as they are and once for the models."""
    hidden = {LABEL, CLUSTER, job.model.target.column}
    tables = []
    for place, name in enumerate(job.spec.held_out):
        file = f"heldout-{name}.parquet"
        digest = job.fetch_file(file, folder / file)
        rows, unlabelled = StoredRows(folder / file, name=file), folder / f"rows-{name}.parquet"
        rows.copy_without(hidden, unlabelled)
        tables.append(
            _Table(name=name, place=place, digest=digest, rows=rows, unlabelled=unlabelled)
        )
    return tables


def _cannot(name: str) -> str:
    return f"cannot predict the rows of held-out set {name}"


def _score(
    job: Job,
    table: _Table,
    mine: _Answers,
    theirs: _Answers | None,
    champion: Champion | None,
) -> _OnSet:
    name, place, rows = table.name, table.place, table.rows
    labels, clusters = rows.column(LABEL), rows.column(CLUSTER)
    identity = job.read_document("data.json")["held_out"][name]["digest"]
    spec = job.catalog.held_out[job.model_name, name]
    try:
        columns = job.model.data.columns
        slices = slice_names(job.model.gate.slices, columns, StoredTable(rows))
        slices |= {
            f"{SEGMENT}{each}": segment_levels(rows.column(each).tolist())
            for each in job.model.canary.segments
        }
        mine_here = mine.of(place, what=f"the model {_cannot(name)}")
        if job.model.task is Task.MULTICLASS:
            refuse_sorted_scores(labels.tolist(), mine_here, job.model.primary.classes)
        scores = scores_to_parquet(labels, clusters, mine_here, slices=slices)
    except Refused as refusal:
        raise job.refuse(refusal.message, hint=refusal.hint) from refusal
    champion_scores = None
    if theirs is not None:
        theirs_here = theirs.of(place, what=f"the champion {_cannot(name)}")
        champion_scores = scores_to_parquet(labels, clusters, theirs_here)
    versions = [job.spec]
    if champion is not None:
        versions.append(job.catalog.versions[job.model_name, champion.version])
    comparison = Comparison(
        name=name,
        challenger=scores_from_parquet(scores, digest=identity),
        champion=scores_from_parquet(champion_scores, digest=identity) if champion_scores else None,
        look=len({*job.catalog.judged_versions.get((job.model_name, name), ()), job.version}),
        max_looks=spec.max_looks,
        seen_by=tuple(each.version for each in versions if seen_by(each, spec)),
        must_be_better=name in job.spec.better_on,
    )
    return _OnSet(
        name=name,
        comparison=comparison,
        scores=job.store.put_evidence(scores),
        champion_scores=job.store.put_evidence(champion_scores) if champion_scores else None,
    )


def _result(job: Job, scored: _OnSet, found: SetVerdicts) -> HeldOutResult:
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
        slices=tuple(
            SliceResult(name=each.name, verdict=each.verdict, harm_only=each.harm_only)
            for each in found.slices
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
