"""The status `modelyard/promote` of pull requests from people's own branches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from modelyard.adapters.forge.guard import find_touched, refusal_of_touched
from modelyard.adapters.forge.rules import missing_rule_approvals, read_rule_changes
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.plan import LONGEST_DESCRIPTION, shorten_description
from modelyard.domain.promotion.pulls import (
    PROMOTE,
    STACKED,
    PullRequest,
    PullSummary,
    Status,
    StatusState,
)
from modelyard.domain.review.rule_changes import RuleChange
from modelyard.domain.specs.paths import is_written_by_tool
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import CannotAnswer
from modelyard.operations.forge.status_comment import keep_outcomes, keep_status_comment
from modelyard.operations.reconcile.apply import Report, merge_pull, set_pull_status
from modelyard.operations.reconcile.landings import landing
from modelyard.operations.reconcile.loop import run_all
from modelyard.operations.reconcile.pages import rules_page
from modelyard.operations.workspace import Workspace

RULES_COMMENT = "modelyard/rules"
"""Marks the comment about rules on a local forge; elsewhere the status comment has it."""


@one_snapshot()
def set_human_pull_statuses(workspace: Workspace, report: Report) -> bool:
    """Set `modelyard/promote` on people's pull requests; True if a status changed."""
    # On the tool's branches the plan sets it, model by model.
    models, every = workspace.models(), workspace.services.pulls.open()
    others = [pull for pull in every if not _is_planned(pull, models)]
    closed = workspace.services.pulls.closed()
    keep_outcomes(workspace, (pull for pull in closed if not _is_planned(pull, models)))
    return run_all(partial(_set_status, workspace, pull, every, report) for pull in others)


def _is_planned(pull: PullSummary, models: Collection[str]) -> bool:
    """Whether the plan of a model sets the status."""
    branch = parse_branch(pull.branch)
    return branch is not None and branch.model in models


def _set_status(
    workspace: Workspace, pull: PullRequest, every: Sequence[PullRequest], report: Report
) -> bool:
    if landing(workspace, pull) is not None:
        return merge_pull(workspace, pull.number, sha=pull.head, report=report)
    changes: tuple[RuleChange, ...] = ()
    try:
        status, changes = _status(workspace, pull, every)
    except CannotAnswer as error:  # its status shows the error, and other pull requests go on
        why = shorten_description(f"cannot be compared with the main branch: {error.message}")
        status = Status(context=PROMOTE, state=StatusState.ERROR, description=why)
    known = pull.statuses.get(PROMOTE)
    is_news = known is None or (known.state, known.description) != (
        status.state,
        status.description,
    )
    is_set = is_news and set_pull_status(workspace, pull, status, report)
    if is_set or not is_news:
        said = replace(pull, statuses={**pull.statuses, PROMOTE: status})
        _keep_page(workspace, said, changes)
    return is_set


def judge_human_pull(workspace: Workspace, pull: PullRequest) -> Status:
    """What `modelyard/promote` says of a pull request from a person's own branch."""
    return _status(workspace, pull, workspace.services.pulls.open())[0]


def changed_paths(workspace: Workspace, pull: PullRequest) -> tuple[str, ...]:
    """The paths that a pull request changes on the main branch."""
    base = workspace.git.merge_base(workspace.main(), pull.head)
    return workspace.git.diff_names(base, pull.head)


def _status(
    workspace: Workspace, pull: PullRequest, every: Sequence[PullRequest]
) -> tuple[Status, tuple[RuleChange, ...]]:
    if branch := parse_branch(pull.branch):
        why = f"the main branch has no model {branch.model}, which {pull.branch} is for"
        return _failure(why), ()
    if pull.is_stacked:
        return _failure(STACKED), ()
    # From where the branch left main: what main changed since is not this pull request's doing.
    base = workspace.git.merge_base(workspace.main(), pull.head)
    owned = any(map(is_written_by_tool, workspace.git.diff_names(base, pull.head)))
    touched = find_touched(workspace.git, before=base, after=pull.head)
    if touched:
        return _failure(refusal_of_touched(touched[0])), ()
    changes = _rule_changes(workspace, pull)
    if changes and (lower := _find_lower(workspace, pull, every)):
        why = f"stacked on #{lower}, whose commits it would merge too: merge or close that first"
        return _failure(why), changes
    if changes:
        return _status_of_rules(workspace, pull, changes), changes
    what = "renders the same releases again" if owned else "changes no environment"
    return Status(context=PROMOTE, state=StatusState.SUCCESS, description=what), ()


def _failure(why: str) -> Status:
    return Status(context=PROMOTE, state=StatusState.FAILURE, description=why)


def _find_lower(
    workspace: Workspace, pull: PullRequest, every: Sequence[PullRequest]
) -> int | None:
    """The open pull request whose commits this one has, besides its own; the lowest number.

    Whoever pushed those is no maker of this one, and could approve their own commits here.
    """
    git, main = workspace.git, workspace.main()
    # One from a fork could be opened by anybody to keep this one waiting.
    others = [each for each in every if each.head != pull.head and ":" not in each.branch]
    # What is not here is no part of a head that is here.
    gone = git.missing_objects(each.head for each in others)
    for other in others:
        is_below = other.head not in gone and git.is_ancestor(other.head, pull.head)
        if is_below and not git.is_ancestor(other.head, main):
            return other.number
    return None


def _rule_changes(workspace: Workspace, pull: PullRequest) -> tuple[RuleChange, ...]:
    """The rules that the merge would change; a change on both sides is none of the pull request."""
    main = workspace.main()
    merged = workspace.git.merge_tree(main, pull.head)
    # With a conflict nothing is merged; its own branch shows what it is about.
    after = pull.head if merged.conflicts else merged.tree
    before = workspace.git.merge_base(main, pull.head) if merged.conflicts else main
    return workspace.once(
        "rules",
        main,
        lambda: read_rule_changes(workspace.git, main=before, after=after),
        pull.head,
    )


def _status_of_rules(
    workspace: Workspace, pull: PullRequest, changes: Sequence[RuleChange]
) -> Status:
    missing = missing_rule_approvals(workspace.git, pull, changes, main=workspace.main())
    more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
    state = StatusState.PENDING if missing else StatusState.SUCCESS
    wait = missing[0] if missing else "approved"
    if len(missing) > 1:
        wait += f" and {len(missing) - 1} more"
    # Cut in the middle: both what changes and what is missing must be seen.
    room = LONGEST_DESCRIPTION - len(wait) - len(more) - 2
    change = str(changes[0])
    if len(change) > room:
        change = f"{change[: max(room - 1, 0)]}\N{HORIZONTAL ELLIPSIS}"
    return Status(
        context=PROMOTE,
        state=state,
        description=shorten_description(f"{change}{more}: {wait}"),
    )


def _keep_page(workspace: Workspace, pull: PullRequest, changes: Sequence[RuleChange]) -> None:
    """Keep the bot's comment that says in words which rules change, and why it waits."""
    if workspace.services.repository.forge is not ForgeKind.LOCAL:
        keep_status_comment(workspace, pull, more=rules_page(changes) if changes else "")
        return
    is_told = any(comment.marker == RULES_COMMENT for comment in pull.comments)
    if changes or is_told:
        page = rules_page(changes)
        workspace.services.pulls.comment(pull.number, body=page, marker=RULES_COMMENT)
