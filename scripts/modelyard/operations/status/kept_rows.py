"""Keeps in a file the rows of models that only a change in Git or on the forge can change."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelyard.adapters.facts.documents import KINDS, parse_path
from modelyard.adapters.garbage import garbage_collector_off
from modelyard.adapters.git.first_parents import read_changed, read_order
from modelyard.adapters.kept_file import read_sealed, stamp_code, write_sealed
from modelyard.adapters.specs.reader import stray_problems
from modelyard.adapters.specs.schemas import schema_folder
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.facts import TrainingFacts, is_bad
from modelyard.domain.promotion.promote import why_unverified
from modelyard.domain.promotion.pulls import PullState, PullSummary
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.paths import SETTINGS, parse_spec_path, place_of
from modelyard.errors import YardError
from modelyard.operations.status.report import Rows
from modelyard.operations.workspace import Workspace

logger = logging.getLogger(__name__)

_FILE = "status-rows-1"
"""The file's name. Another form has another name, and then all is read anew."""

_WORTH_WRITING = 50
_SHARE_WORTH_WRITING = 0.05
"""So many new rows, or such a part of all, make a new file: a few are read again at less cost."""


@dataclass(frozen=True, kw_only=True)
class Basis:
    """All that rows are made of, at one moment.

    Args:
        code: What identifies the code and the settings that make them.
        main: The commit of the main branch.
        state: The commit of the facts.
        pulls: What identifies each merged or closed pull request, by its number as text.
    """

    code: str
    main: str
    state: str
    pulls: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class KeptRows:
    """The rows of a moment at which every file that is about no model could be read.

    Args:
        names: All names that there are, whether or not anything of them is kept.
        models: The rows that are kept, by name; None of a name without a model.
    """

    names: frozenset[str]
    models: Mapping[str, Rows | None]


def read_basis(workspace: Workspace, closed: Iterable[PullSummary]) -> Basis | None:
    """What rows are made of now; None if nothing can be kept, as there are no facts on a branch."""
    state, main = workspace.facts.read_tip(), workspace.main()
    if state is None:
        return None
    order = read_order(workspace.git, main)
    parts = (
        stamp_code(schema_folder()),
        repr(workspace.services.repository),
        str(workspace.git.read_cut()),
    )
    return Basis(
        code=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        main=main,
        state=state,
        pulls={str(pull.number): _digest_pull(pull, order) for pull in closed},
    )


def _digest_pull(pull: PullSummary, order: Mapping[str, int]) -> str:
    # Two pull requests of an environment follow each other as their merges do on main.
    place = order.get(pull.merged_as or "", -1)
    said = (
        f"{pull.state} {pull.branch} {pull.author} {pull.base} {pull.head} {pull.merged_as} "
        f"{place} {pull.by_hand} {pull.closed_at is None}"
    )
    return hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=8).hexdigest()


def read_kept_rows(
    workspace: Workspace, basis: Basis, closed: Iterable[PullSummary]
) -> KeptRows | None:
    """The kept rows that still hold, with the names that there are now; None if none hold."""
    with garbage_collector_off():
        document = read_sealed(_file(workspace))
        if not isinstance(document, dict) or document.get("code") != basis.code:
            return None
        # What had ended by a clock that was ahead, and was put right since, may go on.
        if document["at"] > _seconds(workspace):
            return None
        try:
            moved = _moved(workspace, document, basis, closed)
        except YardError as error:  # a commit is gone: somebody rewrote the branch
            logger.info("%s", error.message)
            return None
        if moved is None:
            return None
        models = {
            name: _full(rows) for name, rows in document["models"].items() if name not in moved
        }
        names = moved.union(document["names"])
    return KeptRows(names=names, models=models)


def _moved(
    workspace: Workspace, document: Mapping[str, Any], basis: Basis, closed: Iterable[PullSummary]
) -> frozenset[str] | None:
    """The names of which anything moved since the file was written; None if it may be any."""
    if document["main"] not in read_order(workspace.git, basis.main):
        return None
    found: set[str | None] = set()
    if document["main"] != basis.main:
        changed = read_changed(workspace.git, document["main"], basis.main)
        found.update(name for path in changed for name in _names_at(path))
    if document["state"] != basis.state:
        changed = read_changed(workspace.git, document["state"], basis.state)
        found.update(name for path in changed for name in _names_of_fact(path))
    known = document["pulls"]
    if known != basis.pulls:
        if not known.keys() <= basis.pulls.keys():
            return None  # of one that is gone, nobody knows what it was about
        for pull in closed:
            if known.get(str(pull.number)) != basis.pulls[str(pull.number)]:
                branch = parse_branch(pull.branch)
                found.update([branch.model] if branch else [])
    return None if None in found else frozenset(name for name in found if name is not None)


def _names_at(path: str) -> Iterable[str | None]:
    """The name whose rows a file of the main branch is about, if any; None for all names."""
    if (name := name_at(path)) is not None:
        return (name,)
    is_of_all = path == SETTINGS or parse_spec_path(path) is not None
    return (None,) if is_of_all or any(stray_problems([path])) else ()


def name_at(path: str) -> str | None:
    """The name that a file of the main branch belongs to, also where it is none of its specs."""
    place = place_of(path)
    return None if place is None else place.rstrip("/").rpartition("/")[2]


def _names_of_fact(path: str) -> Iterable[str | None]:
    space, names = parse_path(path) or ("", ())
    if space in {"facts", "models"}:
        return (names[-1],)
    # In the place of a document, or of their folder, something else shows at many of them.
    return (None,) if not space and path.partition("/")[0] in KINDS else ()


def write_kept_rows(workspace: Workspace, basis: Basis, kept: KeptRows) -> None:
    """Keep these rows, of this basis."""
    document = {
        "code": basis.code,
        "at": _seconds(workspace),
        "main": basis.main,
        "state": basis.state,
        "pulls": basis.pulls,
        "names": sorted(kept.names),
        "models": {name: _short(rows) for name, rows in kept.models.items()},
    }
    write_sealed(_file(workspace), document)


def is_worth_writing(new: int, names: int) -> bool:
    """Whether so many new rows are worth another file."""
    return new >= min(_WORTH_WRITING, max(1, names * _SHARE_WORTH_WRITING))


def _seconds(workspace: Workspace) -> float:
    return workspace.services.clock.now().timestamp()


def _file(workspace: Workspace) -> Path:
    return workspace.git.kept_folder / _FILE


_RELEASE = (
    "model",
    "environment",
    "version",
    "artifact",
    "attempt",
    "state",
    "verified",
    "since",
    "verdict",
    "next",
    "alias",
)
"""The columns of a release, which nearly all rows are: their names would take most of the file."""


def _short(rows: Rows | None) -> Any:
    if rows is None:
        return None
    releases = [[row[key] for key in _RELEASE] for row in rows.get("releases", ())]
    return {**rows, "releases": releases}


def _full(rows: dict[str, Any] | None) -> Rows | None:
    if rows is not None:
        found = [dict(zip(_RELEASE, row, strict=True)) for row in rows.pop("releases")]
        rows = {"releases": found, **rows} if found else rows
    return rows


def is_lasting(world: World) -> bool:
    """Whether the rows of a model stay as they are until Git or its pull requests change.

    They do not if a pull request is open, if time decides something, or if anything else than Git
    was asked: a workflow, the history of the main branch, what was said of a pull request.
    """
    if world.unknown or world.is_inquired or world.open_pulls or world.unreadable:
        return False
    if any(pull.by_hand or _is_undecided(pull) for pull in world.closed_pulls):
        return False
    if any(each.until > world.now for each in world.model_facts.overrides.values()):
        return False
    return not _awaits_training(world) and all(
        _is_settled(world, name) for name in world.catalog.environments
    )


def _is_undecided(pull: PullSummary) -> bool:
    return pull.state is PullState.CLOSED and pull.closed_at is None


def _awaits_training(world: World) -> bool:
    known = world.model_facts.training
    return any(
        world.record(spec.version) is None
        and not world.is_held(spec.version)
        and known.get(spec.version, TrainingFacts()).failed is None
        for spec in world.catalog.versions_of(world.model)
    )


def _is_settled(world: World, environment: str) -> bool:
    """Whether a release there soaks no more, and has no deadline."""
    release, facts = world.release(environment), world.facts_of(environment)
    if release is None or facts.release != release.identity or is_bad(facts, release):
        return True
    return why_unverified(world, release) is None
