"""How the tests of the fake speak to it: HTTP with a token, and Git in a clone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import httpx

from fakes.github import FakeGitHub

REPOSITORY = "/repos/acme/yard"


class Api:
    """The REST API of a fake, as one token sees it.

    Args:
        fake: The fake.
        token: The token; none if empty.
    """

    def __init__(self, fake: FakeGitHub, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(
            base_url=fake.url,
            headers=headers,
            timeout=30,
            verify=False,  # noqa: S501 - no TLS here
        )

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a request; `~` in the path is the repository."""
        url = path.replace("~", REPOSITORY)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.request(method, url, json=body, headers=named)

    def get(self, path: str) -> Any:
        """Return the document at a path."""
        answer = self("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class Clone:
    """A clone of the fake's repository, made and used with a token over HTTP.

    Args:
        fake: The fake.
        token: The token.
        folder: Where the clone is made.
    """

    def __init__(self, fake: FakeGitHub, token: str, folder: Path) -> None:
        self.folder = folder
        self._git("clone", "-q", fake.git_url(token), str(folder), cwd=folder.parent)

    def __call__(self, *arguments: str) -> str:
        """Run Git in the clone, and return what it printed."""
        return self._git(*arguments, cwd=self.folder)

    def _git(self, *arguments: str, cwd: Path) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        )
        if done.returncode:
            raise PushRefused(done.stderr)
        return done.stdout.strip()

    def push(self, branch: str, files: dict[str, str], *, email: str = "ada@example.org") -> str:
        """Commit files on a branch, push it, and return the commit."""
        self("checkout", "-q", "-B", branch)
        for path, text in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text, encoding="utf-8")
        self("add", ".")
        self(
            "-c",
            f"user.email={email}",
            "commit",
            "-q",
            "-m",
            f"Change {branch}",
            "--author",
            f"Somebody <{email}>",
        )
        self("push", "-q", "origin", f"HEAD:refs/heads/{branch}")
        return self("rev-parse", "HEAD")


class PushRefused(Exception):  # noqa: N818 - what happened
    """Git ended with an error, whose text this is."""
