"""docs/attacks.md names a test for each attack, and each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)


def test_every_attack_has_a_test_that_is_there():
    rows = ROW.findall((ROOT / "docs/attacks.md").read_text())

    assert [int(number) for number, _, _ in rows] == list(range(1, 39))
    missing = [name for _, file, name in rows if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []
