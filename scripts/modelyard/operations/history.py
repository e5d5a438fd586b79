"""Reads what happened to a model from the history of the main branch and of its facts."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from modelyard.adapters.facts.documents import model_path, release_path
from modelyard.adapters.git.first_parents import read_main_history
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.objects import LogEntry
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.repository import Git
from modelyard.domain.audit import AuditLine
from modelyard.domain.people import is_same_person
from modelyard.domain.promotion.change import (
    APPROVED_BY,
    ENVIRONMENT,
    MODEL,
    PULL,
    VERSION,
    claims_of_merge,
    is_about,
    is_branch_of,
    parse_branch,
    trailers_of_head,
)
from modelyard.domain.promotion.dora import DoraMeasures, dora_measures
from modelyard.domain.promotion.facts import ModelFacts, ReleaseFacts
from modelyard.domain.promotion.pulls import BrokenGlass, PullSummary
from modelyard.domain.promotion.timeline import (
    Event,
    Kind,
    Landing,
    PinChange,
    decision_events,
    glass_events,
    landing_events,
    merge_timelines,
    observation_events,
)
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.names import NAME
from modelyard.domain.specs.paths import (
    is_place_of,
    parse_spec_path,
    records_folder,
    release_file,
    versions_folder,
)
from modelyard.domain.specs.repository import ForgeKind
from modelyard.errors import CannotAnswer, YardError
from modelyard.operations.forge.merges import is_of_the_tool, read_merges
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

F = TypeVar("F")

_PINNED = re.compile(r"^version: *['\"]?([^\s'\"]+)", re.MULTILINE)

_SAID = "what it was for"
_UNREADABLE = "(unreadable)"

_QUESTIONS = frozenset({"/why", "/plan", "/help"})
"""Commands that change nothing."""


@dataclass(frozen=True, kw_only=True)
class History:
    """What happened to a model, oldest first, and its DORA measures."""

    events: tuple[Event, ...]
    measures: DoraMeasures


def read_history(workspace: Workspace, model: str) -> History:
    """Return the history of a model; `CannotAnswer` if it has none."""
    history = read_story(workspace, model)
    if not history.events:
        workspace.catalog(workspace.main()).require_model(model)
        raise CannotAnswer(f"{model} has no history yet", hint=f"modelyard reconcile {model}")
    return history


@one_snapshot()
def read_story(workspace: Workspace, model: str) -> History:
    """Return the history of a model, without events if there is none.

    Raises:
        CannotAnswer: The clone is shallow.
    """
    commit = workspace.main()
    refuse_shallow(workspace)
    catalog = workspace.specs_of(commit, model).catalog
    with workspace.services.pulls.one_listing():
        events = _read_events(workspace, commit, catalog, model)
        began = find_beginning(workspace)
    return History(events=events, measures=dora_measures(events, catalog, began=began))


def refuse_shallow(workspace: Workspace) -> None:
    """Raise `CannotAnswer` in a clone without its older commits: their events would be missing."""
    if workspace.git.is_shallow():
        remote = workspace.services.repository.remote
        raise CannotAnswer(
            "this clone is shallow: what happened before its first commit is not in it",
            hint=f"git fetch --unshallow {remote}",
        )


def find_beginning(workspace: Workspace) -> datetime | None:
    """When the forge got its first pull request: what landed before came from elsewhere."""
    pulls = workspace.services.pulls
    return min((pull.opened_at for pull in (*pulls.open(), *pulls.closed())), default=None)


def _read_events(
    workspace: Workspace, commit: str, catalog: Catalog, model: str
) -> tuple[Event, ...]:
    releases = {name: release_path(name, model) for name in _in_path_order(catalog)}
    own, glass = model_path(model), workspace.facts.glass_paths(model)
    found = workspace.facts.read_histories([*releases.values(), own, *glass], model)

    def values(path: str, kind: type[F]) -> list[tuple[datetime, F]]:
        return [(at, fact) for at, fact in found[path] if isinstance(fact, kind)]

    return merge_timelines(
        landing_events(model, _read_landings(workspace, commit, model, releases), catalog),
        *(
            observation_events(environment, values(path, ReleaseFacts))
            for environment, path in releases.items()
        ),
        decision_events(values(own, ModelFacts)),
        _command_events(workspace, model),
        *(glass_events(model, (word for _, word in values(path, BrokenGlass))) for path in glass),
    )


def _command_events(workspace: Workspace, model: str) -> Iterator[Event]:
    """What people commanded in comments, and what became of it, as the audit log has it."""
    for line in workspace.facts.read_audit(model):
        yield from command_events(line)


def command_events(line: AuditLine) -> Iterator[Event]:
    """The event of a line of the audit log, if it is a command that may have changed something."""
    if line.command and line.command not in _QUESTIONS:
        yield Event(
            at=line.at,
            kind=Kind.COMMANDED,
            what=f"{line.who}: {line.command}: {line.reason}",
            version=line.version or None,
            environment=line.environment or None,
            pull=line.pull,
        )


def _in_path_order(catalog: Catalog) -> tuple[str, ...]:
    """Return the environments, those of the path to production first."""
    # Of events within one second, earlier sources come first.
    path = [environment.name for environment in catalog.path_to_production()]
    return tuple(dict.fromkeys((*path, *sorted(catalog.environments))))


def _read_landings(
    workspace: Workspace, commit: str, model: str, environments: Collection[str]
) -> Iterator[Landing]:
    """Yield the commits of the main branch that may be about the model, oldest first."""
    merges = read_merges(workspace)
    commits = _list_commits(workspace, commit, model, merges)
    pins = (release_file(name, model) for name in environments)
    paths = (versions_folder(model), records_folder(model), *pins)
    changes = read_model_changes(workspace.git, commits, paths)
    for entry in workspace.git.log_of(commits):
        found = changes.get(entry.sha, {}).get(model, ModelChanges())
        yield make_landing(workspace, entry, merges.get(entry.sha), found, model)


def make_landing(
    workspace: Workspace, entry: LogEntry, pull: PullSummary | None, found: ModelChanges, model: str
) -> Landing:
    """What a commit of the main branch's own history did to a model.

    Args:
        workspace: What to read with.
        entry: The commit.
        pull: The pull request that the forge merged as this commit.
        found: The files of the model that it changed.
        model: The model.
    """
    landing = Landing(
        commit=entry.sha,
        at=entry.at,
        pull=pull.number if pull else None,
        specs=tuple(found.specs),
        records=tuple(found.records),
        author=safe_line(entry.author),
    )
    if pull is not None and (told := _told_by_the_tool(workspace, entry, pull)) is not None:
        landing = replace(landing, trailers=told, approved_by=told.get(APPROVED_BY))
    else:
        landing = _with_unproven(workspace.git, landing, entry, model)
    is_told = landing.trailers.get(MODEL) == model
    told_in = landing.trailers.get(ENVIRONMENT) if is_told else None
    untold = [each for each in found.pins if each != told_in]
    return replace(landing, pins=_pin_changes(workspace.git, entry.sha, model, untold))


def _with_unproven(git: Git, landing: Landing, entry: LogEntry, model: str) -> Landing:
    unproven = claims_of_merge(entry.trailers)
    trailers: Mapping[str, str] = trailers_of_head(entry.trailers)
    if trailers.get(MODEL) == model and ENVIRONMENT in trailers:
        trailers = _borne_out(git, entry, model)
        unproven = ", ".join(filter(None, (unproven, _SAID if trailers else "")))
    return replace(landing, trailers=trailers, unproven=unproven)


def _told_by_the_tool(
    workspace: Workspace, entry: LogEntry, pull: PullSummary
) -> Mapping[str, str] | None:
    """The trailers of a merge that the tool wrote itself; of others, those of the tool's head.

    A squash, a rebase and the button of a page write messages of their own, and people type theirs.
    None if a person may have typed all there is.
    """
    branch, is_of_person = parse_branch(pull.branch), _is_of_a_person(workspace, pull)
    if branch is None or not is_of_the_tool(workspace, pull):
        return None if is_of_person else entry.trailers
    if not is_of_person and PULL in entry.trailers:
        return entry.trailers if is_about(branch, entry.trailers) else None
    try:
        workspace.ensure([pull.head])
    except YardError as error:  # gone: the rest of the history is shown all the same
        logger.warning("#%d: %s", pull.number, error.message)
        return None
    (head,) = workspace.git.log(pull.head, limit=1)
    trailers = trailers_of_head(head.trailers)
    return trailers if is_about(branch, trailers) else None


def _is_of_a_person(workspace: Workspace, pull: PullSummary) -> bool:
    """Whether somebody else than the tool merged it, and may have typed the merge's message."""
    repository, by = workspace.services.repository, pull.closed_by
    if repository.forge is ForgeKind.LOCAL:  # which writes every message but those of pushes
        return pull.by_hand
    return by is None or not is_same_person(by, repository.bot)


def _borne_out(git: Git, entry: LogEntry, model: str) -> Mapping[str, str]:
    """What a commit says of a release, if it changed that pin, with the version that it pins."""
    said = trailers_of_head(entry.trailers)
    if not NAME.fullmatch(said[ENVIRONMENT]):
        return {}
    path = release_file(said[ENVIRONMENT], model)
    after, before = f"{entry.sha}:{path}", f"{entry.sha}^1:{path}"
    pins = git.read_many([after, before])
    if pins[after] == pins[before]:
        return {}
    pinned = _version_of(pins[after])
    version = {VERSION: pinned} if pinned else {}
    return {key: value for key, value in said.items() if key != VERSION} | version


def _list_commits(
    workspace: Workspace, commit: str, model: str, merges: Mapping[str, PullSummary]
) -> tuple[str, ...]:
    """The commits of the main branch's own history that changed something of the model.

    And those that its pull requests were merged as, whatever became of the change.
    """
    main = read_main_history(workspace.git, commit)
    # Asked of all places there are; the name of each that is of the model ends like this.
    ending = f"/{model}/"
    places = [each for each in main.changes if each.endswith(ending) and is_place_of(each, model)]
    found = {each for place in places for each in main.changes[place]}
    found |= {each for each, pull in merges.items() if is_branch_of(pull.branch, model)}
    return tuple(sorted(found & main.order.keys(), key=main.order.__getitem__))


def _pin_changes(
    git: Git, commit: str, model: str, environments: Collection[str]
) -> tuple[PinChange, ...]:
    """How a commit changed the model's pins of these environments."""
    paths = {name: release_file(name, model) for name in environments}
    names = [f"{at}:{path}" for path in paths.values() for at in (commit, f"{commit}^1")]
    pins = git.read_many(names) if names else {}
    return tuple(
        PinChange(
            environment=name,
            before=_version_of(pins[f"{commit}^1:{path}"]),
            after=_version_of(pins[f"{commit}:{path}"]),
        )
        for name, path in paths.items()
    )


def _version_of(pin: bytes | None) -> str | None:
    """The version that a pin names; None without a pin."""
    if pin is None:
        return None
    found = _PINNED.search(pin.decode("utf-8", "replace"))
    return found[1] if found else _UNREADABLE


@dataclass(frozen=True, kw_only=True)
class ModelChanges:
    """What a commit did to a model's files, compared with its first parent.

    Args:
        specs: Versions whose spec it added.
        records: Versions whose record it added.
        pins: Environments whose pin it added, changed or deleted.
    """

    specs: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    pins: list[str] = field(default_factory=list)


def read_model_changes(
    git: Git, commits: Sequence[str], paths: Sequence[str] = ()
) -> dict[str, dict[str, ModelChanges]]:
    """Return what each commit did, by its SHA and the model; below these paths, or anywhere."""
    if not commits:
        return {}
    options = ("--root", "--diff-merges=first-parent", "--no-renames", "--name-status")
    # A NUL starts each commit: no path has one.
    words = ("log", "--stdin", "--no-walk=unsorted", *options, "--format=%x00%H")
    done = git.run(*words, "--", *paths, stdin="\n".join(commits).encode())
    found: dict[str, dict[str, ModelChanges]] = {}
    for block in done.stdout.decode("utf-8", "replace").split("\0")[1:]:
        sha, *lines = block.split("\n")
        found[sha] = by_model = defaultdict[str, ModelChanges](ModelChanges)
        for how, _, path in (line.partition("\t") for line in lines if line):
            match parse_spec_path(path):
                case "ModelVersion", (model, version) if how == "A":
                    by_model[model].specs.append(version)
                case "Record", (model, version) if how == "A":
                    by_model[model].records.append(version)
                case "Release", (environment, model):
                    by_model[model].pins.append(environment)
    return found
