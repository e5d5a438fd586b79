from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from mutation.mutants import mutants_of
from mutation.run import (
    EXPLAINED,
    SOURCES,
    Covered,
    _forked,
    _pass_unchanged,
    entries_of,
    is_explained,
    outcome_of,
    place_of,
)

PAGE = """text
- `gate.py f: if a < 5: | a < 5  ->  a <= 5`
  It is the same.

Open:
- `gate.py f: if b: | if b`
"""


@pytest.mark.parametrize("code", [2, 3, 4, 5, 70, 139])
def test_a_run_that_is_no_answer_kills_no_mutant(code):
    assert outcome_of(_forked(lambda: code, seconds=5)) == "broken"


def raises():
    raise RuntimeError("as the tool itself may")


def kills_itself():
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(9)


def test_only_failing_tests_and_signals_kill_a_mutant():
    found = [outcome_of(_forked(run, seconds=5)) for run in (lambda: 0, lambda: 1, kills_itself)]
    assert found == ["survived", "killed", "killed"]
    assert outcome_of(_forked(raises, seconds=5)) == "broken"


@pytest.mark.long
def test_tests_that_fail_without_a_change_are_told_from_those_that_pass(tmp_path):
    passes, fails = tmp_path / "test_passes.py", tmp_path / "test_fails.py"
    passes.write_text("def test_it():\n    pass\n")
    fails.write_text("def test_it():\n    assert False\n")
    assert _pass_unchanged((f"{passes}::test_it",), 20)
    for tests in ((f"{fails}::test_it",), (f"{passes}::test_that_is_not",)):
        assert not _pass_unchanged(tests, 20)


@pytest.mark.parametrize(
    ("place", "change", "is_known"),
    [
        ("gate.py f: if a < 5:", "a < 5  ->  a <= 5", True),
        ("gate.py f: if a < 5:", "a < 5  ->  a > 5", False),
        ("gate.py g: if a < 5:", "a < 5  ->  a <= 5", False),
        ("e.py f: if a < 5:", "a < 5  ->  a <= 5", False),
        ("gate.py f: if b:", "if b", False),
    ],
)
def test_a_change_is_explained_by_its_function_and_its_code(place, change, is_known):
    assert is_explained(place, change, PAGE) is is_known


def test_each_listed_change_is_one_of_the_present_code():
    entries = entries_of(EXPLAINED.read_text("utf-8"))
    assert len(entries) > 10
    for entry in entries:
        path = SOURCES / "modelyard" / "domain" / entry.split()[0]
        changes = {
            f"{place_of(path, each)} | {each.change}"
            for each in mutants_of(path.read_text("utf-8"))
        }
        assert entry in changes, f"survivors.md explains a change of code that is gone: {entry}"


SMALL = """
@dataclass(frozen=True)
class Row:
    sure: bool = True


def both(one, other):
    return one and (other or one)
"""


def values_of(mutant):
    namespace = {"dataclass": lambda **_: lambda each: each}
    exec(compile(mutant.tree(SMALL), "small", "exec"), namespace)  # noqa: S102
    return [namespace["both"](*each) for each in [(0, 1), (1, 0), (2, 3)]]


def test_an_operand_is_left_out_and_the_code_can_still_be_run():
    found = {each.change: values_of(each) for each in mutants_of(SMALL)}
    assert found["one and (other or one)  ->  one"] == [0, 1, 2]
    assert found["one and (other or one)  ->  (other or one)"] == [1, 1, 3]
    assert found["other or one  ->  other"] == [0, 0, 3]


def test_a_change_is_known_by_its_function_and_its_line_of_code():
    found = {each.change: each.where for each in mutants_of(SMALL)}
    assert found["other or one  ->  other"] == "both: return one and (other or one)"
    assert found["True  ->  False"] == "Row: sure: bool = True"


def test_what_makes_a_dataclass_is_left_alone_and_its_defaults_are_not():
    assert [each.change for each in mutants_of(SMALL) if each.line < 5] == ["True  ->  False"]


def test_a_strict_zip_is_left_alone_and_what_it_joins_is_not():
    source = "pairs = zip(ones, [max(2, 3)], strict=True)"
    found = {each.change for each in mutants_of(source)}
    assert "max(2, 3)  ->  min(2, 3)" in found
    assert not any("strict" in change or "True" in change for change in found)


def test_a_change_is_tried_with_the_tests_of_its_line_else_of_its_function_else_of_its_module():
    def tests_of(line, lines):
        known = Covered(lines={"small.py": lines}, seconds={"a": 2, "b": 1, "c": 3})
        mutant = next(each for each in mutants_of(SMALL) if each.line == line)
        return known.tests_of(Path("small.py"), mutant)

    assert tests_of(8, {"8": ["a", "b"], "9": ["c"]}) == ["b", "a"]
    assert tests_of(8, {"9": ["c"]}) == []
    assert tests_of(4, {"9": ["c"], "8": ["a"]}) == ["a", "c"]
    assert tests_of(4, {}) == ["b", "a", "c"]


def test_arguments_are_swapped_but_where_their_order_says_nothing():
    source = "np.maximum(a, b) + divide(a, b)"
    found = {each.change for each in mutants_of(source)}
    assert "divide(a, b)  ->  divide(b, a)" in found
    assert "np.maximum(a, b)  ->  np.maximum(b, a)" not in found
