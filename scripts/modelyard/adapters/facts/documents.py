"""The documents of facts: their paths on the branch, their types, and all of them at one moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import TypeAlias

from modelyard.adapters.facts.audit import is_audit_file
from modelyard.adapters.git.documents import Listing
from modelyard.domain.chatops.log import CommandLog
from modelyard.domain.promotion.change import STATE_BRANCH
from modelyard.domain.promotion.facts import BuiltImage, Freeze, ModelFacts, ReleaseFacts
from modelyard.domain.promotion.pulls import BrokenGlass
from modelyard.domain.sites import Owner
from modelyard.domain.specs.names import NAME, is_name
from modelyard.errors import Refused

Fact: TypeAlias = (
    ReleaseFacts | ModelFacts | Freeze | Owner | CommandLog | BrokenGlass | BuiltImage | None
)

KINDS: Mapping[str, object] = {
    "facts": ReleaseFacts,
    "models": ModelFacts,
    "freezes": Freeze | None,
    "sites": Owner | None,
    "commands": CommandLog,
    "glass": BrokenGlass | None,
    "images": BuiltImage | None,
}
"""The type of the documents by their first folder."""

_NAMES = {**dict.fromkeys(KINDS, 1), "facts": 2}
_SUFFIX = ".json"


def release_path(environment: str, model: str) -> str:
    """The path of a model's facts in an environment; `Refused` for what cannot be a name."""
    return f"facts/{_checked(environment)}/{_checked(model)}{_SUFFIX}"


def model_path(model: str) -> str:
    """The path of a model's own facts; `Refused` for what cannot be a name."""
    return f"models/{_checked(model)}{_SUFFIX}"


def freeze_path(environment: str) -> str:
    """The path of an environment's freeze; `Refused` for what cannot be a name."""
    return f"freezes/{_checked(environment)}{_SUFFIX}"


def site_path(environment: str) -> str:
    """The path of an environment's owner; `Refused` for what cannot be a name."""
    return f"sites/{_checked(environment)}{_SUFFIX}"


def commands_path(number: int) -> str:
    """The path of the log of commands below a pull request."""
    return f"commands/{_checked(f'pull-{number}')}{_SUFFIX}"


def run_path(run: int) -> str:
    """The path of the log of the command that a run of a workflow was started with."""
    return f"commands/{_checked(f'run-{run}')}{_SUFFIX}"


def glass_path(number: int) -> str:
    """The path of an admin's word to merge a pull request without approvals."""
    return f"glass/{_checked(f'pull-{number}')}{_SUFFIX}"


def image_path(lock: str) -> str:
    """The path of the image that was built of a lock, which its SHA-256 names."""
    return f"images/{_checked(f'lock-{lock[:32]}')}{_SUFFIX}"


def _checked(name: str) -> str:
    if not is_name(name):
        raise Refused(f"{name!r} is not a name: it must match {NAME.pattern}")
    return name


def kind_of(path: str) -> object:
    """The type of a document; `Refused` for a path that holds no facts."""
    parsed = parse_path(path)
    if parsed is None:
        raise Refused(f"{path!r} holds no facts: those are below {', '.join(KINDS)}")
    return KINDS[parsed[0]]


# Ten thousand models have a fact in each environment.
@lru_cache(maxsize=200_000)
def parse_path(path: str) -> tuple[str, tuple[str, ...]] | None:
    """The first folder of a document's path and its names; None if it holds no facts."""
    space, *names = path.removesuffix(_SUFFIX).split("/")
    is_document = path.endswith(_SUFFIX) and len(names) == _NAMES.get(space)
    return (space, tuple(names)) if is_document and all(map(is_name, names)) else None


@dataclass(frozen=True)
class Index:
    """The documents of a listing by what they are about.

    Args:
        listing: The listing.
    """

    listing: Listing

    @cached_property
    def documents(self) -> frozenset[str]:
        """The paths of all documents, also where something else has the place of one."""
        found = filter(None, map(_document_at, (*self.listing.files, *self.listing.others)))
        return frozenset(found)

    @cached_property
    def closed(self) -> frozenset[str]:
        """The folders of documents in whose place something else stands."""
        there = (*self.listing.files, *self.listing.others)
        return frozenset(path for path in there if _is_folder(path))

    @cached_property
    def junk(self) -> tuple[str, ...]:
        """What is no document and stands in no document's way, sorted."""
        there = (*self.listing.files, *self.listing.others)
        found = (
            path
            for path in there
            if not (_document_at(path) or _is_folder(path) or is_audit_file(path))
        )
        return tuple(sorted(found))

    def of_model(self, model: str) -> tuple[str, ...]:
        """What a model depends on: its documents, every freeze and every owner; sorted."""
        there = map(_document_at, self._by_last_name.get(f"{model}{_SUFFIX}", ()))
        own = {each for each in there if each and each.startswith(("facts/", "models/"))}
        return tuple(sorted(own.union(self._of_environments)))

    @cached_property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The path and object of each fact after its model's name, which freezes have not."""
        found = []
        for path, name in sorted(self.listing.files.items()):
            space = path.partition("/")[0]
            parsed = _document_at(path)
            if parsed is not None and space in {"facts", "models"}:
                found.append((path.split("/")[-1].removesuffix(_SUFFIX), f"{path} {name}"))
            elif space == "freezes":
                found.append(("", f"{path} {name}"))
        return tuple(found)

    @cached_property
    def _by_last_name(self) -> Mapping[str, list[str]]:
        """What there is by the last name of its path, or of the document it is in the way of."""
        # Not parsed: most of it is about other models than the one that is asked for.
        found: dict[str, list[str]] = defaultdict(list)
        for path in (*self.listing.files, *self.listing.others):
            found[path.rpartition("/")[2]].append(path)
            if f"{_SUFFIX}/" in path and (document := _document_at(path)):
                found[document.rpartition("/")[2]].append(path)
        return found

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """The paths of all owners."""
        return tuple(self._below("sites/"))

    @cached_property
    def glass(self) -> tuple[str, ...]:
        """The paths of what was merged without approvals, sorted."""
        return tuple(sorted(self._below("glass/")))

    @cached_property
    def _of_environments(self) -> tuple[str, ...]:
        return tuple(self._below("freezes/", "sites/"))

    def _below(self, *folders: str) -> frozenset[str]:
        """The documents of these folders, without looking at the facts of all models."""
        there = (*self.listing.files, *self.listing.others)
        return frozenset(
            filter(None, map(_document_at, (p for p in there if p.startswith(folders))))
        )


def _document_at(path: str) -> str | None:
    """The document that this path is, or in whose place it makes a folder."""
    depth = _NAMES.get(path.partition("/")[0], 0)
    document = "/".join(path.split("/")[: depth + 1])
    return document if parse_path(document) else None


def _is_folder(path: str) -> bool:
    """Whether documents would be below this path."""
    if path.endswith(_SUFFIX):  # as almost all do, and no name has a dot
        return False
    space, *names = path.split("/")
    return space in KINDS and len(names) < _NAMES[space] and all(map(is_name, names))


@dataclass(frozen=True, kw_only=True)
class FactsSnapshot:
    """Every fact at one moment.

    Args:
        releases: By (environment, model).
        models: By model.
        freezes: By environment, those that are frozen.
        owners: By environment, the sites that run its servers.
        unknown: The (environment, model) pairs of unreadable facts.
        unknown_models: Models of which holds and incidents are unreadable.
        unknown_owners: Environments whose owner is unreadable.
        closed: Folders, such as `facts/dev`, in whose place something else stands.
    """

    releases: Mapping[tuple[str, str], ReleaseFacts] = field(default_factory=dict)
    models: Mapping[str, ModelFacts] = field(default_factory=dict)
    freezes: Mapping[str, Freeze] = field(default_factory=dict)
    owners: Mapping[str, Owner] = field(default_factory=dict)
    unknown: frozenset[tuple[str, str]] = frozenset()
    unknown_models: frozenset[str] = frozenset()
    unknown_owners: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()

    def release_facts(self, environment: str, model: str) -> ReleaseFacts:
        """The facts of a model in an environment; empty if there are none yet."""
        return self.releases.get((environment, model), ReleaseFacts())

    def releases_of(self, model: str) -> Mapping[str, ReleaseFacts]:
        """The facts of a model by environment."""
        return self._by_model.get(model, {})

    @cached_property
    def _by_model(self) -> Mapping[str, Mapping[str, ReleaseFacts]]:
        found: dict[str, dict[str, ReleaseFacts]] = defaultdict(dict)
        for (environment, model), each in self.releases.items():
            found[model][environment] = each
        return found

    def model_facts(self, model: str) -> ModelFacts:
        """The facts of a model; empty if there are none yet."""
        return self.models.get(model, ModelFacts())

    def unknown_of(self, model: str, environments: Iterable[str]) -> frozenset[str]:
        """The environments where a model's facts are unreadable, among these and others."""
        known = {environment for environment, name in self.unknown if name == model}
        closed = {each for each in environments if {"facts", f"facts/{each}"} & self.closed}
        return frozenset(known | closed)

    def is_unknown_model(self, model: str) -> bool:
        """Whether a model's holds and incidents are unreadable."""
        return model in self.unknown_models or "models" in self.closed

    def freezes_of(self, environments: Iterable[str], *, now: datetime) -> Mapping[str, Freeze]:
        """The freezes of now; if none can be read, every environment counts as frozen."""
        if "freezes" not in self.closed:
            return {name: each for name, each in self.freezes.items() if not each.is_over(now)}
        why = f"the freezes cannot be read, {STATE_BRANCH}:freezes is no folder"
        freeze = Freeze(reason=why, by=STATE_BRANCH, since=datetime.fromtimestamp(0, UTC))
        return dict.fromkeys(environments, freeze)
