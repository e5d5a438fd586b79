"""The trainer of a new model: a script that works as it is, for the framework that is chosen."""

from __future__ import annotations

import pprint
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from modelyard.domain.proposal.model import ModelProposal
from modelyard.domain.specs.model import ArtifactPolicy

SKELETONS = "skeletons"


@dataclass(frozen=True, kw_only=True)
class Framework:
    """A library that trains.

    Args:
        name: Its name on the command line.
        artifact: The rules for artifacts that its models keep.
        requirements: What its trainer needs besides the platform's own packages.
    """

    name: str
    artifact: ArtifactPolicy
    requirements: tuple[str, ...] = ()


FRAMEWORKS: Mapping[str, Framework] = {
    each.name: each for each in (Framework(name="sklearn", artifact=ArtifactPolicy()),)
}
"""The frameworks with a skeleton, by name."""

COMMAND = ("python", "train.py")


def trainer_files(framework: Framework, proposal: ModelProposal) -> dict[str, bytes]:
    """The trainer's files, by their names in its folder."""
    text = (resources.files("modelyard") / SKELETONS / f"train_{framework.name}.py").read_text(
        "utf-8"
    )
    kinds = {column.name: column.type for column in proposal.model.data.columns}
    categories = [name for name in proposal.features if kinds[name] == "category"]
    numbers = [name for name in proposal.features if kinds[name] != "category"]
    for line, value in (
        ('TASK = "binary"', f"TASK = {_literal(str(proposal.model.task))}"),
        ("CATEGORIES: tuple[str, ...] = ()", _constant("CATEGORIES", categories)),
        ("NUMBERS: tuple[str, ...] = ()", _constant("NUMBERS", numbers)),
    ):
        text = text.replace(f"\n{line}\n", f"\n{value}\n", 1)
    return {"train.py": text.encode()}


def _constant(name: str, values: list[str]) -> str:
    if not values:
        return f"{name}: tuple[str, ...] = ()"
    rows = "".join(f"    {_literal(value)},\n" for value in values)
    return f"{name}: tuple[str, ...] = (\n{rows})"


def _literal(text: str) -> str:
    """The text as Python writes it, in double quotes where it can."""
    return f'"{text}"' if re.fullmatch(r"[\w ./-]*", text, re.ASCII) else pprint.pformat(text)
