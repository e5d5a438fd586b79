"""The log of commands below a pull request: what was decided and done, and for whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelyard.domain.chatops.reasons import ReasonCode


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One command that was decided about.

    Args:
        key: Its key; see `Request.key`.
        at: When it was decided.
        login: Who wrote it.
        person: Their id on the forge.
        line: The command, as it was written.
        head: The head commit at that time.
        reason: What became of it.
        sentence: The same for a person.
        written_at: When the comment was written, by the forge's clock.
    """

    key: str
    at: datetime
    login: str
    person: str
    line: str
    head: str
    reason: ReasonCode
    sentence: str
    written_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class CommandLog:
    """The commands below one pull request, oldest first. Entries are only added."""

    entries: tuple[LogEntry, ...] = ()

    @property
    def done(self) -> frozenset[str]:
        """The keys of the commands that were done, which are not done again."""
        return frozenset(each.key for each in self.entries if each.reason is ReasonCode.DONE)

    def with_entry(self, entry: LogEntry) -> CommandLog:
        """The log with one more entry; the same log if it has it, at whatever time."""
        known = {(each.key, each.reason, each.sentence) for each in self.entries}
        if (entry.key, entry.reason, entry.sentence) in known:
            return self
        return CommandLog(entries=(*self.entries, entry))
