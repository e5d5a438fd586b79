"""`modelyard servers`: the model servers of a local yard."""

from __future__ import annotations

import click

from modelyard.commands.options import pass_services
from modelyard.errors import CannotAnswer
from modelyard.ports import Services


@click.group()
def servers() -> None:
    """List or stop the model servers that run on this machine."""


@servers.command(name="list")
@pass_services
def list_(services: Services, /) -> None:
    """Say what runs where, and what share of the requests it is given."""
    from modelyard.operations.workspace import workspace_of

    workspace = workspace_of(services)
    catalog = workspace.catalog(workspace.main())
    running = False
    for environment, model in sorted(catalog.releases):
        where = catalog.environments[environment]
        state = services.cluster.observe(model=model, environment=where)
        version = catalog.releases[environment, model].version
        if state is not None:
            running = True
            ready = "ready" if state.ready else "not ready"
            click.echo(f"{environment} {model} {version}: {ready}, share {state.share:.0%}")
    if not running:
        click.echo("no server runs here; `modelyard watch` starts what Git names", err=True)


@servers.command()
@pass_services
def stop(services: Services, /) -> None:
    """Stop every server this yard started; `modelyard watch` starts them again."""
    from modelyard.adapters.cluster.local import LocalCluster

    if not isinstance(services.cluster, LocalCluster):
        raise CannotAnswer("these servers run in a cluster", hint="kubectl scale stops them there")
    services.cluster.stop_all()
    click.echo("every server here is stopped; `modelyard watch` starts them again", err=True)
