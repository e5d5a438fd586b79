"""Rows of a file as requests to a model, sent by `modelyard replay` again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from e2e.fork import Fork, until

ROWS, ROWS_A_SECOND = "4000", "400"


@contextmanager
def replayed(fork: Fork, model: str, data: Path, environment: str, *options: str) -> Iterator[None]:
    """Send them to an environment's Service for as long as the block lasts."""
    name = model if environment == "production" else f"{model}-{environment}"
    until("the Service is there", lambda: fork.has_service("models-production", name), seconds=120)
    url = fork.service_url("models-production", name)
    over = Event()

    def send() -> None:
        seed = 0
        while not over.is_set():
            seed += 1
            fork.modelyard(
                *("replay", model, "--data", str(data), "--url", url, "--rows", ROWS),
                *("--rate", ROWS_A_SECOND, "--seed", str(seed), *options),
            )

    sender = Thread(target=send, daemon=True)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
