"""`modelyard promote`: a person asks for a version that reconcile would not propose by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelyard.commands.options import dry_run_option, pass_services
from modelyard.commands.person import as_option, person
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.promotion.world import World
    from modelyard.domain.specs.environment import Environment
    from modelyard.domain.specs.release import Release


@click.command()
@click.argument("environment")
@click.argument("model")
@click.argument("version", required=False)
@as_option
@dry_run_option
@pass_services
def promote(
    services: Services,
    /,
    *,
    environment: str,
    model: str,
    version: str | None,
    name: str | None,
    dry_run: bool,
) -> None:
    """Propose VERSION of MODEL for ENVIRONMENT, or the version of the environment before.

    A version that was there before gets a new attempt. Says what is still missing, and from whom;
    `modelyard reconcile` merges the pull request once nothing is.
    """
    from modelyard.commands.output.tables import change_lines
    from modelyard.domain.promotion.actions import ProposeRelease
    from modelyard.domain.promotion.promote import missing
    from modelyard.operations.reconcile.changes import promotion_change
    from modelyard.operations.reconcile.collect import collect

    who = person(services, name)
    world = collect(workspace_of(services), model, with_registry=False)
    where = known_environment(world, environment)
    wanted = version or _version_before(world, where)
    attempt = _next_attempt(world, where, wanted, services.repository.server_image)
    action = ProposeRelease(environment=environment, version=wanted, attempt=attempt)
    change = promotion_change(world, action, server_image=services.repository.server_image)
    if dry_run:
        pull = None
        for line in change_lines(change):
            click.echo(line)
    else:
        pull = services.pulls.propose(change, author=world.bot, requester=who)
        click.echo(f"#{pull.number} is open: {pull.title}, asked by {pull.requester or who}")
    for each in missing(world, where, version=wanted, pull=pull):
        click.echo(f"  {'blocked by' if each.blocks else 'waits for'} {each.what}")


def known_environment(world: World, name: str) -> Environment:
    """The environment of this name, as one to be decided in.

    Raises:
        CannotAnswer: The main branch has none, or the model's facts there cannot be read.
    """
    if name not in world.catalog.environments:
        known = ", ".join(e.name for e in world.catalog.path_to_production()) or "none"
        raise CannotAnswer(
            f"the main branch has no environment {name!r}; it has {known}",
            hint=f"the environment comes first: modelyard promote ENVIRONMENT {world.model}",
        )
    if name in world.unknown:
        raise CannotAnswer(
            f"what was seen of {world.model} in {name} cannot be read", hint="modelyard doctor"
        )
    return world.catalog.environments[name]


def _version_before(world: World, where: Environment) -> str:
    """The version that the environment before this one runs."""
    if where.promotes_from is None:
        raise click.UsageError(f"{where.name} is the first environment: say which VERSION")
    source = world.release(where.promotes_from)
    if source is None:
        raise Refused(
            f"{where.promotes_from}, which {where.name} promotes from, names no release of "
            f"{world.model}",
            hint=f"modelyard promote {where.promotes_from} {world.model}",
        )
    return source.version


def _next_attempt(world: World, where: Environment, version: str, server_image: str) -> int:
    """The number of this try, if there is something to try.

    Raises:
        CannotAnswer: The version has no record to release from.
        Refused: The version is on hold, was never given an artifact, or runs there as it would.
    """
    if hold := world.model_facts.holds.get(version):
        raise Refused(
            f"{world.model} {version} is on hold by {hold.by}: {hold.reason}",
            hint=f"modelyard unhold {world.model} {version}",
        )
    record = world.record(version)
    if record is None:
        raise CannotAnswer(
            f"the main branch has no record of {world.model} {version}",
            hint=f"modelyard status {world.model}",
        )
    if record.artifact is None:
        raise Refused(f"{world.model} {version} has no artifact: {record.verdict.reason}")
    current = world.release(where.name)
    if current is not None and _runs_it(world, where, current, version, server_image):
        raise Refused(
            f"{where.name} names {version} (attempt {current.attempt}) already, and it was not "
            "taken out of traffic",
            hint=f"modelyard status {world.model}",
        )
    return 1 + _attempts(world, where, record.artifact.digest)


def _runs_it(
    world: World, where: Environment, current: Release, version: str, server_image: str
) -> bool:
    """Whether another attempt would be the very same release under another number."""
    from modelyard.domain.promotion.facts import is_bad
    from modelyard.operations.reconcile.changes import new_release

    record = world.record(version)
    if record is None or is_bad(world.facts_of(where.name), current):
        return False
    attempt = current.attempt
    again = new_release(world, where.name, record, server_image=server_image, attempt=attempt)
    return again == current


def _attempts(world: World, where: Environment, artifact: str) -> int:
    """How often the artifact was released there, as far back as the world looks."""
    past = world.past.get(where.name, ())
    return max(
        (each.release.attempt for each in past if each.release.artifact == artifact), default=0
    )
