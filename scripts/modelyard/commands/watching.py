"""One look at the world: servers, facts, checks, reconcile."""

from __future__ import annotations

from modelyard.commands.observing import observe
from modelyard.commands.reconciling.carry_out import Say
from modelyard.commands.reconciling.collect import Desk
from modelyard.commands.reconciling.plain import plain_statuses
from modelyard.commands.reconciling.rounds import settle


def look(desk: Desk, *, say: Say, with_checks: bool) -> bool:
    """Observe and reconcile every model once; True if anything changed."""
    changed = run_checks(desk, say) if with_checks else False
    changed |= plain_statuses(desk, say)
    for model in sorted(desk.catalog(desk.main()).models):
        changed |= bool(settle(desk, model, wait=False, say=say))
        catalog = desk.catalog(desk.main())
        if observe(desk, catalog, model, say):
            changed = True
            settle(desk, model, wait=False, say=say)
    return changed


def starting(desk: Desk) -> bool:
    """Whether some server is on its way up."""
    catalog = desk.catalog(desk.main())
    for (environment, model), release in catalog.releases.items():
        facts, _ = desk.facts.read_release(environment, model)
        if facts.release != release.identity or facts.aborted is not None:
            continue
        state = desk.services.cluster.observe(model=model, environment=environment)
        if facts.healthy_since is None and (state is None or not state.aborted):
            return True
    return False


def run_checks(desk: Desk, say: Say) -> bool:
    """Answer for open pull requests nobody has checked yet, as a hosted forge's CI would."""
    from modelyard.commands.checking import check_pull
    from modelyard.domain.pulls import CHECKS

    changed = False
    for pull in desk.services.pulls.list():
        if CHECKS not in pull.statuses:
            status = check_pull(desk, pull)
            desk.services.pulls.set_status(pull.head, status)
            say(f"#{pull.number} {CHECKS}: {status.state}: {status.description}")
            changed = True
    return changed
