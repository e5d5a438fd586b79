"""A held-out set: rows that no version of the model may train on until the set is retired."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.version import DataFile, ModelVersion


class Role(StrEnum):
    """The regime that the rows stand for."""

    RECENT = "recent"
    OLD = "old"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A held-out set.

    Args:
        model: The model's name.
        name: The set's name.
        files: Its files.
        cluster: The column whose equal values are not independent, or `row` if rows are.
        role: `recent` or `old`.
        max_looks: How many versions may be judged on it before a new set is needed.
        window: Its days, or None for models whose rows have no time.
        retired: Whether it no longer takes part in gates; later versions may train on its rows.
    """

    model: str
    name: str
    files: tuple[DataFile, ...]
    cluster: str
    role: Role
    max_looks: int
    window: Interval | None = None
    retired: bool = False


def seen_by(spec: ModelVersion, held_out: HeldOut) -> bool:
    """Whether the version trained on some of the held-out set's days, or on its very files."""
    if held_out.window is not None and spec.data.window is not None:
        return any(span.overlaps(held_out.window) for span in spec.data.spans)
    # Without intervals only the files can show it.
    trained = {file.sha256 for file in spec.data.files}
    return any(file.sha256 in trained for file in held_out.files)
