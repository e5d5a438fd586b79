"""One look at the world: servers, facts, checks, reconcile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.specs.json_documents import leave_out
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.promotion.notice import Notice
from modelyard.domain.promotion.pulls import CHECKS, PullRequest, StatusState
from modelyard.domain.specs.release import Release
from modelyard.domain.verdict import Outcome
from modelyard.errors import YardError
from modelyard.operations.reconcile.apply import Say, say_status
from modelyard.operations.reconcile.human_pulls import plain_statuses
from modelyard.operations.reconcile.loop import raise_first, run_all, run_each, settle
from modelyard.operations.watch.notify import announce, untold
from modelyard.operations.watch.observe import observe_model
from modelyard.operations.workspace import Workspace

Step: TypeAlias = tuple[str | None, Callable[[], object]]
"""Something to do, and the model it is about; None where it is about all of them."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a look came to.

    Args:
        changed: Whether it changed anything.
        models: Those that were looked at.
        failures: What failed, in order, with the model it is about; None where it is about all of
            them: the forge, people's pull requests, what is told to people.
        unreadable: How many documents of pull requests and facts cannot be read; None if that is
            unknown, as after a look at some models.
    """

    changed: bool
    models: tuple[str, ...]
    failures: tuple[tuple[str | None, Exception], ...] = ()
    unreadable: int | None = None

    @property
    def failing(self) -> frozenset[str]:
        """The models at which it failed."""
        return frozenset(model for model, _ in self.failures if model is not None)

    @property
    def got_through(self) -> bool:
        """Whether nothing failed but some of several models."""
        common = any(model is None for model, _ in self.failures)
        return not common and (not self.models or self.failing < set(self.models))

    def or_raise(self) -> bool:
        """Whether it changed anything, if nothing failed; the first error otherwise."""
        raise_first([error for _, error in self.failures])
        return self.changed


def look(
    workspace: Workspace,
    *,
    say: Say,
    with_checks: bool,
    told: Callable[[Notice], None] = lambda _: None,
    models: frozenset[str] | None = None,
) -> Looked:
    """Observe and reconcile models once, and tell people.

    Args:
        workspace: What to work with.
        say: Hears every change, in one line.
        with_checks: Whether to answer for open pull requests as a CI would.
        told: Hears what people were told.
        models: Those to look at; None for all, and for pull requests that belong to none.

    Raises:
        YardError: There is no telling which models there are.
    """
    names = workspace.models()
    first: list[Step] = [(None, partial(run_checks, workspace, say))] if with_checks else []
    if models is None:
        first.append((None, partial(plain_statuses, workspace, say)))
    else:
        names = tuple(name for name in names if name in models)
    looks: list[Step] = [(model, partial(_look_at, workspace, model, say)) for model in names]
    news: list[Notice] = []
    last: list[Step] = [(model, partial(_gather, workspace, model, news)) for model in names]
    last.append((None, partial(announce, workspace, news, told)))
    unreadable: list[int] = []
    if models is None:
        last.append((None, partial(_count_unreadable, workspace, unreadable)))
    # Where only some are looked at, somebody waits for them.
    changed, failures = run_each([*first, *looks] if models is None else [*looks, *first])
    with one_snapshot():
        were_told, others = run_each(last)
    return Looked(
        changed=changed or were_told,
        models=names,
        failures=(*failures, *others),
        unreadable=next(iter(unreadable), None),
    )


def _gather(workspace: Workspace, model: str, news: list[Notice]) -> None:
    news += untold(workspace, model)


def _count_unreadable(workspace: Workspace, told: list[int]) -> None:
    """What is left out stops others without a failure of theirs, so somebody has to be told."""
    found: list[YardError] = [*workspace.services.pulls.unreadable()]
    workspace.facts.snapshot(missed=found.append)
    told.append(len(found))


def _look_at(workspace: Workspace, model: str, say: Say) -> bool:
    """Do what Git asks for, see what becomes of it, and follow what was seen at once."""
    reconcile = partial(settle, workspace, model, wait=False, say=say)

    def see() -> bool:
        try:
            changed = observe_model(workspace, model, say)
        except Exception:
            reconcile()  # what was seen before the error may have to be rolled back
            raise
        if changed:
            reconcile()
        return changed

    return run_all([reconcile, see])


@one_snapshot()
def starting(workspace: Workspace) -> tuple[str, ...]:
    """Releases whose servers are on their way up, such as `staging: wine v1`."""
    catalog = workspace.catalog(workspace.main())
    return tuple(
        f"{environment}: {model} {release.version}"
        for (environment, model), release in catalog.releases.items()
        if _is_starting(workspace, release)
    )


def _is_starting(workspace: Workspace, release: Release) -> bool:
    facts, _ = workspace.facts.read_release(release.environment, release.model)
    if facts.release != release.identity or facts.aborted or facts.healthy_since:
        return False
    where = workspace.catalog(workspace.main()).environments[release.environment]
    state = workspace.services.cluster.observe(model=release.model, environment=where)
    if state is None or state.aborted:
        return state is None
    # Servers that are ready wait for nothing but the next look, which writes that down.
    return not (state.ready and state.release == release.identity)


@one_snapshot()
def undecided(workspace: Workspace) -> tuple[str, ...]:
    """Judged releases about which traffic has not said enough, as `canary wine`."""
    catalog, facts = workspace.catalog(workspace.main()), workspace.facts.snapshot(missed=leave_out)
    return tuple(
        f"{environment} {model}"
        for (environment, model), release in catalog.releases.items()
        if _is_undecided(facts.release(environment, model), release)
    )


def _is_undecided(facts: ReleaseFacts, release: Release) -> bool:
    if facts.release != release.identity or facts.aborted or facts.verdict is None:
        return False
    return facts.verdict.outcome is Outcome.INCONCLUSIVE


@one_snapshot()
def run_checks(workspace: Workspace, say: Say) -> bool:
    """Answer for open pull requests as a hosted forge's CI would.

    Asked again: what got no answer, and, once the main branch or the process is another one, what
    was refused. A refusal may be about a main branch that is no more.
    """
    main = workspace.main()
    return run_all(
        partial(_check, workspace, main, pull, say) for pull in workspace.services.pulls.list()
    )


def _check(workspace: Workspace, main: str, pull: PullRequest, say: Say) -> bool:
    from modelyard.operations.watch.pull_checks import check_pull

    said, check = pull.statuses.get(CHECKS), partial(check_pull, workspace, pull)
    if said is not None and said.state is StatusState.SUCCESS:
        return False
    refused = said is not None and said.state is StatusState.FAILURE
    asked = (pull.head, *pull.labels)
    status = workspace.once("checks", main, check, *asked) if refused else check()
    if status == said:
        return False
    return say_status(workspace, pull.number, pull.head, status, say)
