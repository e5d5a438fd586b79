"""`modelyard signature`: keys that sign artifacts, and what they signed."""

from __future__ import annotations

from pathlib import Path

import click

from modelyard.commands.options import pass_services
from modelyard.commands.output.terminal import print_line
from modelyard.operations.open_workspace import workspace_of
from modelyard.ports import Services


@click.group()
def signature() -> None:
    """Make keys that sign artifacts, sign one, and check one."""


@signature.command("new-key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def new_key(file: Path) -> None:
    """Write a new private key to FILE, and print its public key.

    List the public key under artifact.signed_by in model.yaml. Only this user reads FILE; it may
    not be in a checkout.
    """
    from modelyard.adapters.store.signing_keys import SIGNING_KEY
    from modelyard.operations.signing.sign import make_key

    print_line(make_key(file))
    print_line(f"wrote {file}; next: export {SIGNING_KEY}={file.absolute()}", err=True)


@signature.command()
@click.argument("model")
@click.argument("version")
@pass_services
def sign(services: Services, /, *, model: str, version: str) -> None:
    """Sign the artifact that the main branch records for VERSION of MODEL.

    Training does this by itself where MODELYARD_SIGNING_KEY names a key. This is for what was
    trained before there was one.
    """
    from modelyard.operations.signing.sign import sign_version

    print_line(f"signed: {sign_version(workspace_of(services), model, version)}")


@signature.command()
@click.argument("model")
@click.argument("version")
@pass_services
def check(services: Services, /, *, model: str, version: str) -> None:
    """Check the signature of VERSION of MODEL, and every file that was signed.

    Exit 0 if it is as artifact.signed_by asks, 3 if not, and then by which file.
    """
    from modelyard.operations.signing.sign import check_version

    asked = check_version(workspace_of(services), model, version)
    print_line(f"{asked.subject} is signed, and has the files that were signed")
