"""Says the required statuses of what a merge queue tries, which would wait for them for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from modelyard.adapters.forge.hosted.pulls import HostedPulls
from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.domain.promotion.pulls import (
    REQUIRED,
    PullRequest,
    PullState,
    Status,
    StatusState,
)
from modelyard.domain.specs.repository import ForgeKind
from modelyard.operations.reconcile.apply import Report, set_pull_status
from modelyard.operations.reconcile.loop import run_all
from modelyard.operations.workspace import Workspace

_QUEUE = "refs/heads/gh-readonly-queue"
_TRIED = re.compile(r"pr-(?P<number>[1-9][0-9]{0,8})-[0-9a-f]{40}")


@dataclass(frozen=True)
class _Tried:
    """A commit that the queue would make the main branch, with one more pull request in it."""

    number: int
    commit: str


def report_merge_queue(workspace: Workspace, report: Report) -> bool:
    """Set the statuses of all that the queue of GitHub tries; True if one was set."""
    pulls, repository = workspace.services.pulls, workspace.services.repository
    if repository.forge is not ForgeKind.GITHUB or not isinstance(pulls, HostedPulls):
        return False
    tried = {each.commit: each for each in _find_tried(workspace)}
    return run_all(
        partial(_report, workspace, pulls, each, tried, report) for each in tried.values()
    )


def _find_tried(workspace: Workspace) -> Iterator[_Tried]:
    repository = workspace.services.repository
    place = f"{_QUEUE}/{repository.main}/"
    refs = RemoteRefs(workspace.git, repository.remote).read_refs(f"{place}*")
    for ref, commit in sorted(refs.items()):
        if found := _TRIED.fullmatch(ref.removeprefix(place)):
            yield _Tried(number=int(found["number"]), commit=commit)


def _report(
    workspace: Workspace,
    pulls: HostedPulls,
    tried: _Tried,
    others: Mapping[str, _Tried],
    report: Report,
) -> bool:
    pull = pulls.get(tried.number)
    state, why = StatusState.SUCCESS, f"merges {pull.head[:10]}, and nothing is missing"
    if not _is_allowed(pull):
        state, why = StatusState.FAILURE, f"#{pull.number} may not be merged now"
    elif not _adds_only_pulls(workspace, pulls, tried, others):
        state, why = StatusState.FAILURE, f"it is not {pull.head[:10]} on the main branch alone"
    said = pulls.reader.statuses(pull.number, tried.commit)
    there = replace(pull, head=tried.commit, statuses=said)
    wanted = (Status(context=name, state=state, description=why) for name in REQUIRED)
    unsaid = [each for each in wanted if said.get(each.context) != each]
    return run_all(partial(set_pull_status, workspace, there, each, report) for each in unsaid)


def _is_allowed(pull: PullRequest) -> bool:
    """Whether the tool says so of its head, as it would if somebody pressed the button."""
    said = (pull.statuses.get(name) for name in REQUIRED)
    is_open = pull.state is PullState.OPEN and not pull.is_stacked
    return is_open and all(each and each.state is StatusState.SUCCESS for each in said)


def _adds_only_pulls(
    workspace: Workspace, pulls: HostedPulls, tried: _Tried, others: Mapping[str, _Tried]
) -> bool:
    """Whether the commit is the main branch, those ahead in the queue and this, and no more.

    GitHub takes a status for the commit's, whatever pull request it was said of. Whoever may push
    could give such a name to a commit of their own.
    """
    git, seen = workspace.git, set[str]()
    while tried.commit not in seen:
        seen.add(tried.commit)
        pull = pulls.get(tried.number)
        workspace.ensure([tried.commit, pull.head])
        # The first parent is what the queue had before.
        before, *more = git.parents(tried.commit) or [""]
        if not before or not set(more) <= {pull.head} or not _is_allowed(pull):
            return False
        merged = git.merge_tree(before, pull.head)
        if merged.conflicts or merged.tree != git.tree_hash(tried.commit):
            return False
        if before not in others:
            return git.is_ancestor(before, workspace.main())
        tried = others[before]
    return False
