"""A client that checks a running model server: whether it is ready, and how long it takes."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from modelyard.domain.specs.contract import Column
from modelyard.serving.inputs import tensors_of_rows

READY_TIMEOUT = 2.0
ANSWER_TIMEOUT = 30.0


class Probe:
    """A client of one model server.

    Args:
        url: The server's address, without a path.
        model: The model's name.
    """

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model

    def is_ready(self) -> bool:
        """Whether the server reports the model as ready: its golden rows match."""
        address = f"{self._url}/v2/models/{self._model}/ready"
        try:
            with urllib.request.urlopen(address, timeout=READY_TIMEOUT) as answer:  # noqa: S310 - our own address
                return bool(answer.status == HTTPStatus.OK)
        except OSError:
            return False

    def p95_ms(
        self, columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], *, requests: int
    ) -> float:
        """The 95th percentile of the latency of that many requests for these rows, in ms."""
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
            answer.read()
