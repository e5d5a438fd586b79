"""Objects and refs of a bare repository, read without a process for each."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Signature:
    """Who wrote or made a commit, and when, in seconds."""

    name: str
    email: str
    time: int


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit as Git has it."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


class Objects:
    """Reads objects through one `git cat-file --batch` that stays.

    Args:
        folder: The bare repository.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._commits: dict[str, Commit] = {}

    def read(self, name: str) -> tuple[str, str, bytes] | None:
        """Return id, kind and content of an object, or None if there is no such object."""
        if not name or any(character in name for character in "\n\r\0"):
            return None
        with self._lock:
            process = self._process = self._process or subprocess.Popen(
                ["git", "-C", str(self._folder), "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(name.encode() + b"\n")
            process.stdin.flush()
            header = process.stdout.readline().rsplit(maxsplit=2)
            if header[-1] in {b"missing", b"ambiguous"}:
                return None
            sha, kind, size = header
            content = process.stdout.read(int(size) + 1)[:-1]
        return sha.decode(), kind.decode(), content

    def commit(self, name: str) -> Commit | None:
        """Return the commit that an id or a revision names, or None if it names none."""
        if name in self._commits:
            return self._commits[name]
        found = self.read(f"{name}^{{commit}}")
        if found is None:
            return None
        commit = _parsed_commit(found[0], found[2])
        self._commits[commit.sha] = commit  # by its id alone: a revision may move
        return commit

    def entries(self, name: str) -> dict[str, tuple[str, str]]:
        """Return mode and id by name of what a tree holds."""
        found = self.read(f"{name}^{{tree}}")
        entries = {}
        rest = found[2] if found else b""
        while rest:
            head, _, rest = rest.partition(b"\0")
            mode, _, entry = head.partition(b" ")
            entries[entry.decode()] = (mode.decode(), rest[:20].hex())
            rest = rest[20:]
        return entries

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.wait(timeout=10)
            self._process.stdout.close()
            self._process = None


def _parsed_commit(sha: str, content: bytes) -> Commit:
    head, _, message = content.decode(errors="replace").partition("\n\n")
    fields: dict[str, list[str]] = {}
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        fields.setdefault(key, []).append(value)
    return Commit(
        sha=sha,
        tree=fields["tree"][0],
        parents=tuple(fields.get("parent", ())),
        author=_parsed_signature(fields["author"][0]),
        committer=_parsed_signature(fields["committer"][0]),
        message=message.removesuffix("\n"),
    )


def _parsed_signature(text: str) -> Signature:
    name, _, rest = text.partition(" <")
    email, _, time = rest.partition("> ")
    return Signature(name=name, email=email, time=int(time.split()[0]))


def read_refs(folder: Path) -> dict[str, str]:
    """Return the object of every ref of a bare repository."""
    refs = {}
    packed = folder / "packed-refs"
    if packed.exists():
        for line in packed.read_text(encoding="utf-8").splitlines():
            if line and line[0] not in "#^":
                sha, _, name = line.partition(" ")
                refs[name] = sha
    top = folder / "refs"
    for path in top.rglob("*"):
        if path.is_file() and path.suffix != ".lock":
            refs[path.relative_to(folder).as_posix()] = path.read_text(encoding="ascii").strip()
    return dict(sorted(refs.items()))


def read_ref(folder: Path, name: str) -> str | None:
    """Return the object of one ref, or None if there is no such ref."""
    if name != name.strip("/") or ".." in name:
        return None
    try:
        return (folder / name).read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # none, a folder of refs, or no name for a file
        return read_refs(folder).get(name) if (folder / "packed-refs").exists() else None
