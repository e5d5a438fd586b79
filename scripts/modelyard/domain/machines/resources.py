"""What a process may use of a machine, in the quantities of Kubernetes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

_CPU = re.compile(r"(?:[1-9][0-9]{0,5}m|[0-9]{1,4}(?:\.[0-9]{1,3})?)")
_BYTES = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([KMGT]i|[kMGT])")
_UNITS = {
    **{f"{letter}i": 1024**power for power, letter in enumerate("KMGT", start=1)},
    **{letter: 1000**power for power, letter in enumerate("kMGT", start=1)},
}
LEAST_MEMORY = 64 * 1024**2
"""Bytes below which no Python process starts; less is a mistake in the unit."""

LEAST_STORAGE = 16 * 1024**2
"""Bytes below which a trainer has no room for its code, its log and a model."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one process asks for, and may use; None is the platform's own figure.

    Args:
        cpu: CPUs that are kept for it, such as `500m` or `2`; with more it may still be faster.
        memory: Memory that it may use, such as `4Gi`. Beyond it, the process is ended.
        gpu: Number of GPUs.
        ephemeral_storage: Space for files that it may use, such as `10Gi`.
    """

    cpu: str | None = None
    memory: str | None = None
    gpu: int = 0
    ephemeral_storage: str | None = None

    @property
    def memory_bytes(self) -> int | None:
        """The limit of memory in bytes."""
        return None if self.memory is None else parse_bytes(self.memory)

    @property
    def storage_bytes(self) -> int | None:
        """The limit of files in bytes."""
        return None if self.ephemeral_storage is None else parse_bytes(self.ephemeral_storage)

    @property
    def cpus(self) -> float | None:
        """The CPUs that are kept for it."""
        return None if self.cpu is None else parse_cpus(self.cpu)


def parse_cpus(text: str) -> float:
    """A number of CPUs from `500m`, `2` or `0.5`.

    Raises:
        ValueError: The text is no such quantity, or is 0.
    """
    if not _CPU.fullmatch(text):
        raise ValueError(f"{text!r} is no number of CPUs: write 500m, 2 or 1.5")
    cpus = float(Decimal(text.removesuffix("m")) / (1000 if text.endswith("m") else 1))
    if cpus == 0:
        raise ValueError("0 CPUs let nothing run: write at least 1m")
    return cpus


def parse_bytes(text: str) -> int:
    """Bytes from `512Mi`, `4Gi` or `2G`.

    A unit is required: Kubernetes reads `512` as bytes and `512m` as half a byte, and means it.

    Raises:
        ValueError: The text is no such quantity.
    """
    match = _BYTES.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size with its unit: write 512Mi, 4Gi or 2G")
    return int(Decimal(match[1]) * _UNITS[match[2]])


def quantity_faults(resources: Resources, *, of_trainer: bool = False) -> dict[str, str]:
    """What is wrong with each quantity, by its key."""
    found: dict[str, str] = {}
    for key, text, parse in (
        ("cpu", resources.cpu, parse_cpus),
        ("memory", resources.memory, parse_bytes),
        ("ephemeral_storage", resources.ephemeral_storage, parse_bytes),
    ):
        try:
            amount = None if text is None else parse(text)
        except ValueError as error:
            found[key] = str(error)
            continue
        least, is_less = _least(key, of_trainer=of_trainer)
        if amount is not None and amount < least:
            found[key] = f"{text} is {is_less}: write at least {least // 1024**2}Mi"
    return found


def _least(key: str, *, of_trainer: bool) -> tuple[int, str]:
    if key == "memory":
        return LEAST_MEMORY, "less than any Python process needs"
    if key == "ephemeral_storage":
        return (
            (LEAST_STORAGE, "no room for a model and its log")
            if of_trainer
            else (1024**2, "no room for any file")
        )
    return 0, ""
