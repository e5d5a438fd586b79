"""Which watcher of several looks at a model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Shard:
    """One of several parts of a fleet.

    Args:
        number: Its number, from 1.
        count: How many there are.
    """

    number: int = 1
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it also does what is about no model in particular."""
        return self.number == 1

    def covers(self, model: str) -> bool:
        """Whether a model is in this part: each is in exactly one."""
        return _highest(model, self.count) == self.number

    def lease(self, name: str) -> str:
        """The name of its own Lease, which the watchers of this part stand for."""
        return name if self.count == 1 else f"{name}-{self.number}-of-{self.count}"

    def __str__(self) -> str:
        """As it is given on the command line."""
        return f"{self.number}/{self.count}"


WHOLE = Shard()
"""The part of a watcher that covers every model."""


@lru_cache(maxsize=50_000)
def _highest(model: str, count: int) -> int:
    # Each part draws a number for the model, and the highest has it: with one part more, only the
    # models that the new one draws highest for move, and all of them to it.
    return max(
        range(1, count + 1), key=lambda n: (hashlib.sha256(f"{n}\0{model}".encode()).digest(), n)
    )
