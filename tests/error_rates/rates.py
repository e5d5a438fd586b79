"""One case's simulated rate beside its promise, and the tables of rates in docs/statistics.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
ERRORS_ALLOWED = 2  # Monte Carlo errors by which a rate may exceed its promise


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often something happened in the runs of one case.

    Args:
        case: What was simulated.
        what: What was counted, such as `false pass`.
        hits: How often it happened.
        runs: Of how many runs.
        most: The promise: it happens at most so often; None for no upper promise.
        least: The promise: it happens at least so often; None for no lower promise.
        beside: Further columns of the table, by their heading.
        planned: How many runs there were to be; 0 for no other number.
    """

    case: str
    what: str
    hits: int
    runs: int
    most: float | None = None
    least: float | None = None
    beside: tuple[tuple[str, str], ...] = ()
    planned: int = 0

    @property
    def share(self) -> float:
        """The rate."""
        return self.hits / self.runs

    @property
    def error(self) -> float:
        """Its Monte Carlo error, with half a hit more where the rate is 0 or 1."""
        share = (self.hits + 0.5) / (self.runs + 1)
        return math.sqrt(share * (1 - share) / self.runs)

    @property
    def is_coarse(self) -> bool:
        """Whether its error is more than half of how often the promise allows it to go wrong."""
        allowed = [self.most, None if self.least is None else 1 - self.least]
        return any(limit is not None and 0 < limit < 2 * self.error for limit in allowed)

    @property
    def is_kept(self) -> bool:
        """Whether the promise is kept, but for two Monte Carlo errors at the promised rate."""
        for limit, sign in ((self.most, 1), (self.least, -1)):
            if limit is not None:
                allowed = ERRORS_ALLOWED * math.sqrt(limit * (1 - limit) / self.runs)
                if sign * (self.share - limit) > allowed:
                    return False
        return True

    @property
    def promise(self) -> str:
        """The promise in words."""
        parts = [
            f"{word} {_percent(limit)}"
            for word, limit in (("at most", self.most), ("at least", self.least))
            if limit is not None
        ]
        return " and ".join(parts) or "none"


def table_of(rates: Iterable[Rate]) -> str:
    """The rates as a table in Markdown."""
    return "\n".join(_lines(list(rates)))


def write_table(subject: str, table: str, page: Path = PAGE) -> None:
    """Put a table between the markers of its subject; the page must have them."""
    text = page.read_text("utf-8")
    start, end = markers(subject)
    before, rest = text.split(start)
    after = rest.split(end)[1]
    page.write_text(f"{before}{start}\n{table}\n{end}{after}", "utf-8")


def read_table(subject: str, page: Path = PAGE) -> str:
    """The table that the page has now."""
    start, end = markers(subject)
    return page.read_text("utf-8").split(start)[1].split(end)[0].strip("\n")


def markers(subject: str) -> tuple[str, str]:
    """The lines around a subject's table."""
    return (
        f"<!-- error rates of {subject}: written by make error-rates -->",
        f"<!-- end of the error rates of {subject} -->",
    )


def _lines(rates: list[Rate]) -> Iterator[str]:
    beside = tuple(dict.fromkeys(name for rate in rates for name, _ in rate.beside))
    headings = ("case", "counted", "rate", "Monte Carlo error", "runs", "promise", "kept", *beside)
    yield f"| {' | '.join(headings)} |"
    yield f"|{'---|' * len(headings)}"
    for rate in rates:
        known = dict(rate.beside)
        cells = (
            rate.case,
            rate.what,
            _percent(rate.share),
            f"{_percent(rate.error)}{', coarse' if rate.is_coarse else ''}",
            str(rate.runs)
            if rate.planned <= rate.runs
            else f"{rate.runs} of {rate.planned}, stopped",
            rate.promise,
            "yes" if rate.is_kept else "**no**",
            *(known.get(name, "") for name in beside),
        )
        yield f"| {' | '.join(cells)} |"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else "100 %"
