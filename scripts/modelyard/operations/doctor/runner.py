"""How `modelyard doctor` asks its checks, and what they may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.errors import YardError

if TYPE_CHECKING:
    from modelyard.adapters.git.repository import Git
    from modelyard.adapters.specs.reader import Specs
    from modelyard.operations.workspace import Workspace

SHOWN = 8
"""Findings of one check that are told; the rest is counted."""


class State(StrEnum):
    """What a check says."""

    WELL = "well"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """One thing that is wrong.

    Args:
        what: One sentence.
        mend: The command or edit that mends it.
    """

    what: str
    mend: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check says.

    Args:
        check: The check's name, as a sentence.
        state: `skipped` when something it needs is wrong already.
        found: What is wrong, in sentences.
        mend: What mends the first of them.
    """

    check: str
    state: State
    found: tuple[str, ...] = ()
    mend: str | None = None


class Patient:
    """What is examined; each part is looked at once, when a check first asks for it.

    Args:
        root: The checkout.
        workspace: Opens what reconcile works with, as `modelyard.yaml` chooses it.
    """

    def __init__(self, root: Path, workspace: Callable[[], Workspace]) -> None:
        self.root = root
        self._open = workspace

    @cached_property
    def git(self) -> Git:
        """The checkout's repository."""
        from modelyard.adapters.git.repository import Git

        return Git(self.root)

    @cached_property
    def workspace(self) -> Workspace:
        """Everything reconcile works with."""
        return self._open()

    @cached_property
    def main(self) -> str:
        """The main branch's commit at the forge."""
        return self.workspace.main()

    @cached_property
    def specs(self) -> Specs:
        """What that commit says."""
        from modelyard.adapters.git.trees import GitTree
        from modelyard.adapters.specs.reader import read

        return read(GitTree(self.git, self.main))


Check = Callable[[Patient], Iterable[Wrong]]
"""Gives what is wrong, and changes nothing; a `YardError` it raises is wrong too."""


def examine(patient: Patient, checks: Mapping[Check, tuple[Check, ...]]) -> tuple[Finding, ...]:
    """What every check says, in order; one that needs another that failed is skipped.

    Args:
        patient: The checkout.
        checks: The checks that each check needs.
    """
    found: dict[Check, Finding] = {}
    for check, needs in checks.items():
        lost = [need for need in needs if found[need].state is not State.WELL]
        found[check] = _skipped(check, lost[0]) if lost else _asked(check, patient)
    return tuple(found.values())


def _skipped(check: Check, need: Check) -> Finding:
    needed = f"needs that {_name(need)}"
    return Finding(check=_name(check), state=State.SKIPPED, found=(needed,))


def _asked(check: Check, patient: Patient) -> Finding:
    try:
        wrong = list(check(patient))
    except YardError as error:
        wrong = [Wrong(what=error.message, mend=error.hint or "mend that, and ask again")]
    if not wrong:
        return Finding(check=_name(check), state=State.WELL)
    said = [each.what for each in wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        said.append(f"and {len(wrong) - SHOWN} more")
    return Finding(check=_name(check), state=State.WRONG, found=tuple(said), mend=wrong[0].mend)


def _name(check: Check) -> str:
    name: str = getattr(check, "__name__")  # noqa: B009 - a Callable's type does not promise one
    return name.replace("_", " ")
