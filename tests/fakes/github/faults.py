"""Queued faults: what goes wrong, at which request, before or after it is carried out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SECONDARY = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
)
PRIMARY = "API rate limit exceeded for user ID 1."


@dataclass(kw_only=True)
class Fault:
    """Something that goes wrong at a request, or between two.

    Args:
        method: The method that it waits for; every one if empty.
        path: A regular expression that must be found in the path.
        skip: How many such requests are let through first.
        times: How many it then hits.
        status: The answer's status; 0 leaves the answer as it is.
        body: The answer's body.
        headers: Its headers. `reset_in` becomes `x-ratelimit-reset` by the fake's clock.
        after: Whether the request is carried out all the same, and only its answer is lost.
        act: What happens just before the request is carried out, such as a push.
        reset_in: Seconds until a used-up rate limit is filled again.
        drop: Whether the connection is cut instead of an answer.
    """

    method: str = ""
    path: str = ""
    skip: int = 0
    times: int = 1
    status: int = 0
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    after: bool = False
    act: Callable[[], object] | None = None
    reset_in: float | None = None
    drop: bool = False

    def document(self) -> dict[str, Any]:
        """Return the answer's body."""
        return {
            "documentation_url": "https://docs.github.com/rest",
            "status": str(self.status),
            **self.body,
        }

    def meets(self, method: str, path: str) -> bool:
        """Whether the request is one that the fault waits for."""
        return self.method in {"", method} and re.search(self.path, path) is not None


def bad_gateway(method: str = "", path: str = "", *, after: bool = False, **more: Any) -> Fault:
    """Return a 502; `after` the act, the request was carried out."""
    body = {"message": "Server Error"}
    return Fault(method=method, path=path, status=502, body=body, after=after, **more)


def cut_off(method: str = "", path: str = "", *, after: bool = False, **more: Any) -> Fault:
    """Return a connection that ends without an answer, before or after the act."""
    return Fault(method=method, path=path, drop=True, after=after, **more)


def secondary_limit(
    method: str = "", path: str = "", *, retry_after: int = 1, **more: Any
) -> Fault:
    """Return a 403 of too many requests at once."""
    headers = {"Retry-After": str(retry_after)}
    body = {"message": SECONDARY}
    return Fault(method=method, path=path, status=403, body=body, headers=headers, **more)


def primary_limit(method: str = "", path: str = "", *, reset_in: float = 1, **more: Any) -> Fault:
    """Return a 403 of an hour's requests that are used up."""
    headers = {"X-RateLimit-Remaining": "0"}
    body = {"message": PRIMARY}
    return Fault(
        method=method, path=path, status=403, body=body, headers=headers, reset_in=reset_in, **more
    )


def too_many(method: str = "", path: str = "", *, retry_after: int = 1, **more: Any) -> Fault:
    """Return a 429."""
    headers = {"Retry-After": str(retry_after)}
    body = {"message": SECONDARY}
    return Fault(method=method, path=path, status=429, body=body, headers=headers, **more)


def not_found(method: str = "", path: str = "", **more: Any) -> Fault:
    """Return a 404, which is also how GitHub answers who lacks a permission."""
    return Fault(method=method, path=path, status=404, body={"message": "Not Found"}, **more)


def forbidden(method: str = "", path: str = "", **more: Any) -> Fault:
    """Return a 403 for want of a permission."""
    body = {"message": "Resource not accessible by integration"}
    return Fault(method=method, path=path, status=403, body=body, **more)


def try_again(path: str = r"/merge$", **more: Any) -> Fault:
    """Return the 405 of a merge that is to be tried again."""
    body = {"message": "Base branch was modified. Review and try the merge again."}
    return Fault(method="PUT", path=path, status=405, body=body, **more)


def moves(act: Callable[[], object], *, path: str, after_reads: int, method: str = "GET") -> Fault:
    """Return a change of the world, such as a push, before the next of these requests."""
    return Fault(method=method, path=path, skip=after_reads, act=act)


@dataclass(frozen=True, kw_only=True)
class AsyncMerge:
    """What becomes of the next merge that is asked for with `merge-async`.

    Args:
        outcome: `merged`, `enqueued`, `failed`, or `expired`: not merged, and its result is 404.
        reads: How often the result is read as `pending` first.
        message: Why it failed.
        other: The head of another request that is there already: the answer is 409 with its id.
    """

    outcome: str = "merged"
    reads: int = 0
    message: str = "Required status check is expected."
    other: str | None = None
