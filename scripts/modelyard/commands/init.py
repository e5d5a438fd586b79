"""`modelyard init`, `upgrade` and `platform`: a new yard, its forge, its version, its cluster."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, TextIO

import click

from modelyard.commands.options import (
    as_option,
    dry_run_option,
    find_person,
    find_root,
    pass_services,
)
from modelyard.commands.output.terminal import print_line
from modelyard.domain.people import Person
from modelyard.domain.specs.paths import SETTINGS
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import Refused
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.adapters.forge.hosted.settings import Setting

_FORGES = (str(ForgeKind.GITHUB), str(ForgeKind.GITEA))


@click.command("init")
@click.argument(
    "directory", required=False, type=click.Path(path_type=Path, file_okay=False), metavar="[DIR]"
)
@click.option(
    "--wheel",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With DIR: modelyard's wheel, to be pinned. [default: what this checkout builds]",
)
@click.option("--forge", type=click.Choice(_FORGES), help="What the checkout's remote is on.")
@click.option(
    "--bot",
    metavar="LOGIN",
    help="Whom modelyard acts as; SLUG[bot] of a GitHub App. [default: bot of modelyard.yaml]",
)
@dry_run_option
def init(
    *, directory: Path | None, wheel: Path | None, forge: str | None, bot: str | None, dry_run: bool
) -> None:
    """Write a new yard into DIR, or set up the forge of this checkout.

    With DIR: everything that a team changes, without models, and toolkit.lock, which pins modelyard
    and what it needs by hash. DIR must be empty or not there.

    With --forge: it protects the main branch and the branch of the facts, creates labels and
    environments, and says in modelyard.yaml where the forge is. It needs the token of an
    administrator in MODELYARD_FORGE_TOKEN. Rules of others are left alone. Run again, it changes
    nothing. A dry run exits with 3 if something would change, and a run if the forge lets the token
    not set something, which is then named as left to do by hand.
    """
    if directory is not None:
        if forge is not None or bot is not None:
            raise click.UsageError(
                "a new yard has no remote yet: push it, then run modelyard init --forge in it"
            )
        _write_yard(directory, wheel, dry_run=dry_run)
        return
    if forge is None:
        raise click.UsageError("give DIR for a new yard, or --forge for the forge of this checkout")
    if wheel is not None:
        raise click.UsageError("--wheel belongs to a new yard: give its DIR")
    _set_up_forge(find_root(), forge, bot, dry_run=dry_run)


def _write_yard(directory: Path, wheel: Path | None, *, dry_run: bool) -> None:
    from modelyard.operations.content.new_yard import refuse_what_is_there, write_yard, yard_files
    from modelyard.operations.content.toolkit_lock import TOOLKIT_LOCK, read_wheel

    pinned = read_wheel(wheel)
    files = yard_files(pinned)
    if dry_run:
        refuse_what_is_there(directory)
        for name in sorted(files):
            print_line(f"would write: {name}")
        raise click.exceptions.Exit(Refused.exit_code)
    write_yard(directory, files)
    print_line(f"{directory}: {len(files)} files; {TOOLKIT_LOCK} pins modelyard {pinned.version}")
    there = quote(str(directory))
    forge = quote(f"../{directory.name.strip('.') or 'forge'}.git")  # also for the folders . and ..
    print_line(f"  next: cd {there} && git init -b main && git add --all && git commit -m Yard")
    print_line(f"  a forge, if it has none yet: git init --bare -b main {forge}")
    print_line(f"  then: git remote add origin {forge} && git push -u origin main")


def _set_up_forge(root: Path, forge: str, bot: str | None, *, dry_run: bool) -> None:
    from modelyard.adapters.git.repository import Git
    from modelyard.operations.forge.setup import (
        apply_setting,
        difference,
        edit_settings,
        environments_of,
        read_address,
        read_settings,
        settings_for,
        write_settings,
    )
    from modelyard.operations.services import repository_of

    before, kind, file = repository_of(root), ForgeKind(forge), root / SETTINGS
    address = read_address(Git(root).remote_url(before.remote), kind)
    after = settings_for(before, kind, address, bot=bot or before.bot)
    text = file.read_text(encoding="utf-8")
    edited = edit_settings(text, before, after)
    settings = read_settings(after, environments_of(root), as_person=True)
    for line in difference(text, edited):
        print_line(line)
    refused = False
    for each in settings:
        made = apply_setting(after, each) if each.requests and not dry_run else each
        refused = refused or bool(each.requests and not made.requests)
        print_line(_describe(made, dry_run=dry_run))
    if dry_run:
        if edited != text or any(each.requests for each in settings):
            raise click.exceptions.Exit(Refused.exit_code)
        return
    if refused:  # a yard whose branches are not protected is not said to be on the forge
        raise Refused(
            "the forge does not let this token set all of it",
            hint="see the lines `by hand`, then run modelyard init again",
        )
    if edited != text:
        write_settings(file, edited)
        print_line(f"{SETTINGS} is changed here: commit it, and propose it in a pull request")


def _describe(setting: Setting, *, dry_run: bool) -> str:
    lacks = "; ".join(setting.lacks)
    if setting.requests:
        return f"{'would set' if dry_run else 'set'}: {setting.what} ({lacks})"
    if setting.lacks:
        return f"by hand: {setting.what}: {lacks}; {setting.by_hand}"
    return f"ok: {setting.what}"


@click.command()
@click.option(
    "--wheel",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The wheel to pin, of the version that runs. [default: what this checkout builds]",
)
@as_option
@dry_run_option
@pass_services
def upgrade(services: Services, /, *, wheel: Path | None, name: str | None, dry_run: bool) -> None:
    """Open a pull request that brings a yard to the version of modelyard that runs.

    It pins the wheel and what it needs, takes over what that version brings for a yard, and renders
    the workflows again. What the team changed stays: where modelyard changed it too, the page says
    so. Run again with the same wheel, it changes nothing.
    """
    from importlib.metadata import version

    from modelyard.commands.output.formatting import print_change
    from modelyard.operations.content.toolkit_lock import read_wheel
    from modelyard.operations.content.upgrade import decide_upgrade
    from modelyard.operations.open_workspace import workspace_of

    found = decide_upgrade(workspace_of(services), read_wheel(wheel), running=version("modelyard"))
    if found is None:
        print_line("the main branch pins this wheel already")
        return
    for path in found.conflicts:
        print_line(f"stays as you have it, and modelyard changed it too: {path}", err=True)
    if dry_run:
        print_change(found.change)
        return
    requester = Person.named(find_person(services, name))
    pull = services.pulls.propose(found.change, requester=requester)
    print_line(f"#{pull.number} is open: {pull.title}")
    print_line("  when it is merged: make install in each checkout")


@click.group()
def platform() -> None:
    """Say where the bucket, the image and the database of the platform are."""


@platform.command()
@click.option(
    "--from",
    "source",
    type=click.File("r"),
    required=True,
    help="The outputs of environments/platform/aws as JSON; - is stdin.",
)
@click.option("--image", help="The image with its digest, in place of that of the outputs.")
@as_option
@dry_run_option
@pass_services
def configure(
    services: Services,
    /,
    *,
    source: TextIO,
    image: str | None,
    name: str | None,
    dry_run: bool,
) -> None:
    """Open a pull request that fills in the platform's addresses.

    It fills in the repository, the bucket and the image in environments/argocd.yaml and
    environments/platform/manifests, and the settings that modelyard.yaml needs on a cluster, and
    renders the workflows again. Run again with the same values, it changes nothing.
    """
    from modelyard.commands.output.formatting import print_change
    from modelyard.operations.open_workspace import workspace_of
    from modelyard.operations.platform.configure import decide_configuration, read_platform

    shown = Path(source.name).name if source.name != "<stdin>" else "stdin"
    outputs = read_platform(source.read(), source=shown, image=image)
    change = decide_configuration(workspace_of(services), outputs)
    if change is None:
        print_line(f"the main branch is configured for {outputs.bucket} already")
        return
    if dry_run:
        print_change(change)
        return
    requester = Person.named(find_person(services, name))
    pull = services.pulls.propose(change, requester=requester)
    print_line(f"#{pull.number} is open: {pull.title}")
    print_line("  when it is merged: environments/platform/README.md goes on with step 2")
