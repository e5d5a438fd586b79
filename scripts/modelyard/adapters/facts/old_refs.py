"""The facts of version 0.1, one ref each, and how they move to the branch."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelyard.adapters.facts.documents import parse_path
from modelyard.adapters.git.commit_stream import NewCommit, write_commits
from modelyard.adapters.git.documents import BranchDocuments, Listing
from modelyard.adapters.git.names import safe_line
from modelyard.adapters.git.objects import blob_name
from modelyard.adapters.git.process import NoAnswer
from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.errors import CannotAnswer, Conflict

logger = logging.getLogger(__name__)

_ROOT = "refs/modelyard/"
PATTERNS = tuple(f"{_ROOT}{space}/*" for space in ("facts", "models", "freezes"))
"""Where the refs are."""

_DOCUMENT = "document.json"
_MOST_IN_A_PUSH = 3000  # a command line has a limit, and each deletion takes 200 of its bytes
_SUBJECT = "Carry the facts over from their refs"


@dataclass(frozen=True, kw_only=True)
class _Version:
    """A commit behind a ref of facts."""

    commit: str
    parent: str | None
    at: int
    author: str
    subject: str


def old_ref(path: str) -> str:
    """The ref that held a document."""
    return _ROOT + path.removesuffix(".json")


def read_old_facts(refs: RemoteRefs) -> Listing:
    """The documents behind the refs, by the paths they have on the branch."""
    found = {f"{ref.removeprefix(_ROOT)}.json": sha for ref, sha in _read(refs).items()}
    files = {path: sha for path, sha in found.items() if parse_path(path)}
    if not files:
        return Listing(commit=None)
    refs.ensure_commits(files.values())
    return Listing(commit=None, files={p: f"{sha}:{_DOCUMENT}" for p, sha in files.items()})


def left_over(refs: RemoteRefs, documents: BranchDocuments) -> tuple[str, ...]:
    """Refs of facts that do not belong there, with the reason, once the facts are on the branch."""
    if documents.read().commit is None:
        return ()
    return tuple(
        f"{safe_line(ref)}: facts are on the branch {documents.branch} now, so nobody reads it; if "
        "an old modelyard wrote it, upgrade that one"
        for ref in sorted(_read(refs))
    )


def carry_over(refs: RemoteRefs, documents: BranchDocuments, *, author: str, at: datetime) -> bool:
    """Move the facts to the branch with one push, all or none; True if there was something to do.

    - Every value goes along byte for byte, readable or not, and so do the earlier values with
      their times, if they can be read.
    - What the branch has stays. A ref is deleted if the branch has its value, now or in its
      history; another one was written by an old modelyard afterwards, and `left_over` names it.

    Raises:
        Conflict: Another writer was faster; what it did may be all there is to do.
    """
    old = read_old_facts(refs)
    if not old.files:
        return False
    before = documents.read()
    values = _values(refs, old)
    commits = _commits(refs, before, old, values, author=author, at=at)
    tip = write_commits(refs.git.root, before.commit, commits) if commits else before.commit
    known = _blobs(refs, tip)
    commit_of = {path: name.partition(":")[0] for path, name in old.files.items()}
    gone = [p for p in sorted(old.files) if (p, blob_name(values[p], like=commit_of[p])) in known]
    moves: dict[str, tuple[str | None, str | None]] = {documents.ref: (before.commit, tip)}
    deletions = {old_ref(path): (commit_of[path], None) for path in gone[:_MOST_IN_A_PUSH]}
    try:
        refs.push_refs({**moves, **deletions})
    except (Conflict, NoAnswer):
        raise
    except CannotAnswer as error:
        if not commits:
            logger.debug("the old refs stay: %s", error.message)
            return False
        logger.warning("the old refs of facts stay, nobody reads them: %s", error.message)
        refs.push_refs(moves)
    return bool(commits or deletions)


def _read(refs: RemoteRefs) -> Mapping[str, str]:
    return refs.read_refs(*PATTERNS)


def _values(refs: RemoteRefs, old: Listing) -> Mapping[str, bytes]:
    """The bytes of each document; none of them for a ref that holds no document."""
    contents = refs.git.read_many(old.files.values())
    return {path: contents[name] or b"" for path, name in old.files.items()}


def _commits(
    refs: RemoteRefs,
    before: Listing,
    old: Listing,
    values: Mapping[str, bytes],
    *,
    author: str,
    at: datetime,
) -> list[NewCommit]:
    """The earlier values with their times, and then all values as they are; none for a branch.

    No forge protects the old refs: once there is a branch, everybody could write facts by them.
    """
    if before.commit is not None or not values:
        return []
    last = NewCommit(documents=dict(values), message=_SUBJECT, author=author, at=at)
    try:
        return [*_past(refs, old), last]
    except CannotAnswer as error:
        logger.warning("the history of the facts stays behind: %s", error.message)
        return [last]


def _past(refs: RemoteRefs, old: Listing) -> list[NewCommit]:
    tips = {path: name.partition(":")[0] for path, name in old.files.items()}
    known = _log(refs, tips.values())
    versions: list[tuple[int, int, str, _Version]] = []
    for path, tip in tips.items():
        at = known.get(tip)
        while at is not None:
            versions.append((at.at, -len(versions), path, at))
            at = known.get(at.parent or "")
    # By time; of one second, each path in its own order.
    ordered = [each[2:] for each in sorted(versions, key=lambda each: each[:2])]
    blobs = _existing(refs, [f"{version.commit}:{_DOCUMENT}" for _, version in ordered])
    return [
        NewCommit(
            documents={path: blob},
            message=f"{path.removesuffix('.json')}: {version.subject.rpartition(': ')[2]}",
            author=version.author,
            at=datetime.fromtimestamp(version.at, UTC),
        )
        for path, version in ordered
        if (blob := blobs.get(f"{version.commit}:{_DOCUMENT}"))
    ]


def _log(refs: RemoteRefs, tips: Iterable[str]) -> dict[str, _Version]:
    """Every commit of these histories, read by one process."""
    words = ("log", "-z", "--encoding=UTF-8", "--format=%H%x00%P%x00%ct%x00%an%x00%s", "--stdin")
    out = refs.git.run(*words, stdin="".join(f"{tip}\n" for tip in tips).encode()).stdout
    cells = out.decode("utf-8", "replace").split("\0")[:-1]
    rows = (cells[at : at + 5] for at in range(0, len(cells), 5))
    return {
        commit: _Version(
            commit=commit, parent=next(iter(parents.split()), None), at=int(at), author=author,
            subject=subject,
        )
        for commit, parents, at, author, subject in rows
    }  # fmt: skip


def _existing(refs: RemoteRefs, names: Sequence[str]) -> dict[str, str]:
    """The blob of each of these names, without those that do not exist."""
    found = refs.git.find_objects(names)
    return {name: each.name for name, each in found.items() if each and each.kind == "blob"}


def _blobs(refs: RemoteRefs, tip: str | None) -> set[tuple[str, str]]:
    """Every value that every document of the branch ever had, by path and object."""
    if tip is None:
        return set()
    words = ("log", "-z", "--first-parent", "--raw", "--no-abbrev", "--no-renames", "--format=")
    text = refs.git.run(*words, "--root", tip, "--").stdout.decode("utf-8", "replace")
    found = re.findall(r":\d+ \d+ [0-9a-f]+ ([0-9a-f]+) [A-Z]\0([^\0]*)\0", text)
    return {(path, blob) for blob, path in found}
