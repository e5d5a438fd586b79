"""Reads the documents at the heads of pull requests: the version a promotion pins, and more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from modelyard.adapters.forge.local.snapshot import UnreadablePull
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.promotion.actions import Action, ProposeRecord, ProposeRelease, SetStatus
from modelyard.domain.promotion.change import Branch, Change, Purpose, parse_branch
from modelyard.domain.promotion.pulls import PullSummary
from modelyard.domain.promotion.world import Proposal, World
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import record_file, release_file
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from modelyard.errors import YardError
from modelyard.operations.workspace import Workspace

T = TypeVar("T", Record, Release)


def read_proposals(
    workspace: Workspace, catalog: Catalog, pulls: Iterable[PullSummary]
) -> dict[int, Proposal]:
    """The documents at the heads of pull requests that add a record or a release, by number.

    `with_currency` adds whether they are current, which takes rendering.
    """
    places = {pull.number: _places(catalog, pull) for pull in pulls}
    names = [name for pair in places.values() for name in pair if name]
    contents = workspace.git.read_many(names)  # one process for all of them
    found = {}
    for number, (at_record, at_release) in places.items():
        record = _parsed(Record, contents, at_record)
        release = _parsed(Release, contents, at_release)
        if record and release and release.version != record.version:
            release = None  # unchanged: the head has the main branch's files too
        if at_record or at_release:
            found[number] = Proposal(record=record, release=release)
    return found


def find_unreadable(workspace: Workspace, model: str, action: Action) -> YardError | None:
    """What the forge cannot read and `apply_action` leaves this action out for; None if it can."""
    unreadable = workspace.services.pulls.unreadable()
    match action:
        case SetStatus():
            return next((each for each in unreadable if action.sha in each.message), None)
        case ProposeRecord():
            branch = Branch(purpose=Purpose.RECORD, subject=action.record.version, model=model)
        case ProposeRelease():
            branch = Branch(purpose=Purpose.PROMOTE, subject=action.environment, model=model)
        case _:
            return None
    pulls = (each for each in unreadable if isinstance(each, UnreadablePull))
    return next((each for each in pulls if each.may_be_about(str(branch))), None)


def with_currency(
    workspace: Workspace, world: World, proposals: Mapping[int, Proposal]
) -> dict[int, Proposal]:
    """The proposals, with `is_current` set for the open pull requests."""
    current = {
        pull.number: replace(held, is_current=_is_current(workspace, world, pull, held))
        for pull in world.open_pulls
        if (held := proposals.get(pull.number))
    }
    return {**proposals, **current}


def _places(catalog: Catalog, pull: PullSummary) -> tuple[str | None, str | None]:
    """The Git names of the record and the release at a pull request's head."""
    branch, path = parse_branch(pull.branch), catalog.path_to_production()
    if branch is not None and branch.purpose is Purpose.RECORD:
        first = f"{pull.head}:{release_file(path[0].name, branch.model)}" if path else None
        return f"{pull.head}:{record_file(branch.model, branch.subject)}", first
    if branch is not None and branch.purpose is Purpose.PROMOTE:
        return None, f"{pull.head}:{release_file(branch.subject, branch.model)}"
    return None, None


def _parsed(kind: type[T], contents: Mapping[str, bytes | None], name: str | None) -> T | None:
    content = contents[name] if name else None
    if name is None or content is None:
        return None
    try:
        found = read_spec(kind, content, name=name)
    except YardError:
        return None  # somebody pushed an invalid file, which `modelyard/checks` reports
    # About another model or environment than its path, it could not even be rendered.
    return found if name.endswith(f":{_path_of(found)}") else None


def _path_of(document: Record | Release) -> str:
    if isinstance(document, Record):
        return record_file(document.model, document.version)
    return release_file(document.environment, document.model)


def _is_current(workspace: Workspace, world: World, pull: PullSummary, held: Proposal) -> bool:
    """Whether the tool would propose this head, title and page for the documents now."""
    try:
        change = _change(workspace, world, held)
        if change is None or change.branch != pull.branch:
            return False
        page = safe_line(change.title), change.body  # the forge strips control characters
        return page == (pull.title, pull.body) and workspace.git.holds_change(
            workspace.main(), pull.head, change.documents
        )
    except YardError:
        return False


def _change(workspace: Workspace, world: World, held: Proposal) -> Change | None:
    # Rendering is only imported by those who plan.
    from modelyard.operations.reconcile.changes import promotion_change, record_change

    image, pinned = workspace.services.repository.server_image, held.release
    if held.record is not None:
        where = pinned.environment if pinned else None
        action = ProposeRecord(record=held.record, environment=where)
        return record_change(world, action, server_image=image)
    if pinned is None or pinned.environment not in world.catalog.environments:
        return None
    action_ = ProposeRelease(
        environment=pinned.environment, version=pinned.version, attempt=pinned.attempt
    )
    return promotion_change(world, action_, server_image=image)
