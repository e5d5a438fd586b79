"""Proposes a version that a person asks for, which reconcile would not propose by itself."""

from __future__ import annotations

from dataclasses import dataclass

from modelyard.domain.people import Person
from modelyard.domain.promotion.actions import ProposeRelease
from modelyard.domain.promotion.change import Change
from modelyard.domain.promotion.facts import is_bad
from modelyard.domain.promotion.promote import Missing, find_missing
from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.promotion.rollback import find_unreviewed
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.reconcile.changes import new_release, promotion_change
from modelyard.ports import Services


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A version to be proposed for an environment.

    Args:
        world: The world that it was decided in.
        environment: Where the version goes.
        version: The version.
        change: What the pull request changes.
    """

    world: World
    environment: Environment
    version: str
    change: Change

    def missing(self, pull: PullRequest | None) -> tuple[Missing, ...]:
        """Return what is missing before the pull request, or a dry run without one, may merge."""
        return find_missing(self.world, self.environment, version=self.version, pull=pull)


def check_promotion(promotion: Promotion, *, replace: bool) -> str | None:
    """Return the version whose open promotion this one replaces; None if it replaces none.

    What only takes time or people (a soak, checks, approvals) is no reason to refuse.

    Raises:
        Refused: It can never be merged as things are, or another version's promotion is open.
    """
    world, where, version = promotion.world, promotion.environment, promotion.version
    lacking = [each for each in promotion.missing(None) if each.blocks]
    if lacking:
        what = "; ".join(each.what for each in lacking)
        command = next((each.command for each in lacking if each.command), None)
        raise Refused(
            f"{world.model} {version} cannot be promoted to {where.name}: {what}",
            hint=command or f"modelyard status {world.model}",
        )
    pull = world.open_pull(promotion.change.branch)
    if pull is None:
        return None
    held = world.proposal_of(pull).release
    other = held.version if held else "what cannot be read"
    if other == version:
        return None
    if not replace:
        raise Refused(
            f"#{pull.number} promotes {other} to {where.name} already",
            hint=f"modelyard promote {where.name} {world.model} {version} --replace",
        )
    return other


def find_next_attempt(world: World, version: str) -> Environment | None:
    """Return the first environment where the version was tried and does not run well now.

    None if it was never released: reconcile proposes it by itself.
    """
    record = world.record(version)
    if record is None or record.artifact is None:
        return None
    for environment in world.catalog.path_to_production():
        current = world.release(environment.name)
        is_there = current is not None and current.artifact == record.artifact.digest
        is_well = is_there and current and not is_bad(world.facts_of(environment.name), current)
        if not is_well and (is_there or world.was_tried(environment.name, record.artifact.digest)):
            return environment
    return None


def find_environment(world: World, name: str) -> Environment:
    """Return the environment of this name.

    Raises:
        CannotAnswer: The main branch has none, or the model's facts there cannot be read.
    """
    where = world.catalog.require_environment(name)
    if name in world.unknown:
        raise CannotAnswer(
            f"the facts of {world.model} in {name} cannot be read", hint="modelyard doctor"
        )
    return where


def decide_promotion(
    world: World, where: Environment, version: str | None, *, server_image: str
) -> Promotion:
    """Return the promotion of a version, by default the one the environment before runs.

    Raises:
        CannotAnswer: The version has no record to release from.
        Refused: There is no version to promote, or it is on hold, has no artifact, or runs there.
    """
    wanted = version or _version_before(world, where)
    attempt = _next_attempt(world, where, wanted, server_image)
    action = ProposeRelease(environment=where.name, version=wanted, attempt=attempt)
    change = promotion_change(world, action, server_image=server_image)
    return Promotion(world=world, environment=where, version=wanted, change=change)


def propose_promotion(
    services: Services, promotion: Promotion, *, requester: Person
) -> PullRequest:
    """Open or refresh the promotion's pull request in the name of the person who asked."""
    # The bot is the author; the requester counts as a maker, and cannot approve.
    return services.pulls.propose(promotion.change, requester=requester)


def _version_before(world: World, where: Environment) -> str:
    """Return the version that the environment before this one runs."""
    source = world.release(where.promotes_from) if where.promotes_from else None
    if source is None:
        raise Refused(
            f"{where.promotes_from}, which {where.name} promotes from, has no release of "
            f"{world.model}",
            hint=f"modelyard promote {where.promotes_from} {world.model}",
        )
    return source.version


def _next_attempt(world: World, where: Environment, version: str, server_image: str) -> int:
    """Return the number of the attempt, if there is something to release."""
    if hold := world.model_facts.holds.get(version):
        raise Refused(
            f"{world.model} {version} is on hold by {hold.by}: {hold.reason}",
            hint=f"modelyard unhold {world.model} {version}",
        )
    hint = f"modelyard status {world.model}"
    record = world.catalog.require_record(world.model, version, hint=hint)
    if record.artifact is None:
        raise Refused(f"{world.model} {version} has no artifact: {record.verdict.reason}")
    current = world.release(where.name)
    if current is not None and _runs_it(world, where, current, record, server_image):
        raise Refused(
            f"{where.name} has {version} (attempt {current.attempt}) already, and it was not "
            "judged bad or aborted",
            hint=f"modelyard status {world.model}",
        )
    return 1 + _past_attempts(world, where, record.artifact.digest)


def _runs_it(
    world: World, where: Environment, current: Release, record: Record, server_image: str
) -> bool:
    """Return whether the release there is this very one, and healthy."""
    if is_bad(world.facts_of(where.name), current) or find_unreviewed(world, where):
        return False
    attempt = current.attempt
    # With the same attempt, so that only what really differs makes a difference.
    again = new_release(world, where.name, record, server_image=server_image, attempt=attempt)
    return again == current


def _past_attempts(world: World, where: Environment, artifact: str) -> int:
    """Return the highest attempt of the artifact there, as far back as the world reaches."""
    # Over past releases, not the present one: a rollback may have replaced the last attempt.
    past = world.past.get(where.name, ())
    return max(
        (each.release.attempt for each in past if each.release.artifact == artifact), default=0
    )
