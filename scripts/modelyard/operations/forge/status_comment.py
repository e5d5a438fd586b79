"""The one comment that says why a pull request does not move, and what became of it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from modelyard.domain.chatops.paste import comment_line
from modelyard.domain.harmless_text import escape_markdown, markdown_code
from modelyard.domain.promotion.change import Purpose, parse_branch
from modelyard.domain.promotion.promote import Missing
from modelyard.domain.promotion.pulls import (
    CHECKS,
    STATUS_COMMENT,
    PullRequest,
    PullState,
    PullSummary,
    StatusState,
)
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import YardError
from modelyard.operations.forge.waiting import find_waiting
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

_ON_THE_PAGE = {
    "approve": "an approver: a review, or the line below",
    "merge": "anybody who may write: the button of this page",
    "show": "nobody: modelyard goes on by itself",
    "mend": "its author: the statuses of this page say what is wrong",
}
"""What `modelyard pr` is on a forge with pages, by command."""

_RECENT = timedelta(hours=1)
"""So long after its end a comment is brought up to date: who was away longer edits no old ones."""

_SETTLED = timedelta(seconds=20)
"""After that an outcome is looked at once more: another watcher may have read the pull request
before it ended, and have written its comment after."""

_WAITS = "**This pull request is "
"""How a comment on an open pull request begins."""

_FOOT = "`/why` asks again and `/help` lists the commands. modelyard edits this comment in place."


def keep_status_comments(workspace: Workspace, world: World) -> None:
    """Keep the comment on each open pull request of a model, and on those that just ended."""
    for pull in world.open_pulls:
        keep_status_comment(workspace, pull, world)
    keep_outcomes(workspace, world.closed_pulls)


def keep_status_comment(
    workspace: Workspace, pull: PullRequest, world: World | None = None, *, more: str = ""
) -> None:
    """Keep the comment on one pull request; does nothing on a forge without pages of its own.

    It is for the eye: a forge that refuses it stops nothing.

    Args:
        workspace: What to work with.
        pull: The pull request, as the forge has it.
        world: The world of its model; None if it is about no model.
        more: What else there is to say.
    """
    if _has_comment(workspace, pull):
        _keep(workspace, pull, status_page(pull, _waiting(world, pull), more=more))


def keep_outcomes(workspace: Workspace, closed: Iterable[PullSummary]) -> None:
    """Say what became of each pull request that ended lately, where its comment said it waited.

    Whoever merged or closed it, the comment would otherwise go on to say what it waited for, or why
    it was about to be closed when a person merged it. What fails is tried again.
    """
    now = workspace.services.clock.now()
    for pull in closed:
        ended = pull.closed_at
        if ended is None or now - ended > _RECENT or not _has_comment(workspace, pull):
            continue
        # One that was opened again may end again.
        outcome = f"{pull.state} at {ended.isoformat()}"
        known, again_at = workspace.outcomes.get(pull.number, ("", None))
        if known == outcome and (again_at is None or now < again_at):
            continue
        try:
            full = workspace.services.pulls.get(pull.number)
            is_said = full.state is pull.state and _keep_outcome(workspace, full)
        except YardError as error:
            logger.warning("#%d has no new status comment: %s", pull.number, error.message)
            is_said = False
        if is_said:
            again_at = None if known == outcome else now + _SETTLED
            workspace.outcomes[pull.number] = (outcome, again_at)


def _keep_outcome(workspace: Workspace, pull: PullRequest) -> bool:
    """Say what became of it, if a comment says something else; False if the forge refuses it."""
    said = [each.body for each in pull.comments if each.marker == STATUS_COMMENT]
    # Where the tool closed it, the comment says why.
    is_merged = pull.state is PullState.MERGED
    if not any(is_merged or body.startswith(_WAITS) for body in said):
        return True
    return _keep(workspace, pull, outcome_page(pull))


def _has_comment(workspace: Workspace, pull: PullSummary) -> bool:
    branch = parse_branch(pull.branch)
    is_rollback = branch is not None and branch.purpose is Purpose.ROLLBACK
    # A rollback is merged at once.
    return workspace.services.repository.forge is not ForgeKind.LOCAL and not is_rollback


def _keep(workspace: Workspace, pull: PullRequest, page: str) -> bool:
    """Let the comment be this page; False if the forge refuses it."""
    said = [each.body.strip() for each in pull.comments if each.marker == STATUS_COMMENT]
    if said == [page.strip()]:
        return True
    try:
        workspace.services.pulls.comment(pull.number, body=page, marker=STATUS_COMMENT)
    except YardError as error:
        logger.warning("#%d has no new status comment: %s", pull.number, error.message)
        return False
    return True


def outcome_page(pull: PullSummary) -> str:
    """Return the comment on a merged or closed pull request: by whom, when, and where to look."""
    by = f" by {escape_markdown(str(pull.closed_by))}" if pull.closed_by is not None else ""
    at = f" at {pull.closed_at:%Y-%m-%d %H:%M} UTC" if pull.closed_at is not None else ""
    branch = parse_branch(pull.branch)
    if pull.state is not PullState.MERGED:
        head = f"**Closed{by}{at}, without a merge.**"
    else:
        commit = f" as {pull.merged_as}" if pull.merged_as else ""
        head = f"**Merged{by}{at}**{commit}: {escape_markdown(pull.title)}."
    more = f" `modelyard history {branch.model}` shows what came of it." if branch else ""
    return f"{head}{more}\n"


def status_page(pull: PullRequest, waiting: Sequence[Missing], *, more: str = "") -> str:
    """Return the comment: what is missing, who can do something about it, and the line to paste."""
    head = "blocked" if any(each.blocks for each in waiting) else "waiting"
    rows = (
        f"| {escape_markdown(each.what)} | {_who(each, pull)} |" for each in dict.fromkeys(waiting)
    )
    lines = [
        f"{_WAITS}{head}.**",
        "",
        "| why it does not move | who can move it |",
        "|---|---|",
        *rows,
        *_lines_to_paste(pull, waiting),
        *(("", more.strip()) if more else ()),
        "",
        _FOOT,
    ]
    return "\n".join(lines) + "\n"


def _waiting(world: World | None, pull: PullRequest) -> tuple[Missing, ...]:
    if world is not None and world.unreadable is not None:
        what = f"valid specs on the main branch: {world.unreadable}"
        return (Missing(what=what, blocks=True, command="modelyard validate"),)
    return tuple(find_waiting(world, pull))


def _who(missing: Missing, pull: PullRequest) -> str:
    """Who can do something about it, and how."""
    match missing.command.split():
        case [] | ["modelyard", "reconcile", *_]:
            return "nobody: modelyard goes on by itself"
        case ["modelyard", "pr", what, *_]:
            is_wrong = what == "show" and missing.blocks
            return _ON_THE_PAGE["mend" if is_wrong else what]
    if comment_line(missing.command, head=pull.head) is not None:
        return "anybody who may write: the line below"
    return f"who runs modelyard: {markdown_code(missing.command)}"


def _lines_to_paste(pull: PullRequest, waiting: Iterable[Missing]) -> Iterator[str]:
    checks = pull.statuses.get(CHECKS)
    has_passed = checks is not None and checks.state is StatusState.SUCCESS
    found = dict.fromkeys(comment_line(each.command, head=pull.head) for each in waiting)
    for line in filter(None, found):
        if line.startswith("/approve ") and not has_passed:
            yield from ("", f"The line to approve it follows once `{CHECKS}` has passed.")
        else:
            # In a block of its own, forges offer to copy it.
            yield from ("", "Paste this as a new comment:", "", "```", line, "```")
