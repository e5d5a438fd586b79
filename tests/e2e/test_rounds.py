"""How long people and clients wait: the same round with a bad canary, again and again."""

from __future__ import annotations

import os
import time

from e2e import delivery, wine
from e2e.fork import Fork, until
from e2e.measured import Measured, percentile
from e2e.rollback import agrees, bad_release
from e2e.team import ADA

ROUNDS = int(os.environ.get("MODELYARD_E2E_ROUNDS", "20"))
FIRST_ATTEMPT = 100
ANSWERS = "approval of a promotion to canary, until it answers"
MOST = {
    "verdict to all of it": 15.0,
    "push of the bad release to all of it": 90.0,
    ANSWERS: 60.0,
}
"""Seconds that 95 of 100 rounds must not exceed."""


def test_a_bad_canary_is_gone_everywhere_within_seconds(settled: Fork, measured: Measured):
    fork = settled
    with wine.load(fork, rate=20, blank=wine.BLANK_SHARE) as load:
        for number in range(ROUNDS):
            told, _ = wine.bad_round(fork, load, FIRST_ATTEMPT + number)
            told.into(measured)
            until("all agree", lambda: agrees(fork, wine.MODEL, "canary", "v1"), seconds=60)

    for name in MOST:
        if name != ANSWERS:
            check(measured, name)


def test_an_approved_release_answers_within_seconds(settled: Fork, measured: Measured):
    fork = settled
    with wine.load(fork, rate=20, blank=wine.BLANK_SHARE):
        for _ in range(ROUNDS):
            fork.modelyard("unhold", wine.MODEL, "v2", "--retry", "--as", ADA)
            at = delivery.approved(fork, wine.MODEL, "canary")
            release = until(
                "main names v2 in canary", lambda: bad_release(fork, wine.MODEL, "v2"), seconds=60
            )
            until(
                "a pod of it answers",
                lambda label=release: fork.answers("models-production", release=label),
                seconds=120,
            )
            measured.add(ANSWERS, time.time() - at)
            until("all agree", lambda: agrees(fork, wine.MODEL, "canary", "v1"), seconds=240)

    check(measured, ANSWERS)


def check(measured: Measured, name: str) -> None:
    """Print how long it took, and compare it with what is promised."""
    seconds = measured.seconds[name]
    measured.summarize(name)
    assert percentile(seconds, 0.95) <= MOST[name], f"{name}: {sorted(seconds)}"
