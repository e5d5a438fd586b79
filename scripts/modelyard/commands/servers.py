"""`modelyard servers` and `adopt`: list or stop local servers, and take over an environment's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from modelyard.commands.options import dry_run_option, pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.errors import CannotAnswer, YardError
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.sites import Adopted


@click.group()
def servers() -> None:
    """List or stop the model servers that run on this machine."""


@servers.command(name="list")
@pass_services
def list_(services: Services, /) -> None:
    """List the model servers, their share of requests, and the addresses that take them."""
    from modelyard.adapters.cluster.local import LocalCluster
    from modelyard.operations.open_workspace import workspace_of
    from modelyard.operations.sites import read_standing

    workspace = workspace_of(services)
    catalog = workspace.watched_specs(workspace.main()).catalog
    running, errors = False, list[YardError]()
    for environment, model in sorted(catalog.releases):
        version = catalog.releases[environment, model].version
        try:
            where = catalog.require_environment(environment)
            state = services.cluster.observe(model=model, environment=where)
        except YardError as error:  # a damaged state file hides no other server
            print_line(f"{environment} {model} {version}: unknown")
            errors.append(error)
            continue
        if state is None:
            continue
        cluster = services.cluster
        here: tuple[str, ...] = ()
        if isinstance(cluster, LocalCluster):
            here = cluster.addresses(model=model, environment=where)
            if not here:
                print_line(f"{environment} {model} {version}: stopped")
                continue
        running = True
        ready = "ready" if state.ready else "not ready"
        at = "".join(f", {address}" for address in here)
        print_line(f"{environment} {model} {version}: {ready}, share {state.share:.0%}{at}")
    if why := read_standing(workspace).explanation():
        print_line(why, err=True)
    if errors:
        for other in errors[1:]:
            print_line(f"{other.message}; {other.hint}", err=True)
        raise errors[0]
    if not running:
        print_line("no server runs here; `modelyard watch` starts what Git pins", err=True)


@servers.command()
@pass_services
def stop(services: Services, /) -> None:
    """Stop all local model servers; `modelyard watch` starts them again."""
    from modelyard.adapters.cluster.local import LocalCluster

    if not isinstance(services.cluster, LocalCluster):
        raise CannotAnswer(
            "the model servers run in a cluster", hint="stop them with kubectl scale"
        )
    errors = services.cluster.stop_all()
    print_line("all servers are stopped; `modelyard watch` starts them again", err=True)
    for error in errors:
        print_line(f"before that: {error.message}", err=True)
        print_line(f"hint: {error.hint}", err=True)


@click.command()
@click.argument("environment", nargs=-1)
@dry_run_option
@pass_services
def adopt(services: Services, /, *, environment: tuple[str, ...], dry_run: bool) -> None:
    """Make this site the one that runs the servers of ENVIRONMENT, or of all environments.

    A site is a state folder, or a Kubernetes cluster. Only one of them runs an environment: it
    starts its servers and records how they are, and any other only reads. What joins an environment
    goes along. The site before notices at its next pass, and stops acting. `modelyard watch` then
    starts the servers here.
    """
    from modelyard.operations.open_workspace import workspace_of
    from modelyard.operations.sites import adopt as adopt_environments

    for each in adopt_environments(workspace_of(services), environment, dry_run=dry_run):
        print_line(_adopted(each, is_dry=dry_run))


def _adopted(adopted: Adopted, *, is_dry: bool) -> str:
    from modelyard.domain.sites import describe_owner

    name, before = adopted.environment, adopted.before
    if not adopted.is_new:
        return f"{name}: run by this site already"
    verb = "would be run by this site" if is_dry else "run by this site now"
    if before is None:
        return f"{name}: {verb}; nobody was written down before"
    since = f"there since {before.since:%Y-%m-%d %H:%M} UTC"
    return f"{name}: {verb}; taken from {describe_owner(before)}, {since}"
