"""The trainer of a new model: a script that works as it is, for the framework that is chosen."""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from modelyard.domain.proposal.model import ModelProposal
from modelyard.domain.specs.model import ArtifactPolicy
from modelyard.errors import Refused

SKELETONS = "skeletons"
WISHES = "requirements.in"
"""The file of a trainer's folder that lists its libraries."""


@dataclass(frozen=True, kw_only=True)
class Framework:
    """A library that trains.

    Args:
        name: Its name on the command line.
        artifact: The rules for artifacts that its models keep.
        requirements: The libraries of a runtime of its own; none for the platform's.
        refused: Characters that it takes in no name of a column, in training and in serving.
    """

    name: str
    artifact: ArtifactPolicy
    requirements: tuple[str, ...] = ()
    refused: str = ""


_SKLEARN = "scikit-learn>=1.7,<1.9"  # some of MLflow's flavours import it
FRAMEWORKS: Mapping[str, Framework] = {
    each.name: each
    for each in (
        Framework(name="sklearn", artifact=ArtifactPolicy()),
        Framework(
            name="lightgbm",
            artifact=ArtifactPolicy(formats=("lightgbm",)),
            requirements=("lightgbm==4.7.0", _SKLEARN),
        ),
        Framework(
            name="xgboost",
            artifact=ArtifactPolicy(formats=("xgboost",)),
            requirements=("xgboost-cpu==3.2.0", _SKLEARN),
            refused="[]<",
        ),
    )
}
"""The frameworks with a skeleton, by name."""

COMMAND = ("python", "train.py")


def trainer_files(framework: Framework, proposal: ModelProposal) -> dict[str, bytes]:
    """The trainer's files, by their names in its folder.

    Raises:
        Refused: The library does not take the name of a feature.
    """
    if odd := [name for name in proposal.features if {*name} & {*framework.refused}]:
        raise Refused(
            f"{framework.name} takes no column whose name has one of {framework.refused}: "
            f"{', '.join(odd)}",
            hint="rename it in the file, or take --framework lightgbm or sklearn",
        )
    text = (resources.files("modelyard") / SKELETONS / f"train_{framework.name}.py").read_text(
        "utf-8"
    )
    kinds = {column.name: column.type for column in proposal.model.data.columns}
    categories = [name for name in proposal.features if kinds[name] == "category"]
    numbers = [name for name in proposal.features if kinds[name] != "category"]
    for line, value in (
        ('TASK = "binary"', f"TASK = {_literal(str(proposal.model.task))}"),
        (
            "CLASSES: tuple[str, ...] = ()",
            _constant("CLASSES", list(proposal.model.primary.classes)),
        ),
        ("CATEGORIES: tuple[str, ...] = ()", _constant("CATEGORIES", categories)),
        ("NUMBERS: tuple[str, ...] = ()", _constant("NUMBERS", numbers)),
    ):
        text = text.replace(f"\n{line}\n", f"\n{value}\n", 1)
    wishes = "".join(f"{each}\n" for each in framework.requirements).encode()
    return {"train.py": text.encode(), **({WISHES: wishes} if wishes else {})}


def _constant(name: str, values: list[str]) -> str:
    if not values:
        return f"{name}: tuple[str, ...] = ()"
    rows = "".join(f"    {_literal(value)},\n" for value in values)
    return f"{name}: tuple[str, ...] = (\n{rows})"


def _literal(text: str) -> str:
    """The text as Python writes it, in double quotes where it can."""
    return f'"{text}"' if text.isprintable() and not {*text} & {*'"\\'} else pprint.pformat(text)
