"""`modelyard step`, `workflow` and `fetch-model`: what pods run, and a workflow on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from modelyard.commands.options import pass_root, pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.errors import CannotAnswer
from modelyard.operations.workspace import store_of
from modelyard.ports import Services


@click.group(hidden=True)
def step() -> None:
    """Run one step of a training workflow."""


def _job_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(  # so that --help lists them in this order
        (
            click.option("--model", required=True, help="The model."),
            click.option("--version", required=True, help="The version."),
            click.option(
                "--attempt", type=int, default=1, help="The attempt to train this version."
            ),
            click.option(
                "--commit", required=True, help="The commit of the main branch to read specs from."
            ),
            click.option("--run", "workflow", required=True, help="The workflow's name."),
            click.option(
                "--submitted",
                default="",
                envvar="MODELYARD_SUBMITTED",
                help="The commit of the main branch, where --commit names what `step specs` left."
                " [env: MODELYARD_SUBMITTED]",
            ),
        )
    ):
        command = option(command)
    return command


_inputs_option = click.option(
    "--inputs",
    default="",
    envvar="MODELYARD_INPUTS",
    help="The SHA-256 that fetch wrote by --left; what it left is compared with it."
    " [env: MODELYARD_INPUTS]",
)


def _job(services: Services, options: dict[str, Any]) -> Any:
    from modelyard.operations.training.job import Job

    model_name = options.pop("model")
    if submitted := options.pop("submitted"):
        from modelyard.operations.training.older_images.specs import find_readable

        options |= {"commit": submitted, "specs": find_readable(services.root, submitted)}
    # `fetch` runs in the platform's image, which is the older one until an upgrade is merged.
    if options.get("inputs") == "":
        print_line(
            "no SHA-256 of what fetch left was passed on, as by an older image: what the store "
            "has is compared with nothing",
            err=True,
        )
    job = Job(services=services, store=store_of(services), model_name=model_name, **options)
    job.catalog.require_version(job.model_name, job.version, where=job.commit[:10])
    return job


@step.command()
@_job_options
@click.option(
    "--left",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MODELYARD_LEFT",
    help="Write to this file the SHA-256 that --inputs of the steps after it takes."
    " [env: MODELYARD_LEFT]",
)
@pass_services
def fetch(services: Services, /, *, left: Path | None, **options: Any) -> None:
    """Fetch data by digest and code by tree, and keep held-out rows apart."""
    from modelyard.operations.training.fetch import fetch_inputs as run
    from modelyard.operations.training.job import run_step

    digest = run_step("fetch", run, _job(services, options))
    if left is not None:
        left.write_text(digest)


@step.command()
@_job_options
@click.option("--step", "name", required=True, help="The step whose image reads them.")
@click.option(
    "--schemas",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the schemas that this image has.",
)
@pass_services
def specs(services: Services, /, *, name: str, schemas: Path, **options: Any) -> None:
    """In a pod: leave the specs as the image of its step can read them."""
    from modelyard.operations.training.job import run_step
    from modelyard.operations.training.older_images.specs import leave_readable

    run_step("specs", partial(leave_readable, step=name, folder=schemas), _job(services, options))


@step.command()
@_job_options
@_inputs_option
@pass_services
def bring(services: Services, /, **options: Any) -> None:
    """In a pod: bring the inputs of the container that trains."""
    from modelyard.operations.training.train import bring_inputs as run

    run(_job(services, options))


@step.command()
@click.option(
    "--apart",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    envvar="MODELYARD_APART",
    help="The pod's folder of inputs and outputs. [env: MODELYARD_APART]",
)
def trainer(apart: Path) -> None:
    """In a pod: run the trainer, in a container that has no credentials and needs no checkout."""
    from modelyard.operations.training.apart import train_alone

    train_alone(apart)


@step.command()
@_job_options
@_inputs_option
@click.option(
    "--shards",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="MODELYARD_SHARDS",
    help="Write to this file the JSON list of the shards of the drift profile that `step profile`"
    " has to build; empty if model.yaml asks for one piece, which is built here."
    " [env: MODELYARD_SHARDS]",
)
@pass_services
def train(services: Services, /, *, shards: Path | None, **options: Any) -> None:
    """Run the model's trainer in a clean environment and seal its artifact."""
    from modelyard.operations.training.job import run_step
    from modelyard.operations.training.train import train_model

    run = partial(train_model, may_split=shards is not None)
    split = run_step("train", run, _job(services, options))
    if shards is not None:
        shards.write_text(json.dumps(split))


@step.command()
@_job_options
@_inputs_option
@click.option("--shard", required=True, help="The shard, such as 2-of-8.")
@pass_services
def profile(services: Services, /, *, shard: str, **options: Any) -> None:
    """Build one shard of the drift profile; `record` puts them together."""
    from modelyard.operations.training.job import run_step
    from modelyard.operations.training.profile.build import put_shard

    run_step("profile", partial(put_shard, name=shard), _job(services, options))


@step.command()
@_job_options
@pass_services
def champion(services: Services, /, **options: Any) -> None:
    """Score a champion of another runtime on the held-out sets."""
    from modelyard.operations.training.evaluate import score_champion as run
    from modelyard.operations.training.job import run_step

    run_step("champion", run, _job(services, options))


@step.command()
@_job_options
@_inputs_option
@pass_services
def evaluate(services: Services, /, **options: Any) -> None:
    """Score challenger and champion on the held-out sets and compute the gate's verdict."""
    from modelyard.operations.training.evaluate import score_held_out_sets as run
    from modelyard.operations.training.job import run_step

    run_step("evaluate", run, _job(services, options))


@step.command()
@_job_options
@pass_services
def verify(services: Services, /, **options: Any) -> None:
    """Start the real server on the artifact and compare its answers with the golden ones."""
    from modelyard.operations.training.job import run_step
    from modelyard.operations.training.verify import verify_server as run

    run_step("verify", run, _job(services, options))


@step.command()
@_job_options
@_inputs_option
@pass_services
def record(services: Services, /, **options: Any) -> None:
    """Log the run, register the version, and store the outcome."""
    from modelyard.operations.training.job import run_step
    from modelyard.operations.training.record import record_training as run

    run_step("record", run, _job(services, options))


@step.command()
@click.argument("task", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def supervise(task: Path) -> None:
    """Run what the file TASK asks for closed in; the step `train` starts this itself."""
    from modelyard.adapters.isolation.supervisor import supervise_task

    supervise_task(task)


@click.group(hidden=True)
def workflow() -> None:
    """Run a submitted workflow on this machine."""


@workflow.command()
@click.argument("name")
@pass_root
def run(root: Path, /, name: str) -> None:
    """Run the submitted workflow NAME to its end."""
    from modelyard.adapters.processes.bounded_log import bound_own_output
    from modelyard.adapters.workflows.local import LocalWorkflows
    from modelyard.operations.services import repository_of

    bound_own_output()
    status = LocalWorkflows(root, repository_of(root)).run(name)
    if status is None:
        raise CannotAnswer(f"there is no workflow {name}")
    print_line(f"{name}: {status.phase}{': ' if status.message else ''}{status.message}")


@click.command(name="fetch-model", hidden=True)
@click.option("--artifact", required=True, help="The pin: sha256:<64 hex digits>.")
@click.option(
    "--folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to put it; must not exist.",
)
@click.option(
    "--store",
    required=True,
    envvar="MODELYARD_ARTIFACTS",
    help="The artifact store's URI. [env: MODELYARD_ARTIFACTS]",
)
@click.option("--model", default="", help="The model, for --signed-by.")
@click.option("--version", default="", help="The version, for --signed-by.")
@click.option(
    "--signed-by",
    "keys",
    multiple=True,
    metavar="KEY",
    help="A public key that may have signed it; without any, no signature is asked for.",
)
def fetch_model(
    *, artifact: str, folder: Path, store: str, model: str, version: str, keys: tuple[str, ...]
) -> None:
    """Fetch an artifact from the store into a folder; needs no checkout.

    Its signature is checked first. The server verifies the digest before it opens the artifact.
    """
    from modelyard.adapters.store.artifacts import Store
    from modelyard.adapters.store.signatures import fetch_artifact
    from modelyard.domain.signatures import Asked

    asked = Asked(model=model, version=version, keys=keys) if keys else None
    fetch_artifact(Store(store, Path.cwd()), artifact, folder, asked)
    print_line(f"{artifact} is in {folder}", err=True)
