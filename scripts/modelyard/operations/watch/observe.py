"""Observes a model's releases: moves servers to what Git pins, judges them, and writes facts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.last_of_file import read_last
from modelyard.domain.canary.rollout import (
    ReleaseEvent,
    begin_again,
    is_judged_now,
    may_advance,
    observed_facts,
    release_events,
    with_verification,
)
from modelyard.domain.canary.traffic import JUDGED_BAD, RolloutState
from modelyard.domain.promotion.facts import ReleaseFacts, is_bad
from modelyard.domain.promotion.rollback import find_unreviewed
from modelyard.domain.promotion.world import PastRelease
from modelyard.domain.server_fault import Blame
from modelyard.domain.sites import Site
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import environment_file, release_file
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome
from modelyard.errors import NoRoom, YardError, explain_disk_error
from modelyard.operations.forge.merges import read_merges
from modelyard.operations.reconcile.collect import collect_reviews
from modelyard.operations.reconcile.loop import raise_first, run_all, run_each
from modelyard.operations.sites import read_standing
from modelyard.operations.watch.verdict_news import is_news
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)


@one_snapshot()
def observe_model(
    workspace: Workspace,
    model: str,
    report: Callable[[str], None],
    *,
    notes: list[Callable[[], object]] | None = None,
) -> bool:
    """Bring a model's servers in line with Git and write down what is seen.

    Args:
        workspace: What to work with.
        model: The model.
        report: Called with one line for every change.
        notes: Gets what notes each change in the cluster, for people who look there; None to do
            that at once.

    Returns:
        Whether the facts changed.

    Raises:
        CannotAnswer: The main branch has no valid model of this name.
        YardError: An environment could not be observed; the others were.
    """
    commit = workspace.main()
    specs = workspace.specs_of(commit, model)
    catalog = specs.catalog
    catalog.require_model(model)
    steps: list[Callable[[], bool]] = []
    standing = read_standing(workspace)
    path = catalog.path_to_production()
    # One that is on no path, because another environment took its place, may have releases.
    others = (each for each in catalog.environments.values() if each not in path)
    for environment in (*path, *others):
        if environment.name not in standing.mine:
            continue  # what runs here, or does not, says nothing about another site's servers
        release = catalog.releases.get((environment.name, model))
        if release is not None:
            observation = _Observation(
                workspace,
                catalog,
                environment,
                release,
                report,
                standing.site,
                goes_forward=not specs.stands_in,
                notes=notes,
            )
            steps.append(observation.run)
        elif not GitTree(workspace.git, commit).exists(release_file(environment.name, model)):
            # A pin that is there and cannot be read is no reason to stop its servers.
            steps.append(partial(_remove_servers, workspace, environment, model))
    gone = [name for name in standing.owners if name not in catalog.environments]
    steps += [
        partial(_remove_left_servers, workspace, name, model)
        for name in gone
        if standing.owns(name)
    ]
    return run_all(steps)


def _remove_left_servers(workspace: Workspace, environment: str, model: str) -> bool:
    """Stop what a push brought to an environment that is gone since: nothing observes it."""
    file = environment_file(environment)
    found = read_last(workspace.git, workspace.main(), "Environment", file, name=environment)
    return found is not None and _remove_servers(workspace, found[0], model)


def _remove_servers(workspace: Workspace, environment: Environment, model: str) -> bool:
    cluster = workspace.services.cluster
    if cluster.observe(model=model, environment=environment) is not None:
        cluster.remove(model=model, environment=environment)
    return False


@dataclass(frozen=True)
class _Observation:
    """One pass over one release in one environment.

    While rules stand in for some that cannot be read, a release that was never verified takes no
    further step and is not verified: nobody knows what the rules ask for by now.
    """

    workspace: Workspace
    catalog: Catalog
    environment: Environment
    release: Release
    report: Callable[[str], None]
    site: Site | None
    goes_forward: bool
    notes: list[Callable[[], object]] | None

    def run(self) -> bool:
        """Move the servers, then observe them; True if the facts changed.

        It is observed even if its servers cannot be moved: people must learn why, and it may have
        to be rolled back.
        """
        before = self.workspace.facts.read_release(self.environment.name, self.release.model)
        observe = partial(self._observe, before)
        if is_bad(before, self.release):
            return observe()
        return run_all([self._move_servers, observe])

    def _move_servers(self) -> None:
        self.workspace.services.cluster.sync(
            self.release,
            model=self.catalog.models[self.release.model],
            environment=self.environment,
            origin=self._origin(),
        )

    def _origin(self) -> PastRelease | None:
        """The commit that pinned the release; unknown is no reason to stop."""
        past = self.workspace.past(self.environment.name, self.release.model)
        found = next((each for each in past if each.release == self.release), None)
        return found and replace(found, pull=_pull_of(self.workspace, found.commit))

    def _observe(self, before: ReleaseFacts) -> bool:
        release, environment = self.release, self.environment
        cluster = self.workspace.services.cluster
        state = cluster.observe(model=release.model, environment=environment)
        now = self.workspace.services.clock.now()
        even_since = self.workspace.services.clock.even_since()
        known = begin_again(before, now=now, even_since=even_since)
        if known != before:
            self.report(f"{environment.name}: {release.version} is observed anew: the clock jumped")
        seen = observed_facts(known, release, state, now)
        if before.release != release.identity and self._is_reviewed is False:
            # A push must not make automation take the version for one that was tried here.
            seen = replace(seen, tried=before.tried)
        after = self._judged(before, seen, state)
        after, error = self._out_of_traffic(after)
        if after.aborted and after.aborted_at is None:
            after = replace(after, aborted_at=now)
        # One that was verified here is restored, or goes on: a rollback ends at its full share.
        goes_on = self.goes_forward or release.identity in after.verified
        advances = goes_on and may_advance(environment, release, after, state, now)
        if advances and cluster.advance(release, environment=environment):
            self.report(f"{environment.name}: {release.version} takes the next step")
        verified = with_verification(after, release, environment, state, now)
        is_new = release.identity in verified.verified and release.identity not in after.verified
        # Asked only when it matters: it takes the forge's pull requests.
        after = verified if not is_new or (self.goes_forward and self._is_reviewed) else after
        if after != before:
            self._write_down(before, after)
        events = release_events(release, before, after)
        _, failures = run_each((None, partial(self._publish, event)) for event in events)
        raise_first([*([error] if error else []), *(failure for _, failure in failures)])
        return after != before

    def _write_down(self, before: ReleaseFacts, after: ReleaseFacts) -> None:
        """Change the facts; those of a release that is bad have the room kept for a rollback."""
        write = partial(
            self.workspace.facts.observe_release,
            self.environment.name,
            self.release.model,
            partial(_written, before, after),
            site=self.site,
        )
        try:
            write()
        except NoRoom:
            if not (is_bad(after, self.release) and self.workspace.kept_room.give_back()):
                raise
            write()

    @cached_property
    def _is_reviewed(self) -> bool | None:
        """Whether a merged pull request brought the release; None if the forge does not answer.

        Without a review it is never verified.
        """
        try:
            (world,) = collect_reviews(self.workspace, self.catalog, [self.release.model])
        except YardError as error:
            logger.warning("%s", error.message)
            return None
        return find_unreviewed(world, self.environment) is None

    def _judged(
        self, before: ReleaseFacts, facts: ReleaseFacts, state: RolloutState | None
    ) -> ReleaseFacts:
        """The facts with the judge's verdict; a `pass` must stand until the release is verified."""
        if state is None or not is_judged_now(self.environment, self.release, before, facts, state):
            return facts
        from modelyard.operations.judge.evidence import judge_best_effort

        known, since = facts.verdict, facts.seen_at or self.workspace.services.clock.now()
        verdict = judge_best_effort(
            self.workspace, self.catalog, self.environment, self.release, since
        )
        # Its numbers change with every request, and each fact is a commit.
        if not is_news(known, verdict):
            return facts
        return replace(facts, verdict=verdict, judged_at=self.workspace.services.clock.now())

    def _out_of_traffic(self, facts: ReleaseFacts) -> tuple[ReleaseFacts, Exception | None]:
        """The facts once a release that is bad left traffic, and what prevented that."""
        reason = _why_bad(facts)
        self.workspace.stuck_in_traffic.pop(self._place, None)
        if reason is None:
            return facts, None
        if facts.aborted is None:
            cluster = self.workspace.services.cluster
            try:
                cluster.abort(self.release, environment=self.environment, reason=reason)
            # The rollback that follows in Git takes it out, too.
            except (YardError, OSError) as error:
                named = explain_disk_error(error)
                said = f"it is bad ({reason}) and takes traffic still: {named}"
                self.workspace.stuck_in_traffic[self._place] = self.release.version, said
                return facts, named
        elif facts.aborted != JUDGED_BAD:
            return facts, None
        return replace(facts, aborted=reason), None  # JUDGED_BAD: the same judge, with its numbers

    @property
    def _place(self) -> tuple[str, str]:
        return self.environment.name, self.release.model

    def _publish(self, event: ReleaseEvent) -> None:
        release, environment = self.release, self.environment
        self.report(f"{environment.name}: {release.model} {release.version} {event.what}")
        note = partial(
            self.workspace.services.cluster.note,
            release,
            environment=environment,
            what=event.what,
            is_good=event.is_good,
        )
        if self.notes is None:
            note()
        else:
            self.notes.append(note)


def _why_bad(facts: ReleaseFacts) -> str | None:
    """Why the release must leave traffic: the judge failed it, or it fails by itself."""
    if facts.verdict is not None and facts.verdict.outcome is Outcome.FAIL:
        return facts.verdict.reason
    if facts.fault is not None and facts.fault.blame is Blame.VERSION:
        return facts.aborted or facts.fault.why
    return None


def _written(before: ReleaseFacts, after: ReleaseFacts, now: ReleaseFacts) -> ReleaseFacts:
    """What was observed, merged with a rollback that was recorded in the meantime.

    Facts that another watcher wrote in the meantime stay: the next pass goes on from them.
    """
    if replace(now, rolled_back_to=before.rolled_back_to) != before:
        return now
    return replace(after, rolled_back_to=now.rolled_back_to)


def _pull_of(workspace: Workspace, commit: str) -> int | None:
    """The number of the pull request that the forge merged as a commit; None if it cannot say."""
    try:
        found = read_merges(workspace).get(commit)
    except YardError:
        return None
    return found.number if found else None
