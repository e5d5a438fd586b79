"""Reads what a pull request is about, for the decision about a command below it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from modelyard.adapters.git.trees import GitTree
from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.audit import Topic
from modelyard.domain.chatops.request import Subject
from modelyard.domain.promotion.approvals import find_makers
from modelyard.domain.promotion.change import Branch, Purpose, parse_branch
from modelyard.domain.promotion.promote import environments_ahead, gate_verdict
from modelyard.domain.promotion.pulls import CHECKS, PullRequest, StatusState
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import release_file
from modelyard.domain.specs.release import Release
from modelyard.errors import YardError
from modelyard.operations.reconcile.collect import collect_world
from modelyard.operations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class ReadSubject:
    """A pull request with what else was read for it.

    Args:
        subject: For the decision.
        pull: As the forge has it.
        catalog: The specs of the main branch.
        world: The model's world; None if it is about no model, or that cannot be read.
    """

    subject: Subject
    pull: PullRequest
    catalog: Catalog
    world: World | None

    @property
    def topic(self) -> Topic:
        """What the audit log says that its commands are about."""
        subject = self.subject
        record = self.world.record(subject.version) if self.world else None
        return Topic(
            model=subject.model,
            version=subject.version,
            environment=subject.environment,
            digest=record.artifact.digest if record and record.artifact else "",
        )


def read_subject(workspace: Workspace, number: int) -> ReadSubject:
    """Return what a pull request is about, as it is now."""
    catalog = workspace.catalog(workspace.main())
    # After the catalog: the head is read as late as can be.
    pull = workspace.services.pulls.get(number)
    branch = parse_branch(pull.branch)
    environment = _environment_of(branch, catalog)
    version = _version_of(workspace, pull, branch, environment)
    world = _world(workspace, branch)
    where = catalog.environments.get(environment)
    verdict = gate_verdict(world, where, version) if world and where and version else None
    ahead = environments_ahead(world, version) if world else ()
    checks = pull.statuses.get(CHECKS)
    subject = Subject(
        number=pull.number,
        state=pull.state,
        head=pull.head,
        is_stacked=pull.is_stacked,
        retargeted_at=pull.retargeted_at,
        makers=None if pull.unmapped else dict(find_makers(pull)),
        has_passed_checks=checks is not None and checks.state is StatusState.SUCCESS,
        model=branch.model if branch else "",
        version=version,
        environment=environment,
        approvers=where.approvals.approvers if where else (),
        approvers_ahead=tuple(each.approvals.approvers for each in ahead if each.approvals.needed),
        gate=verdict.outcome if verdict else None,
    )
    return ReadSubject(subject=subject, pull=pull, catalog=catalog, world=world)


def _environment_of(branch: Branch | None, catalog: Catalog) -> str:
    path = catalog.path_to_production()
    match branch:
        case Branch(purpose=Purpose.PROMOTE | Purpose.ROLLBACK, subject=subject):
            return subject
        case Branch(purpose=Purpose.RECORD) if path:
            return path[0].name
        case _:
            return ""


def _version_of(
    workspace: Workspace, pull: PullRequest, branch: Branch | None, environment: str
) -> str:
    if branch is None:
        return ""
    if branch.purpose in {Purpose.RECORD, Purpose.SPEC}:
        return branch.subject
    # The pin at the head, of an open pull request and of a merged one.
    with suppress(YardError):
        workspace.ensure([pull.head])
        path = release_file(environment, branch.model)
        text = GitTree(workspace.git, pull.head).read(path)
        return read_spec(Release, text, name=path).version
    return ""


def _world(workspace: Workspace, branch: Branch | None) -> World | None:
    if branch is None:
        return None
    # A model that cannot be read can be put on hold all the same.
    with suppress(YardError):
        return collect_world(workspace, branch.model, with_registry=False)
    return None
