"""Which open pull requests of people concern a model: those that change it or an environment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from modelyard.domain.promotion.pulls import PullRequest
from modelyard.domain.specs.paths import SETTINGS, model_folder
from modelyard.errors import YardError
from modelyard.operations.workspace import Workspace


def find_concerned(
    workspace: Workspace, model: str, pulls: Iterable[PullRequest]
) -> Iterator[PullRequest]:
    """Yield those that change the model, an environment or the settings.

    One that cannot be compared with the main branch is shown rather than hidden.
    """
    places = (model_folder(model), "environments/", SETTINGS)
    for pull in pulls:
        try:
            changed = _changed_paths(workspace, pull)
        except YardError:
            yield pull
            continue
        if any(path.startswith(places) for path in changed):
            yield pull


def _changed_paths(workspace: Workspace, pull: PullRequest) -> tuple[str, ...]:
    workspace.ensure([pull.head])
    base = workspace.git.merge_base(workspace.main(), pull.head)
    return workspace.git.diff_names(base, pull.head)
