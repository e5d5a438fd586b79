"""Resources: quantities can be read, and what models name of environments is there."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.machines.resources import quantity_faults
from modelyard.domain.problem import Path, Problem
from modelyard.domain.specs.catalog import Catalog
from modelyard.domain.specs.paths import SETTINGS, environment_file, model_file


def quantities_can_be_read(catalog: Catalog) -> Iterator[Problem]:
    """CPUs are a number, memory and files a size with its unit."""
    for name, model in catalog.models.items():
        for part, resources in (
            ("trainer", model.trainer.resources),
            ("server", model.server.resources),
        ):
            faults = quantity_faults(resources, of_trainer=part == "trainer")
            for key, message in faults.items():
                yield _problem(name, (part, "resources", key), message)


def replicas_are_of_environments(catalog: Catalog) -> Iterator[Problem]:
    """`server.replicas` names environments that exist."""
    for name, model in catalog.models.items():
        for environment in sorted(model.server.replicas.keys() - catalog.environments.keys()):
            known = ", ".join(sorted(catalog.environments)) or "there are none"
            message = f"there is no environment {environment} ({known})"
            yield _problem(name, ("server", "replicas", environment), message)


def placements_of_trainers_are_listed(catalog: Catalog) -> Iterator[Problem]:
    """modelyard.yaml lists the class of nodes that a model's trainer asks for."""
    listed = {each.name for each in catalog.repository.placements}
    for name, model in catalog.models.items():
        wanted = model.trainer.placement
        if wanted is not None and wanted not in listed:
            yield Problem(
                file=model_file(name),
                path=("trainer", "placement"),
                message=f"{SETTINGS} lists no class {wanted} under placements",
                involves=(SETTINGS,),
            )


def placements_are_listed(catalog: Catalog) -> Iterator[Problem]:
    """Each environment lists the class of nodes that a model's servers ask for, and none twice."""
    for name, environment in catalog.environments.items():
        listed = [each.name for each in environment.placements]
        for again in sorted({each for each in listed if listed.count(each) > 1}):
            message = f"class {again} is listed twice"
            yield Problem(file=environment_file(name), path=("placements",), message=message)
    for name, model in catalog.models.items():
        for where, environment in sorted(catalog.environments.items()):
            wanted = model.server.placement
            if wanted is not None and wanted not in {each.name for each in environment.placements}:
                file = environment_file(where)
                yield Problem(
                    file=model_file(name),
                    path=("server", "placement"),
                    message=f"{file} lists no class {wanted} under placements",
                    involves=(file,),
                )


def _problem(name: str, path: Path, message: str) -> Problem:
    return Problem(file=model_file(name), path=path, message=message)
