"""What merges leave behind: in the repository, in looks at it, and in a watcher's memory.

    python tests/benchmarks/bench_year.py [MODELS [RELEASES_A_DAY [DAYS [MERGES ...]]]]

First it plays days: so many models of the fleet are released anew to four environments, each time
by a pull request of the real local forge and with facts on the real branch; then `modelyard gc`.
That shows what a merge adds. Then it writes the rest of so many MERGES at once, as commits, refs
and documents alone, packs again, and measures what looks cost. Each result is printed as a line of
JSON as it comes, the last line being what a year of a thousand merges a day comes to.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_fleet import MODELYARD, build_fleet, cpu_seconds, measure, measure_watcher

from modelyard.adapters.git.repository import Git
from modelyard.operations.open_workspace import workspace_of
from modelyard.operations.services import services_for

YEAR = 365 * 1000
"""Merges of a year."""


def main(models: int, releases: int, days: int, totals: list[int]) -> None:
    """Play days, then write the other merges, and print what each leaves."""
    from fleet_merges import play_release, write_merges
    from fleet_yard import name_of, pattern_of

    from operations.yard import PATH, Yard

    with tempfile.TemporaryDirectory() as folder:
        root = build_fleet(Path(folder), models)
        remote = root.parent / "remote.git"
        measure(root, MODELYARD, "gc")
        merges = _merges(remote)
        played = [_tell("played", size_of(root, remote, merges))]
        pattern = Yard(Path(folder) / "pattern")
        for day in range(1, days + 1):
            copies = [pattern_of(pattern, each.name, attempt=day + 1) for each in PATH]
            workspace, before = workspace_of(services_for(root)), cpu_seconds()
            for number in range(releases):
                merges += play_release(workspace, copies, number)
            spent = (cpu_seconds() - before) / (releases * len(copies))
            loose = size_of(root, remote, merges)
            packing = measure(root, MODELYARD, "gc")
            size = size_of(root, remote, merges)
            size |= {"cpu_s_a_merge": round(spent, 2), "gc_cpu_s": packing["cpu_s"]}
            played.append(_tell("played", size | {"bytes_before_gc": loose["bytes"]}))
        looks = []
        for total in totals:
            if (rest := total - merges) > 0:
                write_merges(remote, models=models, merges=rest, marks=Path(folder) / "marks")
                merges = total
            measure(root, MODELYARD, "status", name_of(1))
            measure(root, MODELYARD, "gc")
            one = name_of(models // 2)
            found = size_of(root, remote, merges)
            for words in (("status", one), ("history", one)):
                found[words[0]] = measure(root, MODELYARD, *words)["cpu_s"]
            looks.append(_tell("looks", {**found, **measure_watcher(root, one)}))
        _tell("a year", _year(played, looks))


def size_of(root: Path, remote: Path, merges: int) -> dict[str, Any]:
    """The size of the forge's repository and of the checkout's, after so many merges."""
    objects = dict(
        row.split(": ")
        for row in Git(remote).run("count-objects", "-v").stdout.decode().splitlines()
    )
    return {
        "merges": merges,
        "bytes": _bytes(remote),
        "checkout_bytes": _bytes(root / ".git"),
        "files": sum(len(names) for _, _, names in os.walk(remote)),
        "refs": len(Git(remote).run("for-each-ref").stdout.splitlines()),
        "objects": int(objects["count"]) + int(objects["in-pack"]),
        "commits_of_facts": int(
            Git(remote).run("rev-list", "--count", "refs/heads/modelyard/state").stdout
        ),
    }


def _bytes(folder: Path) -> int:
    return sum(
        Path(where, name).lstat().st_size for where, _, names in os.walk(folder) for name in names
    )


def _merges(remote: Path) -> int:
    return len(Git(remote).run("for-each-ref", "refs/modelyard/pulls").stdout.splitlines())


def _year(played: list[dict[str, Any]], looks: list[dict[str, Any]]) -> dict[str, Any]:
    """What each merge of the last day added, and what a year of them comes to."""
    first, last = played[-2], played[-1]
    merges = last["merges"] - first["merges"]
    each = {
        name: round((last[name] - first[name]) / merges, 2)
        for name in ("bytes", "checkout_bytes", "refs", "objects", "commits_of_facts")
    }
    year = {name: round(number * YEAR) for name, number in each.items()}
    return {"each_merge": each, "year": year, "looks_at": [point["merges"] for point in looks]}


def _tell(what: str, found: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps({what: found}), flush=True)
    return found


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:]]
    models, releases, days = (*numbers, *(1000, 25, 3)[len(numbers) :])[:3]
    with tempfile.TemporaryDirectory() as place:
        os.environ["BUILT_ONCE"] = place
        main(models, releases, days, numbers[3:] or [5_000, 15_000, 45_000])
