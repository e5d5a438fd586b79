"""Merges a pull request of the local forge: the reviewed commit, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from modelyard.adapters.forge.guard import (
    Proposed,
    find_guard_problems,
    find_missing_approvals,
)
from modelyard.adapters.forge.local.room import Updates
from modelyard.adapters.forge.local.snapshot import BRANCHES, ForgeSnapshot, StoredPull
from modelyard.adapters.forge.local.writer import ForgeWriter, check_head
from modelyard.adapters.git.first_parents import landing_of
from modelyard.adapters.git.names import message_of
from modelyard.domain.people import Person, is_same_person
from modelyard.domain.promotion.approvals import find_approvers
from modelyard.domain.promotion.change import APPROVED_BY, HEAD, PULL, REQUESTED_BY
from modelyard.domain.promotion.pulls import (
    REQUIRED,
    PullRequest,
    PullState,
    Status,
    StatusState,
)
from modelyard.errors import Refused, join_first

# Conflicting paths that a message lists.
_NAMED = 10


def merge_reviewed_head(writer: ForgeWriter, number: int, *, sha: str, by: str) -> str:
    """One attempt of `PullRequests.merge`: reads, writes objects, ends in one push.

    This is the last line: what the statuses stand for is not believed, as anybody who may push may
    write them. The guard and the approvals are computed again, on the merge result.

    A head whose changes a person pushed to the main branch is only recorded as merged, by hand.
    """
    snapshot = writer.read_snapshot()
    stored = snapshot.stored_pull(number)
    pull = snapshot.actual_pull(stored)
    check_head(pull, sha)
    main = snapshot.main_head()
    writer.remote.ensure_commits([sha])
    landed = _landed(writer, pull, main)
    by_hand = landed is not None
    updates: Updates = {}
    if landed is None:
        (pull,) = snapshot.with_statuses([pull])
        _check_mergeable(pull, snapshot)
        _check_guard(writer, pull, main)
        landed = _merge_commit(writer, stored, pull, main=main, by=by)
        updates[BRANCHES + writer.main] = (main, landed)
        # A status that turns red after it was read makes this push a lost race.
        # Writing them again, unchanged, adds their ref to the compare-and-swap.
        updates |= writer.statuses_update(snapshot, sha, snapshot.stored_statuses(sha), "Settle")
        pull = replace(pull, statuses={})
    # After a merge by hand the document alone is missing.
    if pull.merged_as != landed:
        at = writer.clock.now()
        done = replace(
            pull,
            state=PullState.MERGED,
            merged_as=landed,
            closed_at=at,
            closed_by=Person.named(by),
            by_hand=by_hand,
        )
        updates |= writer.pull_update(snapshot, replace(stored, pull=done), "Merge")
    writer.push_with_deletion(updates, _delete_branch(snapshot, pull), snapshot)
    return landed


def _landed(writer: ForgeWriter, pull: PullRequest, main: str) -> str | None:
    """The commit that brought the head into the main branch, if one did."""
    if pull.state is PullState.CLOSED and pull.closed_at is not None:
        raise Refused(f"pull request {pull.number} was closed by {pull.closed_by}")
    if pull.merged_as is not None and writer.git.is_ancestor(pull.merged_as, main):
        return pull.merged_as
    return landing_of(writer.git, main, pull.head)


def _check_mergeable(pull: PullRequest, snapshot: ForgeSnapshot) -> None:
    if snapshot.branch_head(pull.branch) != pull.head:
        raise Refused(f"pull request {pull.number}: its branch {pull.branch} is gone")
    missing = [why for context in REQUIRED if (why := _missing_status(context, pull.statuses))]
    if missing:
        raise Refused(
            f"pull request {pull.number} may not be merged: {'; '.join(missing)}",
            hint=_next_command(pull),
        )


def _next_command(pull: PullRequest) -> str:
    if any(context not in pull.statuses for context in REQUIRED):
        return "a running watcher reports within a minute; without one, `modelyard watch --once`"
    return f"modelyard pr show {pull.number}"


def _check_guard(writer: ForgeWriter, pull: PullRequest, main: str) -> None:
    """Raise `Refused` for what no status may allow."""
    proposed = Proposed(
        branch=pull.branch, author=str(pull.author), head=pull.head, main=main, bot=writer.bot
    )
    found = find_guard_problems(writer.git, proposed)
    if not found:
        found = find_missing_approvals(writer.git, pull, main)
    if found:
        raise Refused(
            f"pull request {pull.number} may not be merged: {'; '.join(found[:_NAMED])}",
            hint=f"modelyard pr show {pull.number}",
        )


def _missing_status(context: str, statuses: Mapping[str, Status]) -> str | None:
    """Why a required status does not allow the merge, or None when it is success."""
    status = statuses.get(context)
    if status is None:
        return f"{context} has not reported"
    if status.state is StatusState.SUCCESS:
        return None
    return f"{context} is {status.state} ({status.description})"


def _merge_commit(
    writer: ForgeWriter, stored: StoredPull, pull: PullRequest, *, main: str, by: str
) -> str:
    """Merge the head into `main`, with what history needs to know in trailers."""
    merged = writer.git.merge_tree(main, pull.head)
    if merged.conflicts:
        named = join_first(merged.conflicts, _NAMED)
        raise Refused(
            f"pull request {pull.number} conflicts with {writer.main} in {named}",
            hint=f"merge {writer.main} into {pull.branch} and push it",
        )
    title = f"Merge pull request #{pull.number} from {pull.branch}"
    return writer.git.commit_tree(
        merged.tree,
        parents=[main, pull.head],
        message=message_of(title, _trailers(stored, pull, bot=writer.bot), pull.title),
        author=by,
        at=writer.clock.now(),
    )


def _trailers(stored: StoredPull, pull: PullRequest, *, bot: str) -> Mapping[str, str]:
    approvers = ", ".join(sorted(map(str, find_approvers(pull))))
    ours = {PULL: str(pull.number), HEAD: pull.head}
    if approvers:
        ours[APPROVED_BY] = approvers
    # Who opens a pull request asks for it, unless it is the tool.
    asked = pull.requester or (None if is_same_person(pull.author, bot) else pull.author)
    if asked:
        ours[REQUESTED_BY] = str(asked)
    return {**stored.trailers, **ours}


def _delete_branch(snapshot: ForgeSnapshot, pull: PullRequest) -> Updates:
    """Delete the merged branch, unless it moved on or another pull request uses it now."""
    tip = snapshot.branch_head(pull.branch)
    other = snapshot.open_of(pull.branch)
    if tip != pull.head or (other is not None and other.pull.number != pull.number):
        return {}
    return {BRANCHES + pull.branch: (tip, None)}
