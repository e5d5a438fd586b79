"""Requests of Git: who may read and push, and what a push does to pull requests."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from fakes.github.git.http import RefUpdate, pushed_refs, serve_git
from fakes.github.pushes import observe_push
from fakes.github.rest import RawAnswer, Request
from fakes.github.routing import Refused
from fakes.github.rules import push_refusal
from fakes.github.state import ROLES, RepositoryState, Token

if TYPE_CHECKING:
    from fakes.github.fake import FakeGitHub


def answer_git(fake: FakeGitHub, request: Request) -> RawAnswer:
    """Answer a request of a Git client."""
    path = unquote(request.path)
    name = path.strip("/").partition(".git/")[0].lower()
    pushes = "git-receive-pack" in (path.rpartition("/")[2], *_services(request.query))
    fault = fake.take_fault(request.method, path)
    if fault and fault.status and not fault.after:
        return _refusal(fault.status, str(fault.body.get("message", "")))
    try:
        with fake.lock:
            token = fake.directory.token_of(request.headers.get("authorization", ""))
            repository = _allowed(fake, name, token, pushes=pushes)
            updates = pushed_refs(request.body) if request.method == "POST" and pushes else ()
            refused = _refused(repository, updates, token)
    except Refused as refusal:
        fake.ledger.note("GIT", path, request.query, "", refusal.status)
        return _refusal(refusal.status, str(refusal))
    login = token.user.login if token else ""
    status, headers, body = serve_git(
        fake.folder,
        method=request.method,
        path=f"/{repository.full_name}.git/{path.partition('.git/')[2]}",
        query=request.query,
        headers=request.headers,
        body=request.body,
        login=login,
        refused=refused,
    )
    if updates:
        with fake.lock:
            observe_push(fake, repository, updates, token)
    fake.ledger.note("GIT", path, request.query, login, status)
    if fault and fault.status:
        return _refusal(fault.status, str(fault.body.get("message", "")))
    return RawAnswer(status=status, headers=headers, body=body)


def _services(query: str) -> list[str]:
    return parse_qs(query).get("service", [])


def _allowed(fake: FakeGitHub, name: str, token: Token | None, *, pushes: bool) -> RepositoryState:
    repository = fake.repositories.get(name)
    if token is None and (pushes or repository is None or repository.private):
        raise Refused(401, "Authentication required")
    if repository is None:
        raise Refused(404, "Repository not found.")
    if token is None:
        return repository
    if token.permissions is not None:
        held = token.permissions.get("contents")
        may_read, may_push = held is not None, held == "write"
    else:
        rank = ROLES.index(repository.role(token.user))
        may_read, may_push = rank > 0, rank >= ROLES.index("write")
    if not may_read:
        raise Refused(404, "Repository not found.")
    if pushes and not may_push:
        raise Refused(403, f"Permission to {name}.git denied to {token.user.login}.")
    return repository


def _refused(
    repository: RepositoryState, updates: tuple[RefUpdate, ...], token: Token | None
) -> dict[str, str]:
    refused = {}
    for update in updates:
        why = push_refusal(repository, update, token)
        if why:
            refused[update.ref] = why
    return refused


def _refusal(status: int, message: str) -> RawAnswer:
    headers = [("Content-Type", "text/plain")]
    if status == 401:
        headers.append(("WWW-Authenticate", 'Basic realm="GitHub"'))
    return RawAnswer(status=status, headers=headers, body=f"{message}\n".encode())
