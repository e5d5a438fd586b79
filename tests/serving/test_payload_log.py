from __future__ import annotations

import errno
import os
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import Output, OutputKind, Task
from modelyard.serving import payload_log
from modelyard.serving.documents import Serving, Training
from modelyard.serving.inputs import request_of_rows
from modelyard.serving.payload_log import KeptParts, Limits, PayloadLog
from modelyard.serving.payload_parts import GrowingPart, Payload, part_schema, write_part

COLUMNS = (
    Column(name="sort", type="category", nullable=True),
    Column(name="size", type="integer", nullable=True),
    Column(name="at", type="timestamp"),
    Column(name="fresh", type="boolean"),
)
SERVING = Serving(
    model="fruit",
    task=Task.MULTICLASS,
    inputs=COLUMNS,
    output=Output(name="kind", kind=OutputKind.CLASS, classes=("apple", "pear"), primary=True),
    training=Training(null={}, levels={}),
)
LABELS = {"model": "fruit", "version": "v1", "release": "r1", "digest": "d1"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROW = {"sort": "a", "size": 3, "at": "2026-01-01", "fresh": True}


def payload(rows: int, **changes: object) -> Payload:
    inputs = replace(request_of_rows(COLUMNS, [{**ROW, **changes}] * rows), identifier="q")
    scores = np.array([[0.25, 0.75]] * rows)
    return Payload(at=NOW, status=200, inputs=inputs, scores=scores)


class Drops:
    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, rows: int) -> None:
        self.rows += rows


def log(folder: Path, dropped: Drops, **limits: float) -> PayloadLog:
    chosen = Limits(**limits)  # type: ignore[arg-type]
    return PayloadLog(folder, labels=LABELS, serving=SERVING, on_dropped=dropped, limits=chosen)


def rows(folder: Path) -> list[dict[str, object]]:
    parts = sorted(folder.glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def test_every_type_and_every_failure_is_written(tmp_path: Path):
    written = log(tmp_path, Drops())
    written.put(payload(1, sort=None, size=None))
    written.put(payload(1))
    failed = payload(1)
    written.put(Payload(at=NOW, status=500, inputs=failed.inputs, error="it broke"))
    written.put(Payload(at=NOW, status=400, error="no JSON"))
    written.close()
    common = {**LABELS, "at": NOW, "error": None}
    whole = {**common, "request": "q", "row": 0, "status": 200, "prediction": [0.25, 0.75]}
    broken = {**common, "request": "q", "prediction": None}
    assert rows(tmp_path) == [
        {**whole, "inputs": {**ROW, "sort": None, "size": None}},
        {**whole, "inputs": ROW},
        {**broken, "row": 0, "status": 500, "error": "it broke", "inputs": ROW},
        {
            **broken,
            "request": None,
            "row": None,
            "status": 400,
            "error": "no JSON",
            "inputs": None,
        },
    ]


def test_a_part_has_the_columns_and_types_of_the_schema_and_no_dictionaries(tmp_path: Path):
    unread = Payload(at=NOW, status=400, error="no JSON")
    path = tmp_path / "part.parquet"
    growing = GrowingPart(part_schema(SERVING), LABELS)
    for piece in ([unread, payload(3)], [unread], [payload(2)]):
        growing.add(piece)
    write_part(path, growing)
    found = pq.read_table(path)
    assert found.schema.equals(part_schema(SERVING))
    assert found["request"].to_pylist() == [None, *["q"] * 3, None, *["q"] * 2]
    assert found["row"].to_pylist() == [None, 0, 1, 2, None, 0, 1]
    assert found["error"].to_pylist() == ["no JSON", *[None] * 3, "no JSON", *[None] * 2]
    assert found["release"].to_pylist() == ["r1"] * 7


def test_rows_beyond_what_memory_may_hold_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dropped, stuck = Drops(), threading.Event()
    real = PayloadLog._write
    monkeypatch.setattr(PayloadLog, "_write", lambda *args: (stuck.wait(10), real(*args)))
    written = log(tmp_path, dropped, queued_rows=10, part_rows=1)
    for _ in range(4):
        written.put(payload(4))
    assert dropped.rows == 8
    stuck.set()
    written.close()
    assert len(rows(tmp_path)) == 8
    assert dropped.rows == 8


def test_a_part_is_written_when_it_is_full_or_old(tmp_path: Path):
    written = log(tmp_path, Drops(), part_rows=4, part_seconds=0.05)
    written.put(payload(4))
    written.put(payload(1))
    deadline = threading.Event()
    while len(rows(tmp_path)) < 5:
        assert not deadline.wait(0.02)
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    written.close()


def test_many_requests_in_many_pieces_keep_their_order_and_their_values(tmp_path: Path):
    written = log(tmp_path, Drops(), part_rows=2000)
    for number in range(1500):
        written.put(payload(1 + number % 3, size=number))
    written.close()
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    found = [(row["inputs"]["size"], row["row"]) for row in rows(tmp_path)]
    assert found == [(n, row) for n in range(1500) for row in range(1 + n % 3)]


def test_what_cannot_be_written_is_counted_and_the_log_goes_on(tmp_path: Path):
    dropped = Drops()
    folder = tmp_path / "log"
    written = log(folder, dropped, part_rows=2)
    folder.rmdir()
    written.put(payload(2))
    while dropped.rows < 2:
        threading.Event().wait(0.01)
    folder.mkdir()
    written.put(payload(3))
    written.close()
    assert (len(rows(folder)), dropped.rows) == (3, 2)
    assert not list(folder.glob(".*"))


def test_an_odd_value_costs_the_rows_that_came_with_it_and_no_others(tmp_path: Path):
    dropped = Drops()
    written = log(tmp_path, dropped, part_rows=2)
    written.put(replace(payload(2), scores=np.array(["much", "little"])))
    while dropped.rows < 2:
        threading.Event().wait(0.01)
    written.put(payload(3))
    written.close()
    assert (len(rows(tmp_path)), dropped.rows) == (3, 2)


def part(folder: Path, name: str, size: int, at: int = 0) -> Path:
    path = folder / f"{name}.parquet"
    path.write_bytes(b"x" * size)
    if at:
        os.utime(path, ns=(at, at))
    return path


def names(folder: Path) -> str:
    return "".join(sorted(path.stem for path in folder.iterdir()))


@pytest.mark.parametrize(
    ("limit", "kept"),
    [(1000, "abcd"), (130, "abcd"), (129, "bcd"), (80, "cd"), (79, "d"), (0, "d")],
)
def test_the_oldest_parts_go_until_the_others_fit(tmp_path: Path, limit: int, kept: str):
    for at, name, size in ((3, "c", 40), (1, "a", 40), (2, "b", 10)):
        part(tmp_path, name, size, at)
    KeptParts(tmp_path, limit).add(part(tmp_path, "d", 40))
    assert names(tmp_path) == kept


def test_many_parts_are_listed_once_in_a_while_and_never_exceed_their_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    listed = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listed.append(path), real(path))[1])
    kept = KeptParts(tmp_path, 640)  # looks once more than 10 bytes have been written
    for number in range(120):
        kept.add(part(tmp_path, f"{number:04d}", 5, at=number + 1))
    assert len(listed) == 40
    for number in range(120, 180):
        kept.add(part(tmp_path, f"{number:04d}", 5, at=number + 1))
        assert names(tmp_path).startswith(f"{max(0, number - 127):04d}")
        assert len(names(tmp_path)) == 4 * min(128, number + 1)


def test_servers_that_share_a_folder_keep_it_near_its_limit(tmp_path: Path):
    servers = [KeptParts(tmp_path, 640) for _ in range(3)]
    for number in range(300):
        servers[number % 3].add(part(tmp_path, f"{number:04d}", 5, at=number + 1))
    kept = sorted(path.stem for path in tmp_path.iterdir())
    assert 120 <= len(kept) <= 136  # 128 have the limit
    assert kept == [f"{number:04d}" for number in range(300 - len(kept), 300)]


def test_what_is_written_after_somebody_emptied_the_folder_stays(tmp_path: Path):
    kept = KeptParts(tmp_path, 64_000)
    for number in range(200):
        kept.add(part(tmp_path, f"{number:04d}", 500, at=number + 1))
    for path in tmp_path.iterdir():
        path.unlink()
    for number in range(200, 300):
        kept.add(part(tmp_path, f"{number:04d}", 10, at=number + 1))
    assert len([*tmp_path.iterdir()]) == 100


def test_a_full_disk_keeps_no_rest_of_a_part_and_loses_what_exceeds_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dropped = Drops()
    for number in range(20):
        part(tmp_path, f"{number:04d}", 1000, at=number + 1)
    real = payload_log.write_part

    def write(path: Path, *others: Any) -> None:
        if sum(each.stat().st_size for each in tmp_path.iterdir()) > 15_000:
            path.write_bytes(b"x" * 100)
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, *others)

    monkeypatch.setattr(payload_log, "write_part", write)
    written = log(tmp_path, dropped, disk_bytes=12_000, part_rows=1)
    for _ in range(3):
        written.put(payload(1))
    written.close()
    assert dropped.rows == 1
    assert len([*tmp_path.glob("r1-*.parquet")]) == 2
    assert not [*tmp_path.glob(".*")]


def test_a_folder_over_its_limit_keeps_its_newest_parts_and_what_is_not_the_logs(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    written = log(tmp_path, Drops(), part_rows=2, disk_bytes=1)
    for number in range(3):
        written.put(payload(2, size=number))
    written.close()
    assert [row["inputs"] for row in rows(tmp_path)] == [{**ROW, "size": 2}] * 2
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_old_parts_that_cannot_be_deleted_cost_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refused(path: Path, **_: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "unlink", refused)
    dropped = Drops()
    written = log(tmp_path, dropped, part_rows=2, disk_bytes=1)
    for _ in range(2):
        written.put(payload(2))
    written.close()
    assert (len(rows(tmp_path)), dropped.rows) == (4, 0)
    assert "cannot delete old parts" in caplog.text
