"""Reports on all models: what did not change is taken from the rows of the last time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modelyard.adapters.facts.documents import FactsSnapshot
from modelyard.adapters.git.remote_refs import one_snapshot
from modelyard.adapters.git.trees import GitTree, ListedTree
from modelyard.adapters.specs.json_documents import warn_left_out
from modelyard.adapters.specs.reader import find_strays, stray_problems
from modelyard.domain.problem import Problem
from modelyard.domain.promotion.change import parse_branch
from modelyard.domain.promotion.world import World
from modelyard.domain.specs.paths import SETTINGS, model_folder, model_of_spec
from modelyard.operations.status.kept_rows import (
    KeptRows,
    is_lasting,
    is_worth_writing,
    name_at,
    read_basis,
    read_kept_rows,
    write_kept_rows,
)
from modelyard.operations.status.report import Rows, join_rows, model_rows
from modelyard.operations.status.worlds import (
    collect_shared,
    find_names,
    first_of_each_file,
    list_fleet,
    read_models,
    read_shared,
)
from modelyard.operations.workspace import Workspace


@one_snapshot()
def report_fleet(
    workspace: Workspace, *, with_registry: bool = False, uses_kept: bool = True
) -> dict[str, Any]:
    """The report on all models, see `status_report`, of which few are in memory at once.

    Args:
        workspace: What to read with.
        with_registry: Whether to ask the registry, of which nothing is kept.
        uses_kept: Whether rows may come from the last report, and be kept for the next one.
    """
    return _FleetReport(workspace, with_registry=with_registry, uses_kept=uses_kept).report()


@dataclass(frozen=True)
class _Read:
    """The rows that a name has now, if there is a model, and whether they may be kept."""

    rows: Rows | None
    lasts: bool


class _FleetReport:
    def __init__(self, workspace: Workspace, *, with_registry: bool, uses_kept: bool) -> None:
        self._workspace = workspace
        self._commit = workspace.main()
        self._shared = read_shared(workspace, self._commit, with_registry=with_registry)
        closed, specs = self._shared.every.closed, workspace.shared_specs(self._commit)
        # What stands in for a file that cannot be read, the history of main shows.
        keeps = uses_kept and not (with_registry or specs.problems or specs.stands_in)
        self._basis = read_basis(workspace, closed) if keeps else None
        self._kept = read_kept_rows(workspace, self._basis, closed) if self._basis else None
        self._worlds: list[World] = []
        self._refused: dict[str, str] = {}
        self._problems = set(specs.problems)
        self._stands_in = dict(specs.stands_in)

    def report(self) -> dict[str, Any]:
        """The report; what of it lasts is kept for the next one."""
        if self._kept is None:
            return self._report_all()
        return self._report_moved(self._kept)

    def _report_all(self) -> dict[str, Any]:
        tree = list_fleet(self._workspace, self._commit)
        strays = tuple(find_strays(tree))
        missing = tuple(each for each in strays if each.file == SETTINGS)
        self._shared = replace(self._shared, missing=missing)
        owners = {name_at(each.file) for each in strays}
        if None in owners:
            self._basis = None
        names = sorted({name for name in owners if name is not None}.union(find_names(tree)))
        facts = self._facts_of(None)
        read = self._read(names, strays, dict.fromkeys(names, facts), tree)
        self._keep({}, read)
        return self._join({name: each.rows for name, each in read.items()}, facts)

    def _report_moved(self, kept: KeptRows) -> dict[str, Any]:
        names = self._names_to_read(kept)
        facts = {name: self._facts_of(name) for name in names}
        read = self._read(names, self._strays_of(names), facts)
        others = {name: rows for name, rows in kept.models.items() if name not in facts}
        self._keep(others, read)
        any_facts = next(iter(facts.values()), None) or self._facts_of(min(others, default=None))
        rows = {**others, **{name: each.rows for name, each in read.items()}}
        return self._join(rows, any_facts)

    def _names_to_read(self, kept: KeptRows) -> tuple[str, ...]:
        """The names that changed, whose rows are never kept, or that have an open pull request."""
        branches = (parse_branch(pull.branch) for pull in self._shared.every.open)
        waiting = {branch.model for branch in branches if branch is not None}
        return tuple(sorted(kept.names.difference(kept.models).union(waiting & kept.names)))

    def _facts_of(self, name: str | None) -> FactsSnapshot:
        return self._workspace.facts.read_snapshot(name, missed=warn_left_out)

    def _strays_of(self, names: Collection[str]) -> tuple[Problem, ...]:
        folders = [model_folder(name) for name in names]
        tree = GitTree(self._workspace.git, self._commit, folders)
        return tuple(stray_problems(tree.paths()))

    def _read(
        self,
        names: Collection[str],
        strays: Collection[Problem],
        facts: Mapping[str, FactsSnapshot],
        tree: ListedTree | None = None,
    ) -> dict[str, _Read]:
        """What there is of these names now; nothing of one that is gone."""
        found: dict[str, _Read] = {}
        self._problems.update(strays)
        with_strays = {name_at(each.file) for each in strays}
        for each in read_models(self._workspace, self._shared, names, facts, tree):
            name, world, specs = each.name, each.world, each.specs
            self._problems.update(specs.problems)
            self._stands_in |= specs.stands_in
            rows = None if world is None else self._rows_of(world, each.refused)
            # Whoever asks is told each time what of the facts cannot be read.
            is_whole = not (specs.problems or facts[name].is_unknown_model(name))
            lasts = is_whole and name not in with_strays and (world is None or is_lasting(world))
            has_files = any(model_of_spec(file) == name for file in specs.files)
            if world is not None or has_files or not is_whole or name in with_strays:
                found[name] = _Read(rows, lasts=lasts)
        return found

    def _rows_of(self, world: World, refused: str | None) -> Rows:
        if world.open_pulls:  # what these wait for, the worlds show
            self._worlds.append(world)
            self._refused |= {world.model: refused} if refused else {}
        return model_rows(world, refused=refused, has_aliases=self._shared.has_aliases)

    def _keep(self, others: Mapping[str, Rows | None], read: Mapping[str, _Read]) -> None:
        """Rewrite the file if enough rows are new, unless main or the facts changed meanwhile."""
        lasting = {name: each.rows for name, each in read.items() if each.lasts}
        basis, kept = self._basis, self._kept
        if basis is None or not lasting:
            return
        if kept is not None and not is_worth_writing(len(lasting), len(kept.names)):
            return
        if (self._workspace.main(), self._workspace.facts.read_tip()) != (basis.main, basis.state):
            return
        rows = KeptRows(names=frozenset((*others, *read)), models={**others, **lasting})
        write_kept_rows(self._workspace, basis, rows)

    def _join(self, models: Mapping[str, Rows | None], facts: FactsSnapshot) -> dict[str, Any]:
        collected = replace(
            collect_shared(self._workspace, self._shared, facts),
            unreadable=first_of_each_file(self._problems),
            stands_in=self._stands_in,
            worlds=tuple(self._worlds),
            refused=self._refused,
        )
        rows = {name: each for name in sorted(models) if (each := models[name]) is not None}
        return join_rows(collected, rows)
