"""`modelyard doctor`: checks that everything needed is in place, and says what mends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modelyard.commands.options import make_console, output_option, pass_root, print_json
from modelyard.errors import Refused
from modelyard.operations.services import services_for
from modelyard.operations.workspace import workspace_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.doctor.runner import Finding
    from modelyard.operations.workspace import Workspace


@click.command()
@output_option
@pass_root
def doctor(root: Path, *, output: str) -> None:
    """Check that everything modelyard needs here is in place; change nothing.

    Exit code 3 means that something is not, and the command that mends it is beside it.
    """
    from modelyard.operations.doctor.checks import CHECKS
    from modelyard.operations.doctor.runner import Patient, State, examine

    findings = examine(Patient(root, _workspace_of(root)), CHECKS)
    if output == "json":
        print_json(_document(findings))
    else:
        _print_text(findings)
    wrong = sum(each.state is State.WRONG for each in findings)
    if wrong:
        raise Refused(f"{wrong} of {len(findings)} checks found something wrong")


def _workspace_of(root: Path) -> Callable[[], Workspace]:
    """Opens the workspace when a check asks: what is wrong with the settings is a finding too."""
    given = click.get_current_context().obj
    return lambda: workspace_of(given if isinstance(given, Services) else services_for(root))


def _document(findings: tuple[Finding, ...]) -> dict[str, Any]:
    from modelyard.operations.doctor.runner import State

    return {
        "well": all(each.state is not State.WRONG for each in findings),
        "checks": [
            {
                "check": each.check,
                "state": str(each.state),
                "found": list(each.found),
                "mend": each.mend,
            }
            for each in findings
        ],
    }


def _print_text(findings: tuple[Finding, ...]) -> None:
    from rich.table import Table
    from rich.text import Text

    from modelyard.adapters.git.names import readable
    from modelyard.operations.doctor.runner import State

    colours = {State.WELL: "green", State.WRONG: "red", State.SKIPPED: "yellow"}
    made = Table.grid(padding=(0, 2))
    for no_wrap in (True, True, False):
        made.add_column(no_wrap=no_wrap, overflow="fold")
    for each in findings:
        lines = [readable(line) for line in each.found]
        if each.mend and each.state is State.WRONG:
            lines.append(f"-> {readable(each.mend)}")
        state = Text(each.state, style=colours[each.state])
        made.add_row(state, Text(each.check), Text("\n".join(lines)))
    make_console().print(made)
