"""Who made a version, as main's history tells: they approve none of its releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelyard.adapters.git.objects import LogEntry
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.promotion.change import PULL, REQUESTED_BY
from modelyard.domain.specs.paths import held_out_file, trainer_folder, version_file
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import CannotAnswer


def find_version_makers(git: Git, main: str, model: str, version: str) -> Mapping[str, str]:
    """What each person did for the version: `{"Ann": "wrote v2", "Bob": "merged v2"}`.

    - They wrote its spec, a held-out set it pins, or the trainer it pins in the change that gave
      the trainer this content; author, committer and co-authors alike.
    - They merged one of these, or asked for it.
    """
    found: dict[str, str] = {}
    spec = _spec(git, main, model, version)
    for path in _files(model, version, spec):
        for entry in git.log(main, path=path):
            _add(found, entry, version)
        for entry in git.log(main, path=path, first_parent=True):
            _add(found, entry, version)
    if spec is not None:
        for entry in _trainer_commits(git, main, model, spec):
            _add(found, entry, version)
    return found


def names_of(commit: LogEntry) -> set[str]:
    """Who made a commit: author, committer and the co-authors of its trailers (`Name <mail>`)."""
    values = [value for key, value in commit.trailers.items() if key.lower() == "co-authored-by"]
    others = [line.partition("<")[0].strip() for value in values for line in value.splitlines()]
    return {commit.author, commit.committer, *others} - {""}


def _files(model: str, version: str, spec: ModelVersion | None) -> tuple[str, ...]:
    held_out = spec.held_out if spec is not None else ()
    return (version_file(model, version), *(held_out_file(model, name) for name in held_out))


def _spec(git: Git, main: str, model: str, version: str) -> ModelVersion | None:
    path = version_file(model, version)
    content = git.read_many([f"{main}:{path}"])[f"{main}:{path}"]
    try:
        return read_spec(ModelVersion, content or b"", name=path)
    except CannotAnswer:
        return None  # what is not valid is released nowhere


def _trainer_commits(git: Git, main: str, model: str, spec: ModelVersion) -> Iterator[LogEntry]:
    """The commits of the change that gave the trainer the content that the version pins."""
    folder = trainer_folder(model)
    for landed in git.log(main, path=folder, first_parent=True):
        if git.tree_hash(landed.sha, folder) == spec.code.tree:
            yield landed
            # The commits that a merge brought; nothing for a commit pushed to main.
            for side in git.log(landed.sha, path=folder):
                if side.sha == landed.sha or git.is_ancestor(side.sha, f"{landed.sha}^1"):
                    break
                yield side
            return


def _add(found: dict[str, str], entry: LogEntry, version: str) -> None:
    # The merge of a pull request is committed by the person who merged it.
    did = "merged" if PULL in entry.trailers else "wrote"
    for name in sorted(names_of(entry)):
        found.setdefault(name, f"{did} {version}")
    for name in entry.trailers.get(REQUESTED_BY, "").splitlines():
        found.setdefault(name, f"asked for {version}")
