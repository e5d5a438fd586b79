"""Requests to the API of a forge: counted, repeated only where that is safe, with clear errors."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from modelyard.errors import CannotAnswer

if TYPE_CHECKING:
    import httpx
    from githubkit import GitHub
    from githubkit.exception import GitHubException, RequestFailed
    from githubkit.retry import RetryOption

logger = logging.getLogger(__name__)

RESERVE = 300
"""Calls of an hour that only rollbacks may use."""

PAGE = 50
"""Entries of one page; some forges give no more."""

LONGEST_WAIT = timedelta(seconds=20)
"""A limit that ends later is reported; a pass does not sleep until then."""

_MOST_PAGES = 1000
_TRIES = 3
_REPEATED = frozenset({"GET", "PUT", "DELETE"})

_NEXT = re.compile(r'<([^<>]+)>;\s*rel="next"')

_URGENT: ContextVar[bool] = ContextVar("_URGENT", default=False)


class Answered(CannotAnswer):
    """The forge answered a request with an error.

    Attributes:
        status: The HTTP status.
        body: The JSON object of the answer; empty if it is none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        body: Mapping[str, Any] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.body = body or {}


class NotDone(CannotAnswer):
    """The forge did nothing: the request was refused before anything was done."""


class NotReached(NotDone):
    """There was no connection to the forge."""


class LimitReached(NotDone):
    """The forge's limit on calls allows none now; the message says until when."""

    is_limit = True


class KeptForRollbacks(LimitReached):
    """The calls that are left in this hour are for rollbacks."""


@contextmanager
def urgent() -> Iterator[None]:
    """Let the requests inside use the calls that are kept for rollbacks."""
    token = _URGENT.set(True)
    try:
        yield
    finally:
        _URGENT.reset(token)


def is_urgent() -> bool:
    """Whether this is for a rollback; see `urgent`."""
    return _URGENT.get()


@dataclass(kw_only=True)
class ForgeApi:
    """The API of a forge, for one repository.

    Args:
        url: Its base address, such as `https://api.github.com`.
        auth: A token, a strategy of githubkit that renews one, or what returns that; never shown.
        timeout: Seconds until a request without an answer is given up.
        page_word: What the forge calls the size of a page.

    Attributes:
        calls: How many requests were made, by `<method> <status>`; those answered `304` are free.
        remaining: Calls that are left in this hour, if the forge says so.
    """

    url: str
    auth: Any = field(repr=False)
    timeout: float = 15.0
    page_word: str = "per_page"
    calls: Counter[str] = field(default_factory=Counter)
    remaining: int | None = None
    resets: datetime | None = None

    @cached_property
    def _client(self) -> GitHub[Any]:
        # Its import takes .3 s; only a hosted forge needs it.
        import httpx
        from githubkit import GitHub

        count = self._count

        class Counted(httpx.HTTPTransport):
            """Below the cache, so that an unchanged answer is seen as the 304 it is."""

            def handle_request(self, request: httpx.Request) -> httpx.Response:
                response = super().handle_request(request)
                count(request.method, response)
                return response

        client = GitHub(
            # One that has to be asked for is asked for with the first request.
            self.auth() if callable(self.auth) else self.auth,
            base_url=self.url,
            timeout=self.timeout,
            auto_retry=_repeat,
            user_agent="modelyard",
            transport=Counted(),
        )
        # One connection for all requests: entered once, and ended with the process.
        client.__enter__()
        return client

    def _count(self, method: str, response: httpx.Response) -> None:
        """Count an answer of the forge itself, and what it says of the limit."""
        self.calls[f"{method} {response.status_code}"] += 1
        left, reset = (
            response.headers.get(f"x-ratelimit-{name}") for name in ("remaining", "reset")
        )
        if left is not None and reset is not None and left.isdecimal() and reset.isdecimal():
            self.remaining = int(left)
            self.resets = datetime.fromtimestamp(int(reset), tz=UTC)

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a resource.

        Raises:
            Answered: The forge refuses; its `status` says how.
            CannotAnswer: It cannot be reached, or its limit is reached.
        """
        return self._request("GET", path, query=query).json()

    def pages(self, path: str, **query: Any) -> Iterator[Any]:
        """Yield the entries of all pages of a listing."""
        where, asked = path, {**query, self.page_word: PAGE}
        first: Any = None
        for page in range(2, _MOST_PAGES):
            response = self._request("GET", where, query=asked)
            found, link = response.json(), response.headers.get("link", "")
            # Some listings have one page only, whatever page is asked for.
            if found and found[0] == first:
                return
            first = found[0] if found else None
            yield from found
            if following := _next_page(link, self.url):
                where, asked = following, {}
            elif 'rel="next"' in link or (not link and len(found) >= PAGE):
                where, asked = path, {**query, self.page_word: PAGE, "page": page}
            else:
                return
        raise CannotAnswer(f"GET {path}: more than {_MOST_PAGES} pages")

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Make a request that changes something, and return the JSON of its answer, if any."""
        response = self._request(method, path, body=body)
        return response.json() if response.content else None

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        self._check_reserve()
        from githubkit.exception import GitHubException

        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            return self._client.request(method, path, params=given or None, json=body)
        except GitHubException as error:
            raise _as_ours(error, f"{method} {path}") from error

    def _check_reserve(self) -> None:
        if _URGENT.get() or self.remaining is None or self.resets is None:
            return
        if self.remaining <= RESERVE and datetime.now(tz=UTC) < self.resets:
            raise KeptForRollbacks(
                f"{self.remaining} calls to {self.url} are left until {self.resets:%H:%M} UTC, and "
                f"{RESERVE} are kept for rollbacks",
                hint="wait, or give the tool a GitHub App, which has more calls",
            )


def _next_page(link: str, url: str) -> str | None:
    """The address of the next page; a token is sent to no other server than the forge."""
    found = _NEXT.search(link)
    return found[1] if found and found[1].startswith(f"{url.rstrip('/')}/") else None


def _repeat(error: GitHubException, tried: int) -> RetryOption:
    """Whether to make a request again: never a POST or a PATCH, which may have been done."""
    from githubkit.exception import RateLimitExceeded, RequestError, RequestFailed
    from githubkit.retry import RetryOption

    if tried >= _TRIES or not isinstance(error, RequestError):
        return RetryOption(False)
    # A limit refuses before anything is done.
    if isinstance(error, RateLimitExceeded):
        return RetryOption(error.retry_after <= LONGEST_WAIT, error.retry_after)
    is_down = (
        not isinstance(error, RequestFailed)
        or error.response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    )
    # One without an answer carries the request in what httpx raised.
    failed = error if isinstance(error, RequestFailed) else error.exc
    # A key that signs nothing fails before there is a request.
    request = getattr(failed, "request", None)
    may_repeat = is_down and request is not None and request.method in _REPEATED
    return RetryOption(may_repeat, timedelta(seconds=0.3 * 2**tried))


def _as_ours(error: GitHubException, what: str) -> CannotAnswer:
    import httpx
    from githubkit.exception import (
        AuthCredentialError,
        RateLimitExceeded,
        RequestError,
        RequestFailed,
    )

    if isinstance(error, RateLimitExceeded):
        until = datetime.now(tz=UTC) + error.retry_after
        return LimitReached(f"{what}: the forge's limit is reached until {until:%H:%M:%S} UTC")
    if isinstance(error, RequestFailed):
        return _answered(error, what)
    if isinstance(error, AuthCredentialError):
        return NotDone(
            f"{what}: the forge does not accept the credentials", hint="modelyard doctor"
        )
    cause = error.exc if isinstance(error, RequestError) else error
    is_unreached = isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout)
    kind = NotReached if is_unreached else CannotAnswer
    return kind(f"{what}: the forge gave no answer ({type(cause).__name__})")


def _answered(error: RequestFailed, what: str) -> Answered:
    status = error.response.status_code
    try:
        found = error.response.json()
    except ValueError:
        found = None
    body = found if isinstance(found, dict) else {}
    hint = "modelyard doctor" if status in {401, 403, 404} else None
    # GitHub answers 404 for what a token may not see.
    more = " (or this token may not see it)" if status == HTTPStatus.NOT_FOUND else ""
    said = str(body.get("message", ""))[:300]
    return Answered(f"{what}: {status} {said}{more}".strip(), status=status, body=body, hint=hint)
