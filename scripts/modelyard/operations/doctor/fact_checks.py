"""The checks of `modelyard doctor` about facts; see `checks.py`."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.errors import YardError
from modelyard.operations.doctor.runner import Checkout, Finding


def the_facts_are_readable(checkout: Checkout) -> Iterator[Finding]:
    """A release with unreadable facts does not count as healthy."""
    missed: list[YardError] = []
    checkout.workspace.facts.read_snapshot(missed=missed.append)
    for error in missed:
        yield Finding(what=error.message, fix=error.hint or "modelyard status")


def facts_are_in_one_place(checkout: Checkout) -> Iterator[Finding]:
    """Version 0.1 kept them in refs, which nobody reads once they are on their branch."""
    for what in checkout.workspace.facts.left_over():
        remote, ref = checkout.workspace.services.repository.remote, what.partition(": ")[0]
        yield Finding(what=what, fix=f"git push {remote} :{ref}")


def this_site_runs_the_environments(checkout: Checkout) -> Iterator[Finding]:
    """Elsewhere a watcher only reads, so nothing here says how the servers are."""
    from modelyard.operations.sites import read_standing

    standing = read_standing(checkout.workspace)
    if (why := standing.explanation()) is not None:
        yield Finding(what=why, fix=standing.adopt_command())
