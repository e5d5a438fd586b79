"""How long things took, for the table in the README."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path


@dataclass
class Measured:
    """Seconds by name.

    Args:
        path: The JSON file they are kept in.
    """

    path: Path
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        """Add one measurement, and say it."""
        self.seconds.setdefault(name, []).append(round(seconds, 2))
        sys.stderr.write(f"  {name}: {seconds:.1f} s\n")

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Measure a block that ends well."""
        before = time.time()
        yield
        self.add(name, time.time() - before)

    def summarize(self, name: str) -> None:
        """Say how many there are, how they are spread, and how busy the machine is."""
        seconds = self.seconds[name]
        half, most = percentile(seconds, 0.5), percentile(seconds, 0.95)
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        told = f"n={len(seconds)} p50={half:g} p95={most:g} max={max(seconds):g} s; load {load}"
        sys.stderr.write(f"  {name}: {told}\n")

    def write(self) -> None:
        """Keep the numbers of this run in the file, with those of other names."""
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.path.write_text(json.dumps(known | self.seconds, indent=1, sort_keys=True) + "\n")


def percentile(seconds: list[float], part: float) -> float:
    """The smallest measurement that at least `part` of all do not exceed (nearest rank)."""
    ordered = sorted(seconds)
    return ordered[max(0, ceil(part * len(ordered)) - 1)]
