"""Finds the pull requests whose changes a push brought to the main branch."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from modelyard.adapters.git.first_parents import landing_of
from modelyard.domain.promotion.pulls import PullState, PullSummary
from modelyard.errors import YardError
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)


def find_landed(workspace: Workspace, pulls: Iterable[PullSummary]) -> frozenset[int]:
    """Numbers of the pull requests that nobody closed, and whose changes a push brought to main."""
    # A person who merges by hand may delete the branch at once, which closes the pull request.
    undecided = (
        pull
        for pull in pulls
        if pull.state is PullState.OPEN
        or (pull.state is PullState.CLOSED and pull.closed_at is None)
    )
    return frozenset(pull.number for pull in undecided if landing(workspace, pull) is not None)


def landing(workspace: Workspace, pull: PullSummary) -> str | None:
    """The commit of the main branch with all changes of the pull request, if there is one."""
    main = workspace.main()

    def ask() -> tuple[str | None]:
        return (landing_of(workspace.git, main, pull.head),)

    try:
        workspace.ensure([pull.head])
        return workspace.once("landing", main, ask, pull.head)[0]
    except YardError as error:  # a head without a common past, or gone: nobody pushed it to main
        logger.info("#%d: %s", pull.number, error.message)
        return None
