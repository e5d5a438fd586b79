"""Runs the checks of `modelyard doctor`, and gives them the checkout to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import YardError

if TYPE_CHECKING:
    from modelyard.adapters.forge.hosted.settings import Setting
    from modelyard.adapters.git.repository import Git
    from modelyard.adapters.specs.reader import Specs
    from modelyard.operations.workspace import Workspace

SHOWN = 8
"""Most findings of one check that are reported; the others are counted."""


class State(StrEnum):
    """The result of a check."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Args:
        what: One sentence.
        fix: The command or edit that fixes it; None if nothing is wrong.
    """

    what: str
    fix: str | None


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The result of one check.

    Args:
        check: Its name, as a sentence.
        state: `skipped` if a check that it needs did not pass.
        found: What is wrong or worth knowing, in sentences.
        fix: The command or edit that fixes the first of them.
    """

    check: str
    state: State
    found: tuple[str, ...] = ()
    fix: str | None = None


class Checkout:
    """What is checked; each part is read once, when a check first needs it.

    Args:
        root: The root of the checkout.
        workspace: Opens the workspace. It fails if `modelyard.yaml` is wrong, so it comes late.
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
        """The workspace of reconcile."""
        return self._open()

    @cached_property
    def main(self) -> str:
        """The main branch's commit at the remote."""
        return self.workspace.main()

    @cached_property
    def specs(self) -> Specs:
        """The specs of that commit."""
        from modelyard.adapters.git.trees import GitTree
        from modelyard.adapters.specs.reader import read_specs

        return read_specs(GitTree(self.git, self.main))

    @cached_property
    def forge_settings(self) -> tuple[Setting, ...]:
        """What is wanted of a hosted forge, each with what it lacks; nothing on a local one."""
        from modelyard.operations.forge.setup import read_settings

        repository = self.workspace.services.repository
        if repository.forge is ForgeKind.LOCAL:
            return ()
        environments = self.specs.catalog.environments.values()
        return read_settings(repository, environments, as_person=False)


Check = Callable[[Checkout], Iterable[Finding]]
"""Yields findings and changes nothing; a `YardError` that it raises is a finding too."""


def run_doctor(
    checkout: Checkout, checks: Mapping[Check, tuple[Check, ...]]
) -> tuple[CheckResult, ...]:
    """Return the result of every check, in order; a check is skipped if one it needs failed.

    Args:
        checkout: What to check.
        checks: Each check, with the checks that it needs.
    """
    results: dict[Check, CheckResult] = {}
    for check, needs in checks.items():
        failed = [need for need in needs if results[need].state is not State.OK]
        results[check] = _skip(check, failed[0]) if failed else _run(check, checkout)
    return tuple(results.values())


def _skip(check: Check, need: Check) -> CheckResult:
    needed = f"needs that {_name(need)}"
    return CheckResult(check=_name(check), state=State.SKIPPED, found=(needed,))


def _run(check: Check, checkout: Checkout) -> CheckResult:
    try:
        findings = list(check(checkout))
    # Any other exception is a defect of the check, and is reported as a crash.
    except YardError as error:
        findings = [Finding(what=error.message, fix=error.hint or "fix that, and run doctor again")]
    found = [each.what for each in findings[:SHOWN]]
    if len(findings) > SHOWN:
        found.append(f"and {len(findings) - SHOWN} more")
    fix = next((each.fix for each in findings if each.fix is not None), None)
    state = State.OK if fix is None else State.FAILED
    return CheckResult(check=_name(check), state=state, found=tuple(found), fix=fix)


def _name(check: Check) -> str:
    name: str = getattr(check, "__name__")  # noqa: B009 - a Callable's type does not promise one
    return name.replace("_", " ")
