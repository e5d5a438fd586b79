"""The benchmarks run as the README says, as scripts of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from built_once import PLACE

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_the_yard_of_a_fleet_is_written_by_a_process_that_shares_nothing_with_the_tests(tmp_path):
    alone = {name: value for name, value in os.environ.items() if name != PLACE}
    paths = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "scripts")])
    words = (sys.executable, ROOT / "tests/benchmarks/fleet_yard.py", tmp_path, "3")

    subprocess.run(words, env={**alone, "PYTHONPATH": paths}, check=True)

    assert len(list((tmp_path / "fleet/clone/models").iterdir())) == 3
