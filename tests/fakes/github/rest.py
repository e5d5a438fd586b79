"""A request of the REST API, from the bytes that came to the bytes that go."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from fakes.github import routes
from fakes.github.contract import (
    BrokenContract,
    Operation,
    check_answer,
    check_request,
    find_operation,
)
from fakes.github.merging import settle_merges
from fakes.github.pushes import observe_heads
from fakes.github.routing import ROUTES, Answer, Call, Refused
from fakes.github.state import Token

if TYPE_CHECKING:
    from fakes.github.fake import FakeGitHub

# GitHub Enterprise Server has its API below this path.
ENTERPRISE = "/api/v3"

assert routes.SUBJECTS  # imported for the routes that they register


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it came; the names of its headers are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class RawAnswer:
    """An answer as it goes; `drop` hangs up instead."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    drop: bool = False


def answer_rest(fake: FakeGitHub, request: Request) -> RawAnswer:
    """Answer a request: by a queued fault, or by what the fake knows."""
    path = request.path.removeprefix(ENTERPRISE) or "/"
    fault = fake.take_fault(request.method, path)
    if fault and fault.drop and not fault.after:
        fake.ledger.note(request.method, path, request.query, "", 0)
        return RawAnswer(status=0, drop=True)
    token: Token | None = None
    with fake.lock:
        try:
            token = _token(fake, request, path)
            if fault and fault.status and not fault.after:
                answer = Answer(status=fault.status, body=fault.document(), headers={})
            else:
                observe_heads(fake)
                settle_merges(fake)
                answer = _carried_out(fake, request, path, token)
        except Refused as refusal:
            answer = Answer(status=refusal.status, body=refusal.body, headers=refusal.headers)
        headers = {"Content-Type": "application/json; charset=utf-8", **answer.headers}
        status, body = answer.status, _bytes(answer.body)
        if fault and fault.status:
            status, body = fault.status, _bytes(fault.document())
            headers |= {"Content-Type": "application/json; charset=utf-8", **fault.headers}
        if request.method == "GET" and status == 200:
            headers["ETag"] = f'W/"{hashlib.sha256(body).hexdigest()}"'
            if _same(request.headers.get("if-none-match", ""), headers["ETag"]):
                status, body = 304, b""
        login = token.user.login if token else ""
        headers = {**fake.ledger.charge(login, path, free=status == 304, fault=fault), **headers}
        fake.ledger.note(request.method, path, request.query, login, status)
    drop = fault is not None and fault.drop
    return RawAnswer(status=status, headers=list(headers.items()), body=body, drop=drop)


def _token(fake: FakeGitHub, request: Request, path: str) -> Token | None:
    authorization = request.headers.get("authorization", "")
    is_app = path.startswith("/app") or path.endswith("/installation")
    if is_app and authorization.count(".") == 2:
        app = fake.directory.app_of(authorization)
        return Token(user=app.bot, kind="app", permissions={}, app=app)
    token = fake.directory.token_of(authorization)
    login = token.user.login if token else ""
    if fake.ledger.is_used_up(login) and path != "/rate_limit":
        raise Refused(403, f"API rate limit exceeded for {login or 'you'}.")
    return token


def _carried_out(fake: FakeGitHub, request: Request, path: str, token: Token | None) -> Answer:
    found = find_operation(request.method, path)
    if found is None:
        fake.problem(f"{request.method} {path}: the slice has no such operation")
        raise Refused(404, "Not Found")
    operation, names = found
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    if "\0" in "".join([*names.values(), *query.values()]):
        raise Refused(404, "Not Found")
    try:
        body = json.loads(request.body) if request.body else None
        check_request(operation, names, query=query, body=request.body)
    except (BrokenContract, ValueError) as error:
        fake.problem(f"{request.method} {path}: {error}")
        raise Refused(422, f"Invalid request.\n\n{error}") from error
    prefix = ENTERPRISE if request.path.startswith(ENTERPRISE) else ""
    call = Call(
        fake=fake,
        token=token,
        names=names,
        query=query,
        body={} if body is None else body,
        url=f"{fake.url}{prefix}{path}",
        shapes=fake.shapes,
    )
    return _checked(fake, operation, call, path)


def _checked(fake: FakeGitHub, operation: Operation, call: Call, path: str) -> Answer:
    function = ROUTES.get((operation.method, operation.template))
    if function is None:
        fake.problem(f"{operation.method} {path}: the fake does not play this operation")
        raise Refused(501, "The fake does not play this operation.")
    try:
        answer = function(call)
    except Refused as refusal:
        answer = Answer(status=refusal.status, body=refusal.body, headers=refusal.headers)
    try:
        check_answer(operation, answer.status, answer.body)
    except BrokenContract as error:
        fake.problem(f"{operation.method} {path}: {error}")
        raise Refused(500, f"The fake is wrong: {error}") from error
    return answer


def _bytes(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()


def _same(asked: str, etag: str) -> bool:
    """Whether a client has the answer already; weak and strong tags compare as one."""
    tags = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
    return etag.removeprefix("W/") in tags
