"""A bare repository: what differs between two commits, and how they are merged."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fakes.github.git.objects import Commit, Objects, Signature, read_ref, read_refs

# GitHub makes merges in its own name, for the person who merges.
GITHUB = Signature(name="GitHub", email="noreply@github.com", time=0)

HOOK = """#!/bin/sh
# The server says in the environment which refs this push may not touch, and why.
while read -r old new ref; do
  printf '%s\\n' "$FAKE_GITHUB_REFUSED" | while IFS='\t' read -r refused why; do
    if [ "$refused" = "$ref" ]; then
      case "$why" in
      fast-forward:*)
        if git merge-base --is-ancestor "$old" "$new" 2>/dev/null; then continue; fi
        why="${why#fast-forward:}" ;;
      esac
      echo "error: GH013: Repository rule violations found for $ref." >&2
      echo "- $why" >&2
      exit 1
    fi
  done || exit 1
done
"""


@dataclass(frozen=True, kw_only=True)
class ChangedFile:
    """A path that differs between two commits.

    Args:
        path: The path in the newer commit, or in the older one if the file is gone.
        previous: The path in the older commit, if the file was renamed.
        status: `added`, `removed`, `modified` or `renamed`.
        sha: The newer content, or the older one if the file is gone.
    """

    path: str
    previous: str | None
    status: str
    sha: str
    additions: int
    deletions: int


class Repository:
    """A bare repository of the fake.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _run(["git", "init", "-q", "--bare", "--template=", "-b", "main", str(folder)])
        (folder / "config").write_text(
            "[core]\n repositoryformatversion = 0\n bare = true\n"
            "[http]\n receivepack = true\n"
            "[uploadpack]\n allowReachableSHA1InWant = true\n allowFilter = true\n"
            "[receive]\n autogc = false\n advertisePushOptions = true\n"
            "[gc]\n auto = 0\n",  # refs stay loose, where they are read without a process
            encoding="utf-8",
        )
        hook = folder / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(HOOK, encoding="utf-8")
        hook.chmod(0o755)
        self.objects = Objects(folder)
        self._known: dict[tuple[str, ...], object] = {}

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, feed: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """Run Git in the repository, and return how it ended."""
        return subprocess.run(
            ["git", "-C", str(self.folder), *arguments],
            input=feed,
            capture_output=True,
            check=False,
            env={**os.environ, **(env or {})},
        )

    def text(self, *arguments: str, env: Mapping[str, str] | None = None, feed: bytes = b"") -> str:
        """Run Git in the repository, and return what it printed."""
        done = self.run(*arguments, env=env, feed=feed)
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode(errors="replace").strip()

    def refs(self) -> dict[str, str]:
        """Return the object of every ref."""
        return read_refs(self.folder)

    def ref(self, name: str) -> str | None:
        """Return the object of one ref, or None if there is no such ref."""
        return read_ref(self.folder, name)

    def branch(self, name: str) -> str | None:
        """Return the head of a branch, or None if there is no such branch."""
        return self.ref(f"refs/heads/{name}")

    def set_ref(self, name: str, sha: str | None, *, old: str | None = None) -> bool:
        """Set or delete a ref, and return whether it was still `old`."""
        change = ["-d", name] if sha is None else [name, sha]
        return self.run("update-ref", *change, *([old] if old else [])).returncode == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """Return the best common ancestor of two commits, or None if they have none."""
        key = ("merge-base", one, other)
        if key not in self._known:
            done = self.run("merge-base", one, other)
            self._known[key] = done.stdout.decode().strip() or None
        return self._known[key]  # type: ignore[return-value]

    def commits_between(self, base: str, head: str, *, most: int = 250) -> tuple[Commit, ...]:
        """Return the commits of `head` that are not in `base`, the oldest first."""
        key = ("commits", base, head)
        if key not in self._known:
            listed = self.text("rev-list", "--reverse", "--topo-order", head, f"^{base}").split()
            self._known[key] = tuple(
                commit for sha in listed[:most] if (commit := self.objects.commit(sha))
            )
        return self._known[key]  # type: ignore[return-value]

    def files_between(self, base: str, head: str) -> tuple[ChangedFile, ...]:
        """Return what `head` changed since it left `base`, by path."""
        key = ("files", base, head)
        if key not in self._known:
            since = self.merge_base(base, head) or self.text("mktree")
            self._known[key] = self.changed_files(since, head)
        return self._known[key]  # type: ignore[return-value]

    def changed_files(self, old: str, new: str) -> tuple[ChangedFile, ...]:
        """Return what differs between two commits or trees, by path."""
        arguments = ("-r", "-z", "-M", "--no-abbrev", old, new)
        lines = {}
        counted = self.text("diff-tree", "--numstat", *arguments).split("\0")
        while len(counted) > 1:
            added, deleted, path = counted.pop(0).split("\t")
            if not path:  # a rename: both paths follow
                counted.pop(0)
                path = counted.pop(0)
            lines[path] = tuple(0 if count == "-" else int(count) for count in (added, deleted))
        words = {"A": "added", "D": "removed", "R": "renamed", "C": "copied"}
        found = []
        raw = self.text("diff-tree", "--raw", *arguments).split("\0")
        while len(raw) > 1:
            _, _, before, after, letter = raw.pop(0).split()
            path = raw.pop(0)
            previous = None
            if letter[0] in "RC":
                previous, path = path, raw.pop(0)
            found.append(
                ChangedFile(
                    path=path,
                    previous=previous,
                    status=words.get(letter[0], "modified"),
                    sha=before if letter[0] == "D" else after,
                    additions=lines[path][0],
                    deletions=lines[path][1],
                )
            )
        return tuple(sorted(found, key=lambda file: file.path))

    def merged_tree(self, base: str, head: str) -> str | None:
        """Return the tree of the merge of two commits, or None if they conflict."""
        key = ("merge-tree", base, head)
        if key not in self._known:
            done = self.run("merge-tree", "--write-tree", "--no-messages", base, head)
            self._known[key] = done.stdout.decode().strip() if done.returncode == 0 else None
        return self._known[key]  # type: ignore[return-value]

    def trial_merge(self, base: str, head: str) -> str | None:
        """Return a merge of two commits that no branch has, or None if they conflict."""
        key = ("trial", base, head)
        if key not in self._known:
            tree = self.merged_tree(base, head)
            message = f"Merge {head} into {base}"
            self._known[key] = tree and self.make_commit(
                tree, (base, head), message, author=replace(GITHUB, time=1)
            )
        return self._known[key]  # type: ignore[return-value]

    def make_commit(
        self,
        tree: str,
        parents: tuple[str, ...],
        message: str,
        *,
        author: Signature,
        committer: Signature = GITHUB,
    ) -> str:
        """Write a commit, and return its id."""
        env = {
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_AUTHOR_DATE": f"@{author.time} +0000",
            "GIT_COMMITTER_NAME": committer.name,
            "GIT_COMMITTER_EMAIL": committer.email,
            "GIT_COMMITTER_DATE": f"@{committer.time or author.time} +0000",
        }
        named = [word for parent in parents for word in ("-p", parent)]
        return self.text(
            "commit-tree", tree, *named, env=env, feed=message.replace("\0", "").encode()
        )

    def commit_files(
        self, branch: str, files: Mapping[str, str | None], message: str, *, author: Signature
    ) -> str:
        """Commit files to a branch without a working tree, and return the commit.

        Args:
            branch: The branch, which begins at main if it is new.
            files: Their text by path; None removes the file.
            message: The message of the commit.
            author: Its author and committer.
        """
        start = self.branch(branch) or self.branch("main")
        who = f"{author.name} <{author.email}> {author.time} +0000"
        lines = [f"commit refs/heads/{branch}", f"author {who}", f"committer {who}"]
        feed = ("\n".join(lines) + "\n").encode() + _data(message)
        if start:
            feed += f"from {start}\n".encode()
        for path, text in files.items():
            feed += f"D {path}\n".encode() if text is None else f"M 644 inline {path}\n".encode()
            feed += b"" if text is None else _data(text)
        self.text("fast-import", "--quiet", "--force", feed=feed + b"\ndone\n")
        made = self.branch(branch)
        assert made is not None
        return made

    def close(self) -> None:
        """End the process that reads objects."""
        self.objects.close()


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%s\n" % (len(content), content)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)
