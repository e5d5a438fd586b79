"""Queries Prometheus for the raw samples of a time range, or says why there is no answer."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from modelyard.errors import CannotAnswer

# Short: Argo Rollouts waits for the judge, and the judge for this.
CONNECT_SECONDS = 2.0
READ_SECONDS = 10.0
"""For the whole exchange, from the first byte of the request on."""

MAX_BYTES = 128 * 2**20
"""A longer answer is refused; an ordinary block has a hundredth of it."""

_PIECE = 2**16


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series: its labels, and its samples as (seconds since the epoch, value as text)."""

    labels: Mapping[str, str]
    values: list[tuple[float, str]]


class Prometheus:
    """A Prometheus server, queried over HTTP without the environment's proxies.

    Args:
        uri: Its address, maybe with a path, a user and a password.
    """

    def __init__(self, uri: str) -> None:
        self._address = urlsplit(uri)
        self.name = _without_credentials(self._address)

    def read_raw_samples(self, selector: str, *, after: float, until: float) -> list[Series]:
        """The samples of every matching series, later than `after` and until `until`.

        Raises:
            CannotAnswer: Prometheus is out of reach, refuses, or answers with something else.
        """
        # Versions 2 and 3 differ in whether the left end belongs to the range; the caller checks.
        length = max(1, round((until - after) * 1000))
        asked = {"query": f"{selector}[{length}ms]", "time": f"{until:.3f}"}
        status, text = self._fetch(f"/api/v1/query?{urlencode(asked)}")
        return list(self._series(self._data(status, text)))

    def no_answer(self, what: str) -> CannotAnswer:
        """The error for an answer that is of no use, with a command to check the server."""
        return CannotAnswer(f"Prometheus at {self.name} {what}", hint=f"curl {self.name}/-/ready")

    def _data(self, status: int, text: bytes) -> Mapping[str, Any]:
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise self.no_answer(f"answered {status} with no JSON") from error
        document = answer if isinstance(answer, dict) else {}
        if status != http.client.OK or document.get("status") != "success":
            reason = document.get("error") or "without a reason"
            raise self.no_answer(f"answered {status}: {_one_line(reason)}")
        if document.get("warnings"):  # some of the samples may be missing
            raise self.no_answer(f"answered in part: {_one_line(document['warnings'])}")
        return cast("Mapping[str, Any]", document)

    def _series(self, answer: Mapping[str, Any]) -> Iterator[Series]:
        try:
            data = answer["data"]
            if data["resultType"] != "matrix":
                raise self.no_answer(f"answered with a {_one_line(data['resultType'])}")
            for each in data["result"]:
                yield Series(labels=dict(each["metric"]), values=each.get("values", []))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.no_answer("answered with no samples") from error

    def _fetch(self, question: str) -> tuple[int, bytes]:
        deadline = time.monotonic() + READ_SECONDS
        connection = self._connection()
        try:
            connection.connect()
            remaining = _deadline_setter(connection, deadline)
            remaining()
            path = self._address.path.rstrip("/")
            connection.request("GET", path + question, headers=self._headers())
            with connection.getresponse() as answer:
                return answer.status, self._body(answer, remaining)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise self.no_answer(f"is out of reach: {_one_line(reason)}") from error
        finally:
            connection.close()

    def _body(self, answer: http.client.HTTPResponse, remaining: Callable[[], None]) -> bytes:
        pieces, size = [], 0
        while piece := answer.read1(_PIECE):
            remaining()
            size += len(piece)
            if size > MAX_BYTES:
                raise self.no_answer(f"answered more than {MAX_BYTES >> 20} MB")
            pieces.append(piece)
        if answer.length:  # read1 does not report a broken connection
            raise http.client.IncompleteRead(b"", answer.length)
        return b"".join(pieces)

    def _connection(self) -> http.client.HTTPConnection:
        secure = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        host = self._address.hostname or ""
        return kind(host, self._address.port, timeout=CONNECT_SECONDS)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._address.username is not None:
            pair = f"{unquote(self._address.username)}:{unquote(self._address.password or '')}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return headers


def _deadline_setter(connection: http.client.HTTPConnection, deadline: float) -> Callable[[], None]:
    """Gives the connection only the time that is left, so that slow single bytes end too."""
    socket = connection.sock

    def remaining() -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no end after {READ_SECONDS:g} s")
        socket.settimeout(left)

    return remaining


def _without_credentials(address: SplitResult) -> str:
    host = address.netloc.rpartition("@")[2]
    return f"{address.scheme}://{host}{address.path.rstrip('/')}"


def _one_line(found: object) -> str:
    """Text from outside on one short line, without control characters."""
    text = found if isinstance(found, str) else json.dumps(found)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
