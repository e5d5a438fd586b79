"""What came, and how many calls each login has left in this hour."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from fakes.github.clock import Clock
from fakes.github.faults import Fault
from fakes.github.state import Json

HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One request that came; `status` is that of the answer, 0 if the connection was cut."""

    method: str
    path: str
    query: str
    login: str
    status: int


class Ledger:
    """Every request, and what it cost.

    Args:
        clock: Says which hour it is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.log: list[LogEntry] = []
        self.hourly = 5000
        self._used: Counter[tuple[str, int]] = Counter()

    def note(self, method: str, path: str, query: str, login: str, status: int) -> None:
        """Note a request."""
        self.log.append(LogEntry(method=method, path=path, query=query, login=login, status=status))

    def count(self, method: str, path: str, *, status: int | None) -> int:
        """Return how many requests came whose path has `path` in it."""
        return sum(
            method in {"", entry.method} and path in entry.path and status in {None, entry.status}
            for entry in self.log
        )

    def _hour(self) -> int:
        return int(self._clock.now() // HOUR)

    def is_used_up(self, login: str) -> bool:
        """Whether a login has no calls left in this hour."""
        return self._used[login, self._hour()] >= self.hourly

    def rate(self, login: str) -> Json:
        """Return the calls of a login in this hour."""
        used = min(self._used[login, self._hour()], self.hourly)
        left = self.hourly - used
        reset = (self._hour() + 1) * HOUR
        return {"limit": self.hourly, "used": used, "remaining": left, "reset": reset}

    def charge(self, login: str, path: str, *, free: bool, fault: Fault | None) -> dict[str, str]:
        """Count a call, unless it is free, and return the headers that tell of it."""
        if not free and path != "/rate_limit":
            self._used[login, self._hour()] += 1
        rate = self.rate(login)
        if fault is not None and fault.reset_in is not None:
            rate |= {"remaining": 0, "reset": int(self._clock.now() + fault.reset_in)}
        names = ("limit", "used", "remaining", "reset")
        return {
            **{f"X-RateLimit-{name.title()}": str(rate[name]) for name in names},
            "X-RateLimit-Resource": "core",
            "X-GitHub-Request-Id": f"FAKE:{len(self.log)}",
        }
