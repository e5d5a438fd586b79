"""Says what Ctrl-C stopped, what is kept, and which command goes on."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

_READS = "It only reads, so nothing changed."
_KEPT: Mapping[str | None, str] = {
    "try": "Its trainer is stopped too, and nothing was kept.",
    "watch": "Servers and workflows go on; modelyard servers stop stops the servers.",
    "reconcile": "What it merged, opened and wrote down is kept, and workflows go on.",
    "replay": "Requests that were answered count for the judge.",
    **dict.fromkeys(("validate", "status", "history", "gate", "judge", "record", "doctor"), _READS),
}
_OTHERS = "What it had finished is kept."


def describe_interruption(command: str | None, arguments: Sequence[str]) -> str:
    """Return one line for a person who pressed Ctrl-C.

    Args:
        command: The name of the command; None if none was found yet.
        arguments: All arguments of the program.
    """
    kept = _KEPT.get(command, _OTHERS)
    name = f"modelyard {command}" if command else "modelyard"
    return f"stopped: {name}. {kept} To go on: {shlex.join(['modelyard', *arguments])}"
