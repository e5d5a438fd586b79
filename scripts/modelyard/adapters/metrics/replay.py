"""Sends requests to a model: to its local servers by share, or to its Service's address."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from modelyard.adapters.cluster.endpoints import Endpoint, endpoints_path, read_endpoints
from modelyard.domain.server_arguments import RELEASE_HEADER

UNREACHABLE = "unreachable"

# A loaded server may be slow; an answer that takes longer counts as unreachable.
_SECONDS = 30.0
_TRIES = 3
_PAUSE_SECONDS = 0.2
_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """The result of one request.

    Args:
        code: The HTTP status, or `unreachable`.
        release: Identity of the release it was sent to, or None when there was none.
        version: That release's version.
        fault: What an answer that is no success says; empty if it says nothing.
    """

    code: str
    release: str | None
    version: str | None
    fault: str = ""


class Traffic:
    """Requests to one model in one environment; may be used from several threads.

    Endpoints are read again whenever they change, so requests follow a rollout as it happens. A
    request without an answer is sent again, to the server that takes its share by then.

    Args:
        state: The folder of the local state.
        environment: The environment whose traffic it is.
        model: The model's name.
    """

    def __init__(self, state: Path, *, environment: str, model: str) -> None:
        self._state = state
        self._environment = environment
        self._model = model
        self._path = endpoints_path(state, environment=environment, model=model)
        self._mine = threading.local()
        self._opened: list[http.client.HTTPConnection] = []
        self._known: tuple[int, tuple[Endpoint, ...]] = (-1, ())

    def __enter__(self) -> Self:
        """Itself; leaving closes its connections."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every thread's connections."""
        for connection in self._opened:
            connection.close()

    def current_endpoints(self) -> tuple[Endpoint, ...]:
        """The servers that take requests now."""
        try:
            stamp = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return ()
        # The file is replaced as a whole, so a new time means new endpoints.
        if stamp != self._known[0]:
            read = read_endpoints(self._state, environment=self._environment, model=self._model)
            self._known = (stamp, read)
        return self._known[1]

    def send(self, body: bytes, *, at: float) -> Sent:
        """Send one inference request.

        Args:
            body: The request document.
            at: Its position in the shares, 0 to 1; the caller draws it, so a run can be repeated.
        """
        endpoint = None
        for attempt in range(_TRIES):
            # A rollout may stop a server after it was chosen; another takes its place soon.
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            endpoint = draw_endpoint(self.current_endpoints(), at) or endpoint
            answer = self._post(endpoint, body) if endpoint else None
            if endpoint and answer is not None:
                return replace(answer, release=endpoint.release, version=endpoint.version)
        release, version = (endpoint.release, endpoint.version) if endpoint else (None, None)
        return Sent(code=UNREACHABLE, release=release, version=version)

    def _post(self, endpoint: Endpoint, body: bytes) -> Sent | None:
        """The answer; None when a new connection brings none either."""
        for connection in self._connections_to(endpoint.url):
            try:
                connection.request("POST", f"/v2/models/{self._model}/infer", body, _HEADERS)
                answer = connection.getresponse()
                sent = _read_answer(answer)
            except (OSError, http.client.HTTPException):
                connection.close()
            else:
                return sent
        return None

    def _connections_to(self, url: str) -> Sequence[http.client.HTTPConnection]:
        """This thread's connection; a used one twice, since the server may have closed it."""
        known: dict[str, http.client.HTTPConnection] = vars(self._mine)
        if url in known:
            return (known[url], known[url])
        known[url] = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_SECONDS)
        self._opened.append(known[url])
        return (known[url],)


class ServiceTraffic:
    """Requests to the address of a model's Service, which spreads connections over its servers.

    Each request has a connection of its own, so that requests spread as connections do. Nothing is
    retried: the result is what a caller would have seen.

    Args:
        url: The Service's address, such as `http://wine.models-production`.
        model: The model's name.
        versions: Version by release identity, as far as it is known.
    """

    def __init__(self, url: str, *, model: str, versions: Mapping[str, str]) -> None:
        self._address = urlsplit(url)
        self._path = f"{self._address.path.rstrip('/')}/v2/models/{model}/infer"
        self._versions = versions

    def send(self, body: bytes, *, at: float) -> Sent:
        """Send one inference request; the Service chooses the server."""
        del at
        https = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
        connection = kind(self._address.netloc, timeout=_SECONDS)
        try:
            connection.request("POST", self._path, body, _HEADERS)
            answer = connection.getresponse()
            sent = _read_answer(answer)
        except (OSError, http.client.HTTPException):
            return Sent(code=UNREACHABLE, release=None, version=None)
        finally:
            connection.close()
        release = answer.getheader(RELEASE_HEADER)
        version = self._versions.get(release) if release else None
        return replace(sent, release=release, version=version)


def _read_answer(answer: http.client.HTTPResponse) -> Sent:
    """The answer, read to its end."""
    content, is_success = answer.read(), answer.status < http.client.BAD_REQUEST
    fault = "" if is_success else _fault(content)
    return Sent(code=str(answer.status), release=None, version=None, fault=fault)


def _fault(content: bytes) -> str:
    """The `error` of a JSON document; empty for any other content."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    return str(document.get("error") or "") if isinstance(document, dict) else ""


def draw_endpoint(endpoints: Sequence[Endpoint], at: float) -> Endpoint | None:
    """The endpoint whose part of the shares `at` falls into; None without endpoints."""
    reached = 0.0
    for endpoint in endpoints:
        reached += endpoint.share
        if at < reached:
            return endpoint
    return endpoints[-1] if endpoints else None
