"""Clients of a model: of its local servers, by share, or of the one address before all of them."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from modelyard.adapters.cluster.endpoints import Endpoint, endpoints_path, read_endpoints

UNREACHABLE = "unreachable"
RELEASE_HEADER = "x-modelyard-release"
"""The header in which a server says which release it serves."""

_SECONDS = 30.0
_TRIES = 3
_PAUSE_SECONDS = 0.2
_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of one request.

    Args:
        code: The HTTP status, or `unreachable`.
        release: Identity of the release it was drawn for, or None when there was none.
        version: That release's version.
    """

    code: str
    release: str | None
    version: str | None


class Traffic:
    """Requests to one model in one environment; may be used from several threads.

    Endpoints are read again whenever they change, so requests follow a rollout as it happens. A
    server that does not answer is asked again, or, by then, the one that took its place.

    Args:
        state: The folder of the local state.
        environment: Whose traffic it is.
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

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where requests go now."""
        try:
            stamp = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return ()
        if stamp != self._known[0]:
            read = read_endpoints(self._state, environment=self._environment, model=self._model)
            self._known = (stamp, read)
        return self._known[1]

    def send(self, body: bytes, *, at: float) -> Sent:
        """Send one inference request.

        Args:
            body: The request document.
            at: Where in the shares it falls, 0 to 1; drawn by the caller, so that a run repeats.
        """
        endpoint = None
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            endpoint = drawn(self.endpoints(), at) or endpoint
            code = self._status(endpoint, body) if endpoint else None
            if endpoint and code is not None:
                return Sent(code=str(code), release=endpoint.release, version=endpoint.version)
        release, version = (endpoint.release, endpoint.version) if endpoint else (None, None)
        return Sent(code=UNREACHABLE, release=release, version=version)

    def _status(self, endpoint: Endpoint, body: bytes) -> int | None:
        """The answer's status; None when there is none on a new connection either."""
        for connection in self._connections_to(endpoint.url):
            try:
                connection.request("POST", f"/v2/models/{self._model}/infer", body, _HEADERS)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
            else:
                return answer.status
        return None

    def _connections_to(self, url: str) -> Sequence[http.client.HTTPConnection]:
        """This thread's connection, twice where it was used: it opens itself again."""
        known: dict[str, http.client.HTTPConnection] = vars(self._mine)
        if url in known:
            return (known[url], known[url])
        known[url] = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_SECONDS)
        self._opened.append(known[url])
        return (known[url],)


class ServiceTraffic:
    """Requests to the address of a model's Service, which spreads connections over its servers.

    Each request has a connection of its own, so that the shares are those of the servers. Nothing
    is tried again: what a caller would have seen is what is told.

    Args:
        url: The Service's address, such as `http://wine.models-production`.
        model: The model's name.
        versions: Version by release identity, as far as known.
    """

    def __init__(self, url: str, *, model: str, versions: Mapping[str, str]) -> None:
        self._address = urlsplit(url)
        self._path = f"{self._address.path.rstrip('/')}/v2/models/{model}/infer"
        self._versions = versions

    def send(self, body: bytes, *, at: float) -> Sent:
        """Send one inference request; the Service draws the server."""
        del at
        https = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
        connection = kind(self._address.netloc, timeout=_SECONDS)
        try:
            connection.request("POST", self._path, body, _HEADERS)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return Sent(code=UNREACHABLE, release=None, version=None)
        finally:
            connection.close()
        release = answer.getheader(RELEASE_HEADER)
        version = self._versions.get(release) if release else None
        return Sent(code=str(answer.status), release=release, version=version)


def drawn(endpoints: Sequence[Endpoint], at: float) -> Endpoint | None:
    """The endpoint whose part of the shares `at` falls into; None when there are none."""
    reached = 0.0
    for endpoint in endpoints:
        reached += endpoint.share
        if at < reached:
            return endpoint
    return endpoints[-1] if endpoints else None
