"""A client that sends requests at a fixed rate, and remembers what became of each."""

from __future__ import annotations

import csv
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from modelyard.adapters.metrics.replay import ServiceTraffic

_THREADS = 24


@dataclass(frozen=True)
class Answer:
    """What became of one request: when it was sent, its code, and who answered."""

    at: float
    code: str
    release: str | None


@dataclass
class Load:
    """Requests at a rate, in the background, for as long as the block lasts.

    Args:
        url: The Service's address.
        model: The model.
        bodies: Request documents, sent in turn.
        rate: Requests a second.
    """

    url: str
    model: str
    bodies: list[bytes]
    rate: float
    answers: list[Answer] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        """Begin."""
        self._sender = threading.Thread(target=self._send_all, daemon=True)
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for the last answers."""
        self._over.set()
        self._sender.join()

    def since(self, at: float) -> list[Answer]:
        """The answers to requests sent after a moment of `time.time()`."""
        return [answer for answer in self.answers if answer.at >= at]

    def last_of(self, release: str) -> float:
        """When the last request was sent that this release answered; 0 if none was."""
        return max((each.at for each in self.answers if each.release == release), default=0.0)

    def _send_all(self) -> None:
        traffic = ServiceTraffic(self.url, model=self.model, versions={})
        begin, number = time.monotonic(), 0
        with ThreadPoolExecutor(_THREADS, "load") as pool:
            while not self._over.is_set():
                due = begin + number / self.rate
                time.sleep(max(0.0, due - time.monotonic()))
                pool.submit(self._send, traffic, self.bodies[number % len(self.bodies)])
                number += 1

    def _send(self, traffic: ServiceTraffic, body: bytes) -> None:
        at = time.time()
        sent = traffic.send(body, at=0.0)
        self.answers.append(Answer(at=at, code=sent.code, release=sent.release))


def bodies_of(
    data: Path, *, rows_per_request: int, blank: str, share: float, requests: int = 200
) -> list[bytes]:
    """Requests with rows of a CSV file of numbers, a share of them without one column's value.

    Args:
        data: The file; its last column is the label, which no request carries.
        rows_per_request: Rows in each.
        blank: The column that is null in `share` of the requests.
        share: Part of the requests, 0 to 1.
        requests: How many different ones.
    """
    with data.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0])[:-1]
    chance = random.Random(0)  # noqa: S311 - the same requests every time
    documents = []
    for number in range(requests):
        drawn = chance.choices(rows, k=rows_per_request)
        is_blank = (number * share) % 1 + share >= 1
        inputs = [
            {
                "name": name,
                "datatype": "FP64",
                "shape": [rows_per_request],
                "data": [None if is_blank and name == blank else float(row[name]) for row in drawn],
            }
            for name in names
        ]
        documents.append(json.dumps({"inputs": inputs}).encode())
    return documents
