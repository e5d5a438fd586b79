"""What the tool asks of a pull request before it merges it, and what the merge commit says."""

from __future__ import annotations

from modelyard.adapters.forge.guard import (
    Proposed,
    find_guard_problems,
    find_missing_approvals,
)
from modelyard.adapters.forge.hosted.heads import Heads
from modelyard.adapters.forge.hosted.mapping import named_with_id
from modelyard.adapters.git.names import message_of
from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import find_approvers, find_waiver
from modelyard.domain.promotion.change import (
    APPROVED_BY,
    BROKEN_GLASS,
    HEAD,
    PULL,
    REQUESTED_BY,
    parse_branch,
    trailers_of_head,
)
from modelyard.domain.promotion.pulls import REQUIRED, PullRequest, StatusState
from modelyard.errors import Refused

_NAMED = 10


def refuse_unready(heads: Heads, pull: PullRequest, *, page: str) -> None:
    """Raise `Refused` if a status, an approval or the guard stands against the merge.

    Statuses are not believed alone, as others may set them: the guard and the approvals are
    computed on the merge result.
    """
    found = _find_missing_statuses(pull)
    if not found:
        main = heads.main_head()
        heads.remote.ensure_commits([pull.head])
        proposed = Proposed(
            branch=pull.branch, author=str(pull.author), head=pull.head, main=main, bot=heads.bot
        )
        found = find_guard_problems(heads.git, proposed)
        found = found or find_missing_approvals(heads.git, pull, main)
    if found:
        why = f"pull request {pull.number} may not be merged: {'; '.join(found[:_NAMED])}"
        raise Refused(why, hint=page)


def merge_message(heads: Heads, pull: PullRequest, *, me: Person) -> str:
    """Return the merge commit's text below its title, with what history needs in trailers."""
    approvers = ", ".join(sorted(map(str, find_approvers(pull))))
    asked = pull.requester or (None if pull.author == me else pull.author)
    own = heads.log(pull.head)
    # Those of the tool's own commit say what the change is about.
    is_ours = own and parse_branch(pull.branch) is not None
    trailers = trailers_of_head(own[0].trailers) if is_ours else {}
    trailers |= {PULL: str(pull.number), HEAD: pull.head}
    trailers |= {APPROVED_BY: approvers} if approvers else {}
    trailers |= {REQUESTED_BY: named_with_id(asked)} if asked else {}
    if glass := find_waiver(pull):
        who = named_with_id(Person(login=glass.login, id=glass.person))
        trailers |= {BROKEN_GLASS: f"{who}, #{glass.issue}: {glass.reason}"}
    _, _, rest = message_of("x", trailers, pull.title).partition("\n")
    return rest.strip()


def _find_missing_statuses(pull: PullRequest) -> list[str]:
    states = {name: pull.statuses.get(name) for name in REQUIRED}
    return [
        f"{name} has not reported"
        if found is None
        else f"{name} is {found.state} ({found.description})"
        for name, found in states.items()
        if found is None or found.state is not StatusState.SUCCESS
    ]
