"""Smart HTTP: hands a request for a repository to `git http-backend`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RefUpdate:
    """What a push asks for: a ref, from one object to another."""

    ref: str
    old: str
    new: str

    @property
    def creates(self) -> bool:
        """Whether there is no such ref yet."""
        return not self.old.strip("0")

    @property
    def deletes(self) -> bool:
        """Whether the ref is to go."""
        return not self.new.strip("0")


def pushed_refs(body: bytes) -> tuple[RefUpdate, ...]:
    """Return what the body of a `git-receive-pack` request asks for."""
    updates = []
    while len(body) >= 4:
        length = int(body[:4], 16)
        if length < 4:
            break  # the flush after the commands
        line = body[4:length].split(b"\0")[0].decode().rstrip("\n")
        body = body[length:]
        if not line.startswith(("push-cert", "shallow")):
            old, new, ref = line.split(" ", 2)
            updates.append(RefUpdate(ref=ref, old=old, new=new))
    return tuple(updates)


def serve_git(
    root: Path,
    *,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    login: str,
    refused: Mapping[str, str],
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of Git's own answer.

    Args:
        root: The folder of the bare repositories.
        method: The method of the request, as the next four.
        path: Its path, `/<owner>/<name>.git/...`.
        query: Its query.
        headers: Its headers, with lower-case names.
        body: Its body, unpacked from its transfer encoding.
        login: Who asks.
        refused: Why a ref may not be pushed, by ref.
    """
    env = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "REMOTE_USER": login,
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "HTTP_GIT_PROTOCOL": headers.get("git-protocol", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
        "FAKE_GITHUB_REFUSED": "".join(f"{ref}\t{why}\n" for ref, why in refused.items()),
    }
    done = subprocess.run(
        ["git", "http-backend"], input=body, capture_output=True, check=False, env=env
    )
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    answered = [
        (name, value.strip())
        for line in head.decode().split("\r\n")
        if line
        for name, _, value in [line.partition(":")]
    ]
    status = next((int(value.split()[0]) for name, value in answered if name == "Status"), 200)
    return status, [(name, value) for name, value in answered if name != "Status"], content
