"""`modelyard runtime`: the locks and the environments that models train and serve in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import dry_run_option, pass_root, pass_services
from modelyard.commands.output.terminal import make_console, print_line
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.domain.specs.catalog import Catalog


@click.group()
def runtime() -> None:
    """Lock the runtimes of models, and list or remove those of this machine."""


@runtime.command("lock")
@click.argument("model", required=False)
@click.option("--platform", is_flag=True, help="Lock that of models without one of their own.")
@click.option("--upgrade", is_flag=True, help="Take the newest versions instead of present pins.")
@pass_root
def lock_runtime(root: Path, /, *, model: str | None, platform: bool, upgrade: bool) -> None:
    """Lock the runtime of MODEL from models/MODEL/trainer/requirements.in.

    The trainer's libraries are locked together with what scoring and serving need, and with gRPC if
    `server.grpc` of model.yaml asks for it. If they do not
    go together, that is said (exit 3) and nothing is written. Commit the lock; then `modelyard
    version new` pins it.
    """
    from modelyard.operations.runtimes.lock import lock_model, lock_platform

    if (model is None) != platform:
        raise click.UsageError("give MODEL or --platform, not both")
    if model is None:
        path = lock_platform(root, upgrade=upgrade)
    else:
        spec = _catalog(root).require_model(model, where=str(root))
        path = lock_model(root, model, upgrade=upgrade, has_grpc=spec.server.grpc)
    print_line(f"wrote {path}", err=True)


@runtime.command("image")
@click.argument("lock", required=False)
@click.argument("image", metavar="[NAME@DIGEST]", required=False)
@click.option(
    "--built",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Read locks and images from the files that `make image` writes into BUILT=FOLDER.",
)
@pass_services
def note_built(
    services: Services, /, *, lock: str | None, image: str | None, built: Path | None
) -> None:
    """Write down that the image NAME@DIGEST was built of LOCK, a path such as requirements.lock.

    The workflow `images` calls it with --built. `modelyard version new` then pins the image by its
    digest. In a workflow nothing is written for `forge: local`, where only people may.
    """
    from modelyard.operations.runtimes.built import is_job_without_forge, note_image, read_built

    if built is not None and lock is None:
        images = read_built(built)
    elif built is None and lock is not None and image is not None:
        images = {lock: image}
    else:
        raise click.UsageError("give LOCK and NAME@DIGEST, or --built FOLDER")
    if is_job_without_forge(services):
        print_line("nothing is written down: forge: local; version new takes --image NAME@DIGEST")
        return
    for path, name in images.items():
        digest = note_image(services, path, name)
        print_line(f"{path} ({digest[:12]}) is built as {name}")


@runtime.command("list")
@pass_root
def list_built(root: Path, /) -> None:
    """List the runtimes that were built on this machine, and what needs them."""
    from modelyard.commands.output.formatting import make_table
    from modelyard.operations.runtimes.prune import list_runtimes

    rows = [
        (each.built.lock[:12], f"{each.built.megabytes:.0f}", ", ".join(each.reasons) or "nothing")
        for each in list_runtimes(_catalog(root))
    ]
    make_console().print(make_table(None, ("lock", "MB", "needed by"), rows))


@runtime.command("prune")
@dry_run_option
@pass_root
def prune(root: Path, /, *, dry_run: bool) -> None:
    """Remove the runtimes that no process, release or version without a record of this yard needs.

    Another yard builds one again when it needs it.
    """
    from modelyard.operations.runtimes.prune import prune_runtimes

    verb = "would remove" if dry_run else "removed"
    for each in prune_runtimes(_catalog(root), dry_run=dry_run):
        print_line(f"{verb} {each.built.folder} ({each.built.megabytes:.0f} MB)")


@runtime.command(hidden=True)
@click.argument("order", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def score(order: Path) -> None:
    """Carry out the order of scores in a file."""
    from modelyard.serving.scoring import run_order

    run_order(order)


def _catalog(root: Path) -> Catalog:
    from modelyard.adapters.git.trees import WorkingTree
    from modelyard.adapters.specs.reader import read_specs

    return read_specs(WorkingTree(root)).catalog
