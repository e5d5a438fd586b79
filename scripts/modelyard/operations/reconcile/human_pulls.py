"""The status `modelyard/promote` of pull requests from people's own branches."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.plan import shorten_description
from modelyard.domain.promotion.pulls import PROMOTE, PullRequest, Status, StatusState
from modelyard.domain.specs.paths import (
    is_written_by_tool,
    parse_manifests_path,
    parse_spec_path,
    release_file,
)
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.errors import CannotAnswer
from modelyard.operations.reconcile.apply import Report, set_pull_status
from modelyard.operations.reconcile.loop import run_all
from modelyard.operations.workspace import Workspace


@one_snapshot()
def set_human_pull_statuses(workspace: Workspace, report: Report) -> bool:
    """Set `modelyard/promote` on people's pull requests; True if a status changed."""
    # On the tool's branches the plan sets it, model by model.
    people = [pull for pull in workspace.services.pulls.list() if parse_branch(pull.branch) is None]
    return run_all(partial(_set_status, workspace, pull, report) for pull in people)


def _set_status(workspace: Workspace, pull: PullRequest, report: Report) -> bool:
    try:
        status = _status(workspace, pull)
    except CannotAnswer as error:  # its status shows the error, and other pull requests go on
        why = shorten_description(f"cannot be compared with the main branch: {error.message}")
        status = Status(context=PROMOTE, state=StatusState.ERROR, description=why)
    known = pull.statuses.get(PROMOTE)
    if known is not None and (known.state, known.description) == (status.state, status.description):
        return False
    return set_pull_status(workspace, pull.number, pull.head, status, report)


def changed_paths(workspace: Workspace, pull: PullRequest) -> tuple[str, ...]:
    """The paths that a pull request changes on the main branch."""
    base = workspace.git.merge_base(workspace.main(), pull.head)
    return workspace.git.diff_names(base, pull.head)


def _status(workspace: Workspace, pull: PullRequest) -> Status:
    # From where the branch left main: what main changed since is not this pull request's doing.
    base = workspace.git.merge_base(workspace.main(), pull.head)
    owned = [path for path in workspace.git.diff_names(base, pull.head) if is_written_by_tool(path)]
    touched = [path for path in owned if not _is_rendered_again(workspace, path, base, pull.head)]
    if touched:
        why = f"only the tool writes {touched[0]}: use modelyard promote or modelyard rollback"
        return Status(context=PROMOTE, state=StatusState.FAILURE, description=why)
    what = "renders the same releases again" if owned else "changes no environment"
    return Status(context=PROMOTE, state=StatusState.SUCCESS, description=what)


def _is_rendered_again(workspace: Workspace, path: str, base: str, head: str) -> bool:
    """Whether the path belongs to a release that was rendered again, by `modelyard render`.

    Only the digest of the manifests may differ in its pin. `modelyard/checks` compares the
    manifests themselves with what this renderer writes.
    """
    kind, key = parse_spec_path(path) or ("", None)
    owner = key if kind == "Release" else parse_manifests_path(path)
    if owner is None:
        return False
    pin = release_file(*owner)
    before, after = workspace.git.read_many([f"{base}:{pin}", f"{head}:{pin}"]).values()
    if before is None or after is None:
        return False
    try:
        one, other = (read_spec(Release, content, name=pin) for content in (before, after))
    except CannotAnswer:
        return False
    # Of another renderer nobody can tell what the manifests ought to be.
    same = replace(one, manifests="") == replace(other, manifests="")
    return same and other.renderer == RENDERER
