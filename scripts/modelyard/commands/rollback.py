"""`modelyard rollback`: a person takes a version out, in Git and so in the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import dry_run_option, pass_services
from modelyard.commands.person import as_option, person
from modelyard.commands.promote import known_environment
from modelyard.domain.specs.paths import manifests_folder, release_file
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.promotion.actions import RollBack
    from modelyard.domain.promotion.change import Change
    from modelyard.domain.promotion.facts import Hold, ModelFacts
    from modelyard.domain.promotion.world import World
    from modelyard.domain.specs.environment import Environment
    from modelyard.domain.specs.release import Release
    from modelyard.operations.workspace import Workspace


@click.command()
@click.argument("environment")
@click.argument("model")
@click.option("--reason", required=True, help="Why; everybody reads it.")
@click.option("--remove", is_flag=True, help="Take it away where nothing was ever verified.")
@as_option
@dry_run_option
@pass_services
def rollback(
    services: Services,
    /,
    *,
    environment: str,
    model: str,
    reason: str,
    remove: bool,
    name: str | None,
    dry_run: bool,
) -> None:
    """Bring the last verified release of MODEL back to ENVIRONMENT, at once.

    The version it names now is put on hold, which takes it out of every environment.
    """
    from modelyard.operations.reconcile.changes import rollback_change
    from modelyard.operations.reconcile.collect import collect

    hold = _hold(services, person(services, name), reason)
    workspace = workspace_of(services)
    world = collect(workspace, model, with_registry=False)
    where = known_environment(world, environment)
    release = _named(world, where)
    held = _held(world, where, release, hold)
    way = None if remove else _way_back(held, where, release)
    if way is None:
        _check_removable(world, where, release)
        change = _removal(release, held.model_facts.holds[release.version])
    else:
        change = rollback_change(held, way, git=workspace.git)
    if dry_run:
        _preview(workspace, held, release, change)
        return
    _place(workspace, release, hold)
    if way is None:
        _merge(workspace, change, by=hold.by)
    _settle(workspace, held, release, way)


def _hold(services: Services, who: str, reason: str) -> Hold:
    from modelyard.adapters.git.names import readable
    from modelyard.domain.promotion.facts import Hold

    told = readable(reason)
    if not told:
        raise click.BadParameter("a rollback needs a reason", param_hint="--reason")
    return Hold(reason=told, by=who, since=services.clock.now())


def _named(world: World, where: Environment) -> Release:
    release = world.release(where.name)
    if release is None:
        raise CannotAnswer(
            f"{where.name} names no release of {world.model}",
            hint=f"modelyard status {world.model}",
        )
    return release


def _held(world: World, where: Environment, release: Release, hold: Hold) -> World:
    """The world once the version is on hold, in which a person may undo a rollback too."""
    holds = {release.version: hold, **world.model_facts.holds}
    facts = replace(world.facts_of(where.name), rolled_back_to=None)
    return replace(
        world,
        model_facts=replace(world.model_facts, holds=holds),
        facts={**world.facts, where.name: facts},
    )


def _way_back(held: World, where: Environment, release: Release) -> RollBack:
    from modelyard.domain.promotion.actions import RollBack
    from modelyard.domain.promotion.rollback import way_back

    target = way_back(held, where, release)
    if target is None:
        remove = f"modelyard rollback {where.name} {held.model} --reason ... --remove"
        promote = f"modelyard promote {where.name} {held.model} VERSION"
        raise Refused(
            f"{where.name} has no verified release of {held.model} to go back to from "
            f"{release.version}, or only such that are on hold",
            hint=promote if held.facts_of(where.name).verified else remove,
        )
    reason = f"{release.version} is on hold: {held.model_facts.holds[release.version].reason}"
    return RollBack(environment=where.name, version=release.version, target=target, reason=reason)


def _check_removable(world: World, where: Environment, release: Release) -> None:
    verified = world.facts_of(where.name).verified
    if verified:
        raise Refused(
            f"{where.name} ran {len(verified)} verified releases of {world.model}; only where "
            f"nothing was ever verified is {release.version} taken away",
            hint=f"modelyard rollback {where.name} {world.model} --reason ...",
        )


def _removal(release: Release, hold: Hold) -> Change:
    """The release and its manifests deleted."""
    from modelyard.domain.promotion.branches import Branch
    from modelyard.domain.promotion.change import Change, Purpose
    from modelyard.operations.reconcile.pages import escaped, short

    model, where, version = release.model, release.environment, release.version
    body = (
        f"**{where}** named {version} (`{short(release.artifact)}`): {escaped(hold.reason)}.\n\n"
        f"Nothing verified ever ran there, so {where} runs nothing of {model} after this. "
        f"`modelyard unhold {model} {version}` lets the version come back.\n"
    )
    return Change(
        purpose=Purpose.ROLLBACK,
        branch=str(Branch(purpose=Purpose.ROLLBACK, subject=where, model=model)),
        title=f"Take {model} {version} out of {where}",
        body=body,
        documents={release_file(where, model): None, manifests_folder(where, model): None},
        trailers={
            "Modelyard-Model": model,
            "Modelyard-Environment": where,
            "Modelyard-Rollback-Of": version,
            "Modelyard-Reason": hold.reason[:300],
        },
        labels=(where, "rollback"),
    )


def _preview(workspace: Workspace, held: World, release: Release, change: Change) -> None:
    from modelyard.commands.output.tables import change_lines

    hold = held.model_facts.holds[release.version]
    click.echo(f"would hold {held.model} {release.version} as {hold.by}: {hold.reason}\n")
    for line in (*change_lines(change), *_elsewhere(workspace, held, release)):
        click.echo(line)


def _elsewhere(workspace: Workspace, held: World, release: Release) -> Iterator[str]:
    """What the hold leads to in the other environments."""
    from modelyard.commands.output.tables import change_lines
    from modelyard.domain.promotion.actions import RollBack
    from modelyard.domain.promotion.rollback import rollbacks
    from modelyard.operations.reconcile.changes import rollback_change

    here = (release.environment, held.model)
    others = {key: each for key, each in held.catalog.releases.items() if key != here}
    for action in rollbacks(replace(held, catalog=replace(held.catalog, releases=others))):
        yield ""
        if isinstance(action, RollBack):
            yield from change_lines(rollback_change(held, action, git=workspace.git))
        else:
            yield f"INCIDENT {held.model}: {action.what}"


def _place(workspace: Workspace, release: Release, hold: Hold) -> None:
    """Hold the version; a hold that is there already stays."""

    def change(before: ModelFacts) -> ModelFacts:
        return replace(before, holds={release.version: hold, **before.holds})

    workspace.facts.update_model(release.model, change)
    click.echo(f"{release.model} {release.version} is on hold: {hold.reason}")


def _merge(workspace: Workspace, change: Change, *, by: str) -> None:
    """Propose and merge at once, as an automatic rollback is; in the person's own name."""
    from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, Status, StatusState

    pulls = workspace.services.pulls
    pull = pulls.propose(change, author=by)
    word = f"{by} takes it out, where nothing verified ever ran"
    for context in (CHECKS, PROMOTE):
        status = Status(context=context, state=StatusState.SUCCESS, description=word)
        pulls.set_status(pull.head, status)
    commit = pulls.merge(pull.number, sha=pull.head, by=by)
    click.echo(f"#{pull.number} merged as {commit[:10]}: {change.title}")


def _settle(workspace: Workspace, held: World, release: Release, way: RollBack | None) -> None:
    """Reconcile; what a rollback had restored goes back by this person's word alone."""
    from modelyard.operations.reconcile.apply import apply_action
    from modelyard.operations.reconcile.loop import settle

    facts, _ = workspace.facts.read_release(release.environment, release.model)
    if way is not None and facts.rolled_back_to == release.identity:
        apply_action(way, workspace, held, click.echo)
    settle(workspace, release.model, wait=False, say=click.echo)
    left = workspace.catalog(workspace.main()).releases.get((release.environment, release.model))
    if left == release:
        raise CannotAnswer(
            f"{release.environment} still names {release.version} of {release.model}",
            hint=f"modelyard reconcile {release.model} --dry-run",
        )
