"""The status `modelyard/promote` of pull requests from people's own branches."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from modelyard.adapters.forge.guard import find_touched
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.plan import shorten_description
from modelyard.domain.promotion.pulls import PROMOTE, PullRequest, Status, StatusState
from modelyard.domain.specs.paths import is_written_by_tool
from modelyard.errors import CannotAnswer
from modelyard.operations.reconcile.apply import Report, set_pull_status
from modelyard.operations.reconcile.loop import run_all
from modelyard.operations.workspace import Workspace


@one_snapshot()
def set_human_pull_statuses(workspace: Workspace, report: Report) -> bool:
    """Set `modelyard/promote` on people's pull requests; True if a status changed."""
    # On the tool's branches the plan sets it, model by model.
    models = workspace.models()
    others = [pull for pull in workspace.services.pulls.list() if not _is_planned(pull, models)]
    return run_all(partial(_set_status, workspace, pull, report) for pull in others)


def _is_planned(pull: PullRequest, models: Collection[str]) -> bool:
    """Whether the plan of a model sets the status."""
    branch = parse_branch(pull.branch)
    return branch is not None and branch.model in models


def _set_status(workspace: Workspace, pull: PullRequest, report: Report) -> bool:
    try:
        status = _status(workspace, pull)
    except CannotAnswer as error:  # its status shows the error, and other pull requests go on
        why = shorten_description(f"cannot be compared with the main branch: {error.message}")
        status = Status(context=PROMOTE, state=StatusState.ERROR, description=why)
    known = pull.statuses.get(PROMOTE)
    if known is not None and (known.state, known.description) == (status.state, status.description):
        return False
    return set_pull_status(workspace, pull, status, report)


def changed_paths(workspace: Workspace, pull: PullRequest) -> tuple[str, ...]:
    """The paths that a pull request changes on the main branch."""
    base = workspace.git.merge_base(workspace.main(), pull.head)
    return workspace.git.diff_names(base, pull.head)


def _status(workspace: Workspace, pull: PullRequest) -> Status:
    if branch := parse_branch(pull.branch):
        why = f"the main branch has no model {branch.model}, which {pull.branch} is for"
        return Status(context=PROMOTE, state=StatusState.FAILURE, description=why)
    # From where the branch left main: what main changed since is not this pull request's doing.
    base = workspace.git.merge_base(workspace.main(), pull.head)
    owned = any(map(is_written_by_tool, workspace.git.diff_names(base, pull.head)))
    touched = find_touched(workspace.git, before=base, after=pull.head)
    if touched:
        why = f"only the tool writes {touched[0]}: use modelyard promote or modelyard rollback"
        return Status(context=PROMOTE, state=StatusState.FAILURE, description=why)
    what = "renders the same releases again" if owned else "changes no environment"
    return Status(context=PROMOTE, state=StatusState.SUCCESS, description=what)
