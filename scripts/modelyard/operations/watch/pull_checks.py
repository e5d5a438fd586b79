"""Checks a pull request: the main branch it would become must be valid."""

from __future__ import annotations

import logging
import re

from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.promotion.change import Branch, Purpose, parse_branch
from modelyard.domain.promotion.pulls import CHECKS, PullRequest, Status, StatusState
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import (
    manifests_folder,
    model_folder,
    record_file,
    records_folder,
    release_file,
)
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.gate import find_differences, recompute_verdicts
from modelyard.operations.reconcile.human_pulls import changed_paths
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

SHOWN = 3
"""Problems that a status names: forges cut its description off."""


def check_pull(workspace: Workspace, pull: PullRequest) -> Status:
    """The status of a pull request's head: validate, render --check and gate --check on its merge.

    Whatever cannot be checked is an `error`: never a success, and no reason to leave other pull
    requests unchecked.
    """
    try:
        found = problems_of(workspace, pull)
    except CannotAnswer as error:
        return _status(StatusState.ERROR, error.message)
    except Exception as error:  # a defect of a check must not look like a valid pull request
        logger.exception("pull request %d", pull.number)
        return _status(StatusState.ERROR, f"the checks crashed: {type(error).__name__}: {error}")
    if not found:
        return _status(StatusState.SUCCESS, "valid, rendered, and verdicts match their evidence")
    more = f" (and {len(found) - SHOWN} more)" if len(found) > SHOWN else ""
    return _status(StatusState.FAILURE, "; ".join(found[:SHOWN]) + more)


def problems_of(workspace: Workspace, pull: PullRequest) -> list[str]:
    """The problems of the merge result, one sentence each."""
    from modelyard.operations.validation import problems_in
    from modelyard.render.tree import stale_manifests

    main = workspace.main()
    merged = workspace.git.merge_tree(main, pull.head)
    if merged.conflicts:
        return [f"conflicts with the main branch in {', '.join(merged.conflicts)}"]
    tree = GitTree(workspace.git, merged.tree)
    changed = set(changed_paths(workspace, pull))
    specs = read_specs(tree)
    found = _branch_problems(specs.catalog, pull, changed)
    found += [
        f"{problem.file}: {problem.message}"
        for problem in problems_in(specs, changed=changed, base=GitTree(workspace.git, main))
    ]
    found += stale_manifests(tree, specs.catalog, changed)
    return found + _wrong_verdicts(workspace, specs.catalog, changed)


def _branch_problems(catalog: Catalog, pull: PullRequest, changed: set[str]) -> list[str]:
    """The problems of one of the tool's branches that changes more than its name stands for.

    Approvals and merges are decided by the branch's name and the release it pins, so a person who
    pushes to such a branch, or opens one, could get anything else merged.
    """
    branch = parse_branch(pull.branch)
    if branch is None:
        return []
    allowed = _allowed(catalog, branch)
    strays = [path for path in sorted(changed) if not allowed.fullmatch(path)]
    return [f"{pull.branch} may not change {path}" for path in strays]


def _allowed(catalog: Catalog, branch: Branch) -> re.Pattern[str]:
    """The paths that one of the tool's branches may change."""
    path = catalog.path_to_production()
    if branch.purpose is Purpose.RECORD:
        record = re.escape(record_file(branch.model, branch.subject))
        first = catalog.releases.get((path[0].name, branch.model)) if path else None
        if first is None or first.version != branch.subject:  # no release but its version's
            return re.compile(record)
        return re.compile(f"{record}|{_release_paths(first.environment, branch.model)}")
    if branch.purpose in {Purpose.PROMOTE, Purpose.ROLLBACK}:
        return re.compile(_release_paths(branch.subject, branch.model))
    records = re.escape(records_folder(branch.model))
    return re.compile(rf"(?!{records}){re.escape(model_folder(branch.model))}.*")


def _release_paths(environment: str, model: str) -> str:
    pin, manifests = release_file(environment, model), manifests_folder(environment, model)
    return rf"{re.escape(pin)}|{re.escape(manifests)}.*"


def _wrong_verdicts(workspace: Workspace, catalog: Catalog, changed: set[str]) -> list[str]:
    found = []
    for (model, version), record in catalog.records.items():
        if record_file(model, version) not in changed or record.artifact is None:
            continue
        try:
            wrong = find_differences(record, *recompute_verdicts(workspace.store, catalog, record))
        except Refused as refusal:
            wrong = (refusal.message,)
        found += [f"{model} {version}: {each}" for each in wrong]
    return found


def _status(state: StatusState, description: str) -> Status:
    return Status(context=CHECKS, state=state, description=description)
