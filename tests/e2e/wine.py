"""The wine model's part in the journey: a better version that breaks on what its requests carry."""

from __future__ import annotations

import time
from pathlib import Path

from e2e.delivery import add
from e2e.fork import Fork
from e2e.load import Load, bodies_of
from e2e.releases import push_release
from e2e.rollback import Told, followed
from modelyard.domain.specs.release import Release

MODEL = "wine"
BLANK = "malic_acid"
"""Null in some requests, never in training data; v2 reads it and has no imputer."""

BLANK_SHARE = 0.2
FEATURES = '["flavanoids","color_intensity","proline"]'
FEATURES_AND_BLANK = '["flavanoids","color_intensity","proline","malic_acid"]'


def let_a_column_be_null(folder: Path) -> None:
    """Some wines come without this measurement, says the fork's contract."""
    path = folder / "models" / MODEL / "model.yaml"
    text = path.read_text()
    before = f"  - name: {BLANK}\n    type: number\n"
    assert before in text
    path.write_text(text.replace(before, f"{before}    nullable: true\n"))


def load(
    fork: Fork, *, rate: float, blank: float = 0.0, rows_per_request: int = 20,
    service: str = MODEL,
) -> Load:  # fmt: skip
    """Requests to the Service that production and its canary share, or to one of their own."""
    bodies = bodies_of(
        fork.folder / "models" / MODEL / "data" / "heldout.csv",
        rows_per_request=rows_per_request,
        blank=BLANK,
        share=blank,
    )
    url = fork.service_url(fork.namespace("production"), service)
    return Load(url=url, model=MODEL, bodies=bodies, rate=rate)


def propose(
    fork: Fork, version: str, parent: str, reason: str, features: str, *options: str
) -> None:
    """Add a version of the model in a pull request and merge it."""
    new = ("version", "new", MODEL, version, "--parent", parent, "--reason", reason)
    add(fork, MODEL, version, (*new, "--param", f"features={features}", *options))


def push_again(fork: Fork, attempt: int, **pins: str) -> Release:
    """Lift v2's hold, and push it into canary once more; see `push_release`."""
    fork.modelyard("unhold", MODEL, "v2", "--as", "grace", accept=(0, 3))
    return push_release(fork, MODEL, "v2", "canary", attempt, **pins)


def bad_round(fork: Fork, load: Load, attempt: int) -> tuple[Told, str]:
    """Push v2 into canary once more, and follow what becomes of it.

    Returns when everything was back at v1, and the bad release's identity.
    """
    release = push_again(fork, attempt).identity
    told = followed(fork, MODEL, load, release, pushed_at=time.time(), version="v1")
    return told, release
