"""The line to paste as a comment in place of a command of the command line."""

from __future__ import annotations


def comment_line(command: str, *, head: str) -> str | None:
    """Return the comment that does what a command does on this pull request; None if none does.

    Example:
        `modelyard pr approve 3` is `/approve` with the head in full.
    """
    match command.split():
        case ["modelyard", "pr", "approve", *_]:
            return f"/approve {head}"
        case ["modelyard", "unhold", *_]:
            return "/unhold"
        case ["modelyard", "unfreeze", where]:
            return f"/unfreeze {where}"
        case _:
            return None
