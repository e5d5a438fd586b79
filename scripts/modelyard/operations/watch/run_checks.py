"""Checks open pull requests, and those that passed again where the main branch moved below them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import partial

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.pulls import CHECKS, PullRequest, StatusState
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    SETTINGS,
    environment_file,
    environment_names,
    manifests_folder,
    model_folder,
    parse_spec_path,
    place_of,
    release_file,
)
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.reconcile.apply import Report, set_pull_status
from modelyard.operations.reconcile.human_pulls import changed_paths
from modelyard.operations.reconcile.loop import run_all
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)


@one_snapshot()
def run_checks(workspace: Workspace, report: Report) -> bool:
    """Check open pull requests; True if a status changed.

    - What got no answer is checked in every pass.
    - What was refused is checked again once the main branch moved or the watcher restarted: the
      refusal may be about a main branch that is no more.
    - What passed is checked again once the main branch has other rules, or something else of the
      models that it changes: what was merged meanwhile may make its merge invalid. What passed
      before this process started is compared with the commit at which its branch left main.
    """
    main = workspace.main()
    return run_all(
        partial(_check, workspace, main, pull, report) for pull in workspace.services.pulls.open()
    )


def _check(workspace: Workspace, main: str, pull: PullRequest, report: Report) -> bool:
    # Its gate imports numpy: a pass without pull requests to check need not wait for that.
    from modelyard.operations.watch.pull_checks import check_pull

    known, check = pull.statuses.get(CHECKS), partial(check_pull, workspace, pull)
    state, basis = known.state if known else None, _read_basis(workspace, pull, main)
    if state is StatusState.SUCCESS:
        if basis is None or _read_passed_basis(workspace, pull) == basis:
            return False
        checked = workspace.once("checks", basis, check, pull.head, pull.branch)
    elif state is StatusState.FAILURE:
        checked = workspace.once("checks", main, check, pull.head, pull.branch)
    else:
        checked = check()
    if checked.status.state is StatusState.SUCCESS and basis is not None:
        workspace.once("passed", pull.head, lambda: basis, pull.branch)
    if checked.status == known:
        return False
    # Before the status: once that is there, nothing is shown again.
    _show_problems(workspace, pull, checked.problems)
    return set_pull_status(workspace, pull, checked.status, report)


def _read_passed_basis(workspace: Workspace, pull: PullRequest) -> str | None:
    """The basis on which this head passed first; the oldest possible one if that is not known."""

    def read_oldest() -> str | None:
        try:
            left = workspace.git.merge_base(workspace.main(), pull.head)
        except CannotAnswer:  # the checks say why
            return None
        return _read_basis(workspace, pull, left)

    return workspace.once("passed", pull.head, read_oldest, pull.branch)


def _show_problems(workspace: Workspace, pull: PullRequest, problems: tuple[Problem, ...]) -> None:
    # For the eye alone: the status decides.
    try:
        workspace.services.pulls.show_problems(pull, problems)
    except YardError as error:
        logger.warning("#%d: its problems are not shown: %s", pull.number, error.message)


def _read_basis(workspace: Workspace, pull: PullRequest, commit: str) -> str | None:
    """What identifies the part of a commit of main that the checks of a pull request depend on.

    It is the rules and the models that the pull request changes; all of the commit where it changes
    rules, which are about every model. None if the checks depend on nothing there, and of the
    tool's own branches, which it plans and merges by itself.
    """
    if parse_branch(pull.branch) is not None:
        return None
    try:
        paths = changed_paths(workspace, pull)
    except CannotAnswer:  # the checks say why
        return commit
    if any(_is_rule(path) for path in paths):
        return commit
    places = {place for path in paths if (place := place_of(path)) is not None}
    if not places:
        return None
    models = sorted({place.rstrip("/").rpartition("/")[2] for place in places})
    return workspace.once("basis", commit, lambda: _hash_specs(workspace, commit, models), *models)


def _hash_specs(workspace: Workspace, commit: str, models: Sequence[str]) -> str:
    """Digest of the rules and of these models at a commit."""
    environments = environment_names(workspace.git.list_folders(commit, ENVIRONMENTS))
    paths = [SETTINGS, *map(environment_file, environments)]
    for model in models:
        paths.append(model_folder(model).rstrip("/"))
        paths += [release_file(environment, model) for environment in environments]
        paths += [manifests_folder(environment, model).rstrip("/") for environment in environments]
    objects = workspace.git.find_objects(f"{commit}:{path}" for path in paths).values()
    found = [each.name if each else "" for each in objects]
    named = [f"{path} {name}" for path, name in zip(paths, found, strict=True)]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _is_rule(path: str) -> bool:
    return path == SETTINGS or (parse_spec_path(path) or ("",))[0] == "Environment"
