"""How long a worker has given no sign of life."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pulse:
    """The signs of life of one worker, as its parent sees them.

    Args:
        beat: The last one seen: another number at each, 0 before the first.
        silent: Seconds since then.
    """

    beat: int = 0
    silent: float = 0.0

    def silent_seconds(self, beat: int, passed: float) -> float:
        """For how long there was none; before the first one there is nothing to wait for.

        Args:
            beat: The one that is seen now.
            passed: Seconds since the last look.
        """
        is_silent = beat == self.beat and beat != 0
        self.beat, self.silent = beat, self.silent + passed if is_silent else 0.0
        return self.silent
