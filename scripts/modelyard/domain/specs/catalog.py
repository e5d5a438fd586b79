"""All specs of one commit of the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from modelyard.domain.specs.environment import Environment
from modelyard.domain.specs.heldout import HeldOut
from modelyard.domain.specs.model import Model
from modelyard.domain.specs.paths import (
    environment_file,
    held_out_file,
    model_file,
    version_file,
)
from modelyard.domain.specs.record import Record
from modelyard.domain.specs.release import Release
from modelyard.domain.specs.repository import Repository
from modelyard.domain.specs.version import ModelVersion
from modelyard.domain.unknown_name import unknown_name
from modelyard.errors import CannotAnswer

_MAIN = "the main branch"


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """The specs of one commit, by name.

    Args:
        models: By model.
        versions: By (model, version).
        held_out: By (model, held-out set).
        records: By (model, version).
        environments: By environment.
        releases: By (environment, model).
        digests: SHA-256 of each version's file, by (model, version).
        repository: The settings.
    """

    models: Mapping[str, Model] = field(default_factory=dict)
    versions: Mapping[tuple[str, str], ModelVersion] = field(default_factory=dict)
    held_out: Mapping[tuple[str, str], HeldOut] = field(default_factory=dict)
    records: Mapping[tuple[str, str], Record] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    releases: Mapping[tuple[str, str], Release] = field(default_factory=dict)
    digests: Mapping[tuple[str, str], str] = field(default_factory=dict)
    repository: Repository = field(default_factory=Repository)

    def require_model(self, name: str, *, where: str = _MAIN) -> Model:
        """The model of this name.

        Raises:
            CannotAnswer: There is no valid one; names those there are `where` the specs are from.
        """
        if name not in self.models:
            what, hint = f"valid {model_file(name)}", self._misplaced(name, where)
            raise unknown_name(what, name, sorted(self.models), where=where, hint=hint)
        return self.models[name]

    def require_version(self, model: str, version: str, *, where: str = _MAIN) -> ModelVersion:
        """The model's version of this name; see `require_model`."""
        self.require_model(model, where=where)
        if (model, version) not in self.versions:
            known = (spec.version for spec in self.versions_of(model))
            what, hint = f"valid {version_file(model, version)}", self._misplaced(version, where)
            raise unknown_name(what, version, known, where=where, hint=hint)
        return self.versions[model, version]

    def require_record(
        self, model: str, version: str, *, where: str = _MAIN, hint: str | None = None
    ) -> Record:
        """The record of a version; see `require_model`."""
        if (model, version) not in self.records:
            self.require_version(model, version, where=where)
            raise CannotAnswer(f"{where} has no record of {model} {version}", hint=hint)
        return self.records[model, version]

    def require_held_out(self, model: str, name: str, *, where: str = _MAIN) -> HeldOut:
        """The model's held-out set of this name; see `require_model`."""
        if (model, name) not in self.held_out:
            known = (each.name for each in self.held_out_of(model))
            what, hint = f"valid {held_out_file(model, name)}", "modelyard version held-out --help"
            raise unknown_name(what, name, known, where=where, hint=hint)
        return self.held_out[model, name]

    def require_environment(self, name: str, *, where: str = _MAIN) -> Environment:
        """The environment of this name; see `require_model`."""
        if name not in self.environments:
            what, hint = f"valid {environment_file(name)}", self._misplaced(name, where)
            path = [each.name for each in self.path_to_production()]
            known = (*path, *sorted(self.environments))
            raise unknown_name(what, name, known, where=where, hint=hint)
        return self.environments[name]

    def _misplaced(self, name: str, where: str) -> str:
        """The hint for a name of another argument, of a file to merge, or of an invalid file."""
        order = "the order is ENVIRONMENT MODEL VERSION, without what a command does not take"
        if name in self.environments:
            return f"{name} is an environment: {order}"
        if name in self.models:
            return f"{name} is a model: {order}"
        if owners := sorted(model for model, version in self.versions if version == name):
            return f"{name} is a version of {owners[0]}: {order}"
        if where == _MAIN:
            return "merge the pull request that adds it, if there is one, or modelyard validate"
        return "modelyard validate"

    def versions_of(self, model: str) -> tuple[ModelVersion, ...]:
        """The model's versions, by name."""
        mine = {version: spec for (name, version), spec in self.versions.items() if name == model}
        return tuple(spec for _, spec in sorted(mine.items()))

    def held_out_of(self, model: str) -> tuple[HeldOut, ...]:
        """The model's held-out sets, by name."""
        return tuple(h for (m, _), h in sorted(self.held_out.items()) if m == model)

    def path_to_production(self) -> tuple[Environment, ...]:
        """The environments in the order a version passes them."""
        return self._path

    @cached_property
    def _path(self) -> tuple[Environment, ...]:
        # After a fork the path takes one branch; the checks report the other.
        ordered: list[Environment] = []
        previous: str | None = None
        while following := [e for e in self.environments.values() if e.promotes_from == previous]:
            ordered.append(following[0])
            previous = following[0].name
        return tuple(ordered)

    @cached_property
    def judged_versions(self) -> Mapping[tuple[str, str], frozenset[str]]:
        """The versions with a result on a held-out set, by (model, held-out set)."""
        judged: dict[tuple[str, str], set[str]] = {}
        for (model, version), record in self.records.items():
            for result in record.held_out:
                judged.setdefault((model, result.name), set()).add(version)
        return {key: frozenset(versions) for key, versions in judged.items()}

    @property
    def production(self) -> Environment | None:
        """The last environment of the path."""
        path = self.path_to_production()
        return path[-1] if path else None
