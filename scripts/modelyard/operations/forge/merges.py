"""Finds the pull request that the forge merged as a commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from modelyard.domain.people import is_same_person
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.pulls import PullState, PullSummary
from modelyard.operations.workspace import Workspace


def read_merges(
    workspace: Workspace, commits: Collection[str] | None = None
) -> Mapping[str, PullSummary]:
    """Merged pull requests by the commit that the forge merged them as.

    Args:
        workspace: What to work with.
        commits: The commits to find them for; None for all.

    Raises:
        YardError: The forge does not answer.
    """
    merged = [
        pull
        for pull in workspace.services.pulls.closed()
        if pull.state is PullState.MERGED
        and pull.merged_as
        and (commits is None or pull.merged_as in commits)
    ]
    # A forge calls one merged, too, whose commits came with the merge of another.
    merged.sort(key=lambda pull: is_of_the_tool(workspace, pull))
    return {str(pull.merged_as): pull for pull in merged}


def is_of_the_tool(workspace: Workspace, pull: PullSummary) -> bool:
    """Whether the tool opened it, from a branch that only the tool opens pull requests from."""
    bot = workspace.services.repository.bot
    return parse_branch(pull.branch) is not None and is_same_person(pull.author, bot)
