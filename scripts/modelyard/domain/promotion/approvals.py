"""The approval rule: whose reviews count for a pull request, and how many an environment needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelyard.domain.people import is_among, person_key
from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.specs.environment import Environment


def find_makers(pull: PullRequest) -> Mapping[str, str]:
    """What each person did who made it or the version it releases, and so cannot approve it.

    Example:
        `{"Ann": "wrote v2", "Bob": "asked for it"}`
    """
    found: dict[str, str] = {}
    known: set[str] = set()
    for name, did in _makers(pull):
        if person_key(name) not in known:
            known.add(person_key(name))
            found[name] = did
    return found


def why_no_approver(pull: PullRequest, name: str) -> str | None:
    """What this person did, so that their approval does not count; None if it counts."""
    makers = {person_key(maker): did for maker, did in find_makers(pull).items()}
    return makers.get(person_key(name))


def find_approvers(pull: PullRequest) -> frozenset[str]:
    """The people whose last review of the head commit approves it, its makers left out.

    One person counts once, however they spell their name.
    """
    # A review of an earlier head approved other documents.
    last = {person_key(each.author): each for each in pull.reviews if each.sha == pull.head}
    makers = set(map(person_key, find_makers(pull)))
    approving = (each for key, each in last.items() if each.approved and key not in makers)
    return frozenset(review.author for review in approving)


def missing_approvals(environment: Environment, pull: PullRequest) -> str | None:
    """How many approvals the environment still needs, and from whom; None if it has enough."""
    asked, counted = environment.approvals, find_approvers(pull)
    if asked.approvers:
        counted = frozenset(name for name in counted if is_among(name, asked.approvers))
    more = asked.needed - len(counted)
    if more <= 0:
        return None
    plural = "s" if more > 1 else ""
    return f"{more} more approval{plural} of {pull.head[:10]}, from {_who(environment, pull)}"


def _who(environment: Environment, pull: PullRequest) -> str:
    approvers = environment.approvals.approvers
    if not approvers:
        return "a teammate"
    free = [name for name in approvers if why_no_approver(pull, name) is None]
    barred = [f"{name} {why_no_approver(pull, name)}" for name in approvers if name not in free]
    # Who asks each of them in vain should learn why.
    without = f"; but {', '.join(barred)}" if barred else ""
    return f"among {', '.join(free)}{without}" if free else f"nobody left{without}"


def _makers(pull: PullRequest) -> Iterator[tuple[str, str]]:
    yield pull.author, "opened it"
    if pull.requester:
        yield pull.requester, "asked for it"
    for name in pull.contributors:
        yield name, "committed to it"
    yield from pull.version_makers.items()
