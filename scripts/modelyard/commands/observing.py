"""What only somebody who sees the world may do: move servers, judge them, write facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from modelyard.commands.reconciling.collect import Desk
from modelyard.domain.catalog import Catalog
from modelyard.domain.environment import Environment
from modelyard.domain.facts import ReleaseFacts, is_bad, unverified
from modelyard.domain.release import Release
from modelyard.domain.traffic import RolloutState
from modelyard.domain.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable


def observe(desk: Desk, catalog: Catalog, model: str, say: Callable[[str], None]) -> bool:
    """Bring one model's servers in line with Git, write down what is seen; True if it changed."""
    changed = False
    for environment in catalog.path_to_production():
        release = catalog.releases.get((environment.name, model))
        if release is None:
            if desk.services.cluster.observe(model=model, environment=environment.name):
                desk.services.cluster.remove(model=model, environment=environment.name)
            continue
        changed |= _observe_one(desk, catalog, environment, release, say)
    return changed


def _observe_one(
    desk: Desk,
    catalog: Catalog,
    environment: Environment,
    release: Release,
    say: Callable[[str], None],
) -> bool:
    cluster, where = desk.services.cluster, environment.name
    before, _ = desk.facts.read_release(where, release.model)
    if not is_bad(before, release):
        cluster.sync(release, model=catalog.models[release.model], environment=environment)
    state = cluster.observe(model=release.model, environment=where)
    now = desk.services.clock.now()
    after = seen(before, release, state, now)
    after = _judged(desk, catalog, environment, release, after, state)
    if after.verdict and after.verdict.outcome is Outcome.FAIL and after.aborted is None:
        cluster.abort(model=release.model, environment=where, reason=after.verdict.reason)
        after = replace(after, aborted=after.verdict.reason)
    if _may_advance(environment, after, state):
        cluster.advance(release, environment=environment)
        say(f"{where}: {release.version} takes the next step")
    after = remembered(after, release, environment, state, now)
    if after == before:
        return False
    desk.facts.update_release(where, release.model, lambda _: after)
    _tell(say, where, release, before, after)
    return True


def seen(
    facts: ReleaseFacts, release: Release, state: RolloutState | None, now: datetime
) -> ReleaseFacts:
    """The facts after a look at the servers; another release than before starts from nothing."""
    if facts.release != release.identity:
        tried = facts.tried
        facts = ReleaseFacts(
            release=release.identity,
            version=release.version,
            artifact=release.artifact,
            seen_at=now,
            verified=facts.verified,
            tried=tried if release.artifact in tried else (*tried, release.artifact),
            rolled_back_to=facts.rolled_back_to,
        )
    mine = state if state is not None and state.release == release.identity else None
    ready = mine is not None and mine.ready
    return replace(
        facts,
        healthy_since=(facts.healthy_since or now) if ready else None,
        aborted=facts.aborted or (mine.aborted if mine else None),
    )


def remembered(
    facts: ReleaseFacts,
    release: Release,
    environment: Environment,
    state: RolloutState | None,
    now: datetime,
) -> ReleaseFacts:
    """The facts with this release among the verified ones, or taken out of them again."""
    others = tuple(identity for identity in facts.verified if identity != release.identity)
    if is_bad(facts, release):
        return replace(facts, verified=others)
    if release.identity in facts.verified or unverified(facts, release, environment, now):
        return facts
    full = state is not None and (environment.joins is not None or state.share >= 1)
    return replace(facts, verified=(*others, release.identity)) if full else facts


def judge_release(
    desk: Desk, catalog: Catalog, environment: Environment, release: Release, since: datetime
) -> Verdict:
    """The judge's word on a release, from what its servers counted since then."""
    from modelyard.commands.judging import evidence_of
    from modelyard.domain.judge import judge

    evidence = evidence_of(desk, catalog, environment, release, since)
    return judge(evidence, catalog.models[release.model].canary)


def _judged(
    desk: Desk,
    catalog: Catalog,
    environment: Environment,
    release: Release,
    facts: ReleaseFacts,
    state: RolloutState | None,
) -> ReleaseFacts:
    """The facts with the judge's verdict; `pass` and `fail` are said once and stay."""
    if not environment.rollout.judged or facts.healthy_since is None or facts.seen_at is None:
        return facts
    if facts.aborted is not None or release.identity in facts.verified or state is None:
        return facts
    if facts.verdict is not None and facts.verdict.outcome is not Outcome.INCONCLUSIVE:
        return facts
    verdict = judge_release(desk, catalog, environment, release, facts.seen_at)
    if facts.verdict is not None and verdict.reason == facts.verdict.reason:
        return facts
    return replace(facts, verdict=verdict, judged_at=desk.services.clock.now())


def _may_advance(environment: Environment, facts: ReleaseFacts, state: RolloutState | None) -> bool:
    if environment.joins is not None or state is None or not state.ready or state.share >= 1:
        return False
    return not environment.rollout.judged or bool(facts.verdict and facts.verdict.passed)


def _tell(
    say: Callable[[str], None],
    where: str,
    release: Release,
    before: ReleaseFacts,
    after: ReleaseFacts,
) -> None:
    what = f"{where}: {release.model} {release.version}"
    if after.healthy_since and not (before.healthy_since and before.release == after.release):
        say(f"{what} is ready")
    if after.verdict and after.verdict != before.verdict:
        say(f"{what} judged {after.verdict.outcome}: {after.verdict.reason}")
    if after.aborted and not before.aborted:
        say(f"{what} is out of traffic: {after.aborted}")
    if after.verified != before.verified and release.identity in after.verified:
        say(f"{what} is verified")
