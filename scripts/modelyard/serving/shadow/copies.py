"""Sends copies of a share of the answered requests to a canary, and counts how answers compare."""

from __future__ import annotations

import http.client
import json
import logging
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from modelyard.domain.canary.segments.cells import segment_grid
from modelyard.domain.canary.shadow.pairs import grid_key
from modelyard.serving.tensor import DATATYPES

if TYPE_CHECKING:
    from modelyard.serving.documents import Serving
    from modelyard.serving.inputs import InferenceRequest
    from modelyard.serving.predictor import Scores
    from modelyard.serving.tensor import Values

_LOGGER = logging.getLogger(__name__)

SHADOW_PATH = "/shadow/infer"
"""Where a server answers copies. Routers lead no client there, and older servers have no such path:
neither counts a copy as a request."""

COPY_HEADER = "x-modelyard-copy-of"
"""Has the release that answered the request. Without it the path is none: no client is to come upon
scores that are not counted."""

MOST_BYTES = 4 * 2**20
"""Of an answer that is read: 100 rows of 300 classes are 0.6 MB."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What copies may cost.

    Args:
        waiting: Copies that may wait; more are dropped and counted.
        rows: Of a larger request a part is copied: the canary's own requests would wait for it all.
        seconds: For an answer as a whole.
        rest_times: Between two copies to a server, in the time that the last one took: copies keep
            a canary busy for at most a tenth of the time, so that its latency remains its own.
        rest_seconds: Between two tries where no canary answers.
        same_seconds: Between two copies to a server of the same artifact, which has little to tell.
    """

    waiting: int = 32
    rows: int = 100
    seconds: float = 2.0
    rest_times: float = 9.0
    rest_seconds: float = 15.0
    same_seconds: float = 1.0


@dataclass(frozen=True, kw_only=True)
class _Copy:
    request: InferenceRequest
    scores: Scores


class Shadow:
    """Copies requests in a thread of its own, one at a time; no caller ever waits for it.

    Args:
        share: The share of requests that are copied.
        targets: Where canaries answer: addresses without a path, or one local file of endpoints.
        labels: `release` and `digest` of this server.
        serving: The contract, by which copies are written.
        on_pair: Called with the canary's release, and both scores of one row, drawn at random; None
            for the canary's if it failed.
        on_lost: Called with why there is no pair for a copy: `full`, `busy`, `silent`, `refused`,
            or `contract` where the canary reads inputs that this server does not know, or has
            another range or other classes.
        limits: See there.
    """

    def __init__(
        self,
        share: float,
        targets: Sequence[str],
        *,
        labels: dict[str, str],
        serving: Serving,
        on_pair: Callable[[str, Scores, Scores | None], None],
        on_lost: Callable[[str], None],
        limits: Limits | None = None,
    ) -> None:
        self._share, self._labels, self._serving = share, labels, serving
        self._contract = copy_contract(serving)
        self._on_pair, self._on_lost = on_pair, on_lost
        self._limits = limits or Limits()
        self._targets = [_target(each, labels["release"]) for each in targets]
        self._random = random.Random()  # noqa: S311 - a sample, no secret
        self._rests: dict[str, float] = {}
        self._waiting: deque[_Copy] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def offer(self, request: InferenceRequest, scores: Scores) -> None:
        """Queue a copy of an answered request if it is one of the share; never waits."""
        if self._random.random() >= self._share:
            return
        with self._changed:
            if len(self._waiting) < self._limits.waiting:
                self._waiting.append(self._part(request, scores))
                self._changed.notify()
                return
        self._on_lost("full")

    def _part(self, request: InferenceRequest, scores: Scores) -> _Copy:
        """So many neighbouring rows of a request as are copied."""
        most = self._limits.rows
        if request.rows <= most:
            return _Copy(request=request, scores=scores)
        start = self._random.randrange(request.rows - most + 1)
        part = slice(start, start + most)
        # Copied, so that what waits does not hold the whole request.
        columns = {name: values[part].copy() for name, values in request.columns.items()}
        # A column without nulls that was left out has only nulls; see `_document`.
        nulls = {name: most if n == request.rows else 0 for name, n in request.nulls.items()}
        request = replace(request, rows=most, columns=columns, nulls=nulls)
        return _Copy(request=request, scores=scores[part].copy())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                copy = self._waiting.popleft()
            try:
                self._send(copy)
            except Exception:  # whatever it is, requests are answered and the next copy is sent
                _LOGGER.exception("a copy of a request could not be sent")

    def _send(self, copy: _Copy) -> None:
        for target in self._targets:
            for address in target():
                if time.monotonic() >= self._rests.get(address, 0.0):
                    self._compare(copy, address)

    def _compare(self, copy: _Copy, address: str) -> None:
        body = orjson.dumps(_document(copy.request, self._serving))
        headers = {"content-type": "application/json", COPY_HEADER: self._labels["release"]}
        before = time.monotonic()
        status, answer = _ask(address, body, headers, self._limits.seconds)
        took = time.monotonic() - before
        release = str(answer.get("release", ""))
        if not release or release == self._labels["release"]:
            # Nobody is there, or an older server, or one that only this server's own release has.
            self._rest(address, self._limits.rest_seconds)
            if status is None:
                self._on_lost("silent")
            return
        if not self._is_comparable(answer):
            self._rest(address, self._limits.rest_seconds)
            self._on_lost("contract")
            return
        is_same = answer.get("digest") == self._labels["digest"]
        rest = self._limits.rest_times * took
        self._rest(address, max(rest, self._limits.same_seconds if is_same else 0.0))
        if status == http.client.OK:
            self._pair(release, copy.scores, answer.get("scores"))
        elif status == http.client.INTERNAL_SERVER_ERROR:
            self._pair(release, copy.scores, None)
        else:
            busy = status == http.client.SERVICE_UNAVAILABLE
            self._on_lost("busy" if busy else "refused")

    def _pair(self, release: str, mine: Scores, answered: object) -> None:
        import numpy as np  # noqa: PLC0415 - the model has imported it

        place = self._random.randrange(len(mine))
        try:
            theirs = np.asarray(answered, dtype=np.float64)
            is_answer = theirs.shape == mine.shape and bool(np.isfinite(theirs).all())
        except (TypeError, ValueError):
            is_answer = False
        self._on_pair(release, _row(mine, place), _row(theirs, place) if is_answer else None)

    def _is_comparable(self, answer: dict[str, Any]) -> bool:
        """Whether a copy has all that the canary reads, and both answers are alike in kind."""
        inputs, own = answer.get("inputs"), self._contract["inputs"]
        is_known = isinstance(inputs, list) and all(name in own for name in inputs)
        return is_known and answer.get("grid") == self._contract["grid"]

    def _rest(self, address: str, seconds: float) -> None:
        self._rests[address] = time.monotonic() + seconds


def copy_contract(serving: Serving) -> dict[str, Any]:
    """What an answer to a copy says of its server: what it reads, and by what it is counted."""
    return {
        "inputs": [column.name for column in serving.inputs],
        "grid": grid_key(segment_grid(serving.output)),
    }


def _row(scores: Scores, place: int) -> Scores:
    return scores[place : place + 1]


def _document(request: InferenceRequest, serving: Serving) -> dict[str, object]:
    """The request of a copy: the model's inputs alone, in JSON."""
    return {
        "inputs": [
            {
                "name": column.name,
                "datatype": DATATYPES[column.type],
                "shape": [request.rows],
                "data": _plain(request.columns[column.name]),
            }
            for column in serving.inputs
            # One that was left out has a default, and takes no null.
            if column.nullable or request.nulls[column.name] < request.rows
        ]
    }


def _plain(values: Values) -> list[object]:
    """The values of one column; JSON has null for NaN."""
    import numpy as np  # noqa: PLC0415 - as above

    if not isinstance(values, np.ndarray):  # a nullable integer
        values = values.to_numpy(dtype=object, na_value=None)
    plain: list[object] = values.tolist()
    return plain


def _ask(
    address: str, body: bytes, headers: dict[str, str], seconds: float
) -> tuple[int | None, dict[str, Any]]:
    """The status and the document that a server answers; no status without an answer in time."""
    try:
        with _connected(address, seconds) as connection:
            connection.request("POST", SHADOW_PATH, body, headers)
            answer = connection.getresponse()
            document = orjson.loads(answer.read(MOST_BYTES))
    except (OSError, http.client.HTTPException, ValueError):
        return None, {}
    return answer.status, document if isinstance(document, dict) else {}


@contextmanager
def _connected(address: str, seconds: float) -> Iterator[http.client.HTTPConnection]:
    """A connection that ends after so long, whatever comes: a socket's timeout is for each read."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=seconds)
    connection.connect()
    end = threading.Timer(seconds, _shut, [connection.sock])
    end.daemon = True
    end.start()
    try:
        yield connection
    finally:
        end.cancel()
        connection.close()


def _shut(connected: socket.socket) -> None:
    with suppress(OSError):  # it has just been closed
        connected.shutdown(socket.SHUT_RDWR)


def _target(target: str, release: str) -> Callable[[], Sequence[str]]:
    """What finds the addresses of canaries, each time that a copy is sent."""
    if target.startswith("http://"):
        return lambda: (target,)
    return _Endpoints(Path(target), release)


class _Endpoints:
    """The servers in a local file of endpoints that have a smaller share than this release."""

    def __init__(self, path: Path, release: str) -> None:
        self._path, self._release = path, release
        self._seen: tuple[int, int] | None = None
        self._found: tuple[str, ...] = ()

    def __call__(self) -> Sequence[str]:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                self._found = tuple(_smaller(json.loads(self._path.read_bytes()), self._release))
                self._seen = seen
        except (OSError, ValueError, KeyError, TypeError):
            return ()  # no server takes the model's requests, or an older file
        return self._found


def _smaller(endpoints: Sequence[dict[str, Any]], release: str) -> list[str]:
    own = [each["share"] for each in endpoints if each["release"] == release]
    return [
        str(each["url"])
        for each in endpoints
        if own and each["release"] != release and 0 < each["share"] < max(own)
    ]
