"""What a client sees of a rollback and of a promotion: nothing but the bad canary itself."""

from __future__ import annotations

import time

from e2e import delivery, wine
from e2e.fork import Fork, until
from e2e.measured import Measured

MODEL = wine.MODEL
RATE = 50.0
"""Requests a second."""

FIRST_ATTEMPT = 500


def test_a_client_sees_nothing_of_a_rollback_but_the_bad_canary(settled: Fork, measured: Measured):
    with wine.load(settled, rate=RATE, blank=wine.BLANK_SHARE, rows_per_request=5) as load:
        told, release = wine.bad_round(settled, load, FIRST_ATTEMPT)
        told.into(measured, f"{RATE:g} requests a second: ")
        time.sleep(10)

    assert len(load.answers) > RATE * 20
    failed = [a for a in load.answers if a.code != "200" and a.release != release]
    assert not failed, f"{len(failed)} of {len(load.answers)}: {failed[:5]}"


def test_a_client_sees_neither_the_promotion_nor_the_rollout(settled: Fork, measured: Measured):
    fork = settled
    features = '["flavanoids","color_intensity","proline","hue"]'
    wine.propose(
        fork, "v3", "v1", "Hue tells grignolino", features,
        "--breaks", "hue=all callers send it already",
    )  # fmt: skip
    delivery.trained(fork, MODEL, "v3")
    with wine.load(fork, rate=RATE, rows_per_request=5) as load:
        for environment in ("canary", "production"):
            at = delivery.approved(fork, MODEL, environment)
            until(f"{environment} runs a pod of v3",
                  lambda where=environment: runs(fork, where), seconds=180)  # fmt: skip
            measured.add("approval of a promotion, until the new version answers", time.time() - at)
            delivery.verified(fork, MODEL, environment, "v3")
        until("production runs v3 alone", lambda: fork.runs(MODEL, "production") == "v3",
              seconds=180)  # fmt: skip
        time.sleep(10)

    assert len(load.answers) > RATE * 60
    failed = [answer for answer in load.answers if answer.code != "200"]
    assert not failed, f"{len(failed)} of {len(load.answers)}: {failed[:5]}"


def runs(fork: Fork, environment: str) -> bool:
    """Whether a pod of v3 answers there."""
    return fork.answers("models-production", environment=environment, version="v3", model=MODEL)
