"""One look at the world: servers, facts, checks, reconcile."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from modelyard.adapters.remote_refs import one_glance
from modelyard.commands.announcing import announce
from modelyard.commands.observing import observe
from modelyard.commands.reconciling.carry_out import Say
from modelyard.commands.reconciling.collect import Desk
from modelyard.commands.reconciling.plain import plain_statuses
from modelyard.commands.reconciling.rounds import every, settle
from modelyard.domain.facts import ReleaseFacts
from modelyard.domain.notice import Notice
from modelyard.domain.release import Release
from modelyard.domain.verdict import Outcome


def look(
    desk: Desk,
    *,
    say: Say,
    with_checks: bool,
    told: Callable[[Notice], None] = lambda _: None,
    models: frozenset[str] | None = None,
) -> bool:
    """Observe and reconcile models once, and tell people; True if anything changed.

    Args:
        desk: What to work with.
        say: Hears every change, in one line.
        with_checks: Whether to answer for open pull requests as a CI would.
        told: Hears what people were told.
        models: Those to look at; None for all, and for pull requests that belong to none.

    Raises:
        Exception: The first thing that failed, after everything else was done.
    """
    names = desk.models()
    first = [partial(run_checks, desk, say)] if with_checks else []
    if models is None:
        first.append(partial(plain_statuses, desk, say))
    else:
        names = tuple(name for name in names if name in models)
    looks = [partial(_look_at, desk, model, say) for model in names]
    last = [partial(announce, desk, model, told) for model in names]
    if models is not None:  # somebody waits for these
        return every([*looks, *first, *last])
    return every([*first, *looks, *last])


def _look_at(desk: Desk, model: str, say: Say) -> bool:
    """Do what Git asks for, see what becomes of it, and follow what was seen at once."""
    reconcile = partial(settle, desk, model, wait=False, say=say)

    def see() -> bool:
        try:
            changed = observe(desk, model, say)
        except Exception:
            reconcile()  # what was seen before the error may have to be rolled back
            raise
        if changed:
            reconcile()
        return changed

    return every([reconcile, see])


@one_glance()
def starting(desk: Desk) -> tuple[str, ...]:
    """Releases whose servers are on their way up, such as `staging: wine v1`."""
    catalog = desk.catalog(desk.main())
    return tuple(
        f"{environment}: {model} {release.version}"
        for (environment, model), release in catalog.releases.items()
        if _is_starting(desk, release)
    )


def _is_starting(desk: Desk, release: Release) -> bool:
    facts, _ = desk.facts.read_release(release.environment, release.model)
    if facts.release != release.identity or facts.aborted or facts.healthy_since:
        return False
    where = desk.catalog(desk.main()).environments[release.environment]
    state = desk.services.cluster.observe(model=release.model, environment=where)
    if state is None or state.aborted:
        return state is None
    # Servers that are ready wait for nothing but the next look, which writes that down.
    return not (state.ready and state.release == release.identity)


@one_glance()
def undecided(desk: Desk) -> tuple[str, ...]:
    """Judged releases about which traffic has not said enough, as `canary wine`."""
    catalog = desk.catalog(desk.main())
    return tuple(
        f"{environment} {model}"
        for (environment, model), release in catalog.releases.items()
        if _is_undecided(desk.facts.read_release(environment, model)[0], release)
    )


def _is_undecided(facts: ReleaseFacts, release: Release) -> bool:
    if facts.release != release.identity or facts.aborted or facts.verdict is None:
        return False
    return facts.verdict.outcome is Outcome.INCONCLUSIVE


@one_glance()
def run_checks(desk: Desk, say: Say) -> bool:
    """Answer for open pull requests as a hosted forge's CI would.

    Asked again: what got no answer, and, once the main branch or the process is another one, what
    was refused. A refusal may be about a main branch that is no more.
    """
    from modelyard.commands.checking import check_pull
    from modelyard.domain.pulls import CHECKS, StatusState

    main, changed = desk.main(), False
    for pull in desk.services.pulls.list():
        said, check = pull.statuses.get(CHECKS), partial(check_pull, desk, pull)
        if said is not None and said.state is StatusState.SUCCESS:
            continue
        refused = said is not None and said.state is StatusState.FAILURE
        asked = (pull.head, *pull.labels)
        status = desk.once("checks", main, check, *asked) if refused else check()
        if status != said:
            desk.services.pulls.set_status(pull.head, status)
            say(f"#{pull.number} {CHECKS}: {status.state}: {status.description}")
            changed = True
    return changed
