"""Reads ahead, for many models at once, what a look at each would ask git for one by one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping

from modelyard.adapters.git.comparison import read_objects, remember_objects
from modelyard.adapters.git.first_parents import read_main_history
from modelyard.adapters.git.trees import GitTree, ListedTree
from modelyard.domain.promotion.change import Purpose, parse_branch
from modelyard.domain.promotion.pulls import PullState, PullSummary
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    MODELS,
    SETTINGS,
    environment_file,
    environment_names,
    manifests_folder,
    manifests_root,
    releases_folder,
)
from modelyard.errors import YardError
from modelyard.operations.forge.merges import closed_pulls_of
from modelyard.operations.reconcile.reviews import placed_paths
from modelyard.operations.workspace import LONGEST_PAST, Workspace

logger = logging.getLogger(__name__)

TOGETHER = 50
"""Models whose specs are read at once: one after the other they cost a process each."""

_AT_ONCE = 500
"""Models whose objects are asked for at once, in the order of commits: git keeps the folder of an
environment, which is as large as the fleet, for the next question about nearly the same one."""

_MOST_LISTED_APART = 200


class ReadAhead:
    """What a look at these models reads of Git; whatever is not found here is asked for later.

    Args:
        workspace: What to read with.
        names: The models, in the order of the look.
        tree: The main branch's commit, if it is listed already.
        with_past: Whether the look asks for past releases.
    """

    def __init__(
        self,
        workspace: Workspace,
        names: Collection[str],
        *,
        tree: ListedTree | None = None,
        with_past: bool = True,
    ) -> None:
        self._workspace = workspace
        self._names = tuple(names)
        self._tree: GitTree | None = tree
        self._longest = LONGEST_PAST if with_past else 0
        self._listed: tuple[str, Mapping[str, str]] | None = None
        self._asked = 0

    def read(self, first: int, models: Collection[str]) -> None:
        """Read for these models, of which this is the place of the first one."""
        try:
            self._workspace.read_ahead(models, self._tree_of_now())
            if first >= self._asked:
                some = self._names[first : first + _AT_ONCE]
                self._asked = first + len(some)
                self._read_objects(_in_order(self._workspace, some, self._longest))
        except YardError as error:  # each model's own pass says so, and the others go on
            logger.info("%d models are read one by one: %s", len(models), error.message)

    def _read_objects(self, names: Collection[str]) -> None:
        git, commit = self._workspace.git, self._workspace.main()
        if len(self._names) > _MOST_LISTED_APART:
            if self._listed is None or self._listed[0] != commit:
                self._listed = commit, _list_placed(self._workspace, commit)
            now = {name for name in names if name.startswith(f"{commit}:")}
            remember_objects(git, {name: self._listed[1].get(name) for name in now})
        read_objects(git, names)

    def _tree_of_now(self) -> GitTree:
        workspace, commit = self._workspace, self._workspace.main()
        if self._tree is not None and self._tree.commit == commit:
            return self._tree
        if len(self._names) <= _MOST_LISTED_APART:
            return GitTree(workspace.git, commit)
        # With those that have problems: `workspace.environments` leaves them out, and a look at
        # a model has to meet them.
        environments = environment_names(workspace.git.list_folders(commit, ENVIRONMENTS))
        folders = [releases_folder(name) for name in environments]
        files = map(environment_file, environments)
        self._tree = ListedTree(workspace.git, commit, [SETTINGS, MODELS, *folders, *files])
        return self._tree


def _list_placed(workspace: Workspace, commit: str) -> Mapping[str, str]:
    """The pins and the folders of manifests at a commit, by the Git name of each.

    Two listings for an environment: git would read that folder anew for each name.
    """
    return {
        f"{commit}:{folder}{child}": found
        for name in workspace.environments(commit)
        for folder in (releases_folder(name), manifests_root(name))
        for child, found in workspace.git.list_children(
            commit, folder, with_submodules=False
        ).items()
    }


def _in_order(workspace: Workspace, models: Collection[str], longest: int) -> list[str]:
    """The Git names that the looks at these models compare, those alike beside each other."""
    commit = workspace.main()
    history = read_main_history(workspace.git, commit)
    found: list[tuple[str, int, str, str]] = []
    merged = {model: _newest_heads(workspace, model, history.order) for model in models}
    heads = {head for newest in merged.values() for head, _ in newest.values()}
    # Of a commit that is not here yet git would say that it holds nothing, which is kept.
    gone = frozenset(workspace.git.missing_objects(heads))
    for model, newest in merged.items():
        for environment in workspace.environments(commit):
            pin, manifests = placed_paths(environment, model)
            changed = history.changes.get(manifests_folder(environment, model), ())
            asked = [(each, pin) for each in changed[-longest:]] if longest else []
            compared = [(commit, len(history.order))]
            compared += [newest[environment]] if environment in newest else []
            found += [(environment, history.order[each], path, each) for each, path in asked]
            for head, order in compared:
                paths = () if head in gone else (pin, manifests)
                found += [(environment, order, path, head) for path in paths]
    # All pins before all folders of manifests: they are in different folders.
    found.sort(key=lambda each: (each[0], "/manifests/" in each[2], each[1:]))
    return list(dict.fromkeys(f"{head}:{path}" for _, _, path, head in found))


def _newest_heads(
    workspace: Workspace, model: str, order: Mapping[str, int]
) -> Mapping[str, tuple[str, int]]:
    """The head of the newest merged pull request for each environment, and when it was merged."""
    found: dict[str, tuple[str, int]] = {}
    for environment, pull in _merged(workspace, model):
        merged_at = order.get(pull.merged_as or "", -1)
        if merged_at >= found.get(environment, ("", -1))[1]:
            found[environment] = pull.head, merged_at
    return found


def _merged(workspace: Workspace, model: str) -> Iterator[tuple[str, PullSummary]]:
    for pull in closed_pulls_of(workspace, model):
        branch = parse_branch(pull.branch)
        is_release = branch is not None and branch.purpose in {Purpose.PROMOTE, Purpose.ROLLBACK}
        if branch is not None and is_release and pull.state is PullState.MERGED:
            yield branch.subject or "", pull
