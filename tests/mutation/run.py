"""Changes the code of a package a little, and prints the changes that no test notices.

`PYTHONPATH=tests python -m mutation.run PACKAGE ... [--sample N] [--seed S] [--only FILE[:LINE]]`.
A package is one of `modelyard.domain`, such as `gate`. Each mutant runs in a process that is forked
from one which has loaded the libraries, with the tests that execute its line, the quickest first.
Exit 3 if one survives that `survivors.md` does not explain, or if tests of one cannot be run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from mutation.coverage import Recorder
from mutation.mutants import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "scripts"
EXPLAINED = Path(__file__).with_name("survivors.md")
LIBRARIES = ("numpy", "scipy.special", "scipy.stats", "yaml", "hypothesis", "jsonschema", "pandas")
SURVIVED, KILLED = 0, 1
"""How pytest ends where all tests passed, and where one failed; all else says nothing of them."""

MOST_SECONDS = 10.0
"""CPU seconds of the tests of a mutant; the quickest tests are taken until they are reached."""

_PYTEST = ("-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", "--no-header", "-o", "addopts=")
# Libraries are loaded before, which pytest finds strange.
OPEN = "\nOpen"
"""What begins the part of the page whose changes are not explained."""

_QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
_OPTIONS = (*_QUIET, "--import-mode=importlib", "-p", "no:schemathesis", "-p", "no:faker")


@dataclass(frozen=True, kw_only=True)
class Covered:
    """What `coverage.Recorder` wrote."""

    lines: Mapping[str, Mapping[str, Sequence[str]]]
    seconds: Mapping[str, float]

    def tests_of(self, path: Path, mutant: Mutant) -> list[str]:
        """The tests that execute a line, the quickest first.

        A line of a longer statement may be no line of its own to Python, and has the tests of its
        function. One that is executed when the module is loaded, as a default, has those of the
        module; where nothing else is executed in the module, it has all tests.
        """
        lines = self.lines.get(str(path), {})
        found = set(lines.get(str(mutant.line), ()))
        if not found and mutant.function:
            start, end = mutant.function
            found = {each for line in range(start, end + 1) for each in lines.get(str(line), ())}
        elif not found:
            found = {each for tests in lines.values() for each in tests} or set(self.seconds)
        chosen, spent = [], 0.0
        for test in sorted(found, key=lambda each: (self.seconds[each], each)):
            spent += self.seconds[test]
            if chosen and spent > MOST_SECONDS:
                break
            chosen.append(test)
        return chosen


class _Mutated(MetaPathFinder, Loader):
    """Loads one module with a change."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """The module's own spec with this loader."""
        if name != self.name:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec is not None
        spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The usual module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Execute the changed code."""
        exec(self.code, module.__dict__)  # noqa: S102


class _Failed:
    """A plugin of pytest that writes which tests failed, and which files cannot be loaded."""

    def __init__(self, writer: int) -> None:
        self.writer = writer

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the test's name."""
        if report.failed:
            os.write(self.writer, f"{report.nodeid}\n".encode())

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write the file's name."""
        if report.failed:
            os.write(self.writer, f"{report.nodeid}\n".encode())


def main() -> int:
    """Try a sample of each package's mutants, and return the exit code."""
    parser = argparse.ArgumentParser(prog="mutation")
    parser.add_argument("package", nargs="+")
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--long", action="store_true")
    chosen = parser.parse_args()
    sys.path.insert(0, str(SOURCES))
    os.chdir(ROOT)
    for library in LIBRARIES:
        importlib.import_module(library)
    survivors = 0
    for package in chosen.package:
        covered = _covered(package, long=chosen.long)
        outcomes: Counter[str] = Counter()
        for path, mutant in _sample(package, chosen):
            said = place_of(path, mutant)
            outcome = _try(path, mutant, covered)
            outcomes[outcome] += 1
            if outcome == "killed":
                continue
            explained = is_explained(said, mutant.change, EXPLAINED.read_text("utf-8"))
            survivors += not explained
            known = ", explained" if explained else ""
            sys.stdout.write(f"{outcome}{known}: line {mutant.line}\n{said} | {mutant.change}\n")
            sys.stdout.flush()
        found = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        sys.stdout.write(f"{package}: {found}\n")
    return 3 if survivors else 0


def _sample(package: str, chosen: argparse.Namespace) -> list[tuple[Path, Mutant]]:
    folder = SOURCES / "modelyard" / "domain" / package
    file, _, line = chosen.only.partition(":")
    found = [
        (path, mutant)
        for path in sorted(folder.rglob("*.py"))
        if not file or path.name == file
        for mutant in mutants_of(path.read_text("utf-8"))
        if not line or mutant.line == int(line)
    ]
    every = len(found)
    if every > chosen.sample:
        found = random.Random(chosen.seed).sample(found, chosen.sample)  # noqa: S311
    sys.stdout.write(f"{package}: {len(found)} of {every} mutants\n")
    sys.stdout.flush()
    return found


def _covered(package: str, *, long: bool) -> Covered:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "covered.json"

        def record() -> int:
            recorder = Recorder(SOURCES / "modelyard" / "domain" / package)
            tests = ROOT / "tests" / "unit" / "domain" / package
            marks = "not frameworks" if long else "not frameworks and not long"
            options = [each for each in _PYTEST if each != "-x"]
            code = pytest.main([str(tests), *options, *_OPTIONS, "-m", marks], [recorder])
            recorder.write(written)
            return int(code)

        code = _forked(record, seconds=600)
        # A test whose memory is measured may fail here. What fails without a change is seen below.
        if code not in {SURVIVED, KILLED}:
            raise SystemExit(f"the tests of {package} cannot be run (exit {code})")
        found = json.loads(written.read_text("utf-8"))
    return Covered(lines=found["lines"], seconds=found["seconds"])


def _try(path: Path, mutant: Mutant, covered: Covered) -> str:
    tests = covered.tests_of(path, mutant)
    if not tests:
        return "not executed"
    module = ".".join(path.relative_to(SOURCES).with_suffix("").parts)

    reader, writer = os.pipe()

    def run() -> int:
        code = compile(mutant.tree(path.read_text("utf-8")), str(path), "exec")
        sys.meta_path.insert(0, _Mutated(module, code))
        if not _loads(module):
            return KILLED
        return int(pytest.main([*tests, *_PYTEST, *_OPTIONS], [_Failed(writer)]))

    # Whatever the change breaks, also an endless loop, is noticed.
    limit = 10 + 4 * sum(covered.seconds[test] for test in tests)
    outcome = outcome_of(_forked(run, seconds=limit))
    os.close(writer)
    failed = os.read(reader, 65_536).decode().split("\n")[:-1]
    os.close(reader)
    if outcome == "survived" or not failed:
        return outcome
    # What fails by itself would notice every change. A file that cannot be loaded with the change
    # is one that can without it, if one of its tests passes.
    known = {next(test for test in tests if test.startswith(name)) for name in failed}
    return "killed" if _pass_unchanged(tuple(sorted(known)), limit) else "broken"


def _loads(module: str) -> bool:
    """Whether the changed module can be imported; pytest would call its tests not found."""
    try:
        importlib.import_module(module)
    except Exception:  # noqa: BLE001 - whatever the change raises
        return False
    return True


def outcome_of(code: int) -> str:
    """What an exit code of pytest, or a signal as a negative one, says of a change."""
    if code == SURVIVED:
        return "survived"
    return "killed" if code == KILLED or code < 0 else "broken"


@cache
def _pass_unchanged(tests: tuple[str, ...], seconds: float) -> bool:
    """Whether a choice of tests passes without a change; asked once of each."""
    run = partial(pytest.main, [*tests, *_PYTEST, *_OPTIONS])
    return _forked(lambda: int(run()), seconds=seconds) == SURVIVED


def place_of(path: Path, mutant: Mutant) -> str:
    """The file, the function and the code of a mutant, which change less often than a number."""
    return f"{path.relative_to(SOURCES / 'modelyard' / 'domain')} {mutant.where}"


def entries_of(page: str) -> list[str]:
    """The items of the page that name a change, as the command prints it."""
    lines = (line.strip() for line in page.splitlines())
    return [line.removeprefix("- `").removesuffix("`") for line in lines if line[:3] == "- `"]


def is_explained(place: str, change: str, page: str) -> bool:
    """Whether the page has this change as an item of its own, before those that are open."""
    return f"{place} | {change}" in entries_of(page.split(OPEN, 1)[0])


def _forked(run: Callable[[], int], *, seconds: float) -> int:
    """The exit code of a function in a process of its own, which has so much CPU time."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 70
    try:
        most = int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
        quiet, errors = os.open(os.devnull, os.O_WRONLY), os.dup(2)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = run()
    except BaseException:  # noqa: BLE001 - nothing may return into the process that was forked
        os.write(errors, traceback.format_exc().encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
