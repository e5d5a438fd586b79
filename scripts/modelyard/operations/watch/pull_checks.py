"""Checks a pull request: the main branch it would become must be valid."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from modelyard.adapters.forge.guard import Proposed, find_guard_problems
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.reader import read_specs
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.change import Purpose, parse_branch
from modelyard.domain.promotion.pulls import CHECKS, PullRequest, Status, StatusState
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import record_file
from modelyard.errors import CannotAnswer, Refused, join_first
from modelyard.operations.gate import find_wrong
from modelyard.operations.reconcile.human_pulls import changed_paths
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

SHOWN = 3
"""Problems that a status names: forges cut its description off."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the checks say of a pull request's head.

    Args:
        status: Its status.
        problems: What is wrong.
    """

    status: Status
    problems: tuple[Problem, ...] = ()


def check_pull(workspace: Workspace, pull: PullRequest) -> Checked:
    """Check a pull request's head: validate, render --check and gate --check on its merge.

    Whatever cannot be checked is an `error`: never a success, and no reason to leave other pull
    requests unchecked.
    """
    try:
        found = problems_of(workspace, pull)
    except CannotAnswer as error:
        return _checked(StatusState.ERROR, error.message)
    except Exception as error:  # a defect of a check must not look like a valid pull request
        logger.exception("pull request %d", pull.number)
        return _checked(StatusState.ERROR, f"the checks crashed: {type(error).__name__}: {error}")
    if not found:
        return _checked(StatusState.SUCCESS, "valid, rendered, and verdicts match their evidence")
    said = join_first(map(str, found), SHOWN, between="; ")
    return replace(_checked(StatusState.FAILURE, said), problems=tuple(found))


def problems_of(workspace: Workspace, pull: PullRequest) -> list[Problem]:
    """The problems of the merge result, those of its specs by file."""
    from modelyard.operations.render import find_restored
    from modelyard.operations.training.kept_pins import kept_problems
    from modelyard.operations.validation import problems_in
    from modelyard.render.tree import stale_manifests

    main = workspace.main()
    merged = workspace.git.merge_tree(main, pull.head)
    if merged.conflicts:
        return [_general(f"conflicts with the main branch in {', '.join(merged.conflicts)}")]
    tree = GitTree(workspace.git, merged.tree)
    changed = set(changed_paths(workspace, pull))
    specs = read_specs(tree)
    found = [_general(each) for each in find_branch_problems(workspace, pull)]
    found += problems_in(
        specs,
        changed=changed,
        base=GitTree(workspace.git, main),
        kept=kept_problems(workspace.services.root, specs, commit=merged.tree),
    )
    branch = parse_branch(pull.branch)
    # What a rollback restores was there, which the branch guard sees to; it renders nothing.
    is_rollback = branch is not None and branch.purpose is Purpose.ROLLBACK
    restored = (lambda _: specs.catalog) if is_rollback else find_restored(workspace.git, main)
    stale = stale_manifests(tree, specs.catalog, changed, restored=restored)
    found += [_general(each) for each in stale]
    return found + _wrong_verdicts(workspace, specs.catalog, changed)


def _general(sentence: str) -> Problem:
    """A problem of no one file, or whose sentence names it."""
    return Problem(file="", message=sentence)


def find_branch_problems(workspace: Workspace, pull: PullRequest) -> list[str]:
    """What the branch guard of `modelyard check-pull` says, one sentence each."""
    proposed = Proposed(
        branch=pull.branch,
        author=str(pull.author),
        head=pull.head,
        main=workspace.main(),
        bot=workspace.services.repository.bot,
    )
    return find_guard_problems(workspace.git, proposed)


def _wrong_verdicts(workspace: Workspace, catalog: Catalog, changed: set[str]) -> list[Problem]:
    found = []
    for (model, version), record in catalog.records.items():
        if record_file(model, version) not in changed or record.artifact is None:
            continue
        try:
            wrong = find_wrong(workspace.store, catalog, record)
        except Refused as refusal:
            wrong = (refusal.message,)
        found += [_general(f"{model} {version}: {each}") for each in wrong]
    return found


def _checked(state: StatusState, description: str) -> Checked:
    return Checked(status=Status(context=CHECKS, state=state, description=description))
