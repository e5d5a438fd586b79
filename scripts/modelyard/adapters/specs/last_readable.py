"""Lets rules stand in as they were last, where the main branch's own cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from modelyard.adapters.git.first_parents import read_main_history
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs.last_of_file import read_last
from modelyard.adapters.specs.reader import Specs
from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.paths import (
    ENVIRONMENTS,
    SETTINGS,
    environment_file,
    environment_names,
    manifests_root,
    model_file,
    parse_manifests_path,
    parse_spec_path,
    releases_folder,
    version_file,
)

_ENVIRONMENTS = AnswerCache(4)


TakenAway = Callable[[Environment], bool | None]
"""Whether a push took away an environment that is gone with its folder, and to which a merged pull
request had brought a release; None while nobody can say, and then it counts as taken away."""


def with_last_readable(git: Git, commit: str, specs: Specs, was_taken_away: TakenAway) -> Specs:
    """The specs of a commit with each environment, model and the settings as readable last.

    What goes back asks these files for its rules, and must not wait until one is mended. Each stays
    a problem, which refuses whatever goes forward. So does one that is gone while there are
    releases that need it, and an environment or a model that has another name than its folder.

    Args:
        git: The repository.
        commit: The commit that the specs are of.
        specs: What was read there.
        was_taken_away: Only asked if there is such an environment.
    """
    filled = _Filled(git=git, commit=commit, specs=specs, was_taken_away=was_taken_away)
    filled.leave_out_misnamed()
    filled.fill_settings()
    filled.fill_models()
    filled.fill_environments()
    if not filled.problems and not filled.stands_in:
        return specs
    problems = (*filled.specs.problems, *filled.problems)
    return replace(
        filled.specs,
        problems=tuple(sorted(problems, key=lambda problem: problem.sort_key)),
        stands_in=filled.stands_in,
        is_guess=filled.is_guess,
    )


@dataclass
class _Filled:
    """Specs that are filled up.

    Args:
        git: The repository.
        commit: The commit that they are of.
        specs: The specs so far.
        was_taken_away: See `TakenAway`.
        problems: What was found wrong in addition.
        stands_in: See `Specs`.
        is_guess: See `Specs`.
    """

    git: Git
    commit: str
    specs: Specs
    was_taken_away: TakenAway
    problems: list[Problem] = field(default_factory=list)
    stands_in: dict[str, str] = field(default_factory=dict)
    is_guess: bool = False

    @property
    def _catalog(self) -> Catalog:
        return self.specs.catalog

    def leave_out_misnamed(self) -> None:
        """Leave out what has another name than its path: two may claim to be one environment."""
        catalog = self._catalog
        models = self._without_misnamed(catalog.models, model_file, "name")
        environments = self._without_misnamed(catalog.environments, environment_file, "name")
        # A plan looks up the version that a version's spec names.
        versions = self._without_misnamed(catalog.versions, version_file, "model", "version")
        if self.problems:
            self._put(models=models, environments=environments, versions=versions)

    def _without_misnamed(
        self, specs: Mapping[Any, Any], file_of: Callable[..., str], *fields: str
    ) -> dict[Any, Any]:
        """The specs of which each of these fields is what the path says there."""
        kept = dict(specs)
        for key, spec in specs.items():
            names = key if isinstance(key, tuple) else (key,)
            for name, said in zip(fields, names, strict=True):
                if (found := getattr(spec, name)) != said:
                    kept.pop(key, None)
                    message = f"{name} is {found}, but the path says {said}: rename one of them"
                    self._refuse(file_of(*names), message, path=(name,))
        return kept

    def fill_settings(self) -> None:
        """Let the settings stand in."""
        if SETTINGS in self.specs.files and SETTINGS not in self._unread:
            return
        found = self._last("Repository", SETTINGS)
        if found is None:
            return
        self._refuse_gone(SETTINGS, "it names the adapters, and marks the checkout's root")
        self.specs = replace(self.specs, repository=found)
        self._put(repository=found)

    def fill_models(self) -> None:
        """Let the models stand in that cannot be read, or are gone while they have releases."""
        released = {model for _, model in self._catalog.releases}
        wanted = {*released, *self._unread_keys("Model"), *self._unread_keys("Release")}
        for model in sorted(wanted - self._catalog.models.keys()):
            file = model_file(model)
            found = self._last("Model", file, name=model)
            if found is not None:
                self._refuse_gone(file, f"there are releases of {model}")
                self._put(models={**self._catalog.models, model: found})
            elif model in released:
                self._refuse_gone(file, f"there are releases of {model}")

    def fill_environments(self) -> None:
        """Let the environments stand in that cannot be read, or are gone while they are needed."""
        needed = dict.fromkeys(self._left_folders(), "there are releases in its folder")
        needed |= dict.fromkeys(self._taken_away(), "no approved pull request took it away")
        needed |= dict.fromkeys(self._unread_keys("Environment"), "")
        tried: set[str] = set()
        # One that stands in may name another one that is gone.
        while new := {**needed, **self._named()}.keys() - self._catalog.environments.keys() - tried:
            tried |= new
            why = {**self._named(), **needed}
            for name in sorted(new):
                found = self._last("Environment", environment_file(name), name=name)
                if found is not None:
                    self._refuse_gone(environment_file(name), why[name])
                    self._put(environments={**self._catalog.environments, name: found})

    def _left_folders(self) -> Iterator[str]:
        """The folders with releases that have no environment; of any model, asked of the commit."""
        for name in environment_names(self.git.list_folders(self.commit, ENVIRONMENTS)):
            if name not in self._catalog.environments:
                places = (releases_folder(name), manifests_root(name))
                if any(self.git.tree_hash(self.commit, place) for place in places):
                    yield name

    def _taken_away(self) -> Iterator[str]:
        """The environments whose folder a push deleted or moved.

        Not those whose releases are there in the commit before: a push of two commits may take them
        away with the first one.
        """
        here = environment_names(self.git.list_folders(self.commit, ENVIRONMENTS))
        for name in sorted(_every_environment(self.git, self.commit) - {*here}):
            file = environment_file(name)
            found = read_last(self.git, self.commit, "Environment", file, name=name)
            if found is None:
                continue
            answer = self.was_taken_away(found[0])
            self.is_guess = self.is_guess or answer is None
            if answer is not False:
                yield name

    def _named(self) -> dict[str, str]:
        """The environments that others name, and which do."""
        found: dict[str, str] = {}
        for name, each in sorted(self._catalog.environments.items()):
            for what, other in (("promotes_from", each.promotes_from), ("joins", each.joins)):
                if other is not None:
                    found.setdefault(other, f"{environment_file(name)} has {what}: {other}")
        return found

    @property
    def _unread(self) -> frozenset[str]:
        return frozenset(each.file for each in (*self.specs.problems, *self.problems))

    def _unread_keys(self, kind: str) -> Iterator[str]:
        """The last names in the paths of the files of a kind that cannot be read."""
        for file in self._unread:
            found, key = parse_spec_path(file) or ("", ())
            if found == kind:
                yield key[-1]

    def _last(self, kind: str, file: str, *, name: str | None = None) -> Any:
        """See `read_last`; what is found stands in."""
        found = read_last(self.git, self.commit, kind, file, name=name)
        if found is None:
            return None
        spec, self.stands_in[file] = found
        return spec

    def _refuse_gone(self, file: str, why: str) -> None:
        if file not in self._unread:
            self._refuse(file, f"is gone, but {why}")

    def _refuse(self, file: str, message: str, *, path: tuple[str, ...] = ()) -> None:
        problem = Problem(file=file, path=path, message=message, check="readable", line=1)
        self.problems += self.specs.with_lines([problem])

    def _put(self, **parts: Any) -> None:
        self.specs = replace(self.specs, catalog=replace(self._catalog, **parts))


def _every_environment(git: Git, commit: str) -> frozenset[str]:
    """The environments that have, or had, manifests of any model."""

    def ask() -> frozenset[str]:
        places = (place for place in read_main_history(git, commit).changes)
        return frozenset(found[0] for place in places if (found := parse_manifests_path(place)))

    return _ENVIRONMENTS.get_or_ask((git.root.absolute(), git.read_cut(), commit), ask)
