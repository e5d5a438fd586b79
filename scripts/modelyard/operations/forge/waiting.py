"""What an open pull request waits for: the one explanation that people read anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.promotion.plan import find_missing_for_pull
from modelyard.domain.promotion.promote import Missing
from modelyard.domain.promotion.pulls import PROMOTE, REQUIRED, PullRequest, StatusState
from modelyard.domain.promotion.world import World


def find_waiting(world: World | None, pull: PullRequest) -> Iterator[Missing]:
    """Yield what an open pull request waits for, with the commands for it; never nothing.

    Args:
        world: The world of its model; None if it is about no model.
        pull: The pull request.
    """
    lacking = find_missing_for_pull(world, pull) if world else None
    if lacking is None:
        yield from _unfinished(pull)
        yield Missing(what="a person to merge it", command=f"modelyard pr merge {pull.number}")
    elif lacking:
        yield from lacking
    else:
        command = f"modelyard reconcile {world.model}" if world else ""
        yield Missing(what="reconcile to merge it", command=command)


def command_or_page(command: str, pull: PullRequest, page: str) -> str:
    """Return what a person does next on a forge with pages: there they approve and merge."""
    match command.split():
        case ["modelyard", "pr", "approve", *_]:
            return f"review it on {page}, or comment there: /approve {pull.head}"
        case ["modelyard", "pr", "merge", *_]:
            return f"merge it on {page}"
        case _:
            return command


def _unfinished(pull: PullRequest) -> Iterator[Missing]:
    show, approve = f"modelyard pr show {pull.number}", f"modelyard pr approve {pull.number}"
    for context in REQUIRED:
        status = pull.statuses.get(context)
        if status is None:
            yield Missing(what=f"{context} to pass for {pull.head[:10]}", command=show)
        elif status.state is not StatusState.SUCCESS:
            is_pending = status.state is StatusState.PENDING
            # A change of rules, which waits for approvals and for nothing else.
            asks = context == PROMOTE and is_pending
            yield Missing(
                what=f"{context}: {status.description}",
                blocks=not is_pending,
                command=approve if asks else show,
            )
