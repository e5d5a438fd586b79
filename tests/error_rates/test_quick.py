from __future__ import annotations

import numpy as np
import pytest

from error_rates import running
from error_rates.rates import Rate, markers, read_table, table_of, write_table
from error_rates.run import SUBJECTS
from error_rates.running import run_tasks
from error_rates.stopping import SequentialTest


@pytest.mark.long
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_few_runs_keep_every_promise(subject):
    found = run_tasks(SUBJECTS[subject].tasks(quick=True))
    assert found
    assert [rate.case for rate in found if not rate.is_kept] == []


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_page_has_a_table_of_each_subject_that_keeps_every_promise(subject):
    table = read_table(subject)
    assert table.startswith("| case |")
    assert "**no**" not in table


@pytest.mark.parametrize("subject", ["gate", "judge"])
def test_the_page_has_no_row_of_a_case_that_is_simulated_no_more(subject):
    names = {task.name for task in SUBJECTS[subject].tasks(quick=False)}
    rows = [line.split(" | ")[0].removeprefix("| ") for line in read_table(subject).splitlines()]
    # The last three rows of the gate are of several slices, and of constants.
    assert set(rows[2:-3] if subject == "gate" else rows[2:]) <= names


def test_a_rate_that_is_far_from_its_promise_is_decided_soon_and_one_near_it_late():
    test = SequentialTest(promised=0.05, broken=0.15, most=500)
    assert test.draw([False] * 500) == (0, 27)
    hits, runs = test.draw([True] * 500)
    assert (hits, runs) == (7, 7)
    one_in_ten = [number % 10 == 0 for number in range(500)]
    assert test.draw(one_in_ten) == (50, 500)


def test_kept_promises_look_broken_in_one_of_a_thousand_cases_at_most():
    random, test = np.random.default_rng(1), SequentialTest(promised=0.05, broken=0.15, most=400)
    ends = [test.draw(random.random(400) < 0.05) for _ in range(500)]
    broken = [test.draw(random.random(400) < 0.15) for _ in range(500)]
    kept = [Rate(case="c", what="w", hits=h, runs=n, most=0.05).is_kept for h, n in ends]
    missed = [Rate(case="c", what="w", hits=h, runs=n, most=0.05).is_kept for h, n in broken]
    assert sum(not each for each in kept) <= 5
    assert sum(missed) <= 0.07 * 500


def test_what_is_known_of_a_case_is_not_simulated_again(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "KEPT", tmp_path)
    ran = []

    def task(size):
        def run():
            ran.append(size)
            beside = (("size", str(size)),)
            return [Rate(case="c", what="w", hits=size, runs=9, most=0.5, beside=beside)]

        return running.Task(name="c", case=lambda: size, run=run)

    first = run_tasks([task(1), task(2)], code="a")
    assert run_tasks([task(1), task(2), task(3)], code="a")[:2] == first
    assert run_tasks([task(1)], code="b") == first[:1]
    assert ran == [1, 2, 3, 1]


def test_a_rate_is_kept_within_two_monte_carlo_errors_of_its_promise():
    # Two errors of 5 % in 400 runs are 2.2 %.
    def rate(hits, **promise):
        return Rate(case="c", what="w", hits=hits, runs=400, **promise)

    assert rate(28, most=0.05).is_kept
    assert not rate(29, most=0.05).is_kept
    assert rate(372, least=0.95).is_kept
    assert not rate(371, least=0.95).is_kept
    assert rate(200).is_kept


def test_a_table_is_written_between_its_markers_and_nowhere_else(tmp_path):
    page, (start, end) = tmp_path / "page.md", markers("gate")
    page.write_text(f"before\n{start}\nold\n{end}\nafter\n")
    table = table_of([Rate(case="c", what="w", hits=1, runs=100, most=0.05)])
    write_table("gate", table, page)
    assert page.read_text() == f"before\n{start}\n{table}\n{end}\nafter\n"
    assert read_table("gate", page) == table
    assert table.splitlines()[2] == "| c | w | 1 % | 1.2 % | 100 | at most 5 % | yes |"
