"""A fact store of a bare remote, its documents as bytes, and facts with every field."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from git_commits import write_commit
from modelyard.adapters.facts.store import FactStore
from modelyard.adapters.git.repository import Git
from modelyard.domain.promotion.facts import ReleaseFacts
from modelyard.domain.specs.repository import Repository
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


def new_store(folder: Path) -> FactStore:
    """A store without facts; the remote's address is relative, so the folder may be copied."""
    for words in (["--bare", "remote.git"], ["clone"]):
        subprocess.run(["git", "init", "-q", *words], cwd=folder, check=True)
    store = store_of(folder)
    store._refs.git.run("remote", "add", "origin", "../remote.git")
    return store


def store_of(folder: Path, clock: StoppedClock | None = None) -> FactStore:
    """What a process works with that has just started in the clone of this folder."""
    return FactStore(Git(folder / "clone"), Repository(), clock or StoppedClock())


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


def stand(store: FactStore, path: str, kind: str) -> None:
    """Put something that is no document in the place of one, as a person with Git would."""
    git, before = store._refs.git, tip(store)
    blob = git.run("hash-object", "-w", "--stdin", stdin=b"{").stdout.decode().strip()
    huge = git.run("hash-object", "-w", "--stdin", stdin=b"[" * 200_000).stdout.decode().strip()
    nothing = git.run("hash-object", "-w", "--stdin", stdin=b"").stdout.decode().strip()
    modes = {"link": ("120000", blob), "submodule": ("160000", before), "bytes": ("100644", blob),
             "huge": ("100755", huge), "empty": ("100644", nothing)}  # fmt: skip
    index = {"GIT_INDEX_FILE": str(git.root / "index-of-a-test")}
    git.run("read-tree", before, env=index)
    git.run("rm", "-r", "-q", "--cached", "--ignore-unmatch", path, env=index)
    mode, name = modes.get(kind, ("100644", blob))
    place = f"{path}/x" if kind == "folder" else path
    git.run("update-index", "--add", "--cacheinfo", f"{mode},{name},{place}", env=index)
    tree = git.run("write-tree", env=index).stdout.decode().strip()
    after = git.commit_tree(tree, parents=[before], message="x", author="Mallory", at=AT)
    git.push("origin", {STATE: (before, after)})
