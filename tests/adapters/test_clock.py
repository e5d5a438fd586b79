"""A clock that is set, or a machine that slept, is noticed where the time is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from modelyard.adapters import clock as clocks
from modelyard.adapters.clock import FIXED, SystemClock

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Machine:
    """Its wall clock, and for how long it was awake."""

    def __init__(self) -> None:
        self.wall, self.awake = START, 1000.0

    def now(self, zone: object) -> datetime:
        assert zone is UTC
        return self.wall

    def monotonic(self) -> float:
        return self.awake

    def run(self, seconds: float, *, jump: float = 0.0) -> None:
        self.wall += timedelta(seconds=seconds + jump)
        self.awake += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(clocks, "datetime", machine)
    monkeypatch.setattr(clocks, "time", machine)
    return machine


@pytest.mark.parametrize("jump", [3600, -3600, 31, -31], ids=str)
def test_a_jump_is_noticed_at_the_next_look(machine: Machine, jump: float):
    clock = SystemClock()
    clock.now()
    machine.run(5, jump=jump)
    assert clock.now() == machine.wall
    assert clock.even_since() == machine.wall
    jumped_at = machine.wall
    machine.run(86_400)
    clock.now()
    assert clock.even_since() == jumped_at


@pytest.mark.parametrize("jump", [0, 29, -29], ids=str)
def test_what_a_time_server_corrects_and_a_long_pause_are_no_jumps(machine: Machine, jump: float):
    clock = SystemClock()
    clock.now()
    machine.run(5, jump=jump)
    clock.now()
    machine.run(86_400)
    clock.now()
    assert clock.even_since() is None


def test_a_stopped_clock_does_not_jump(monkeypatch: pytest.MonkeyPatch):
    clock = SystemClock()
    for hour in ("12", "23"):
        monkeypatch.setenv(FIXED, f"2026-03-01T{hour}:00:00Z")
        clock.now()
    assert clock.even_since() is None
