"""Who made a version, as main's history tells: they approve none of its releases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from modelyard.adapters.git.objects import LogEntry
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.documents import read_spec
from modelyard.domain.people import Person
from modelyard.domain.promotion.change import PULL, REQUESTED_BY
from modelyard.domain.specs.paths import held_out_file, trainer_folder, version_file
from modelyard.domain.specs.version import ModelVersion
from modelyard.errors import CannotAnswer

Deeds: TypeAlias = Callable[[LogEntry], Mapping[Person, str]]
"""What people did with a commit: `wrote`, `merged` or `asked for`."""


def deeds_by_name(commit: LogEntry) -> Mapping[Person, str]:
    """What people did with a commit, where names are all that is known of them."""
    # The merge of a pull request is committed by whoever merged it.
    did = "merged" if PULL in commit.trailers else "wrote"
    found = dict.fromkeys(makers_of(commit), did)
    for name in commit.trailers.get(REQUESTED_BY, "").splitlines():
        found.setdefault(Person.named(name), "asked for")
    return found


def find_version_makers(
    git: Git, main: str, model: str, version: str, *, deeds: Deeds = deeds_by_name
) -> Mapping[Person, str]:
    """What each person did for the version: Ann "wrote v2", and Bob "merged v2".

    - They wrote its spec, a held-out set it pins, or the trainer it pins in the change that gave
      the trainer this content; author, committer and co-authors alike.
    - They merged one of these, or asked for it.
    """
    found: dict[Person, str] = {}
    spec = _spec(git, main, model, version)
    for path in _files(model, version, spec):
        for entry in git.log(main, path=path):
            _add(found, deeds(entry), version)
        for entry in git.log(main, path=path, first_parent=True):
            _add(found, deeds(entry), version)
    if spec is not None:
        for entry in _trainer_commits(git, main, model, spec):
            _add(found, deeds(entry), version)
    return found


def makers_of(commit: LogEntry) -> tuple[Person, ...]:
    """Who made a commit: author, committer and the co-authors of its trailers (`Name <mail>`)."""
    values = [value for key, value in commit.trailers.items() if key.lower() == "co-authored-by"]
    others = [line.partition("<")[0].strip() for value in values for line in value.splitlines()]
    names = {commit.author, commit.committer, *others} - {""}
    return tuple(dict.fromkeys(Person.named(name) for name in sorted(names)))


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


def _add(found: dict[Person, str], deeds: Mapping[Person, str], version: str) -> None:
    for person, did in deeds.items():
        found.setdefault(person, f"{did} {version}")
