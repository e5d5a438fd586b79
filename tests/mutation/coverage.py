"""Which tests execute which lines of a package, and how long each test takes."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


class Recorder:
    """A plugin of pytest that records the lines that each test executes.

    Attributes:
        lines: By file, the lines; of each the tests.
        seconds: By test, its CPU seconds.
    """

    def __init__(self, package: Path) -> None:
        self.package, self.test = str(package), ""
        self.lines: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Record one test."""
        self.test, started = item.nodeid, time.process_time()
        sys.settrace(self._enter)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.seconds[item.nodeid] = time.process_time() - started

    def write(self, path: Path) -> None:
        """Write what was recorded as JSON."""
        lines = {
            file: {str(line): sorted(tests) for line, tests in each.items()}
            for file, each in self.lines.items()
        }
        path.write_text(json.dumps({"lines": lines, "seconds": self.seconds}), "utf-8")

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self.package):
            return None
        seen = self.lines[frame.f_code.co_filename]
        seen[frame.f_lineno].add(self.test)

        def record(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line":
                seen[frame.f_lineno].add(self.test)
            return record

        return record
