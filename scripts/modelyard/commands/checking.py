"""The checks of one pull request: what it would make of the main branch must be valid."""

from __future__ import annotations

from modelyard.adapters.checkout import GitTree
from modelyard.adapters.specs import read
from modelyard.commands.gating import differences, recompute
from modelyard.commands.reconciling.collect import Desk
from modelyard.commands.reconciling.plain import changed_paths
from modelyard.domain.catalog import Catalog
from modelyard.domain.pulls import CHECKS, PullRequest, Status, StatusState
from modelyard.errors import CannotAnswer, Refused

SHOWN = 3


def check_pull(desk: Desk, pull: PullRequest) -> Status:
    """Validate, render --check and gate --check on the merge result; the word for its head."""
    try:
        found = problems_of(desk, pull)
    except CannotAnswer as error:
        return _status(StatusState.ERROR, error.message)
    if not found:
        return _status(StatusState.SUCCESS, "valid, rendered, and verdicts match their evidence")
    more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
    return _status(StatusState.FAILURE, "; ".join(found[:SHOWN]) + more)


def problems_of(desk: Desk, pull: PullRequest) -> list[str]:
    """Everything wrong with the merge result, in sentences."""
    from modelyard.commands.validate import problems_in
    from modelyard.render.tree import stale_manifests

    merged = desk.git.merge_tree(desk.main(), pull.head)
    if merged.conflicts:
        return [f"conflicts with the main branch in {', '.join(merged.conflicts)}"]
    tree = GitTree(desk.git, merged.tree)
    changed = set(changed_paths(desk, pull))
    specs = read(tree)
    found = [
        f"{problem.file}: {problem.message}"
        for problem in problems_in(specs, changed=changed, base=GitTree(desk.git, desk.main()))
    ]
    found += stale_manifests(tree, specs.catalog, changed)
    return found + _wrong_verdicts(desk, specs.catalog, changed)


def _wrong_verdicts(desk: Desk, catalog: Catalog, changed: set[str]) -> list[str]:
    found = []
    for (model, version), record in catalog.records.items():
        if f"models/{model}/records/{version}.yaml" not in changed or record.artifact is None:
            continue
        try:
            said = differences(record, *recompute(desk.store, catalog, record))
        except Refused as refusal:
            said = (refusal.message,)
        found += [f"{model} {version}: {each}" for each in said]
    return found


def _status(state: StatusState, description: str) -> Status:
    return Status(context=CHECKS, state=state, description=description)
