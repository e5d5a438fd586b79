"""Which environments this site runs: to read it, to take what nobody has, to take over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from modelyard.adapters.facts.store import EVERY
from modelyard.adapters.git.remote_refs import one_snapshot, retry_on_conflict
from modelyard.adapters.specs.json_documents import Unreadable
from modelyard.domain.sites import (
    Owner,
    Site,
    Standing,
    describe_owner,
    seen_again,
    taken_over,
)
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import environment_file
from modelyard.domain.specs.repository import MetricsKind, OrchestratorKind
from modelyard.errors import CannotAnswer, Refused, YardError
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """An environment that this site runs now.

    Args:
        environment: Its name.
        before: Who ran it; None if nobody was written down.
        is_new: Whether this site ran it before.
    """

    environment: str
    before: Owner | None
    is_new: bool


@one_snapshot()
def read_standing(workspace: Workspace, *, create: bool = False) -> Standing:
    """What this site may do now.

    Args:
        workspace: What to read with.
        create: Give this place an identity if it has none.
    """
    environments = workspace.environments(workspace.main())
    known = workspace.facts.read_owners()
    unknown = {name for name, owner in known.items() if owner is None}
    standing = Standing(
        site=_site(workspace, create=create),
        environments=tuple(environments),
        owners={name: owner for name, owner in known.items() if owner is not None},
        unknown=frozenset(environments if EVERY in unknown else unknown),
    )
    if standing.owners or unknown:
        return replace(standing, is_home=any(map(standing.owns, standing.owners)))
    facts = workspace.facts.read_snapshot(missed=lambda _: None)
    was_seen = any(each.release for each in facts.releases.values()) or facts.unknown
    return replace(standing, is_home=not was_seen or _has_servers(workspace))


def _site(workspace: Workspace, *, create: bool) -> Site | None:
    try:
        return workspace.services.cluster.site(create=create)
    except CannotAnswer as error:
        # As long as no owner is written down, everything works without an identity.
        logger.warning("this site has no identity: %s", error.message)
        return None


def _has_servers(workspace: Workspace) -> bool:
    """Whether servers of any release are known here, running or not."""
    catalog = workspace.watched_specs(workspace.main()).catalog
    observe = workspace.services.cluster.observe
    for name in sorted({name for name, _ in catalog.releases} - set(catalog.environments)):
        what = "its servers are not looked for, as it cannot be read: modelyard validate says why"
        logger.warning("%s: %s", environment_file(name), what)
    for environment, model in catalog.releases:
        where = catalog.environments.get(environment)
        if where is None:
            continue
        try:
            state = observe(model=model, environment=where)
        except Unreadable:  # they are known here, though not how they are
            return True
        if state is not None:
            return True
    return False


@one_snapshot()
def take_standing(workspace: Workspace) -> Standing:
    """What this site may do, after it took what nobody has and wrote down that it is there."""
    try:
        retry_on_conflict(workspace.facts.make_room)
    except YardError as error:  # what reads the facts says what is in the way, and what to run
        logger.warning("cannot make room for the facts: %s", error.message)
    standing = read_standing(workspace, create=True)
    site, now = standing.site, workspace.services.clock.now()
    if site is None or standing.is_foreign:
        return standing
    free = standing.free

    def change(owners: Mapping[str, Owner]) -> Mapping[str, Owner]:
        nobodys = [name for name in free if name not in owners]
        return taken_over(seen_again(owners, site, now), site, nobodys, now)

    if not free and seen_again(standing.owners, site, now) == standing.owners:
        return standing
    try:
        workspace.facts.update_owners(change)
    except YardError as error:
        # A rollback does not wait for this; each fact is still written only for its owner.
        logger.warning("cannot write down that this site is there: %s", error.message)
        return standing
    return read_standing(workspace)


def adopt(
    workspace: Workspace, environments: Collection[str], *, dry_run: bool = False
) -> tuple[Adopted, ...]:
    """Make this site the one that runs these environments and what joins them, at one moment.

    Args:
        workspace: What to work with.
        environments: Their names; none means all of them.
        dry_run: Only return what it would do.

    Raises:
        CannotAnswer: There is no such environment, this place cannot have an identity, or the
            credentials are another account's than the tool's.
    """
    if not dry_run:
        workspace.facts.check_writer()  # before this place is given an identity
    catalog = workspace.watched_specs(workspace.main()).catalog
    for name in environments:
        catalog.require_environment(name)
    wanted = _with_joined(catalog, environments or catalog.environments)
    site = workspace.services.cluster.site(create=not dry_run)
    identity = site or Site(id="", name="this site")
    now, seen = workspace.services.clock.now(), dict[str, Owner]()

    def change(owners: Mapping[str, Owner]) -> Mapping[str, Owner]:
        seen.clear()
        seen.update(owners)
        return owners if dry_run else taken_over(owners, identity, wanted, now)

    workspace.facts.update_owners(change)
    return tuple(
        Adopted(
            environment=name,
            before=seen.get(name),
            is_new=name not in seen or seen[name].site != identity.id,
        )
        for name in wanted
    )


def _with_joined(catalog: Catalog, names: Collection[str]) -> tuple[str, ...]:
    """The environments with those that share their servers: a canary and its production."""
    groups = {catalog.environments[name].joins or name for name in names}
    return tuple(
        name for name, each in catalog.environments.items() if (each.joins or name) in groups
    )


def require_servers(workspace: Workspace, environment: str) -> None:
    """Raise `CannotAnswer` if what is asked of an environment's servers is known elsewhere only."""
    repository = workspace.services.repository
    if (repository.orchestrator, repository.metrics) != (
        OrchestratorKind.LOCAL,
        MetricsKind.SCRAPE,
    ):
        return
    standing = read_standing(workspace)
    owner = standing.owners.get(environment)
    if owner is None or standing.owns(environment):
        return
    raise CannotAnswer(
        f"the servers of {environment} are not here, they are run by {describe_owner(owner)}",
        hint=f"ask there, or take them over: modelyard adopt {environment}",
    )


def whose_servers(workspace: Workspace, environment: str) -> str:
    """Which other site runs an environment's servers, for a message about what is not here."""
    try:
        standing = read_standing(workspace)
    except YardError:
        return ""
    owner = standing.owners.get(environment)
    if owner is None or standing.owns(environment):
        return ""
    return f"; {environment} is run by {describe_owner(owner)}"


def tell_standing(workspace: Workspace, standing: Standing, report: Callable[[str], None]) -> None:
    """Report where this site only reads, once until that changes."""
    text = standing.explanation()
    before = workspace.remember("standing", text)
    if text == before:
        return
    report(text or f"this site runs {', '.join(sorted(standing.mine))} now")


def refuse_elsewhere(standing: Standing) -> None:
    """Raise `Refused` if other sites run all environments."""
    if standing.is_foreign:
        raise Refused(
            standing.explanation() or "", hint="modelyard watch where the servers are does the same"
        )
