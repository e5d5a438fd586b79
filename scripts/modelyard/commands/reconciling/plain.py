"""Statuses of pull requests the tool did not open: people's own branches."""

from __future__ import annotations

import re

from modelyard.commands.reconciling.carry_out import Say
from modelyard.commands.reconciling.collect import Desk
from modelyard.domain.branches import parse
from modelyard.domain.pulls import PROMOTE, PullRequest, Status, StatusState

OWNED = re.compile(r"^(environments/[^/]+/(releases|manifests)/|models/[^/]+/records/)")
"""Paths only the tool writes; `platform` is rendered by people who change workflows."""


def plain_statuses(desk: Desk, say: Say) -> bool:
    """Say `modelyard/promote` on people's pull requests: they change no environment, or may not."""
    changed = False
    for pull in desk.services.pulls.list():
        if parse(pull.branch) is not None:
            continue
        status = _status(changed_paths(desk, pull))
        said = pull.statuses.get(PROMOTE)
        if said is None or (said.state, said.description) != (status.state, status.description):
            desk.services.pulls.set_status(pull.head, status)
            say(f"#{pull.number} {PROMOTE}: {status.state}: {status.description}")
            changed = True
    return changed


def changed_paths(desk: Desk, pull: PullRequest) -> tuple[str, ...]:
    """The paths a pull request changes against the main branch."""
    base = desk.git.merge_base(desk.main(), pull.head)
    return desk.git.diff_names(base, pull.head)


def _status(paths: tuple[str, ...]) -> Status:
    touched = [path for path in paths if is_owned(path)]
    if touched:
        said = f"{touched[0]} is written by the tool alone: modelyard promote, modelyard rollback"
        return Status(context=PROMOTE, state=StatusState.FAILURE, description=said)
    return Status(context=PROMOTE, state=StatusState.SUCCESS, description="changes no environment")


def is_owned(path: str) -> bool:
    """Whether only the tool writes this path."""
    return OWNED.match(path) is not None and not path.startswith("environments/platform/")
