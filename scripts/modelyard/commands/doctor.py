"""`modelyard doctor` and `gc`: check that everything needed is in place; pack what has grown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.commands.options import output_option, pass_root
from modelyard.commands.output.terminal import make_console, print_json, print_line
from modelyard.domain.specs.repository import ForgeKind, WorkflowsKind
from modelyard.errors import Refused, YardError
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import repository_of, services_for
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.doctor.runner import Check, CheckResult
    from modelyard.operations.workspace import Workspace

# The words of schemas/output/doctor.schema.json, which programs read.
_JSON_STATES = {"ok": "well", "failed": "wrong", "skipped": "skipped"}
_COLOURS = {"ok": "green", "failed": "red", "skipped": "yellow"}


@click.command()
@output_option
@pass_root
def doctor(root: Path, *, output: str) -> None:
    """Check that everything needed is in place; change nothing.

    Exit 3 if a check fails. The command or edit that fixes it is printed below it.
    """
    from modelyard.operations.doctor.checks import CHECKS
    from modelyard.operations.doctor.runner import Checkout, State, run_doctor

    left_out = _checks_of_what_is_not_used(root)
    checks = {check: needs for check, needs in CHECKS.items() if check not in left_out}
    results = run_doctor(Checkout(root, _opener(root)), checks)
    failed = sum(each.state is State.FAILED for each in results)
    if output == "json":
        print_json(_document(results, is_well=not failed))
    else:
        _print_text(results)
    if failed:
        raise Refused(f"{failed} of {len(results)} checks failed")


@click.command()
@pass_root
def gc(root: Path) -> None:
    """Pack this checkout's repository, and the bare one of a forge on this machine.

    It removes no fact, pull request, record or evidence, and may run beside a watcher.
    """
    from modelyard.adapters.git.packing import compact_repository
    from modelyard.operations.doctor.compaction import list_repositories

    for git in list_repositories(root):
        packed = compact_repository(git)
        before, after = packed.before, packed.after
        print_line(
            f"packed {git.root}: {before.bytes / 1e6:.1f} -> {after.bytes / 1e6:.1f} MB, "
            f"{before.files} -> {after.files} files"
        )


def _checks_of_what_is_not_used(root: Path) -> set[Check]:
    """The checks that would find nothing wrong with something that is not there."""
    from modelyard.operations.doctor import checks, workflow_checks

    found: set[Check] = set()
    if not os.environ.get(PRELOADED):
        found.add(checks.the_preloaded_process_listens)
    given = click.get_current_context().obj
    try:
        repository = given.repository if isinstance(given, Services) else repository_of(root)
    except YardError:  # a check of its own says so
        return found | checks.HOSTED_ONLY
    if repository.forge is ForgeKind.LOCAL:
        found |= checks.HOSTED_ONLY
    if repository.runs_workflows is not WorkflowsKind.AIRFLOW:
        found.add(workflow_checks.airflow_runs_the_workflows)
    return found


def _opener(root: Path) -> Callable[[], Workspace]:
    """Return what opens the workspace when a check needs it: wrong settings are a finding too."""
    given = click.get_current_context().obj
    return lambda: workspace_of(given if isinstance(given, Services) else services_for(root))


def _document(results: tuple[CheckResult, ...], *, is_well: bool) -> dict[str, Any]:
    return {
        "well": is_well,
        "checks": [
            {
                "check": each.check,
                "state": _JSON_STATES[each.state],
                "found": list(each.found),
                "mend": each.fix,
            }
            for each in results
        ],
    }


def _print_text(results: tuple[CheckResult, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    from modelyard.domain.harmless_text import harmless_line

    table = Table.grid(padding=(0, 2))
    for no_wrap in (True, True, False):
        table.add_column(no_wrap=no_wrap, overflow="fold")
    for each in results:
        lines = [harmless_line(line) for line in each.found]
        if each.fix:
            lines.append(f"fix: {harmless_line(each.fix)}")
        state = Text(each.state, style=_COLOURS[each.state])
        table.add_row(state, Text(each.check), Text("\n".join(lines)))
    make_console().print(table)
