"""A client that checks a running model server: whether it is ready, and how long it takes."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any

from modelyard.domain.server_arguments import RELEASE_HEADER
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer
from modelyard.serving.inputs import tensors_of_rows

READY_TIMEOUT = 2.0
ANSWER_TIMEOUT = 30.0
_LARGEST_ANSWER = 8_000_000
"""Bytes for 20 rows: the server may be code that nobody need trust."""


class Probe:
    """A client of one model server, which believes no other that answers in its place.

    Args:
        url: The server's address, without a path.
        model: The model's name.
        release: The release that the server was started for.
    """

    def __init__(self, url: str, model: str, release: str) -> None:
        self._url = url
        self._model = model
        self._release = release

    def is_ready(self) -> bool:
        """Whether the server reports the model as ready: its golden rows match.

        Raises:
            CannotAnswer: Another server answers.
        """
        address = f"{self._url}/v2/models/{self._model}/ready"
        try:
            with urllib.request.urlopen(address, timeout=READY_TIMEOUT) as answer:  # noqa: S310 - our own address
                self._check_server(answer)
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    def p95_ms(
        self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, requests: int
    ) -> float:
        """The 95th percentile of the latency of that many requests for these rows, in ms.

        Raises:
            CannotAnswer: Another server answers.
        """
        body = json.dumps({"inputs": tensors_of_rows(columns, rows)}).encode()
        times = []
        for _ in range(requests):
            before = time.perf_counter()
            self._infer(body)
            times.append((time.perf_counter() - before) * 1000)
        return sorted(times)[int(0.95 * (requests - 1))]

    def _infer(self, body: bytes) -> None:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self._url}/v2/models/{self._model}/infer",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT) as answer:  # noqa: S310 - our own address
            self._check_server(answer)
            if len(answer.read(_LARGEST_ANSWER + 1)) > _LARGEST_ANSWER:
                raise ValueError(f"its answer has more than {_LARGEST_ANSWER // 10**6} MB")

    def _check_server(self, answer: HTTPResponse) -> None:
        if answer.headers.get(RELEASE_HEADER) != self._release:
            raise CannotAnswer(f"another server answers at {self._url}", hint="run it again")
