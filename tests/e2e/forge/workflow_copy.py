"""The workflows of .github as runners that are not GitHub's can read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_OWN_ACTION = re.compile(r"^( +- uses: )\$/(.+)$")
_PINNED = re.compile(r"^( +- uses: )([\w.-]+/[\w.-]+)@[0-9a-f]{40}( # v[\d.]+)$")
_QUEUE = re.compile(r"^ +queue: max$")
_USES = re.compile(r"^\s*(- )?uses:")


@dataclass(frozen=True)
class ChangedLine:
    """A line of a workflow before and after; `after` is None for one that is left out."""

    before: str
    after: str | None


def make_readable(
    folder: Path, *, pins: Mapping[str, str] | None = None
) -> dict[str, list[ChangedLine]]:
    """Change in a copy only what act and Gitea's runner cannot read; returns every changed line.

    - `$/` is GitHub's newer word for `./`.
    - `queue: max` is unknown to them.
    - An action is pinned to a commit that only GitHub has.

    Args:
        folder: A copy of the repository.
        pins: The commit of each action that stands for GitHub's; the others stay as they are.
    """
    changed = {}
    for path in sorted((folder / ".github").rglob("*.yml")):
        before = path.read_text().splitlines()
        after = [_readable(line, pins) for line in before]
        lines = [
            ChangedLine(old, new) for old, new in zip(before, after, strict=True) if old != new
        ]
        if lines:
            path.write_text("".join(f"{line}\n" for line in after if line is not None))
            changed[str(path.relative_to(folder))] = lines
    return changed


def _readable(line: str, pins: Mapping[str, str] | None) -> str | None:
    if _QUEUE.match(line):
        return None
    if own := _OWN_ACTION.match(line):
        return f"{own[1]}./{own[2]}"
    if pinned := _PINNED.match(line):
        commit = (pins or {}).get(pinned[2])
        return line if commit is None else f"{pinned[1]}{pinned[2]}@{commit}{pinned[3]}"
    if _USES.match(line):
        raise AssertionError(f"neither pinned nor of this repository: {line}")
    return line
