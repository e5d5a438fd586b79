"""Merges one commit without its approvals, on the word of an admin, and sees to the follow-up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from modelyard.domain.chatops.commands import BreakGlass
from modelyard.domain.harmless_text import escape_markdown, harmless_line
from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import find_waiver
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.plan import find_missing_for_pull, shorten_description
from modelyard.domain.promotion.pulls import (
    PROMOTE,
    BrokenGlass,
    MergeAsked,
    PullRequest,
    PullState,
    Status,
    StatusState,
)
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.chatops.conversation import Conversation
from modelyard.operations.chatops.subject import ReadSubject
from modelyard.operations.forge.status_comment import keep_outcomes
from modelyard.operations.reconcile.human_pulls import judge_human_pull
from modelyard.operations.workspace import Workspace


def break_glass(
    command: BreakGlass,
    read: ReadSubject,
    *,
    by: Person,
    at: datetime,
    workspace: Workspace,
    conversation: Conversation,
) -> str:
    """Merge the commit without approvals; holds, freezes, health, the gate and checks still count.

    First the issue, then the fact, then the merge: what is killed in between waives nothing that
    nobody is told of, and the command may be given again.

    Raises:
        Refused: Something else is missing, or no approval is; or the forge does not merge it.
        CannotAnswer: What is missing cannot be told, or the forge opens no issue.
    """
    pull = read.pull
    word = BrokenGlass(
        number=pull.number,
        sha=command.sha,
        login=by.login,
        person=by.id,
        reason=harmless_line(command.reason),
        at=at,
        issue=0,
        model=read.subject.model,
    )
    lacked = _check_that_approvals_alone_lack(workspace, read, replace(pull, glass=word))
    known = find_waiver(pull)
    if known is not None:
        word = known
    else:
        issue = conversation.open_issue(
            title=f"Follow up: #{pull.number} is merged without approvals",
            body=_issue_page(pull, word, lacked),
        )
        word = replace(word, issue=issue)
        workspace.facts.write_glass(pull.number, word)
    return _merge(workspace, replace(pull, glass=word), word)


def _check_that_approvals_alone_lack(
    workspace: Workspace, read: ReadSubject, opened: PullRequest
) -> str:
    """Return what is missing, and without the approvals is not."""
    before, after = (_missing(workspace, read, each) for each in (read.pull, opened))
    number = read.pull.number
    if after:
        raise Refused(
            f"#{number} needs more than approvals: {after}", hint=f"modelyard pr show {number}"
        )
    if find_waiver(read.pull) is None and not before:
        raise Refused(f"#{number} lacks no approval: it is merged as any other")
    return before or "approvals"


def _missing(workspace: Workspace, read: ReadSubject, pull: PullRequest) -> str:
    """Return what the pull request waits for, in words; empty if for nothing."""
    if parse_branch(pull.branch) is None:
        status = judge_human_pull(workspace, pull)
        return "" if status.state is StatusState.SUCCESS else status.description
    if read.world is None or read.world.unreadable is not None:
        raise CannotAnswer(
            f"what #{pull.number} lacks is not known: its model cannot be read",
            hint="modelyard validate",
        )
    missing = find_missing_for_pull(read.world, pull)
    if missing is None:
        raise Refused(f"#{pull.number} waits for no approval of an environment: a person merges it")
    return "; ".join(each.what for each in missing)


def _merge(workspace: Workspace, pull: PullRequest, word: BrokenGlass) -> str:
    why = f"{word.login} broke the glass: {word.reason}"
    said = Status(context=PROMOTE, state=StatusState.SUCCESS, description=shorten_description(why))
    pulls = workspace.services.pulls
    pulls.set_status(pull, said)
    answer = pulls.merge(pull.number, sha=word.sha, bypass=why)
    if isinstance(answer, MergeAsked):
        return f"{answer.what}; it is followed up in #{word.issue}"
    # Where no watcher runs, nobody else says so in the comment on it.
    ended = workspace.services.clock.now()
    keep_outcomes(workspace, [replace(pull, state=PullState.MERGED, closed_at=ended)])
    merged = f"#{pull.number} is merged without approvals as {answer.commit[:10]}"
    return f"{merged}; it is followed up in #{word.issue}"


def _issue_page(pull: PullRequest, word: BrokenGlass, lacked: str) -> str:
    lines = [
        f"{escape_markdown(word.login)} broke the glass for #{pull.number} at {word.sha}.",
        "",
        f"- Pull request: {escape_markdown(pull.title)}",
        f"- Reason: {escape_markdown(word.reason)}",
        f"- It lacked: {escape_markdown(lacked)}",
        "",
        "Look at the change now, as an approver would have. Take it back, or close this issue to",
        "accept it.",
    ]
    return "\n".join(lines) + "\n"
