from __future__ import annotations

import pytest

from error_rates import gate, judge
from error_rates.rates import Rate, markers, read_table, table_of, write_table
from error_rates.run import SUBJECTS


@pytest.mark.long
@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_few_runs_keep_every_promise(subject):
    found = list(SUBJECTS[subject](quick=True))
    assert found
    assert [rate.case for rate in found if not rate.is_kept] == []


@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_page_has_a_table_of_each_subject_that_keeps_every_promise(subject):
    table = read_table(subject)
    assert table.startswith("| case |")
    assert "**no**" not in table


def test_the_page_has_every_case_of_the_gate_and_of_the_judge():
    tables = {subject: read_table(subject) for subject in ("gate", "judge")}
    names = [("gate", case.title) for case in gate.CASES]
    names += [("judge", case.name) for case in judge.CASES]
    assert [name for subject, name in names if f"| {name} |" not in tables[subject]] == []


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
