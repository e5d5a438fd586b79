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
    found: dict[str, PullSummary] = {}
    for pull in workspace.services.pulls.closed():
        commit = pull.merged_as
        if pull.state is not PullState.MERGED or not commit:
            continue
        if commits is not None and commit not in commits:
            continue
        # A forge calls one merged, too, whose commits came with the merge of another.
        before = found.get(commit)
        if before is None or is_of_the_tool(workspace, pull) >= is_of_the_tool(workspace, before):
            found[commit] = pull
    return found


def is_of_the_tool(workspace: Workspace, pull: PullSummary) -> bool:
    """Whether the tool opened it, from a branch that only the tool opens pull requests from."""
    bot = workspace.services.repository.bot
    return parse_branch(pull.branch) is not None and is_same_person(pull.author, bot)
