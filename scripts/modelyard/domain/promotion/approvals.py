"""The approval rule: whose reviews count for a pull request, and how many an environment needs."""

from __future__ import annotations

from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.specs.environment import Environment


def find_makers(pull: PullRequest) -> frozenset[str]:
    """The people who opened it, asked for it or committed to it, and so cannot approve it."""
    asked = {pull.requester} if pull.requester else set()
    return frozenset({pull.author, *pull.contributors} | asked)


def find_approvers(pull: PullRequest) -> frozenset[str]:
    """The people whose last review of the head commit approves it, its makers left out."""
    # A review of an earlier head approved other documents.
    last = {review.author: review for review in pull.reviews if review.sha == pull.head}
    approving = {author for author, review in last.items() if review.approved}
    return frozenset(approving - find_makers(pull))


def missing_approvals(environment: Environment, pull: PullRequest) -> str | None:
    """How many approvals the environment still needs, and from whom; None if it has enough."""
    asked, counted = environment.approvals, find_approvers(pull)
    if asked.approvers:
        counted &= set(asked.approvers)
    more = asked.needed - len(counted)
    if more <= 0:
        return None
    who = f"among {', '.join(asked.approvers)}" if asked.approvers else "a teammate"
    return f"{more} more approval{'s' if more > 1 else ''} of {pull.head[:10]}, from {who}"
