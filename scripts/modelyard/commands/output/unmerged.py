"""Says where a checkout has an edit that a command does not see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.commands.output.terminal import print_line

if TYPE_CHECKING:
    from modelyard.operations.workspace import Workspace


def note_other_spec(workspace: Workspace, commit: str, path: str) -> None:
    """Print that the main branch counts, where the checkout has another file of this path."""
    from modelyard.operations.open_workspace import describe_other_spec

    if text := describe_other_spec(workspace, commit, path):
        print_line(f"note: {text}", err=True)
