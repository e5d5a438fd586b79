"""Holds of versions and freezes of environments, recorded under a person's name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.trees import GitTree
from modelyard.domain.promotion.facts import Freeze, Hold, ModelFacts
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import environment_file, version_file
from modelyard.errors import Refused, YardError
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.workspace import facts_of
from modelyard.ports import Services

if TYPE_CHECKING:
    from modelyard.operations.promote import Promotion


def decide_hold(services: Services, model: str, version: str, *, reason: str, by: str) -> Hold:
    """Return the hold to place on a version; the version must be on the main branch."""
    # A hold of a misspelt version would stop nothing, and nobody would notice.
    _require_version(services, model, version)
    return Hold(reason=reason, by=by, since=services.clock.now())


def place_hold(services: Services, model: str, version: str, hold: Hold) -> str:
    """Record a hold, and return what is said of it.

    A version that is on hold already keeps its first date. Its reason is replaced, so the one
    before is said: later only the history of the facts has it.
    """
    replaced: list[Hold] = []

    def change(facts: ModelFacts) -> ModelFacts:
        before = facts.holds.get(version)
        replaced[:] = [before] if before else []
        placed = replace(hold, since=before.since) if before else hold
        return replace(facts, holds={**facts.holds, version: placed})

    facts_of(services).update_model(model, change, by=hold.by)
    return describe_hold(model, version, hold, before=replaced[0] if replaced else None)


def describe_hold(model: str, version: str, hold: Hold, *, before: Hold | None) -> str:
    """Say that a version is on hold, and what for until now if that was something else."""
    said = f"{model} {version} is on hold: {hold.reason}"
    if before is None or (before.reason, before.by) == (hold.reason, hold.by):
        return said
    return (
        f"{said} (since {before.since:%Y-%m-%d %H:%M} UTC it was by {before.by}: {before.reason})"
    )


def find_hold(services: Services, model: str, version: str) -> Hold:
    """Return the hold of a version; `Refused` when it is not on hold."""
    known = facts_of(services).read_model(model).holds.get(version)
    if known is None:
        _require_version(services, model, version)
        raise Refused(f"{model} {version} is not on hold", hint=f"modelyard status {model}")
    return known


def decide_retry(
    services: Services, model: str, version: str, *, is_wanted: bool
) -> Promotion | None:
    """Return a new attempt of a version once its hold is lifted; None if it needs none.

    Raises:
        Refused: It is wanted, and can never be merged as things are.
    """
    from modelyard.operations.promote import check_promotion, decide_promotion, find_next_attempt
    from modelyard.operations.reconcile.collect import collect_world

    try:
        world = collect_world(workspace_of(services), model, with_registry=False)
        holds = {name: hold for name, hold in world.model_facts.holds.items() if name != version}
        lifted = {**world.model_facts.lifted, version: world.now}
        facts = replace(world.model_facts, holds=holds, lifted=lifted)
        world = replace(world, model_facts=facts)
        where = find_next_attempt(world, version)
        if where is None:
            return None
        image = services.repository.server_image
        found = decide_promotion(world, where, version, server_image=image)
        check_promotion(found, replace=False)
    except YardError:
        # A hold is lifted whatever else is wrong.
        if is_wanted:
            raise
        return None
    return found


def lift_hold(services: Services, model: str, version: str, *, by: str) -> None:
    """Remove the hold of a version, and record when it was lifted."""
    at = services.clock.now()

    def change(facts: ModelFacts) -> ModelFacts:
        kept = {name: hold for name, hold in facts.holds.items() if name != version}
        # Refusals before this time no longer count, or the next reconcile would hold it again.
        return replace(facts, holds=kept, lifted={**facts.lifted, version: at})

    facts_of(services).update_model(model, change, by=by)


def decide_freeze(
    services: Services, environment: str, *, reason: str, by: str, until: datetime | None = None
) -> Freeze:
    """Return the freeze to place on an environment, which must be on the main branch.

    Raises:
        Refused: It would be over already.
    """
    # As for a hold: a misspelt environment would freeze nothing.
    _require_environment(services, environment)
    freeze = Freeze(reason=reason, by=by, since=services.clock.now(), until=until)
    if until is not None and freeze.is_over(freeze.since):
        raise Refused(f"{until.isoformat()} has passed; it is {freeze.since.isoformat()}")
    return freeze


def place_freeze(services: Services, environment: str, freeze: Freeze) -> None:
    """Record a freeze; an environment that is frozen already keeps its first date."""

    def change(before: Freeze | None) -> Freeze:
        if before is None or before.is_over(freeze.since):
            return freeze
        return replace(freeze, since=before.since)

    facts_of(services).update_freeze(environment, change, by=freeze.by)


def find_freeze(services: Services, environment: str) -> Freeze:
    """Return the freeze of an environment; `Refused` when it is not frozen."""
    known = facts_of(services).read_freeze(environment)
    if known is None or known.is_over(services.clock.now()):
        _require_environment(services, environment)
        raise Refused(f"{environment} is not frozen", hint="modelyard status")
    return known


def lift_freeze(services: Services, environment: str, *, by: str) -> None:
    """Remove the freeze of an environment."""
    facts_of(services).update_freeze(environment, lambda _: None, by=by)


def _require_version(services: Services, model: str, version: str) -> None:
    """Raise `CannotAnswer`, with the known names, when the main branch has no such version."""
    # By its file, valid or not: a hold must not wait until somebody mends a spec.
    if not _is_on_main(services, version_file(model, version)):
        _catalog(services).require_version(model, version)


def _require_environment(services: Services, environment: str) -> None:
    """Raise `CannotAnswer`, with the known names, when the main branch has none such."""
    if not _is_on_main(services, environment_file(environment)):
        _catalog(services).require_environment(environment)


def _is_on_main(services: Services, path: str) -> bool:
    """Return whether the remote's main branch has a file of this path."""
    git, repository = Git(services.root), services.repository
    tree = GitTree(git, RemoteRefs(git, repository.remote).branch_tip(repository.main))
    return tree.exists(path)


def _catalog(services: Services) -> Catalog:
    workspace = workspace_of(services)
    return workspace.catalog(workspace.main())
