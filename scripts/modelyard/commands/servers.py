"""`modelyard servers`: list or stop local model servers."""

from __future__ import annotations

import click

from modelyard.commands.options import pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.errors import CannotAnswer
from modelyard.ports import Services


@click.group()
def servers() -> None:
    """List or stop the model servers that run on this machine."""


@servers.command(name="list")
@pass_services
def list_(services: Services, /) -> None:
    """List the model servers and their share of requests."""
    from modelyard.adapters.cluster.local import LocalCluster
    from modelyard.operations.workspace import workspace_of

    workspace = workspace_of(services)
    catalog = workspace.catalog(workspace.main())
    running = False
    for environment, model in sorted(catalog.releases):
        where = catalog.environments[environment]
        state = services.cluster.observe(model=model, environment=where)
        version = catalog.releases[environment, model].version
        if state is None:
            continue
        cluster = services.cluster
        if isinstance(cluster, LocalCluster) and not cluster.has_process(
            model=model, environment=where
        ):
            print_line(f"{environment} {model} {version}: stopped")
            continue
        running = True
        ready = "ready" if state.ready else "not ready"
        print_line(f"{environment} {model} {version}: {ready}, share {state.share:.0%}")
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
    services.cluster.stop_all()
    print_line("all servers are stopped; `modelyard watch` starts them again", err=True)
