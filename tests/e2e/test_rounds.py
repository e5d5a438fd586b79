"""How long it takes until a bad canary is gone everywhere: the same round, again and again."""

from __future__ import annotations

import os

from e2e import wine
from e2e.fork import Fork, until
from e2e.measured import Measured, percentile
from e2e.rollback import agrees

ROUNDS = int(os.environ.get("MODELYARD_E2E_ROUNDS", "20"))
FIRST_ATTEMPT = 100
MOST = {"verdict to all of it": 15.0, "push of the bad release to all of it": 90.0}
"""Seconds that 95 of 100 rounds must not exceed."""


def test_a_bad_canary_is_gone_everywhere_within_seconds(settled: Fork, measured: Measured):
    fork = settled
    with wine.load(fork, rate=20, blank=wine.BLANK_SHARE) as load:
        for number in range(ROUNDS):
            told, _ = wine.bad_round(fork, load, FIRST_ATTEMPT + number)
            told.into(measured)
            until("all agree", lambda: agrees(fork, wine.MODEL, "canary", "v1"), seconds=60)

    for name, most in MOST.items():
        seconds = measured.seconds[name]
        assert percentile(seconds, 0.95) <= most, f"{name}: {sorted(seconds)}"
