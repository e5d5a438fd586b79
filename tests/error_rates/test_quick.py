from __future__ import annotations

import shutil

import numpy as np
import pytest

from error_rates import running
from error_rates.rates import Rate, markers, read_table, table_of, write_table
from error_rates.run import SUBJECTS
from error_rates.running import run_tasks
from error_rates.stopping import FixedRuns, found_out


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
def test_the_page_has_a_row_of_each_case_and_of_no_other(subject):
    names = {task.name for task in SUBJECTS[subject].tasks(quick=False)} - {"constants", "slices"}
    rows = [line.split(" | ")[0].removeprefix("| ") for line in read_table(subject).splitlines()]
    # The last three rows of the gate are of several slices, and of constants.
    assert set(rows[2:-3] if subject == "gate" else rows[2:]) == names


def test_an_error_is_coarse_beyond_half_of_what_may_go_wrong():
    def is_coarse(hits, runs, **promise):
        return Rate(case="", what="", hits=hits, runs=runs, **promise).is_coarse

    assert [is_coarse(0, runs, most=0.05) for runs in (27, 28)] == [True, False]
    assert [is_coarse(runs, runs, least=0.95) for runs in (27, 28)] == [True, False]
    assert is_coarse(5, 5, least=0.9)
    assert not is_coarse(0, 5, most=0.0)
    assert "| 12 %, coarse | 5 |" in table_of([Rate(case="a", what="b", hits=5, runs=5, least=0.9)])


def test_all_runs_are_drawn_but_of_a_promise_that_is_broken_beyond_doubt():
    fixed = FixedRuns(promised=0.05, runs=500)
    assert fixed.draw([False] * 500) == (0, 500)
    assert fixed.draw([True] * 500) == (4, 4)
    one_in_twelve = [number % 12 == 0 for number in range(500)]
    assert fixed.draw(one_in_twelve) == (42, 500)
    wanted = FixedRuns(promised=0.95, runs=500, is_least=True)
    assert wanted.draw([True] * 500) == (500, 500)
    assert wanted.draw([False] * 500) == (0, 4)


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_the_share_of_runs_is_in_the_mean_the_rate(rate):
    random, fixed = np.random.default_rng(1), FixedRuns(promised=0.05, runs=60)
    shares = [h / n for h, n in (fixed.draw(random.random(60) < rate) for _ in range(2000))]
    # Three standard errors of the mean, and nothing of a kept promise is cut off.
    assert np.mean(shares) == pytest.approx(rate, abs=3 * np.sqrt(rate * (1 - rate) / 120_000))


@pytest.mark.long
@pytest.mark.parametrize(("promised", "is_least"), [(0.05, False), (0.95, True)])
def test_a_kept_promise_looks_broken_beyond_doubt_in_hardly_any_case(promised, is_least):
    random, fixed = (
        np.random.default_rng(2),
        FixedRuns(promised=promised, runs=400, is_least=is_least),
    )
    ended = [fixed.draw(random.random(400) < promised)[1] < 400 for _ in range(1000)]
    assert sum(ended) <= 4


def test_how_often_a_broken_promise_is_found_out_is_what_a_simulation_says():
    random, runs = np.random.default_rng(3), 60
    fixed = FixedRuns(promised=0.05, runs=runs)
    ends = [fixed.draw(random.random(runs) < 0.15) for _ in range(2000)]
    kept = [Rate(case="c", what="w", hits=h, runs=n, most=0.05).is_kept for h, n in ends]
    assert 1 - np.mean(kept) == pytest.approx(found_out(0.05, 0.15, runs), abs=0.025)


def test_what_is_known_of_a_case_is_not_simulated_again(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "KEPT", tmp_path)
    ran = []

    def task(size):
        def run():
            ran.append(size)
            beside = (("size", str(size)),)
            return [Rate(case="c", what="w", hits=size, runs=9, most=0.5, beside=beside)]

        return running.Task(name=f"c{size}", run=run)

    first = run_tasks([task(1), task(2)], code="a")
    assert run_tasks([task(1), task(2), task(3)], code="a")[:2] == first
    assert run_tasks([task(1)], code="b") == first[:1]
    assert ran == [1, 2, 3, 1]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_no_two_tasks_of_a_subject_have_one_name(subject):
    names = [task.name for task in SUBJECTS[subject].tasks(quick=False)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "changed", ["errors.py", "domain/verdict.py", "domain/canary/shift/looks.py"]
)
def test_rates_are_not_kept_over_a_change_of_the_product(tmp_path, monkeypatch, changed):
    copy = tmp_path / "modelyard"
    shutil.copytree(running.PRODUCT / "domain", copy / "domain")
    shutil.copy(running.PRODUCT / "errors.py", copy)
    before = running.code_digest("judge")
    monkeypatch.setattr(running, "PRODUCT", copy)
    assert running.code_digest("judge") == before
    assert running.code_digest("gate") != before
    (copy / changed).write_text((copy / changed).read_text() + "# changed\n")
    assert running.code_digest("judge") != before


@pytest.mark.parametrize("changed", ["judge_cases.py", "gate_cases.py", "rates.py"])
def test_rates_are_not_kept_over_a_change_of_the_cases(tmp_path, monkeypatch, changed):
    copy = tmp_path / "error_rates"
    shutil.copytree(running.HERE, copy)
    before = running.code_digest("judge")
    monkeypatch.setattr(running, "HERE", copy)
    assert running.code_digest("judge") == before
    (copy / changed).write_text((copy / changed).read_text() + "# changed\n")
    assert running.code_digest("judge") != before
    monkeypatch.undo()
    monkeypatch.setattr(running, "version", lambda _: "0")
    assert running.code_digest("judge") != before


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
    ended = Rate(case="c", what="w", hits=5, runs=8, most=0.05, planned=60)
    assert "| 8 of 60, stopped | at most 5 % | **no** |" in table_of([ended])
