"""A fact store of a bare remote, its documents as bytes, and facts with every field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from git_commits import write_commit
from modelyard.adapters.facts.store import FactStore
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.verdict import Outcome, Verdict

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FULL = ReleaseFacts(
    release="0123456789abcdef",
    version="v2",
    artifact="a" * 64,
    seen_at=AT,
    healthy_since=AT + timedelta(microseconds=5),
    verdict=Verdict(
        outcome=Outcome.FAIL, reason="worse: é", numbers={"lower": -0.1}, columns=("x",)
    ),
    judged_at=AT,
    verified=("r1",),
    tried=("a", "b"),
)


@dataclass
class StoppedClock:
    at: datetime = AT

    def now(self):
        return self.at


STATE = "refs/heads/modelyard/state"


def tip(store: FactStore) -> str | None:
    return store._refs.read_refs(STATE).get(STATE)


def token(store: FactStore, path: str) -> str | None:
    """The object that a document is now."""
    return store._documents.read().files.get(path)


def put(store: FactStore, path: str, document: bytes) -> None:
    """Write whatever bytes by hand."""
    git, before = store._refs.git, tip(store)
    parents = [before] if before else []
    commit = write_commit(git, before, {path: document}, parents=parents, message="x", author="A",
                          at=AT)  # fmt: skip
    git.push("origin", {STATE: (before, commit)})
