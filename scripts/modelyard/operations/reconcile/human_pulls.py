"""Statuses of pull requests the tool did not open: people's own branches."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.specs.documents import read
from modelyard.domain.promotion.branches import parse
from modelyard.domain.promotion.plan import shortened
from modelyard.domain.promotion.pulls import PROMOTE, PullRequest, Status, StatusState
from modelyard.domain.specs.release import RENDERER, Release
from modelyard.errors import CannotAnswer
from modelyard.operations.reconcile.apply import Say, say_status
from modelyard.operations.reconcile.changes import release_path
from modelyard.operations.reconcile.loop import run_all
from modelyard.operations.workspace import Workspace

OWNED = re.compile(r"^(environments/[^/]+/(releases|manifests)/|models/[^/]+/records/)")
"""Paths only the tool writes; `platform` is rendered by people who change workflows."""


@one_snapshot()
def plain_statuses(workspace: Workspace, say: Say) -> bool:
    """Say `modelyard/promote` on people's pull requests: they change no environment, or may not."""
    people = [pull for pull in workspace.services.pulls.list() if parse(pull.branch) is None]
    return run_all(partial(_say_status, workspace, pull, say) for pull in people)


def _say_status(workspace: Workspace, pull: PullRequest, say: Say) -> bool:
    try:
        status = _status(workspace, pull)
    except CannotAnswer as error:  # it says so itself: nothing else waits for it
        why = shortened(f"cannot be compared with the main branch: {error.message}")
        status = Status(context=PROMOTE, state=StatusState.ERROR, description=why)
    said = pull.statuses.get(PROMOTE)
    if said is not None and (said.state, said.description) == (status.state, status.description):
        return False
    return say_status(workspace, pull.number, pull.head, status, say)


def changed_paths(workspace: Workspace, pull: PullRequest) -> tuple[str, ...]:
    """The paths a pull request changes against the main branch."""
    base = workspace.git.merge_base(workspace.main(), pull.head)
    return workspace.git.diff_names(base, pull.head)


def _status(workspace: Workspace, pull: PullRequest) -> Status:
    base = workspace.git.merge_base(workspace.main(), pull.head)
    owned = [path for path in workspace.git.diff_names(base, pull.head) if is_owned(path)]
    touched = [path for path in owned if not _is_rendered_again(workspace, path, base, pull.head)]
    if touched:
        said = f"{touched[0]} is written by the tool alone: modelyard promote, modelyard rollback"
        return Status(context=PROMOTE, state=StatusState.FAILURE, description=said)
    said = "releases what was released before" if owned else "changes no environment"
    return Status(context=PROMOTE, state=StatusState.SUCCESS, description=said)


def is_owned(path: str) -> bool:
    """Whether only the tool writes this path."""
    return OWNED.match(path) is not None and not path.startswith("environments/platform/")


def _is_rendered_again(workspace: Workspace, path: str, base: str, head: str) -> bool:
    """Whether a release only renders anew, as `modelyard render` does after its inputs changed.

    The pin may differ in its manifests' digest alone; that the files are what it renders to is
    what `modelyard/checks` says, for releases of this renderer.
    """
    if not path.startswith("environments/"):
        return False
    _, environment, _, name = path.split("/")[:4]
    pin = release_path(environment, name.removesuffix(".yaml"))
    before, after = workspace.git.read_many([f"{base}:{pin}", f"{head}:{pin}"]).values()
    if before is None or after is None:
        return False
    try:
        one, other = (read(Release, content, name=pin) for content in (before, after))
    except CannotAnswer:
        return False
    same = replace(one, manifests="") == replace(other, manifests="")
    return same and other.renderer == RENDERER
