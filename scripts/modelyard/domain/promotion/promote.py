"""Which version is due in an environment, and what is missing before it may be released there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from modelyard.domain.promotion.actions import ProposeRelease
from modelyard.domain.promotion.approvals import missing_approvals
from modelyard.domain.promotion.change import Branch, Purpose, parse_branch
from modelyard.domain.promotion.facts import GateOverride, Unverified, check_verified
from modelyard.domain.promotion.pulls import CHECKS, STACKED, PullRequest, StatusState
from modelyard.domain.promotion.rollback import (
    find_fault,
    find_unreviewed,
    rollback_target,
    stuck_commands,
    unreviewed_command,
)
from modelyard.domain.promotion.training_workflows import (
    finished_records,
    is_inconclusive,
    newest_passing,
)
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome, Verdict


@dataclass(frozen=True, kw_only=True)
class Missing:
    """One thing that a pull request needs before it is merged.

    Args:
        what: What, and from whom, for a person.
        blocks: Whether it was lost or is forbidden (red), rather than still to come (pending).
        command: The command that a person runs next; empty where there is only time to wait for.
    """

    what: str
    blocks: bool = False
    command: str = field(default="", compare=False)


def plan_promotions(world: World) -> Iterator[ProposeRelease]:
    """Propose the version that is due in each environment.

    Nothing is proposed while a promotion that a person asked for is open.
    """
    for environment in world.catalog.path_to_production():
        version = due_version(world, environment)
        if version is None or _declined(world, environment, version):
            continue
        if environment.name in world.unknown:  # the version may have been tried there
            continue
        if world.requested_promotion(environment) is None:
            yield ProposeRelease(environment=environment.name, version=version, attempt=1)


def due_version(world: World, environment: Environment) -> str | None:
    """The version that is verified one environment earlier and was never tried here, if any."""
    version = candidate_version(world, environment)
    source = world.release(environment.promotes_from or "")
    if version is None or source is None:
        return version
    return None if _why_not_from(world, environment.promotes_from or "", source) else version


def candidate_version(world: World, environment: Environment) -> str | None:
    """The version that is due here once it is verified one environment earlier."""
    if environment.promotes_from is None:
        newest = newest_passing(world, finished_records(world))
        return newest.version if newest and world.record(newest.version) else None
    source = world.release(environment.promotes_from)
    current = world.release(environment.name)
    if source is None or world.is_held(source.version):
        return None
    if current is not None and current.artifact == source.artifact:
        return None  # another version with the same artifact changes nothing
    return None if world.was_tried(environment.name, source.artifact) else source.version


def _why_not_from(world: World, environment: str, release: Release) -> Unverified | None:
    """As `why_unverified`, of the release that an environment pins: a push may copy a pin there."""
    if release.environment != environment:
        return Unverified(reason=f"its pin names the environment {release.environment}")
    return why_unverified(world, release)


def why_unverified(world: World, release: Release) -> Unverified | None:
    """Why the release may not be promoted, or None: it is verified, and the facts record that."""
    if release.environment in world.unknown:
        return Unverified(reason="its facts there cannot be read")
    environment = world.catalog.environments.get(release.environment)
    if environment is None:  # a push names what it likes, and must not end what goes back
        return Unverified(reason=f"there is no environment {release.environment}")
    if release == world.release(environment.name) and (
        found := find_unreviewed(world, environment)
    ):
        return Unverified(reason=f"unreviewed: {found.what}")
    facts = world.facts_of(release.environment)
    if why := check_verified(facts, release, environment, world.now):
        return why
    if release.identity in facts.verified:
        return None
    # Time alone verifies nothing: the watcher has to see it healthy after the soak.
    return Unverified(reason="soaked, but not seen since", is_soaking=True)


def find_missing(
    world: World, environment: Environment, *, version: str, pull: PullRequest | None = None
) -> tuple[Missing, ...]:
    """What the version needs before it may be released here, what blocks first.

    Args:
        world: The model's world.
        environment: Where it is to be released.
        version: The version.
        pull: Its pull request; None leaves out checks and approvals.
    """
    found = [
        *_holds(world, environment, version),
        *_health(world, environment, version),
        *_verdict(world, environment, version),
    ]
    if pull is not None:
        found += [*_checks(pull), *_approvals(environment, pull)]
        found += [Missing(what=STACKED, blocks=True)] if pull.is_stacked else []
    # A status is cut to 140 characters, so what a person has to act on comes first.
    return tuple(sorted(found, key=lambda each: not each.blocks))


def champion_now(world: World) -> str | None:
    """The version that production has now."""
    production = world.catalog.production
    release = world.release(production.name) if production else None
    return release.version if release else None


def needs_comparison(world: World, version: str) -> tuple[str, str] | None:
    """The (version, champion) that the version's record does not compare; None if it does."""
    champion = champion_now(world)
    record = world.record(version)
    if record is None or champion in {None, version}:
        return None
    # Production may have another version since the record was made, and version 0.1 did not ask
    # whether the champion's requests are accepted.
    named = record.champion.version if record.champion and record.contract else None
    return None if named == champion else (version, str(champion))


def gate_verdict(world: World, environment: Environment, version: str) -> Verdict | None:
    """The gate's verdict that counts for this environment; None if it is not known.

    A version that did not pass against the champion of its time is not compared with another.
    """
    record = _record(world, version)
    if record is None:
        return None
    # Its override was about the same rows, so another champion is worth a comparison.
    is_overridden = is_inconclusive(record) and version in world.model_facts.overrides
    if not (record.verdict.passed or is_overridden):
        return record.verdict
    pair = _newer_comparison(world, environment, version)
    return world.comparisons.get(pair) if pair else record.verdict


def compared_champion(world: World, environment: Environment, version: str) -> str | None:
    """The version that the verdict for this environment compares with; None if with none."""
    record = _record(world, version)
    if pair := _newer_comparison(world, environment, version):
        return pair[1]
    return record.champion.version if record and record.champion else None


def find_override(world: World, environment: Environment, version: str) -> GateOverride | None:
    """The override that opens this environment to a version whose gate is inconclusive, if any."""
    verdict = gate_verdict(world, environment, version)
    if verdict is None or verdict.outcome is not Outcome.INCONCLUSIVE:
        return None
    return world.current_override(version, verdict, compared_champion(world, environment, version))


def environments_ahead(world: World, version: str) -> tuple[Environment, ...]:
    """The environments that the version still has to go through, in the order of the path."""
    path = tuple(world.catalog.path_to_production())
    has = [
        index
        for index, where in enumerate(path)
        if (release := world.release(where.name)) and release.version == version
    ]
    return path[has[-1] + 1 :] if has else path


def _record(world: World, version: str) -> Record | None:
    """The version's record, of the main branch or of a workflow that has just ended."""
    run = world.runs.get(version)
    return world.record(version) or (run.outcome if run else None)


def _newer_comparison(
    world: World, environment: Environment, version: str
) -> tuple[str, str] | None:
    """The (version, champion) that counts here and that the record does not have, if any."""
    # Earlier environments have no users, so the champion of the training is enough for them.
    faces_production = environment.joins is not None or environment == world.catalog.production
    return needs_comparison(world, version) if faces_production else None


def _holds(world: World, environment: Environment, version: str) -> Iterator[Missing]:
    if hold := world.model_facts.holds.get(version):
        what = f"{version} is on hold by {hold.by}: {hold.reason}"
        yield Missing(what=what, blocks=True, command=f"modelyard unhold {world.model} {version}")
    if environment.name in world.unknown:
        what = f"the facts of {environment.name} cannot be read"
        yield Missing(what=what, blocks=True, command="modelyard doctor")
    if reason := world.freeze_reason(environment):
        # Nobody lifts a window of environment.yaml; it ends.
        by_person = environment.name in world.freezes
        command = f"modelyard unfreeze {environment.name}" if by_person else ""
        yield Missing(what=f"{environment.name} is {reason}", blocks=True, command=command)
    for rule in world.pushed_rules:
        if world.unreviewed_goes_back and environment.name in rule.environments:
            yield Missing(what=str(rule), blocks=True, command=rule.command)
    current = world.release(environment.name)
    fault = find_fault(world, environment, current) if current else None
    # A promotion on top of a faulty release would hide it from its rollback.
    if current and fault and rollback_target(world, environment, current):
        what = (
            f"{environment.name} still has {current.version}, which is rolled back: {fault.reason}"
        )
        yield Missing(what=what, blocks=True, command=f"modelyard reconcile {world.model}")


def _health(world: World, environment: Environment, version: str) -> Iterator[Missing]:
    if environment.promotes_from is None:
        return
    before = world.catalog.environments[environment.promotes_from]
    source, again = world.release(before.name), f"modelyard promote {before.name} {world.model}"
    if source is None or source.version != version:
        what = f"{before.name} does not run {version}"
        yield Missing(what=what, blocks=True, command=f"{again} {version}")
    elif why := _why_not_from(world, before.name, source):
        what = f"{version} in {before.name}: {why.reason}"
        command = "" if why.is_soaking else release_command(world, before)
        yield Missing(what=what, blocks=not why.is_soaking, command=command)
    # A pin written by hand may name the version with another artifact.
    elif source.artifact != _artifact(world, version):
        what = f"the artifact in {before.name} is not the one that the record of {version} names"
        yield Missing(what=what, blocks=True, command=f"{again} {version}")


def _verdict(world: World, environment: Environment, version: str) -> Iterator[Missing]:
    verdict = gate_verdict(world, environment, version)
    if verdict is None:
        champion = champion_now(world)
        against = f" against {champion}, the version in production" if champion else ""
        what = f"a gate verdict of {version or 'its version'}{against}"
        yield Missing(what=what, command=f"modelyard gate {world.model} {version}".rstrip())
    elif not verdict.passed and find_override(world, environment, version) is None:
        what = f"gate: {verdict.outcome}: {verdict.reason}"
        yield Missing(what=what, blocks=True, command=f"modelyard gate {world.model} {version}")


def _checks(pull: PullRequest) -> Iterator[Missing]:
    status = pull.statuses.get(CHECKS)
    if status is None or status.state is StatusState.PENDING:
        yield Missing(what=f"{CHECKS} to pass for {pull.head[:10]}")
    elif status.state is not StatusState.SUCCESS:
        what, command = f"{CHECKS}: {status.description}", f"modelyard pr show {pull.number}"
        yield Missing(what=what, blocks=True, command=command)


def _approvals(environment: Environment, pull: PullRequest) -> Iterator[Missing]:
    if what := missing_approvals(environment, pull):
        yield Missing(what=what, command=f"modelyard pr approve {pull.number}")


def release_command(world: World, environment: Environment) -> str:
    """The command that a person runs next for a release that is not verified; empty if none.

    A release that soaks, and one that waits for its traffic to be judged, need time.
    """
    name, model = environment.name, world.model
    release, facts = world.release(name), world.facts_of(name)
    if name in world.unknown:
        return "modelyard doctor"
    if find_unreviewed(world, environment):
        return unreviewed_command(world, environment)
    fault = find_fault(world, environment, release) if release else None
    if release is None or (fault and rollback_target(world, environment, release)):
        return f"modelyard reconcile {model}"
    if fault:
        return stuck_commands(world, environment, release, fault)[0]
    if facts.release != release.identity or facts.healthy_since is None:
        return "modelyard watch --once"
    why = why_unverified(world, release)
    return "" if why is None or why.is_soaking else f"modelyard judge {name} {model}"


def _artifact(world: World, version: str) -> str | None:
    record = world.record(version)
    return record.artifact.digest if record and record.artifact else None


def _declined(world: World, environment: Environment, version: str) -> bool:
    """Whether a person closed the proposal of this version; it is not proposed again."""
    branch = str(Branch(purpose=Purpose.PROMOTE, subject=environment.name, model=world.model))
    declined = (world.proposal_of(p).release for p in world.declined_pulls if p.branch == branch)
    return any(release is not None and release.version == version for release in declined)


def promotion_target(world: World, pull: PullRequest) -> tuple[Environment, str] | None:
    """The environment and version that a pull request releases; None if it releases nothing."""
    branch = parse_branch(pull.branch)
    if branch is None:
        return None
    path = world.catalog.path_to_production()
    if branch.purpose is Purpose.PROMOTE and branch.subject in world.catalog.environments:
        # The pin at the head decides: labels and titles can be edited without a commit.
        release = world.proposal_of(pull).release
        return world.catalog.environments[branch.subject], release.version if release else ""
    if branch.purpose is Purpose.RECORD and path:
        return path[0], branch.subject
    return None
