"""The plan of reconcile: the actions that one model's world needs now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from modelyard.domain.promotion.actions import (
    Action,
    ClosePull,
    Merge,
    PlaceHold,
    ProposeRecord,
    ProposeRelease,
    RaiseIncident,
    RemoveAlias,
    RollBack,
    SetAlias,
    SetStatus,
)
from modelyard.domain.promotion.change import Branch, Purpose, parse_branch, refusal_of_author
from modelyard.domain.promotion.facts import is_bad
from modelyard.domain.promotion.promote import (
    Missing,
    candidate_version,
    find_missing,
    plan_promotions,
    promotion_target,
)
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullRequest, StatusState
from modelyard.domain.promotion.rollback import (
    plan_holds,
    plan_infrastructure_incidents,
    plan_rollbacks,
    plan_rule_incidents,
)
from modelyard.domain.promotion.training_workflows import plan_records, plan_trainings
from modelyard.domain.promotion.world import World

LONGEST_DESCRIPTION = 140
"""GitHub cuts a longer one, which would then never equal the status that is wanted."""


def plan(world: World) -> tuple[Action, ...]:
    """The actions reconcile would apply now, rollbacks first; empty at rest.

    The same world gives the same plan, and applying a plan twice is the same as applying it once.
    While a spec cannot be read, the plan has holds, rollbacks and incidents alone.
    """
    if world.unreadable is not None:
        return _safe_plan(world)
    refused = (action for action in plan_records(world) if isinstance(action, PlaceHold))
    placed = {hold.version: hold for hold in (*refused, *plan_holds(world))}
    # The rest of the plan takes these holds as placed: none of these versions is released.
    world = world.with_holds({version: hold.reason for version, hold in placed.items()})
    back = tuple(plan_rollbacks(world))
    told = (*plan_infrastructure_incidents(world), *plan_rule_incidents(world))
    wanted = _by_branch(world, (*back, *plan_records(world), *plan_promotions(world)))
    # What a push brought to the main branch is over, whatever the plan would do with it.
    landed = tuple(
        Merge(number=pull.number, sha=pull.head)
        for pull in world.pulls
        if pull.number in world.landed
    )
    closes = {
        close.number: close for close in _closes(world, wanted) if close.number not in world.landed
    }
    new = {on: action for on, action in wanted.items() if not _is_proposed(world, on, action)}
    # A run may be killed after any action. Holds come before the rollbacks that need their reason,
    # and closed pull requests before new ones, so that no environment has two of them.
    return (
        *placed.values(),
        *(action for action in (*back, *told) if not _is_known(world, action)),
        *landed,
        *plan_trainings(world),
        *closes.values(),
        *(action for action in new.values() if not isinstance(action, RollBack)),
        *_pull_actions(world, new, closes),
        *_aliases(world),
    )


def _safe_plan(world: World) -> tuple[Action, ...]:
    holds = tuple(plan_holds(world))
    world = world.with_holds({hold.version: hold.reason for hold in holds})
    back = (*plan_rollbacks(world), *plan_rule_incidents(world))
    return (*holds, *(each for each in back if not _is_known(world, each)))


def _is_known(world: World, action: Action) -> bool:
    """Whether the action would raise an incident that there is already."""
    # By its key: the reason in its sentence has numbers that change from pass to pass.
    known = {incident.key for incident in world.model_facts.incidents}
    return isinstance(action, RaiseIncident) and action.key in known


def _by_branch(world: World, actions: tuple[Action, ...]) -> Mapping[str, Action]:
    """The actions that need an open pull request, by its branch."""
    found: dict[str, Action] = {}
    for action in actions:
        match action:
            case ProposeRecord():
                purpose, subject = Purpose.RECORD, action.record.version
            case ProposeRelease():
                purpose, subject = Purpose.PROMOTE, action.environment
            case RollBack():
                purpose, subject = Purpose.ROLLBACK, action.environment
            case _:
                continue
        found[str(Branch(purpose=purpose, subject=subject, model=world.model))] = action
    return found


def _closes(world: World, wanted: Mapping[str, Action]) -> Iterator[ClosePull]:
    """Close the tool's pull requests that are no longer needed."""
    for pull in world.open_pulls:
        branch = parse_branch(pull.branch)
        if branch is None:
            continue
        # A wanted one too: closed, its branch is free for the tool's own.
        if refusal := refusal_of_author(pull.branch, str(pull.author), bot=world.bot):
            kept = f"its commits stay at {pull.head}: push them to a branch of your own"
            yield ClosePull(number=pull.number, reason=f"{refusal}; {kept}")
            continue
        if str(replace(branch, number=1)) in wanted:
            continue
        if branch.purpose is Purpose.PROMOTE:
            reason = _why_moot(world, pull, wanted)
        # Without its facts nobody knows whether a release has to be rolled back.
        elif branch.purpose is Purpose.ROLLBACK and branch.subject not in world.unknown:
            if _is_being_removed(world, pull, branch.subject):
                continue
            reason = f"no release in {branch.subject} has to be rolled back"
        elif branch.purpose is Purpose.RECORD:
            reason = f"{branch.subject} has no finished training without a record"
        else:
            continue
        if reason is not None:
            yield ClosePull(number=pull.number, reason=reason)


def _is_being_removed(world: World, pull: PullRequest, environment: str) -> bool:
    """Whether a person's command takes out what is on hold there: it merges this itself."""
    release = world.release(environment)
    return pull.requester is not None and release is not None and world.is_held(release.version)


def _why_moot(world: World, pull: PullRequest, wanted: Mapping[str, Action]) -> str | None:
    """Why a promotion is no longer due; None if it stays open.

    It stays open, and keeps its approvals, while its version is not healthy, and until a person
    closes it if a person asked for it. A version on hold is due nowhere.
    """
    target = promotion_target(world, pull)
    if target is None:
        return "there is no such environment"
    environment, version = target
    if pull.requester is not None:
        return None
    # Two pull requests would change the same pin, and the second one merged would win.
    brings = (each for each in wanted.values() if isinstance(each, ProposeRecord))
    if any(each.environment == environment.name for each in brings):
        return f"another version is on its way to {environment.name}"
    if (hold := world.model_facts.holds.get(version)) is not None:
        again = f"modelyard unhold {world.model} {version}"
        why = f"{version} is on hold by {hold.by}: {hold.reason}"
        return f"{why}; once the hold is lifted it is proposed again: {again}"
    if version == candidate_version(world, environment):
        return None
    return f"{version or 'this version'} is no longer due in {environment.name}"


def _is_proposed(world: World, branch: str, action: Action) -> bool:
    """Whether an open pull request holds what the action would propose."""
    pull = world.open_pull(branch)
    held = world.proposal_of(pull) if pull else None
    if held is None or not held.is_current:
        return False
    match action:
        case ProposeRecord(record=record, environment=environment):
            return held.record == record and (held.release is None) == (environment is None)
        case ProposeRelease(version=version, attempt=attempt):
            pinned = held.release
            return pinned is not None and (pinned.version, pinned.attempt) == (version, attempt)
        case _:
            return False


def _pull_actions(
    world: World, new: Mapping[str, Action], closes: Mapping[int, ClosePull]
) -> Iterator[SetStatus | Merge]:
    """The status of each open pull request, and its merge if nothing is missing."""
    for pull in world.open_pulls:
        branch = parse_branch(pull.branch)
        if branch is not None and branch.purpose is Purpose.ROLLBACK:
            continue  # applying a `RollBack` proposes and merges it in one go
        if pull.number in closes or pull.number in world.landed or pull.branch in new:
            continue  # this plan closes it, records its merge, or gives it another head
        lacking = find_missing_for_pull(world, pull)
        if lacking is None:
            yield from _status(pull, StatusState.SUCCESS, "changes no environment")
        elif lacking:
            state = StatusState.FAILURE if lacking[0].blocks else StatusState.PENDING
            yield from _status(pull, state, "; ".join(each.what for each in lacking))
        else:
            yield from _status(pull, StatusState.SUCCESS, "nothing is missing")
            yield Merge(number=pull.number, sha=pull.head)


def find_missing_for_pull(world: World, pull: PullRequest) -> tuple[Missing, ...] | None:
    """What a pull request waits for; None if it changes no environment, and a person merges it."""
    branch, brings_release = parse_branch(pull.branch), world.proposal_of(pull).release is not None
    if branch is not None and branch.purpose is Purpose.RECORD and not brings_release:
        status = pull.statuses.get(CHECKS)
        passed = status is not None and status.state is StatusState.SUCCESS
        return () if passed else (Missing(what=f"{CHECKS} to pass for {pull.head[:10]}"),)
    target = promotion_target(world, pull)
    if target is None:
        return None
    return find_missing(world, target[0], version=target[1], pull=pull)


def _status(pull: PullRequest, state: StatusState, description: str) -> Iterator[SetStatus]:
    description = shorten_description(description)
    known = pull.statuses.get(PROMOTE)
    if known is None or (known.state, known.description) != (state, description):
        yield SetStatus(number=pull.number, sha=pull.head, state=state, description=description)


def shorten_description(description: str) -> str:
    """The description, cut to what a forge keeps."""
    if len(description) <= LONGEST_DESCRIPTION:
        return description
    return description[: LONGEST_DESCRIPTION - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _aliases(world: World) -> Iterator[SetAlias | RemoveAlias]:
    """Point each environment's alias at its last verified release; remove it without one."""
    for environment in world.catalog.environments:
        verified = world.facts_of(environment).verified
        # By what was verified, not by what Git has now: that may still soak, or be rolled back.
        past = world.past.get(environment, ())
        releases = tuple(each.release for each in past if each.reviewed)
        good = (
            release.version
            for release in releases
            if release.identity in verified and not world.is_held(release.version)
        )
        version = next(good, None)
        if version is not None and world.aliases.get(environment) != version:
            yield SetAlias(alias=environment, version=version)
        known = world.aliases.get(environment)
        # Only what is known to be bad there: facts may be lost, and the past is cut.
        if version is None and known is not None and _is_known_bad(world, environment, known):
            yield RemoveAlias(alias=environment, version=known)


def _is_known_bad(world: World, environment: str, version: str) -> bool:
    """Whether a version was seen in an environment, and is on hold or out of traffic there."""
    release, facts = world.release(environment), world.facts_of(environment)
    if environment in world.unknown or facts.release is None:
        return False
    is_aborted = release is not None and release.version == version and is_bad(facts, release)
    return world.is_held(version) or is_aborted
