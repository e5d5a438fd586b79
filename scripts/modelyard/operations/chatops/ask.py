"""Has the tool do what a person types, on a forge where only the tool may, and follows it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus

from modelyard.adapters.forge.github.credentials import NoCredentials
from modelyard.adapters.forge.hosted.api import Answered, NotDone, urgent
from modelyard.adapters.forge.hosted.pulls import HostedPulls
from modelyard.adapters.forge.hosted.runs import CHATOPS, DRIFT, Run, WorkflowRuns
from modelyard.domain.chatops.commands import Rollback
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.chatops.typed import Typed, as_comment, find_fault, write_typed
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.operations.chatops.follow import follow_run
from modelyard.operations.workspace import Workspace, facts_of
from modelyard.ports import Services

logger = logging.getLogger(__name__)

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """A person at the command line of a forge where only the tool may act.

    Args:
        services: The outside world.
        runs: The runs of the forge's workflows.
        who: Their login.
    """

    services: Services
    runs: WorkflowRuns
    who: str


def acts_as(services: Services) -> str | None:
    """Return the person whose credentials these are; None if the tool acts here itself.

    On the local forge it always does. A forge that does not answer is no reason to stop: it lets
    nobody but the tool write what the tool writes.
    """
    if not isinstance(services.pulls, HostedPulls):
        return None
    try:
        return services.pulls.other_login()
    except NoCredentials:
        raise
    except CannotAnswer as error:
        logger.warning("whose credentials these are is not known: %s", error.message)
        return None


def ask_forge(services: Services, typed: Typed, *, name: str | None, report: Report) -> bool:
    """Have a person's command done, and report what became of it; False if it is for us to do.

    Args:
        services: The outside world.
        typed: The command.
        name: The name that was given with `--as`, if any.
        report: Told each line.

    Raises:
        Refused: The forge's rules or the tool's forbid it.
        CannotAnswer: It was not started, or its end is not known.
    """
    with urgent() if isinstance(typed.command, Rollback) else nullcontext():
        asking = _asking(services)
        if asking is None:
            return False
        _check_name(name, asking.who)
        if fault := find_fault(typed):
            raise Refused(f"nothing is asked for: {fault}")
        inputs = {"command": write_typed(typed)}
        run = _start(asking, CHATOPS, inputs, instead=_instead(typed))
        _report_outcome(services, follow_run(asking.runs, run, report), report)
    return True


def ask_for_drift(workspace: Workspace, model: str, *, is_plain: bool, report: Report) -> bool:
    """Have a model's new data compared by the forge's workflow; False if it is for us to do.

    Raises:
        Refused: It is not plain: a person chose other data than the model's feed.
        CannotAnswer: There is no such model, or it was not started, or did not succeed.
    """
    from modelyard.operations.drift.feed import find_feed  # slow, and only this needs it

    asking = _asking(workspace.services)
    if asking is None:
        return False
    if not is_plain:
        raise Refused(f"{DRIFT} compares the feed of the main branch", hint="leave the options out")
    find_feed(workspace.catalog(workspace.main()).require_model(model))
    ended = follow_run(asking.runs, _start(asking, DRIFT, {"model": model}), report)
    if ended.conclusion != "success":
        raise CannotAnswer(f"{DRIFT} ended with {ended.conclusion}", hint=ended.page)
    report(f"{DRIFT} is done for {model}")
    return True


def _asking(services: Services) -> _Asking | None:
    who, pulls = acts_as(services), services.pulls
    if who is None or not isinstance(pulls, HostedPulls):
        return None
    # The job that a person's command starts must not start another one in its turn.
    if os.environ.get("GITHUB_ACTIONS") and (fault := pulls.find_wrong_account()) is not None:
        raise fault
    return _Asking(services=services, runs=pulls.runs(), who=who)


def _check_name(name: str | None, who: str) -> None:
    if name is not None and name.casefold() != who.casefold():
        why = f"names that are given count on the local forge alone; here you are {who}"
        raise Refused(why, hint=f"leave --as {name} out")


def _instead(typed: Typed) -> str:
    """Return what a person can do as well, where the workflow is not there; empty if nothing."""
    comment = as_comment(typed)
    where = f"on a pull request of {typed.model}" if typed.model else "on any pull request"
    return f"comment {where}: {comment}" if comment else ""


def _start(asking: _Asking, workflow: str, inputs: dict[str, str], *, instead: str = "") -> int:
    repository = asking.services.repository
    look = f"look at the runs of {repository.forge_repository} on the forge"
    try:
        run = asking.runs.start(workflow, branch=repository.main, inputs=inputs)
    except Answered as error:
        needed = "the token needs `actions: write`, and you the role write"
        file = f".github/workflows/{workflow} of {repository.main}"
        if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:  # an older one, or one that is stopped
            needed = f"bring {file} up to date, and see that it is enabled"
        elif error.status == HTTPStatus.NOT_FOUND:
            needed = f"{needed}, and {file} must be there"
        why = f"{workflow} is not started for {asking.who}: {error.message}"
        raise CannotAnswer(why, hint=f"{needed}; or {instead}" if instead else needed) from error
    except NotDone as error:
        why = f"{workflow} is not started for {asking.who}: {error.message}"
        hint = error.hint or "try again later"
        raise CannotAnswer(why, hint=f"{hint}; or {instead}" if instead else hint) from error
    except CannotAnswer as error:  # it may have been started
        why = f"whether {workflow} was started is not known: {error.message}"
        raise CannotAnswer(why, hint=look) from error
    if run is None:
        why = f"{workflow} was started, and this forge does not say which run it is"
        raise CannotAnswer(why, hint=look)
    return run


def _report_outcome(services: Services, run: Run, report: Report) -> None:
    """Report what the tool wrote down about the run's command."""
    try:
        entries = facts_of(services).read_run(run.id).entries
    except YardError as error:
        raise CannotAnswer(
            f"run {run.id} ended with {run.conclusion}, and what became of it cannot be read: "
            f"{error.message}",
            hint=run.page,
        ) from error
    if not entries:
        why = f"run {run.id} ended with {run.conclusion}, and nothing was done"
        raise CannotAnswer(why, hint=run.page)
    last = entries[-1]
    if last.reason is ReasonCode.LIMIT_REACHED:
        raise CannotAnswer(last.sentence, hint="nothing was done: type it again then")
    if last.reason is ReasonCode.COULD_NOT:
        raise CannotAnswer(last.sentence, hint=run.page)
    if last.reason is not ReasonCode.DONE:
        raise Refused(f"{last.sentence} ({last.reason})", hint=run.page)
    for line in last.sentence.split("\n"):
        report(line)
