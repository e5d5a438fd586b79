"""A named class of nodes: where a pod may run, and what its GPUs are called there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from modelyard.errors import CannotAnswer

GPU = "nvidia.com/gpu"
"""What Kubernetes calls a GPU, unless a placement says otherwise."""


class Effect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


@dataclass(frozen=True, kw_only=True)
class Toleration:
    """A taint that pods of the class tolerate.

    Args:
        key: The taint's key.
        value: Its value; None for any.
        effect: Its effect; None for every effect.
    """

    key: str
    value: str | None = None
    effect: Effect | None = None


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A class of nodes.

    Args:
        name: Its name, which models refer to.
        node_selector: Labels that the nodes have.
        tolerations: Taints of the nodes that pods tolerate.
        gpu: What Kubernetes calls a GPU of these nodes.
    """

    name: str
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    gpu: str = GPU


def find_placement(
    placements: Iterable[Placement], name: str | None, *, where: str
) -> Placement | None:
    """The class of that name; None if a model names none.

    Args:
        placements: The classes there are.
        name: The class that a model names.
        where: The file that should list it, for the message.

    Raises:
        CannotAnswer: There is none of that name.
    """
    if name is None:
        return None
    found = next((each for each in placements if each.name == name), None)
    if found is None:
        raise CannotAnswer(f"{where}: placements lists no class {name}")
    return found
