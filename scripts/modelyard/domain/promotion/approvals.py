"""The approval rule: whose reviews count for a pull request, and how many an environment needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelyard.domain.people import Person, is_among, is_team, may_approve
from modelyard.domain.promotion.pulls import BrokenGlass, PullRequest, Review
from modelyard.domain.specs.environment import Environment


def find_makers(pull: PullRequest) -> Mapping[Person, str]:
    """What each person did who made it or the version it releases, and so cannot approve it.

    Example:
        Ann "wrote v2", and Bob "asked for it".
    """
    found: dict[Person, str] = {}
    for person, did in _makers(pull):
        found.setdefault(person, did)
    return found


def why_no_approver(pull: PullRequest, person: Person) -> str | None:
    """What this person did, so that their approval does not count; None if it counts."""
    return find_makers(pull).get(person)


def find_approvers(pull: PullRequest) -> frozenset[Person]:
    """The people whose last review of the head commit approves it, its makers left out.

    One person counts once, whatever they call themselves.
    """
    if pull.unmapped:
        return frozenset()
    last = {each.author: each for each in pull.reviews if _is_of_this(pull, each)}
    makers = find_makers(pull)
    return frozenset(who for who, said in last.items() if said.approved and who not in makers)


def _is_of_this(pull: PullRequest, review: Review) -> bool:
    """Whether a review saw what would be merged: this head, and the difference from this base.

    Forges date to the second; what is of the same second may have been before.
    """
    is_before = pull.retargeted_at is not None and review.at <= pull.retargeted_at
    return review.sha == pull.head and not is_before


def find_waiver(pull: PullRequest) -> BrokenGlass | None:
    """The admin's word that waives the approvals of what would be merged now, if there is one."""
    glass, changed = pull.glass, pull.retargeted_at
    if glass is None or glass.sha != pull.head:
        return None
    if pull.closed_at is not None and pull.closed_at >= glass.until:
        return None
    return None if changed is not None and glass.at <= changed else glass


def missing_approvals(environment: Environment, pull: PullRequest) -> str | None:
    """How many approvals the environment still needs, and from whom; None if it has enough."""
    if find_waiver(pull) is not None:
        return None
    asked, counted = environment.approvals, find_approvers(pull)
    counted = frozenset(
        who for who in counted if may_approve(who, asked.approvers, _teams_of(pull, who))
    )
    more = asked.needed - len(counted)
    if more <= 0:
        return None
    if pull.unmapped:
        return (
            f"a push of {pull.unmapped[0][:10]} to a branch of this repository: who made it cannot "
            "approve it, and is not known"
        )
    plural = "s" if more > 1 else ""
    since = f"; given after {pull.retargeted_at:%H:%M:%S} UTC" if pull.retargeted_at else ""
    since += ", when its base branch was changed" if since else ""
    who = _who(environment, pull) + _unknown_teams(environment, pull)
    return f"{more} more approval{plural} of {pull.head[:10]}, from {who}{since}"


def _teams_of(pull: PullRequest, person: Person) -> frozenset[str]:
    return frozenset(team for team, members in pull.teams.items() if person in (members or ()))


def _unknown_teams(environment: Environment, pull: PullRequest) -> str:
    """The teams that the forge does not say the members of; nobody counts as one of them."""
    asked = [name for name in environment.approvals.approvers if is_team(name)]
    unknown = [name for name in asked if pull.teams.get(name, frozenset()) is None]
    if not unknown:
        return ""
    return (
        f"; who is in {', '.join(unknown)} is not known: there is no such team, or the tool's "
        "account may not see it"
    )


def _who(environment: Environment, pull: PullRequest) -> str:
    approvers = environment.approvals.approvers
    if not approvers:
        return "a teammate"
    did = {
        name: did
        for maker, did in find_makers(pull).items()
        for name in approvers
        if is_among(maker, [name])
    }
    free = [name for name in approvers if name not in did]
    barred = [f"{name} {did[name]}" for name in approvers if name in did]
    # Who asks each of them in vain should learn why.
    without = f"; but {', '.join(barred)}" if barred else ""
    return f"among {', '.join(free)}{without}" if free else f"nobody left{without}"


def _makers(pull: PullRequest) -> Iterator[tuple[Person, str]]:
    yield pull.author, "opened it"
    if pull.requester:
        yield pull.requester, "asked for it"
    for person in pull.contributors:
        yield person, "committed to it"
    yield from pull.version_makers.items()
