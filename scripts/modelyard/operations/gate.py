"""Computes the gate's verdicts again from stored evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator

from modelyard.adapters.store.artifacts import Store
from modelyard.adapters.store.signatures import check_signature, read_artifact_file
from modelyard.adapters.tables.frames import scores_from_parquet
from modelyard.domain.gate.comparisons import GateAnswer, gate_answer
from modelyard.domain.gate.gate import (
    Comparison,
    Scores,
    SetVerdicts,
    compare_on_set,
    overall_verdict,
    verdict_of_first_rules,
    with_contract,
)
from modelyard.domain.gate.served_contract import (
    ServedContract,
    contract_verdict,
    find_contract_breaks,
)
from modelyard.domain.signatures import asked_signature
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.heldout import seen_by
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import held_out_file, model_file, record_file, version_file
from modelyard.domain.specs.record import Champion, HeldOutResult, Record
from modelyard.domain.specs.version import ModelVersion
from modelyard.domain.verdict import Verdict
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.workspace import Workspace
from modelyard.serving.documents import SERVING, Serving, parse_serving

# Another machine may sum in another order.
TOLERANCE = 1e-9


def find_verdict(
    workspace: Workspace, model: str, version: str, *, against: str | None, check: bool
) -> GateAnswer:
    """Return a version's verdict with every comparison, computed again from its evidence.

    Args:
        workspace: Holds the specs and the evidence.
        model: The model's name.
        version: The version.
        against: Compare with this version; None for the record's champion.
        check: Whether the record must have the same verdict.

    Raises:
        CannotAnswer: There is no record, evidence is out of reach, or the two versions were never
            scored on the same rows.
        Refused: `check`, and the record differs from its evidence.
    """
    catalog = workspace.catalog(workspace.main())
    record = catalog.require_record(model, version, hint=f"modelyard record {model} {version}")
    if against is None:
        return check_record(workspace.store, catalog, record, check=check)
    catalog.require_version(model, against)
    answer = _compared(workspace.store, catalog, model, version, against)
    if answer is None:
        raise CannotAnswer(f"{version} and {against} were never scored on the same rows")
    return answer


def check_changed_records(workspace: Workspace, ref: str) -> Iterator[tuple[Record, Verdict]]:
    """Check each record that the checkout's HEAD added since a ref, and yield its verdict.

    Raises:
        CannotAnswer: Evidence is out of reach; that is never a pass.
        Refused: A record differs from its evidence.
    """
    head = workspace.git.rev_parse("HEAD")
    # From where the branch left REF: later commits of REF are not its own.
    changed = set(workspace.git.diff_names(workspace.git.merge_base(ref, head), head))
    catalog = workspace.catalog(head)
    for (model, version), record in sorted(catalog.records.items()):
        if record_file(model, version) in changed:
            yield record, check_record(workspace.store, catalog, record, check=True).verdict


def check_record(store: Store, catalog: Catalog, record: Record, *, check: bool) -> GateAnswer:
    """Return the record's verdict, computed again.

    With `check`, `Refused` if it differs, or if its artifact is not signed as its model asks.
    """
    if record.artifact is None:  # training was refused: there are no scores to compute from
        return GateAnswer(verdict=record.verdict)
    if check:
        _require_signature(store, catalog, record.artifact.digest, record)
    verdict, each = recompute_verdicts(store, catalog, record, must_be_signed=check)
    if check and (found := find_differences(record, verdict, each)):
        raise Refused(f"{record.model} {record.version}: {'; '.join(found)}")
    return gate_answer(
        verdict,
        [result.name for result in record.held_out],
        each,
        champion=record.champion.version if record.champion else None,
        contract=_recorded_contract(store, catalog, record),
    )


def find_wrong(store: Store, catalog: Catalog, record: Record) -> tuple[str, ...]:
    """Return how a record differs from its evidence, once its artifact is signed as asked.

    Raises:
        CannotAnswer: Evidence is out of reach; that is never a pass.
        Refused: It is not signed as its model asks, or a spec that it refers to is missing.
    """
    if record.artifact is None:
        return ()
    _require_signature(store, catalog, record.artifact.digest, record)
    verdict, each = recompute_verdicts(store, catalog, record, must_be_signed=True)
    return find_differences(record, verdict, each)


def _require_signature(store: Store, catalog: Catalog, digest: str, record: Record) -> None:
    asked = asked_signature(_model(catalog, record.model), record.version)
    if asked is not None:
        check_signature(store, digest, asked)


def recompute_verdicts(
    store: Store, catalog: Catalog, record: Record, *, must_be_signed: bool = False
) -> tuple[Verdict, tuple[SetVerdicts, ...]]:
    """Return a record's verdict and those of each held-out set, computed from its evidence.

    A record of version 0.1 has the verdict of its own rules.

    Args:
        store: Holds the evidence.
        catalog: The specs.
        record: The record.
        must_be_signed: Whether a file of an artifact is opened only if it is signed as asked.

    Raises:
        CannotAnswer: Evidence is out of reach; that is never a pass.
        Refused: A spec that the record refers to is missing, or a signature.
    """
    champion = record.champion.version if record.champion else None
    comparisons = [
        _comparison(store, catalog, record, result, champion, result.champion_scores)
        for result in record.held_out
    ]
    model = _model(catalog, record.model)
    each = tuple(
        _by_rules_of(result, model, comparison)
        for result, comparison in zip(record.held_out, comparisons, strict=True)
    )
    names = [result.name for result in record.held_out]
    overall = overall_verdict(names, [found.verdict for found in each])
    contract = _recorded_contract(store, catalog, record, must_be_signed=must_be_signed)
    return with_contract(overall, contract), each


def _recorded_contract(
    store: Store, catalog: Catalog, record: Record, *, must_be_signed: bool = False
) -> Verdict | None:
    """Return the verdict on the contract, computed again; None where the record has none.

    A record of version 0.1 has none: its own rules asked for none.
    """
    if record.contract is None or record.champion is None:
        return None
    return _contract(store, catalog, record, record.champion, must_be_signed=must_be_signed)


def _by_rules_of(result: HeldOutResult, model: Model, comparison: Comparison) -> SetVerdicts:
    """Return the verdicts as the result's own version of modelyard records them."""
    baseline = result.against_baseline
    counts = baseline is not None and "degrees" in baseline.numbers
    found = compare_on_set(model, comparison, counts_information=counts)
    if baseline is None and found.baseline is not None:
        found = SetVerdicts(verdict=verdict_of_first_rules(found))
    return found


def compare_versions(
    store: Store, catalog: Catalog, model: str, version: str, champion: str
) -> Verdict | None:
    """Return a version's verdict against any champion; None if no held-out set scored both.

    Raises:
        CannotAnswer: Evidence is out of reach.
        Refused: A spec that the records refer to is missing.
    """
    answer = _compared(store, catalog, model, version, champion)
    return None if answer is None else answer.verdict


def _compared(
    store: Store, catalog: Catalog, model: str, version: str, champion: str
) -> GateAnswer | None:
    pairs = scored_by_both(catalog, model, version, champion)
    other = _find_champion(catalog, model, version, champion)
    if not pairs or other is None:
        return None
    record = catalog.records[model, version]
    comparisons = [
        _comparison(store, catalog, record, result, champion, scores) for result, scores in pairs
    ]
    each = [compare_on_set(_model(catalog, model), comparison) for comparison in comparisons]
    names = [comparison.name for comparison in comparisons]
    contract = _contract(store, catalog, record, other)
    verdict = with_contract(overall_verdict(names, [found.verdict for found in each]), contract)
    return gate_answer(verdict, names, each, champion=champion, contract=contract)


def served_contract(serving: Serving) -> ServedContract:
    """Return what the server of an artifact accepts and answers."""
    return ServedContract(inputs=serving.inputs, output=serving.output.name)


def served_contract_verdict(
    before: ServedContract, after: ServedContract, spec: ModelVersion, champion: str
) -> Verdict:
    """Return whether a version accepts the champion's requests, but for its intended breaks."""
    intended = {each.name: each.reason for each in spec.breaks}
    return contract_verdict(find_contract_breaks(before, after), intended, champion)


def _contract(
    store: Store,
    catalog: Catalog,
    record: Record,
    champion: Champion,
    *,
    must_be_signed: bool = False,
) -> Verdict | None:
    if record.artifact is None:
        return None
    both = (champion.version, champion.artifact), (record.version, record.artifact.digest)
    found = []
    for version, digest in both:
        model = _model(catalog, record.model) if must_be_signed else None
        asked = asked_signature(model, version) if model else None
        content = read_artifact_file(store, digest, SERVING, asked)
        found.append(served_contract(parse_serving(content, name=f"{digest}/{SERVING}")))
    before, after = found
    spec = _version(catalog, record.model, record.version)
    return served_contract_verdict(before, after, spec, champion.version)


def _find_champion(catalog: Catalog, model: str, version: str, champion: str) -> Champion | None:
    """Return a version as a champion, with the artifact that its record or the other's names."""
    record, other = catalog.records.get((model, version)), catalog.records.get((model, champion))
    if other is not None and other.artifact is not None:
        return Champion(version=champion, artifact=other.artifact.digest)
    named = record.champion if record else None
    return named if named is not None and named.version == champion else None


def scored_by_both(
    catalog: Catalog, model: str, version: str, champion: str
) -> tuple[tuple[HeldOutResult, str], ...]:
    """Return the held-out results of which both have scores, with those of the champion."""
    record, other = catalog.records.get((model, version)), catalog.records.get((model, champion))
    if record is None:
        return ()
    known = {result.digest: result.scores for result in other.held_out} if other else {}
    # The champion's scores on a newer held-out set are in the challenger's record.
    if record.champion is not None and record.champion.version == champion:
        known |= {r.digest: r.champion_scores for r in record.held_out if r.champion_scores}
    return tuple((r, known[r.digest]) for r in record.held_out if r.digest in known)


def find_differences(
    record: Record, verdict: Verdict, each: tuple[SetVerdicts, ...]
) -> tuple[str, ...]:
    """Return how a record's verdicts differ from those computed again; empty if they are equal."""
    found = [*_difference("verdict", record.verdict, verdict)]
    for result, again in zip(record.held_out, each, strict=True):
        name = f"held-out set {result.name}"
        found += _difference(name, result.verdict, again.verdict)
        found += _difference(
            f"{name} against the baseline", result.against_baseline, again.baseline
        )
        found += _difference(
            f"{name} against the champion", result.against_champion, again.champion
        )
        guards = {each.metric: each.verdict for each in result.guards}
        for metric in sorted(guards.keys() | again.guards.keys()):
            pair = guards.get(metric), again.guards.get(metric)
            found += _difference(f"{name}, guard {metric}", *pair)
        slices = {each.name: each.verdict for each in result.slices}
        known = {each.name: each.verdict for each in again.slices}
        for part in sorted(slices.keys() | known.keys()):
            found += _difference(f"{name}, slice {part}", slices.get(part), known.get(part))
    return tuple(found)


def _difference(name: str, written: Verdict | None, again: Verdict | None) -> list[str]:
    if written is None or again is None:
        if written is again:
            return []
        before, after = (verdict.outcome if verdict else "none" for verdict in (written, again))
        return [f"{name}: the record has {before}, the evidence gives {after}"]
    found = []
    if written.outcome is not again.outcome:
        found.append(
            f"{name}: the record has {written.outcome}, the evidence gives {again.outcome}"
        )
    # A number may be missing on either side.
    for number in sorted(set(written.numbers) | set(again.numbers)):
        one, other = written.numbers.get(number), again.numbers.get(number)
        equal = (
            one is not None
            and other is not None
            and math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        )
        if not equal:
            found.append(f"{name}: {number} is {one} in the record, {other} from the evidence")
    return found


def _comparison(
    store: Store,
    catalog: Catalog,
    record: Record,
    result: HeldOutResult,
    champion: str | None,
    champion_scores: str | None,
) -> Comparison:
    held_out = catalog.held_out.get((record.model, result.name))
    if held_out is None:
        raise _missing(held_out_file(record.model, result.name))
    names = [record.version] if champion is None else [record.version, champion]
    versions = [_version(catalog, record.model, name) for name in names]
    other: Scores | None = None
    if champion_scores is not None:
        other = scores_from_parquet(store.read_evidence(champion_scores), digest=result.digest)
    return Comparison(
        name=result.name,
        challenger=scores_from_parquet(store.read_evidence(result.scores), digest=result.digest),
        champion=other,
        look=result.look,
        max_looks=held_out.max_looks,
        seen_by=tuple(each.version for each in versions if seen_by(each, held_out)),
        must_be_better=result.name in versions[0].better_on,
    )


def _model(catalog: Catalog, name: str) -> Model:
    if name not in catalog.models:
        raise _missing(model_file(name))
    return catalog.models[name]


def _version(catalog: Catalog, model: str, name: str) -> ModelVersion:
    if (model, name) not in catalog.versions:
        raise _missing(version_file(model, name))
    return catalog.versions[model, name]


def _missing(file: str) -> Refused:
    return Refused(f"{file} is missing or not valid, but a record refers to it")
