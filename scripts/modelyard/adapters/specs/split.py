"""Splits the specs of several models, which were read at once, and joins catalogs again."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from modelyard.adapters.specs.reader import Specs
from modelyard.domain.problem import Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import model_of_spec

_BY_MODEL_FIRST = ("versions", "held_out", "records", "digests")
"""The parts of a catalog whose keys begin with the model's name."""


def split_specs(specs: Specs, models: Collection[str]) -> dict[str, Specs]:
    """What `read_specs` would read for each of these models alone.

    Args:
        specs: What it read for all of them.
        models: The same names.
    """
    parts: dict[str, dict[str, Any]] = {
        model: {name: {} for name in ("models", "releases", *_BY_MODEL_FIRST)} for model in models
    }
    for model, spec in specs.catalog.models.items():
        parts[model]["models"][model] = spec
    for key, release in specs.catalog.releases.items():
        parts[key[1]]["releases"][key] = release
    for name in _BY_MODEL_FIRST:
        for key, spec in getattr(specs.catalog, name).items():
            parts[key[0]][name][key] = spec
    problems: dict[str, list[Problem]] = {model: [] for model in models}
    for problem in specs.problems:
        for model in _concerned(problem.file, models):
            problems[model].append(problem)
    files: dict[str, dict[str, bytes]] = {model: {} for model in models}
    for file, text in specs.files.items():
        for model in _concerned(file, models):
            files[model][file] = text
    return {
        model: replace(
            specs,
            catalog=replace(specs.catalog, **parts[model]),
            problems=tuple(problems[model]),
            files=files[model],
            stands_in={
                file: commit
                for file, commit in specs.stands_in.items()
                if model in _concerned(file, models)
            },
        )
        for model in models
    }


def join_catalogs(catalogs: Iterable[Catalog]) -> Catalog:
    """The catalog of all models of these, which are of one commit."""
    joined = Catalog()
    parts: dict[str, Any] = {name: {} for name in ("models", "releases", *_BY_MODEL_FIRST)}
    for joined in catalogs:
        for name, part in parts.items():
            part.update(getattr(joined, name))
    return replace(joined, **parts)


def _concerned(file: str, models: Collection[str]) -> Collection[str]:
    """The models for which a file is read: its own, or all of them."""
    model = model_of_spec(file)
    return models if model is None else (model,)
