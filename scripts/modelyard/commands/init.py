"""`modelyard init`: set up the forge of a checkout, so that only what was checked is merged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelyard.commands.options import dry_run_option, pass_root
from modelyard.commands.output.terminal import print_line
from modelyard.domain.specs.paths import SETTINGS
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import Refused

if TYPE_CHECKING:
    from modelyard.adapters.forge.hosted.settings import Setting

_FORGES = (str(ForgeKind.GITHUB), str(ForgeKind.GITEA))


@click.command("init")
@click.option(
    "--forge", type=click.Choice(_FORGES), required=True, help="What the checkout's remote is on."
)
@click.option(
    "--bot",
    metavar="LOGIN",
    help="Whom modelyard acts as; SLUG[bot] of a GitHub App. [default: bot of modelyard.yaml]",
)
@dry_run_option
@pass_root
def init(root: Path, *, forge: str, bot: str | None, dry_run: bool) -> None:
    """Set up the forge of this checkout, and say in modelyard.yaml where it is.

    It protects the main branch and the branch of the facts, and creates labels and environments.
    It needs the token of an administrator in MODELYARD_FORGE_TOKEN. Rules of others are left alone.
    Run again, it changes nothing. A dry run exits with 3 if something would change.
    """
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
    for each in settings:
        if each.requests and not dry_run:
            apply_setting(after, each)
        print_line(_describe(each, dry_run=dry_run))
    if dry_run:
        if edited != text or any(each.requests for each in settings):
            raise click.exceptions.Exit(Refused.exit_code)
        return
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
