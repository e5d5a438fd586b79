"""What all of drift costs by rows and columns that are read from Parquet files.

    python tests/benchmarks/bench_drift_files.py [ROWS] [COLUMNS] [FOLDER]

The profile of a training of 13 weeks, and what `modelyard drift` does with a feed of as many rows
in the week after: days, contract, comparison, second look, rows that come again. The promise of
docs/scale.md for the feed is 8 CPU seconds and 550 MB at 1,000,000 rows of 50 columns. Each is a
process of its own. Prints JSON: peak memory in MB, CPU seconds in all and by part, and digests of
what came out, which another version can be held against. Files are kept in FOLDER, if it is given.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts"), str(Path(__file__).parent)]

import numpy as np  # noqa: E402 - after the paths
import pyarrow as pa  # noqa: E402 - after the paths
from bench_drift import columns_of, window  # noqa: E402 - after the paths
from bench_fetch import _peak_mb  # noqa: E402 - after the paths
from pyarrow import parquet  # noqa: E402 - after the paths

from modelyard.adapters.tables.stored_rows import StoredRows  # noqa: E402 - after the paths
from modelyard.adapters.tables.training_parts import parts_of_rows  # noqa: E402 - after the paths
from modelyard.domain.drift.feed_faults import find_repeats  # noqa: E402 - after the paths
from modelyard.domain.drift.profile import Profile  # noqa: E402 - after the paths
from modelyard.domain.drift.profiling.build import (  # noqa: E402 - after the paths
    build_profile_of_parts,
)
from modelyard.domain.specs.contract import Column  # noqa: E402 - after the paths
from modelyard.domain.specs.model import DataContract, Target, Task  # noqa: E402 - after the paths
from modelyard.operations.drift.feed import read_feed  # noqa: E402 - after the paths
from modelyard.operations.drift.window_evidence import (  # noqa: E402 - after the paths
    see_windows,
)
from modelyard.operations.drift.window_rows import open_windows  # noqa: E402 - after the paths
from modelyard.operations.training.data_root import DataRoot  # noqa: E402 - after the paths
from operations.training_job import model_of  # noqa: E402 - after the paths

START, WEEK, WEEKS = np.datetime64("2024-01-01", "us"), 7 * 86_400_000_000, 13
END = dt.date(2024, 1, 1) + dt.timedelta(days=7 * (WEEKS + 1))


def make_files(folder: Path, rows: int, number: int) -> None:
    """Training rows of 13 weeks, and as many of the week after."""
    for name, first, weeks in (("train", 0, WEEKS), ("feed-1.parquet", WEEKS, 1)):
        table = window(np.random.default_rng(first), rows, number)
        moments = START + WEEK * first + np.arange(rows) * (WEEK * weeks) // rows
        columns = {"at": pa.array(moments), **{n: pa.array(v) for n, v in table.items()}}
        parquet.write_table(pa.table(columns), folder / name)


def contract(number: int) -> tuple[Column, ...]:
    """The contract of both."""
    table = window(np.random.default_rng(0), 10, number)
    return (Column(name="at", type="timestamp"), *columns_of(table))


@contextmanager
def timed(spent: dict[str, float], part: str) -> Iterator[None]:
    """CPU seconds of a part."""
    started = time.process_time()
    yield
    spent[part] = round(spent.get(part, 0.0) + time.process_time() - started, 2)


def build(folder: Path, number: int) -> dict[str, float]:
    """As `train` does it."""
    spent: dict[str, float] = {"imports": round(time.process_time(), 2)}
    with timed(spent, "profile"):
        rows = StoredRows(folder / "train", name="train.parquet")
        parts = parts_of_rows(rows, "at", 7)
        profile = build_profile_of_parts(parts, contract(number), has_times=True)
    (folder / "profile").write_text(json.dumps(profile.to_document(), sort_keys=True))
    return spent


def compare(folder: Path, number: int) -> dict[str, float]:
    """As `drift` does it."""
    spent: dict[str, float] = {"imports": round(time.process_time(), 2)}
    columns = contract(number)
    data = DataContract(columns=columns, timestamp="at")
    model = model_of(data, Target(column=columns[1].name), Task.REGRESSION)
    profile = Profile.from_document(json.loads((folder / "profile").read_text()))
    root = DataRoot(base=str(folder), root=folder)
    with timed(spent, "days of the feed"):
        feed = read_feed(model, "feed-*.parquet", root)
    with (
        timed(spent, "windows"),
        open_windows(model, feed, root, until=END, of=model.drift.of) as (opened, pins),
    ):
        seen = see_windows(model, opened, profile)
    assert not any(each.data.breaches for each in seen.windows)
    last = seen.windows[-1]
    again = [*seen.duplicates, *find_repeats(pins, seen.again)]
    found = [pins, last.checks, [*seen.causes], last.second_look, again]
    (folder / "findings").write_text("\n".join(map(repr, found)))
    return spent


STEPS = {"profile": build, "findings": compare}
"""Each by the file it leaves."""


def main(rows: int, number: int, folder: Path) -> dict[str, object]:
    """All figures."""
    if not (folder / "train").exists():
        make_files(folder, rows, number)
    found: dict[str, object] = {"rows": rows, "columns": number}
    for step in STEPS:
        command = [sys.executable, __file__, "measure", step, str(folder), str(number)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        digest = hashlib.sha256((folder / step).read_bytes()).hexdigest()[:16]
        found[step] = {**json.loads(done.stdout), "digest": digest}
    return found


def measure(step: str, folder: Path, number: int) -> dict[str, object]:
    """In a process of its own."""
    spent = STEPS[step](folder, number)
    return {"peak_mb": _peak_mb(), "cpu_seconds": round(time.process_time(), 2), **spent}


if __name__ == "__main__":
    given = sys.argv[1:]
    if given[:1] == ["measure"]:
        print(json.dumps(measure(given[1], Path(given[2]), int(given[3]))))
    else:
        with tempfile.TemporaryDirectory() as made:
            kept = Path(given[2]) if given[2:] else Path(made)
            sizes = [int(each) for each in given[:2]]
            print(json.dumps(main(*[*sizes, *(1_000_000, 50)[len(sizes) :]], kept), indent=1))
