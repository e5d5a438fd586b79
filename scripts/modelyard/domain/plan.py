"""Reconcile's decision: what is missing in one model's world, as a list of actions."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.actions import (
    Action,
    ClosePull,
    Merge,
    ProposeRecord,
    ProposeRelease,
    RaiseIncident,
    SetAlias,
    SetStatus,
)
from modelyard.domain.branches import Branch, parse
from modelyard.domain.change import Purpose
from modelyard.domain.facts import unverified
from modelyard.domain.promotion import Missing, missing, promotions, target_of
from modelyard.domain.pulls import CHECKS, PROMOTE, PullRequest, StatusState
from modelyard.domain.rollback import rollbacks
from modelyard.domain.training import records, trainings
from modelyard.domain.world import World


def plan(world: World) -> tuple[Action, ...]:
    """Everything reconcile would do now, rollbacks first; empty when nothing is missing.

    The same world gives the same plan; carrying a plan out twice is the same as once.
    """
    back = tuple(rollbacks(world))
    proposals = (*records(world), *promotions(world))
    wanted = {_branch(world, each) for each in proposals}
    return (
        *(action for action in back if not _is_known(world, action)),
        *trainings(world),
        *_closes(world, wanted),
        *proposals,
        *_pull_actions(world),
        *_aliases(world),
    )


def _is_known(world: World, action: Action) -> bool:
    """Whether an incident was raised already; everything else is idempotent by itself."""
    if not isinstance(action, RaiseIncident):
        return False
    return any(incident.what == action.what for incident in world.model_facts.incidents)


def _branch(world: World, proposal: Action) -> str:
    if isinstance(proposal, ProposeRecord):
        subject, purpose = proposal.record.version, Purpose.RECORD
    elif isinstance(proposal, ProposeRelease):
        subject, purpose = proposal.environment, Purpose.PROMOTE
    else:
        return ""
    return str(Branch(purpose=purpose, subject=subject, model=world.model))


def _closes(world: World, wanted: set[str]) -> Iterator[ClosePull]:
    """Promotions nothing asks for any more; one that is on hold stays open, and red."""
    for pull in world.open_pulls:
        branch = parse(pull.branch)
        if branch is None or branch.purpose is not Purpose.PROMOTE or pull.branch in wanted:
            continue
        target = target_of(world, pull)
        if target is None or pull.author != world.bot:
            continue
        if pull.requester is not None or world.is_held(target[1]):
            continue
        reason = f"{target[0].name} is not owed {target[1] or 'this version'} any more"
        yield ClosePull(number=pull.number, reason=reason)


def _pull_actions(world: World) -> Iterator[SetStatus | Merge]:
    for pull in world.open_pulls:
        branch = parse(pull.branch)
        if branch is not None and branch.purpose is Purpose.ROLLBACK:
            continue  # reconcile carries a rollback through in one go
        lacking = missing_of(world, pull)
        if lacking is None:
            yield from _status(pull, StatusState.SUCCESS, "changes no environment")
        elif lacking:
            state = StatusState.FAILURE if lacking[0].blocks else StatusState.PENDING
            yield from _status(pull, state, "; ".join(each.what for each in lacking))
        else:
            yield from _status(pull, StatusState.SUCCESS, "nothing is missing")
            if pull.author == world.bot:
                yield Merge(number=pull.number, sha=pull.head)


def missing_of(world: World, pull: PullRequest) -> tuple[Missing, ...] | None:
    """What a pull request waits for; None when it changes no environment and a person merges it."""
    target = target_of(world, pull)
    if target is None:
        return None
    branch = parse(pull.branch)
    if branch is not None and branch.purpose is Purpose.RECORD and not _releases(pull):
        status = pull.statuses.get(CHECKS)
        passed = status is not None and status.state is StatusState.SUCCESS
        return () if passed else (Missing(what=f"{CHECKS} has not passed for {pull.head[:10]}"),)
    return missing(world, target[0], version=target[1], pull=pull)


def _releases(pull: PullRequest) -> bool:
    """Whether a record's pull request brings a release along."""
    return "release" in pull.labels


def _status(pull: PullRequest, state: StatusState, description: str) -> Iterator[SetStatus]:
    said = pull.statuses.get(PROMOTE)
    if said is None or (said.state, said.description) != (state, description):
        yield SetStatus(number=pull.number, sha=pull.head, state=state, description=description)


def _aliases(world: World) -> Iterator[SetAlias]:
    """Each environment's alias follows its last verified release, whoever moved it."""
    for environment in world.catalog.environments.values():
        facts = world.facts_of(environment.name)
        verified = set(facts.verified)
        release = world.release(environment.name)
        if release and unverified(facts, release, environment, world.now) is None:
            verified.add(release.identity)
        past = world.past.get(environment.name, ())
        version = next((p.release.version for p in past if p.release.identity in verified), None)
        if version is not None and world.aliases.get(environment.name) != version:
            yield SetAlias(alias=environment.name, version=version)
