"""What a client sees of a promotion: nothing."""

from __future__ import annotations

import time

from e2e import path, wine
from e2e.fork import Fork, until
from e2e.measured import Measured

MODEL = wine.MODEL
RATE = 50.0
"""Requests a second."""


def test_a_client_sees_neither_the_promotion_nor_the_rollout(settled: Fork, measured: Measured):
    fork = settled
    features = '["flavanoids","color_intensity","proline","hue"]'
    wine.propose(fork, "v3", "v1", "Hue tells grignolino", features)
    path.trained(fork, MODEL, "v3")
    with wine.load(fork, rate=RATE, rows_per_request=5) as load:
        for environment in ("canary", "production"):
            at = path.approved(fork, MODEL, environment)
            until(f"{environment} runs a pod of v3",
                  lambda where=environment: runs(fork, where), seconds=180)  # fmt: skip
            measured.add("approval of a promotion, until the new version answers", time.time() - at)
            path.verified(fork, MODEL, environment, "v3")
        until("production runs v3 alone", lambda: fork.runs(MODEL, "production") == "v3",
              seconds=180)  # fmt: skip
        time.sleep(10)

    assert len(load.answers) > RATE * 60
    failed = [answer for answer in load.answers if answer.code != "200"]
    assert not failed, f"{len(failed)} of {len(load.answers)}: {failed[:5]}"


def runs(fork: Fork, environment: str) -> bool:
    """Whether a pod of v3 answers there."""
    return fork.answers("models-production", environment=environment, version="v3", model=MODEL)
