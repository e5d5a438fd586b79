"""The checks of `modelyard doctor` about a hosted forge; see `checks.py`."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.adapters.forge.github.credentials import APP_ID, TOKEN
from modelyard.adapters.forge.hosted.pulls import HostedPulls
from modelyard.adapters.forge.hosted.settings import Subject
from modelyard.errors import CannotAnswer
from modelyard.operations.doctor.runner import Checkout, Finding
from modelyard.operations.forge.setup import https_of_ssh


def the_forge_accepts_the_credentials(checkout: Checkout) -> Iterator[Finding]:
    """Every request is made with them."""
    pulls, repository = checkout.workspace.services.pulls, checkout.workspace.services.repository
    if not isinstance(pulls, HostedPulls):
        return
    name, bot = repository.forge_repository, repository.bot
    try:
        pulls.dialect.signed_in_as()
        pulls.api.get(pulls.reader.place)
    except CannotAnswer as error:
        fix = f"set {TOKEN} to a token of {bot} for {name}, or {APP_ID} and what goes with it"
        # The hint of a request that was refused is to run this very check.
        own = error.hint if error.hint and "doctor" not in error.hint else fix
        yield Finding(what=error.message, fix=own)


def the_credentials_are_those_of_the_tool(checkout: Checkout) -> Iterator[Finding]:
    """What others do in the tool's place does not count."""
    pulls, repository = checkout.workspace.services.pulls, checkout.workspace.services.repository
    if not isinstance(pulls, HostedPulls):
        return
    bot, fault = repository.bot, pulls.find_wrong_account()
    if fault is not None:
        yield Finding(what=fault.message, fix=fault.hint)
    pushed_to = checkout.workspace.git.remote_url(repository.remote, push=True)
    if web := https_of_ssh(pushed_to, repository):
        yield Finding(
            what=f"git pushes to the remote {repository.remote} by SSH: it would push what the "
            f"tool writes as the person whose key that is, not as {bot}",
            fix=f"git remote set-url --push {repository.remote} {web}",
        )
    row = pulls.api.get(pulls.reader.place)
    if not (row.get("permissions") or {}).get("push", True):
        me = pulls.dialect.signed_in_as()
        what = f"{me} may not write {repository.forge_repository}"
        yield Finding(what=what, fix=f"give {me} the role write there")


def the_forge_protects_the_branches(checkout: Checkout) -> Iterator[Finding]:
    """Nobody passes the checks of the main branch, and only the tool writes facts."""
    yield from _lacking(checkout, Subject.BRANCHES)


def the_forge_has_labels_and_environments(checkout: Checkout) -> Iterator[Finding]:
    """Pull requests and deployments name them."""
    yield from _lacking(checkout, Subject.PAGES)


def the_forge_runs_workflows(checkout: Checkout) -> Iterator[Finding]:
    """Commands in comments are answered by one."""
    yield from _lacking(checkout, Subject.WORKFLOWS)


def the_account_has_its_permissions(checkout: Checkout) -> Iterator[Finding]:
    """With too few a merge fails, and with too many the tool could lift its own rules."""
    yield from _lacking(checkout, Subject.ACCOUNT)


def _lacking(checkout: Checkout, subject: Subject) -> Iterator[Finding]:
    forge = checkout.workspace.services.repository.forge
    for each in checkout.forge_settings:
        if each.subject is subject:
            init = f"modelyard init --forge {forge}, with the token of an administrator"
            for lack in each.lacks:
                yield Finding(
                    what=f"{each.what}: {lack}", fix=init if each.requests else each.by_hand
                )
