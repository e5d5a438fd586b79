"""What `fetch`, the profile and drift's reading of a feed cost by rows, and all rows in one frame.

    python tests/benchmarks/bench_fetch.py [ROWS ...] [--parts-only] [--csv | --gz]
    python tests/benchmarks/bench_fetch.py [ROWS ...] --shards 2 [8 ...]

With --shards only the profile is built: in one piece, and in so many shards one after the other,
whose profile must have the same digest. Each is a process of its own over one file of 20 columns: a
time, 15 numbers, two whole numbers, two categories. Prints JSON: peak memory in MB, CPU seconds,
and a digest of what came out.
"""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]

import numpy as np  # noqa: E402 - after the paths
import pandas as pd  # noqa: E402 - after the paths
import pyarrow as pa  # noqa: E402 - after the paths
from pyarrow import csv, parquet  # noqa: E402 - after the paths

from modelyard.adapters.tables.frames import (  # noqa: E402 - after the paths
    CLUSTER,
    clusters_of,
    columns_of,
    file_breaches,
    rows_within,
    to_parquet,
    with_labels,
)
from modelyard.adapters.tables.stored_rows import StoredRows  # noqa: E402 - after the paths
from modelyard.adapters.tables.table_files import read_table  # noqa: E402 - after the paths
from modelyard.adapters.tables.table_parts import TableFile  # noqa: E402 - after the paths
from modelyard.adapters.tables.training_parts import parts_of_rows  # noqa: E402 - after the paths
from modelyard.domain.drift.detection import (  # noqa: E402 - after the paths
    WindowTally,
    check_counts,
)
from modelyard.domain.drift.profile import Profile  # noqa: E402 - after the paths
from modelyard.domain.drift.profiling.build import (  # noqa: E402 - after the paths
    build_profile_of_parts,
    build_shard,
)
from modelyard.domain.drift.profiling.shards import (  # noqa: E402 - after the paths
    join_profiles,
    read_shard_name,
    shard_names,
    split_profile,
)
from modelyard.domain.specs.contract import Column, find_breaches  # noqa: E402 - after the paths
from modelyard.domain.specs.interval import Interval  # noqa: E402 - after the paths
from modelyard.domain.specs.model import DataContract, Target, Task  # noqa: E402 - after the paths
from modelyard.operations.drift.feed import read_feed  # noqa: E402 - after the paths
from modelyard.operations.drift.window_rows import (  # noqa: E402 - after the paths
    open_windows,
    read_window,
)
from modelyard.operations.training.data_root import DataRoot  # noqa: E402 - after the paths
from modelyard.operations.training.rows import (  # noqa: E402 - after the paths
    LabelledRows,
    PinnedRows,
)
from operations.training_job import model_of  # noqa: E402 - after the paths

CUT = dt.date(2025, 11, 1)  # of 700 days from 2024-01-01, the last 30 are held out
SIDES = {
    "train": Interval(since=dt.date(2024, 1, 1), until=CUT),
    "heldout": Interval(since=CUT, until=dt.date(2027, 1, 1)),
}
NUMBERS = [*(f"x{number}" for number in range(14)), "y"]
COLUMNS = (
    Column(name="at", type="timestamp"),
    *(Column(name=name, type="number") for name in NUMBERS),
    *(Column(name=name, type="integer") for name in ("n0", "n1")),
    *(Column(name=name, type="category") for name in ("c0", "c1")),
)
MODEL = model_of(DataContract(columns=COLUMNS, timestamp="at"), Target(column="y"), Task.REGRESSION)
INPUTS = [column for column in MODEL.inputs if column.name != "at"]


def make_file(path: Path, rows: int) -> None:
    """A file with that many rows, by the end of its name; Parquet in groups of a million."""
    with ExitStack() as stack:
        if path.suffix == ".parquet":
            schema = _part(0, 1, rows).schema
            file = stack.enter_context(parquet.ParquetWriter(path, schema))
        else:
            raw = stack.enter_context(path.open("wb"))
            if path.suffix == ".gz":
                raw = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1))
            file = stack.enter_context(csv.CSVWriter(raw, _part(0, 1, rows).schema))
        for first in range(0, rows, 2**20):
            file.write_table(_part(first, min(2**20, rows - first), rows))


def _part(first: int, size: int, rows: int) -> pa.Table:
    random = np.random.default_rng(first)
    step = np.timedelta64(700 * 86_400_000_000 // rows, "us")
    numbers = np.arange(first, first + size)
    columns = {"at": pa.array(np.datetime64("2024-01-01", "us") + numbers * step)}
    columns |= {name: pa.array(random.normal(size=size)) for name in NUMBERS}
    columns |= {name: pa.array(random.integers(0, 1000, size)) for name in ("n0", "n1")}
    levels = np.array(["ann", "bob", "cid", "dora"])
    columns |= {name: pa.array(levels[random.integers(0, 4, size)]) for name in ("c0", "c1")}
    return pa.table(columns)


def write_in_parts(path: Path, folder: Path) -> None:
    """As the step does it."""
    file = TableFile(path, uri=path.name, data=MODEL.data)
    for name, span in SIDES.items():
        rows = PinnedRows([file], MODEL, (span,), what="rows")
        made = LabelledRows(rows, MODEL, None if name == "train" else "row")
        made.check(whole_files=name == "train")
        made.write(folder / name)


def write_from_a_frame(path: Path, folder: Path) -> None:
    """As the step did it: all rows in one frame."""
    rows = read_table(path.read_bytes(), uri=path.name, data=MODEL.data)
    assert not file_breaches(rows, MODEL.data)
    assert not find_breaches(COLUMNS, columns_of(rows))
    for name, span in SIDES.items():
        within = rows_within(rows, timestamp="at", spans=(span,))
        made = with_labels(within, MODEL)[0]
        if name != "train":
            assert not find_breaches(COLUMNS, columns_of(within))
            made = made.assign(**{CLUSTER: clusters_of(made, "row")})
        (folder / name).write_bytes(to_parquet(made))


def build_the_profile(path: Path, folder: Path) -> None:
    """As `train` does it, of what `fetch` left."""
    rows = StoredRows(path.with_name("train"), name="train.parquet")
    profile = build_profile_of_parts(parts_of_rows(rows, "at", 7), INPUTS, has_times=True)
    content = json.dumps(profile.to_document(), sort_keys=True).encode()
    (folder / "profile").write_bytes(content)


def build_a_shard(path: Path, folder: Path, name: str) -> None:
    """As the step `profile` does it."""
    rows = StoredRows(path.with_name("train"), name="train.parquet")
    count = int(name.rpartition("-")[2])
    shard = split_profile(INPUTS, count, has_times=True)[read_shard_name(name, count=count)]
    made = build_shard(parts_of_rows(rows, "at", 7), INPUTS, shard)
    content = json.dumps(made.to_document(), sort_keys=True).encode()
    (folder / f"profile-{name}").write_bytes(content)


def joined_digest(folder: Path, count: int) -> str:
    """As the step `record` does it, of what the shards left."""
    left = [json.loads((folder / f"profile-{name}").read_bytes()) for name in shard_names(count)]
    whole = join_profiles(INPUTS, [Profile.from_document(each) for each in left])
    content = json.dumps(whole.to_document(), sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def read_the_feed(path: Path, folder: Path) -> None:
    """As drift does it: the days of all rows, the last windows, their checks by the profile."""
    root = DataRoot(base=str(path.parent), root=folder)
    feed = read_feed(MODEL, f"{path.name[:4]}*{path.name[4:]}", root)
    profile = Profile.from_document(json.loads(path.with_name("profile").read_bytes()))
    until, checks = feed.end(dt.date(2027, 1, 1)), []
    with open_windows(MODEL, feed, root, until=until, of=MODEL.drift.of) as (opened, pins):
        for rows in opened:
            tally = WindowTally(profile)
            read_window(rows, [tally])
            checks.append(check_counts(profile, tally.counts(), least_rows=500))
    (folder / "checks").write_text(repr((pins, checks)))


WAYS = {
    "parts": write_in_parts,
    "frame": write_from_a_frame,
    "profile": build_the_profile,
    "feed": read_the_feed,
}
"""Each leaves files; the rows of the first one are those of the third, and so on."""


def left_digest(folder: Path) -> str:
    """A digest of what a way left: rows and types, however they are cut into groups, or bytes."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        name = path.name
        if name not in SIDES:
            digest.update(path.read_bytes())
            continue
        with parquet.ParquetFile(folder / name) as file:
            digest.update(file.schema_arrow.to_string().encode())
            for column in file.schema_arrow.names:
                values = file.read(columns=[column]).column(0).to_pandas()
                digest.update(pd.util.hash_pandas_object(values, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def measure(way: str, path: Path) -> None:
    """In a process of its own: run one way, and print what it cost."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        if way in WAYS:
            WAYS[way](path, Path(folder))
        else:
            build_a_shard(path, Path(folder), way)
        used = resource.getrusage(resource.RUSAGE_SELF)
        cost = {
            "peak_mb": _peak_mb(),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "digest": left_digest(Path(folder))[:16],
        }
        for name in ("train", "profile", f"profile-{way}") if way not in {"frame", "feed"} else ():
            if Path(folder, name).exists():
                Path(folder, name).replace(path.with_name(name))
    print(json.dumps(cost))


def _peak_mb() -> int:
    """The peak of this process; `ru_maxrss` is at least that of the process which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024)


def main(given: list[str]) -> None:
    if "--shards" in given:
        place = given.index("--shards")
        measure_shards([int(each) for each in given[:place]], [int(n) for n in given[place + 1 :]])
        return
    ways = [way for way in WAYS if way != "frame" or "--parts-only" not in given]
    end = ".csv" if "--csv" in given else ".csv.gz" if "--gz" in given else ".parquet"
    found = {}
    for rows in [int(each) for each in given if each.isdigit()] or [1_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"rows{end}")
            make_file(path, rows)
            for way in ways:
                found[f"{rows:,} rows, {end}, {way}"] = _measured(way, path)
    print(json.dumps(found, indent=1))


def measure_shards(sizes: list[int], counts: list[int]) -> None:
    """The profile in one piece, and in shards; fails if their digests differ."""
    for rows in sizes or [1_000_000]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.parquet")
            make_file(path, rows)
            path.rename(path.with_name("train"))
            print(f"{rows:,} rows, one piece: {_measured('profile', path)}", flush=True)
            whole = hashlib.sha256(path.with_name("profile").read_bytes()).hexdigest()
            for count in counts:
                for name in shard_names(count):
                    print(f"{rows:,} rows, {name}: {_measured(name, path)}", flush=True)
                assert joined_digest(Path(folder), count) == whole
                print(f"{rows:,} rows, {count} shards: the digest of one piece", flush=True)


def _measured(way: str, path: Path) -> dict[str, object]:
    command = [sys.executable, __file__, "measure", way, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1:])
