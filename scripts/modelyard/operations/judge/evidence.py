"""Gathers what the judge decides from: counts, expected predictions and training nulls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.tables.frames import scores_from_parquet
from modelyard.domain.canary.feedback.findings import LiveLoss, UnreadLabels
from modelyard.domain.canary.judge import CanaryEvidence, judge_canary
from modelyard.domain.canary.latency import slow_threshold
from modelyard.domain.canary.prediction_grid import prediction_grid
from modelyard.domain.canary.prediction_shift import ExpectedPredictions, expect_predictions
from modelyard.domain.canary.segments.cells import SEGMENT, segment_grid
from modelyard.domain.canary.segments.findings import SegmentPromise, segment_promises
from modelyard.domain.canary.shadow.promise import PairPromise, promise_pairs
from modelyard.domain.gate.gate import Scores
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.model import Model, OutputKind
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.operations.gate import scored_by_both
from modelyard.operations.judge.live_losses import live_loss_of
from modelyard.operations.sites import require_servers
from modelyard.operations.workspace import Workspace

IMPORTED_LATE = (
    "fsspec.implementations.local",
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
)
"""What the first verdict would import: a server imports it at start, so that no request waits."""


_T = TypeVar("_T")


def judge_best_effort(
    workspace: Workspace,
    catalog: Catalog,
    environment: Environment,
    release: Release,
    since: datetime,
    *,
    on_missing: Callable[[YardError], None] = lambda error: None,  # noqa: ARG005 - a default
) -> Verdict:
    """The judge's verdict from whatever evidence can be read; never raises for missing evidence.

    Each kind of evidence that can be read can fail a release: a fault in one hides no other.
    Without all of it anything else is `inconclusive`, which ends at the deadline that
    environment.yaml sets.

    Args:
        workspace: What to judge with.
        catalog: The specs.
        environment: Where the release runs.
        release: The release to judge.
        since: When the release started: counts before that are not its own.
        on_missing: Called with the error if evidence is out of reach.
    """
    policy = catalog.models[release.model].canary
    try:
        stable = stable_of(workspace, catalog, environment, release)
        counts = _counts(workspace, catalog, environment, release, since, stable, keep=True)
    except (CannotAnswer, Refused) as error:
        on_missing(error)
        return Verdict(outcome=Outcome.INCONCLUSIVE, reason=error.message)
    evidence, missing = _completed(workspace, catalog, release, stable, counts)
    verdict = judge_canary(evidence, policy)
    if not missing:
        return verdict
    on_missing(missing[0])
    unknown = Verdict(outcome=Outcome.INCONCLUSIVE, reason=missing[0].message)
    return verdict if verdict.outcome is Outcome.FAIL else unknown


def judge_release(
    workspace: Workspace,
    catalog: Catalog,
    environment: Environment,
    release: Release,
    since: datetime,
) -> Verdict:
    """The judge's verdict on a release from all its evidence since then. It keeps no look.

    Raises:
        CannotAnswer: Some of the evidence is out of reach.
        Refused: Some of it is not what its digest says.
    """
    stable = stable_of(workspace, catalog, environment, release)
    counts = _counts(workspace, catalog, environment, release, since, stable, keep=False)
    evidence, missing = _completed(workspace, catalog, release, stable, counts)
    if missing:
        raise missing[0]
    return judge_canary(evidence, catalog.models[release.model].canary)


def judge_running_release(workspace: Workspace, environment: str, model: str) -> Verdict:
    """The judge's verdict on the release of a model that an environment runs now.

    Raises:
        CannotAnswer: It has no such release, no facts about it yet, or evidence is out of reach.
    """
    catalog = workspace.watched_specs(workspace.main()).catalog
    where = catalog.require_environment(environment)
    catalog.require_model(model)
    release = catalog.releases.get((environment, model))
    if release is None:
        raise CannotAnswer(f"{environment} has no release of {model}", hint="modelyard status")
    require_servers(workspace, environment)
    facts = workspace.facts.read_release(environment, model)
    if facts.release != release.identity or facts.seen_at is None:
        raise CannotAnswer(
            f"{environment}: {release.version} of {model} has not been seen running yet",
            hint="modelyard watch --once",
        )
    return judge_release(workspace, catalog, where, release, facts.seen_at)


def _completed(
    workspace: Workspace,
    catalog: Catalog,
    release: Release,
    stable: tuple[str, str] | None,
    counts: CanaryEvidence,
) -> tuple[CanaryEvidence, list[YardError]]:
    """The counts with all other evidence that can be read, and why some cannot."""
    champion, missing = stable[1] if stable else None, list[YardError]()
    evidence = replace(counts, feedback=_feedback(workspace, catalog, release, stable, counts))
    evidence = with_promises(
        workspace, catalog, release, champion, evidence, on_missing=missing.append
    )
    try:
        nulls = workspace.once(
            "nulls", release.artifact, lambda: training_nulls(workspace.store, release.artifact)
        )
        evidence = replace(evidence, training_nulls=nulls)
    except (CannotAnswer, Refused) as error:
        missing.append(error)
    return evidence, missing


def _feedback(
    workspace: Workspace,
    catalog: Catalog,
    release: Release,
    stable: tuple[str, str] | None,
    counts: CanaryEvidence,
) -> LiveLoss | UnreadLabels | None:
    """What labels say of the release and of stable, of rows since the first sample."""
    model = catalog.models[release.model]
    if model.canary.margin_quality is None or stable is None or not counts.samples:
        return None
    identity, version = stable
    record = catalog.records.get((release.model, version))
    if record is None or not record.held_out:
        return None
    try:
        return live_loss_of(
            workspace,
            model,
            canary=release.identity,
            stable=identity,
            held_out=record.held_out[-1].scores,
            since=counts.samples[0].at,
        )
    except (CannotAnswer, Refused) as error:
        return UnreadLabels(why=error.message)


def with_promises(
    workspace: Workspace,
    catalog: Catalog,
    release: Release,
    champion: str | None,
    counts: CanaryEvidence,
    *,
    on_missing: Callable[[YardError], None],
) -> CanaryEvidence:
    """The counts with what to expect of all predictions, of those of segments, and of pairs.

    What one of them cannot be read from takes nothing from the others: `on_missing` is told why.
    """

    def unless_missing(read: Callable[[Workspace, Catalog, Release, str | None], _T]) -> _T | None:
        try:
            return read(workspace, catalog, release, champion)
        except (CannotAnswer, Refused) as error:
            on_missing(error)
            return None

    return replace(
        counts,
        expected=unless_missing(expected_predictions),
        segments=unless_missing(expected_segments) or (),
        pairs=unless_missing(expected_pairs),
    )


def _counts(
    workspace: Workspace,
    catalog: Catalog,
    environment: Environment,
    release: Release,
    since: datetime,
    stable: tuple[str, str] | None,
    *,
    keep: bool,
) -> CanaryEvidence:
    """The servers' counts without anything from the store: enough to fail, not to pass."""
    champion = stable[1] if stable else None
    return CanaryEvidence(
        samples=workspace.services.metrics.samples(release.model, since=since, keep=keep),
        canary=release.identity,
        stable=stable[0] if stable else None,
        slow_ms=slow_ms_of(catalog, release.model, champion),
        is_first=stable is None and not _has_predecessor(workspace, environment, release),
        share=environment.exact_share,
        is_promised=is_promised(catalog, release, champion),
    )


def slow_ms_of(catalog: Catalog, model: str, stable: str | None) -> float | None:
    """Above this a request is slow, by the policy or by what was measured for stable."""
    record = catalog.records.get((model, stable)) if stable else None
    verified = record.server.p95_ms if record and record.server else None
    return slow_threshold(catalog.models[model].canary.slow_ms, verified)


def _has_predecessor(workspace: Workspace, environment: Environment, release: Release) -> bool:
    """Whether another release was verified before, in an environment of its own."""
    if environment.joins is not None:
        return False
    facts = workspace.facts.read_release(environment.name, release.model)
    return any(identity != release.identity for identity in facts.verified)


def stable_of(
    workspace: Workspace, catalog: Catalog, environment: Environment, release: Release
) -> tuple[str, str] | None:
    """Identity and version of the stable release to compare with; None for a first release."""
    if environment.joins is not None:
        stable = catalog.releases.get((environment.joins, release.model))
        return (stable.identity, stable.version) if stable else None
    facts = workspace.facts.read_release(environment.name, release.model)
    state = workspace.services.cluster.observe(model=release.model, environment=environment)
    before = [identity for identity in facts.verified if identity != release.identity]
    # With all of the traffic there is no stable release left whose counts are of the same time.
    if not before or state is None or state.share >= 1:
        return None
    versions = {
        known.release.identity: known.release.version
        for known in workspace.past(environment.name, release.model)
    }
    identity = before[-1]
    # Older than the past that is read: better no comparison than one with another version.
    return (identity, versions[identity]) if identity in versions else None


def expected_predictions(
    workspace: Workspace, catalog: Catalog, release: Release, champion: str | None
) -> ExpectedPredictions | None:
    """What the release should predict, given the champion's live predictions if there is one.

    Scores never change, so they are read once: the store may go away while a release is judged.
    """
    model, scored = catalog.models[release.model], _scored_rows(catalog, release, champion)
    if scored is None:
        return None
    mine, theirs = scored

    def expectation() -> ExpectedPredictions:
        before = _predictions(workspace.store, model, theirs) if theirs else None
        return expect_predictions(
            before, _predictions(workspace.store, model, mine), prediction_grid(model.primary)
        )

    return workspace.once(
        "expected predictions", mine, expectation, theirs or "", repr(model.primary)
    )


def expected_segments(
    workspace: Workspace, catalog: Catalog, release: Release, champion: str | None
) -> tuple[SegmentPromise, ...]:
    """What the release should predict in each segment; none where they were not scored by."""
    model, scored = catalog.models[release.model], _scored_rows(catalog, release, champion)
    if scored is None or not model.canary.segments:
        return ()
    mine, theirs = scored

    def promises() -> tuple[SegmentPromise, ...]:
        slices = _scores(workspace.store, mine).slices
        names = {name: slices.get(f"{SEGMENT}{name}") for name in model.canary.segments}
        return segment_promises(
            _predictions(workspace.store, model, theirs) if theirs else None,
            _predictions(workspace.store, model, mine),
            {name: levels for name, levels in names.items() if levels is not None},
            segment_grid(model.primary),
        )

    key = repr((model.primary, model.canary.segments))
    return workspace.once("expected segments", mine, promises, theirs or "", key)


def expected_pairs(
    workspace: Workspace, catalog: Catalog, release: Release, champion: str | None
) -> PairPromise | None:
    """What the release should answer beside each answer of the champion, if it is shadowed."""
    model, scored = catalog.models[release.model], _scored_rows(catalog, release, champion)
    if not model.canary.shadow or scored is None or scored[1] is None:
        return None
    mine, theirs = scored[0], scored[1]

    def promise() -> PairPromise:
        return promise_pairs(
            _predictions(workspace.store, model, theirs),
            _predictions(workspace.store, model, mine),
            segment_grid(model.primary),
        )

    return workspace.once("expected pairs", mine, promise, theirs, repr(model.primary))


def is_promised(catalog: Catalog, release: Release, champion: str | None) -> bool:
    """Whether predictions are judged, also while their evidence is out of reach."""
    return _scored_rows(catalog, release, champion) is not None


def _scored_rows(
    catalog: Catalog, release: Release, champion: str | None
) -> tuple[str, str | None] | None:
    """Digests of the release's and the champion's scores on the same held-out rows."""
    record = catalog.records.get((release.model, release.version))
    if record is None or not record.held_out:
        return None
    result, other = record.held_out[-1], None
    if champion is not None and champion != release.version:
        pairs = scored_by_both(catalog, release.model, release.version, champion)
        if not pairs:  # without the same rows nothing says how far the two may differ
            return None
        result, other = pairs[-1]
    elif champion == release.version:
        other = result.scores
    return result.scores, other


def training_nulls(store: Store, artifact: str) -> dict[str, float]:
    """The share of nulls in the artifact's training rows, by input."""
    document = json.loads(store.read_model_file(artifact, "serving.json"))
    shares: dict[str, float] = document["training"]["null"]
    return shares


def _scores(store: Store, digest: str) -> Scores:
    return scores_from_parquet(store.read_evidence(digest), digest=digest)


def _predictions(store: Store, model: Model, digest: str) -> Any:
    import numpy as np

    scores = _scores(store, digest).scores
    if model.primary.kind is OutputKind.CLASS:
        return np.asarray(model.primary.classes)[scores.argmax(axis=1)]
    return scores
