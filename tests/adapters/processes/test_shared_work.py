from __future__ import annotations

import os
import signal

import pytest

from modelyard.adapters.processes import shared_work
from modelyard.adapters.processes.shared_work import share_work
from modelyard.errors import CannotAnswer, Refused

NUMBERS = range(10)


@pytest.fixture(autouse=True)
def _three_cores(monkeypatch):
    monkeypatch.setattr(shared_work, "count_cores", lambda: 3)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 10, 11])
def test_the_findings_are_in_the_order_of_the_subjects(count):
    known = {number: number * number for number in range(count)}
    assert share_work(range(count), lambda some: [known[n] for n in some], least=1) == [
        n * n for n in range(count)
    ]


def test_each_core_gets_a_process_if_there_is_enough_to_do():
    assert len(set(share_work(NUMBERS, lambda some: [os.getpid() for _ in some], least=1))) == 3
    assert set(share_work(NUMBERS, lambda some: [os.getpid() for _ in some], least=6)) == {
        os.getpid()
    }


def test_an_error_of_a_process_is_raised_here_as_it_is():
    def work(some):
        if 9 in some:
            raise Refused("nine", hint="none")
        return list(some)

    with pytest.raises(Refused, match="nine") as found:
        share_work(NUMBERS, work, least=1)
    assert found.value.hint == "none"


def test_a_process_that_was_killed_is_no_finding():
    parent = os.getpid()

    def work(some):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return list(some)

    with pytest.raises(CannotAnswer, match="ended with -9"):
        share_work(NUMBERS, work, least=1)
