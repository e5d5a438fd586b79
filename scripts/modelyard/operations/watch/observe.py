"""What only somebody who sees the world may do: move servers, judge them, write facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.trees import GitTree
from modelyard.domain.canary.traffic import JUDGED_BAD, RolloutState
from modelyard.domain.promotion.facts import ReleaseFacts, is_bad, unverified
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import model_file, release_file
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.reconcile.loop import raise_first, run_all, run_each
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@one_snapshot()
def observe(workspace: Workspace, model: str, say: Callable[[str], None]) -> bool:
    """Bring one model's servers in line with Git, write down what is seen; True if it changed.

    Raises:
        CannotAnswer: The main branch has no valid model of this name.
        YardError: An environment could not be observed; the others were.
    """
    commit = workspace.main()
    catalog = workspace.catalog(commit)
    if model not in catalog.models:
        raise CannotAnswer(
            f"the main branch has no valid {model_file(model)}", hint="modelyard validate"
        )
    steps: list[Callable[[], bool]] = []
    for environment in catalog.path_to_production():
        release = catalog.releases.get((environment.name, model))
        if release is not None:
            steps.append(partial(_observe_one, workspace, catalog, environment, release, say))
        elif not GitTree(workspace.git, commit).exists(release_file(environment.name, model)):
            steps.append(partial(_remove, workspace, environment, model))
    return run_all(steps)


def _remove(workspace: Workspace, environment: Environment, model: str) -> bool:
    cluster = workspace.services.cluster
    if cluster.observe(model=model, environment=environment) is not None:
        cluster.remove(model=model, environment=environment)
    return False


def _observe_one(
    workspace: Workspace,
    catalog: Catalog,
    environment: Environment,
    release: Release,
    say: Callable[[str], None],
) -> bool:
    """Move the servers, then see them: what cannot be moved may have to go back all the same."""
    before, _ = workspace.facts.read_release(environment.name, release.model)
    see = partial(_see, workspace, catalog, environment, release, before, say)
    if is_bad(before, release):
        return see()
    sync = partial(_sync, workspace, catalog, environment, release)
    if before.release == release.identity:
        return run_all([sync, see])
    sync()
    return see()


def _sync(
    workspace: Workspace, catalog: Catalog, environment: Environment, release: Release
) -> None:
    workspace.services.cluster.sync(
        release,
        model=catalog.models[release.model],
        environment=environment,
        origin=_origin(workspace, release),
    )


def _see(
    workspace: Workspace,
    catalog: Catalog,
    environment: Environment,
    release: Release,
    before: ReleaseFacts,
    say: Callable[[str], None],
) -> bool:
    cluster, where = workspace.services.cluster, environment.name
    state = cluster.observe(model=release.model, environment=environment)
    now = workspace.services.clock.now()
    after = seen(before, release, state, now)
    after = _judged(workspace, catalog, environment, release, before, after, state)
    trouble: YardError | None = None
    if after.verdict and after.verdict.outcome is Outcome.FAIL:
        reason = after.verdict.reason
        if after.aborted is None:
            try:
                cluster.abort(release, environment=environment, reason=reason)
                after = replace(after, aborted=reason)
            except YardError as error:  # Git, told of the verdict, takes it out of traffic too
                trouble = error
        elif after.aborted == JUDGED_BAD:
            after = replace(after, aborted=reason)  # the same judge, with its numbers
    may_advance = _may_advance(environment, release, after, state, now)
    if may_advance and cluster.advance(release, environment=environment):
        say(f"{where}: {release.version} takes the next step")
    after = remembered(after, release, environment, state, now)
    if after != before:
        workspace.facts.update_release(where, release.model, partial(_written, before, after))
    _, failures = run_each(
        (None, partial(_tell, workspace, environment, release, told, say))
        for told in news(release, before, after)
    )
    errors = [error for _, error in failures]
    raise_first([trouble, *errors] if trouble else errors)
    return after != before


def _tell(
    workspace: Workspace,
    environment: Environment,
    release: Release,
    told: tuple[str, bool],
    say: Callable[[str], None],
) -> None:
    what, well = told
    say(f"{environment.name}: {release.model} {release.version} {what}")
    workspace.services.cluster.note(release, environment=environment, what=what, well=well)


def _origin(workspace: Workspace, release: Release) -> PastRelease | None:
    """The commit that named the release; unknown is no reason to stop."""
    past = workspace.past(release.environment, release.model)
    same = (each for each in past if each.release == release)
    return next(same, None)


def _written(before: ReleaseFacts, after: ReleaseFacts, now: ReleaseFacts) -> ReleaseFacts:
    """What was seen, on top of a rollback somebody noted since; nothing over what others saw."""
    if replace(now, rolled_back_to=before.rolled_back_to) != before:
        return now  # the next look goes on from there
    return replace(after, rolled_back_to=now.rolled_back_to)


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


def _judged(
    workspace: Workspace,
    catalog: Catalog,
    environment: Environment,
    release: Release,
    before: ReleaseFacts,
    facts: ReleaseFacts,
    state: RolloutState | None,
) -> ReleaseFacts:
    """The facts with the judge's verdict; a `pass` must stand until the release is verified."""
    if state is None or not _is_judged_now(environment, release, before, facts, state):
        return facts
    from modelyard.operations.judge.evidence import verdict_on

    known, since = facts.verdict, facts.seen_at or workspace.services.clock.now()
    verdict = verdict_on(workspace, catalog, environment, release, since)
    if known is not None and verdict.outcome is known.outcome:  # numbers of the moment: no fact
        return facts
    return replace(facts, verdict=verdict, judged_at=workspace.services.clock.now())


def _is_judged_now(
    environment: Environment,
    release: Release,
    before: ReleaseFacts,
    facts: ReleaseFacts,
    state: RolloutState,
) -> bool:
    """Whether the judge is asked.

    Not at the first look, before which there was no traffic. Once more about what is found out of
    traffic: a killed look may have left that unsaid. A `fail` stays; so does a `pass` once there is
    nothing left to compare with.
    """
    if not environment.rollout.judged or before.release != release.identity:
        return False
    if before.aborted is not None or release.identity in facts.verified:
        return False
    known = facts.verdict
    if known and (known.outcome is Outcome.FAIL or (known.passed and state.share >= 1)):
        return False
    return facts.healthy_since is not None or facts.aborted is not None


def _may_advance(
    environment: Environment,
    release: Release,
    facts: ReleaseFacts,
    state: RolloutState | None,
    now: datetime,
) -> bool:
    if environment.joins is not None or state is None or not state.ready or state.share >= 1:
        return False
    if state.release != release.identity or is_bad(facts, release):
        return False
    if _is_pausing(environment, facts, state, now):
        return False
    return not environment.rollout.judged or bool(facts.verdict and facts.verdict.passed)


def _is_pausing(
    environment: Environment, facts: ReleaseFacts, state: RolloutState, now: datetime
) -> bool:
    """Whether the steps taken so far ask for more time; lost health starts them again."""
    if facts.healthy_since is None:
        return True
    pauses = [step.pause_seconds for step in environment.rollout.steps if step.share <= state.share]
    return (now - facts.healthy_since).total_seconds() < sum(pauses)


def news(release: Release, before: ReleaseFacts, after: ReleaseFacts) -> Iterator[tuple[str, bool]]:
    """What people are told of a look, and whether it is good news."""
    if after.healthy_since and not (before.healthy_since and before.release == after.release):
        yield "is ready", True
    if after.verdict and after.verdict != before.verdict:
        well = after.verdict.outcome is not Outcome.FAIL
        yield f"judged {after.verdict.outcome}: {after.verdict.reason}", well
    if after.aborted and not before.aborted:
        yield f"is out of traffic: {after.aborted}", False
    if after.verified != before.verified and release.identity in after.verified:
        yield "is verified", True
