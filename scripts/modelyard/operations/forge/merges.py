"""Finds the pull request that the forge merged as a commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from modelyard.domain.people import is_same_person
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.pulls import PullState, PullSummary, group_by_model
from modelyard.operations.workspace import Workspace


def read_merges(workspace: Workspace) -> Mapping[str, PullSummary]:
    """Merged pull requests by the commit that the forge merged them as.

    Raises:
        YardError: The forge does not answer.
    """
    closed = workspace.services.pulls.closed()
    return workspace.derive("merged as", closed, partial(_by_merge, workspace, closed))


def closed_pulls_of(workspace: Workspace, model: str) -> Sequence[PullSummary]:
    """The merged and closed pull requests of the tool's branches for a model, by number.

    Raises:
        YardError: The forge does not answer.
    """
    closed = workspace.services.pulls.closed()
    found = workspace.derive("closed by model", closed, partial(group_by_model, closed))
    return found.get(model, ())


def _by_merge(workspace: Workspace, closed: Sequence[PullSummary]) -> Mapping[str, PullSummary]:
    found: dict[str, PullSummary] = {}
    for pull in closed:
        commit = pull.merged_as
        if pull.state is not PullState.MERGED or not commit:
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
