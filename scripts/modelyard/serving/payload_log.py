"""Logs every request's rows in Parquet files, without delaying the requests."""

from __future__ import annotations

import glob
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.serving.documents import Serving
from modelyard.serving.payload_parts import GrowingPart, Payload, part_schema, write_part

if TYPE_CHECKING:
    import pyarrow as pa

_LOGGER = logging.getLogger(__name__)
CLOSE_SECONDS = 20.0
"""How long the log may write when it is closed."""

_LOOKS = 64  # at the folder, while as much is written as it may have

_PIECE_PAYLOADS = 512
_PIECE_ROWS = 5000
"""So much becomes a piece of a part, and is freed, as soon as it has come. That takes some five
milliseconds of the interpreter's lock; for ten thousand payloads at once it was 170, for which
requests waited at each turn of the event loop."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much the log keeps in memory and on disk, and how often it writes.

    Args:
        queued_rows: Rows that may wait in memory; more are dropped and counted.
        part_rows: Rows after which a part is written.
        part_seconds: Age of its first row after which a smaller part is written.
        disk_bytes: Size of all parts in the folder, those of other servers included, beyond which
            the oldest are deleted; the newest one always stays. See `KeptParts`.
    """

    queued_rows: int = 50_000
    part_rows: int = 10_000
    part_seconds: float = 10.0
    disk_bytes: int = 2**30


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part on disk: its name, its size in bytes, and when it was written, in nanoseconds."""

    name: str
    size: int
    written: int


class PayloadLog:
    """Takes payloads from requests and writes them in a thread of its own.

    Each part is written under another name and then renamed, so a reader sees only whole parts. The
    oldest parts are deleted when the folder exceeds its limit.

    Args:
        folder: Where to write parts; created if it is missing.
        labels: `model`, `version`, `release` and `digest`.
        serving: The contract.
        on_dropped: Called with the number of rows whenever some are dropped.
        limits: Memory, disk and frequency.
    """

    def __init__(
        self,
        folder: Path,
        *,
        labels: dict[str, str],
        serving: Serving,
        on_dropped: Callable[[int], None],
        limits: Limits | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._labels, self._serving = folder, labels, serving
        self._on_dropped, self._limits = on_dropped, limits or Limits()
        self._schema: pa.Schema = part_schema(serving)
        self._piece_rows = min(_PIECE_ROWS, self._limits.part_rows)
        self._kept = KeptParts(folder, self._limits.disk_bytes)
        self._waiting: deque[Payload] = deque()
        self._queued = self._waiting_rows = 0
        self._is_open = True
        self._changed = threading.Condition()
        self._parts = 0
        self._thread = threading.Thread(target=self._run, name="payload-log", daemon=True)
        self._thread.start()

    def put(self, payload: Payload) -> None:
        """Queue one payload, or drop and count its rows if the queue is full; never waits."""
        with self._changed:
            fits = self._queued + payload.rows <= self._limits.queued_rows
            if fits:
                self._waiting.append(payload)
                self._queued += payload.rows
                self._waiting_rows += payload.rows
                # Only twice per piece: waking the thread costs more than the rest of this method.
                if len(self._waiting) == 1 or self._is_piece():
                    self._changed.notify()
        if not fits:
            self._on_dropped(payload.rows)

    def close(self) -> None:
        """Write what is queued; gives up after 20 s, so that a stuck disk holds no process."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while self._wait_for_rows():
            part = self._next_part()
            if part.rows:
                self._write_or_drop(part)

    def _wait_for_rows(self) -> bool:
        """Whether there are any; false once the log is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._is_open)
            return bool(self._waiting)

    def _next_part(self) -> GrowingPart:
        """The next part, once it is full or old, or the log is closed."""
        part = GrowingPart(self._schema, self._labels)
        until = time.monotonic() + self._limits.part_seconds
        while part.rows < self._limits.part_rows and self._add_piece(part, until):
            pass
        return part

    def _add_piece(self, part: GrowingPart, until: float) -> bool:
        """Add the next piece; whether it is whole, else it is the last one of the part."""
        piece, is_whole = self._next_piece(until)
        try:
            part.add(piece)
        except Exception:  # an odd value must not end the thread
            _LOGGER.exception("payload log %s: a piece cannot be made", self._folder)
            self._drop(sum(payload.rows for payload in piece))
        return is_whole

    def _next_piece(self, until: float) -> tuple[list[Payload], bool]:
        """The payloads of the next piece, and whether it is whole."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_piece() or not self._is_open, until - time.monotonic()
            )
            is_whole = self._is_piece()
            piece, rows = list[Payload](), 0
            while self._waiting and len(piece) < _PIECE_PAYLOADS and rows < self._piece_rows:
                piece.append(self._waiting.popleft())
                rows += piece[-1].rows
            self._waiting_rows -= rows
            return piece, is_whole

    def _is_piece(self) -> bool:
        return len(self._waiting) >= _PIECE_PAYLOADS or self._waiting_rows >= self._piece_rows

    def _write_or_drop(self, part: GrowingPart) -> None:
        try:
            self._write(part)
        except Exception:  # nor must a full disk
            _LOGGER.exception("payload log %s: a part cannot be written", self._folder)
            self._drop(part.rows)
            self._kept.look_and_make_room()
        else:
            self._leave_queue(part.rows)

    def _drop(self, rows: int) -> None:
        _LOGGER.error("payload log %s: %d rows lost", self._folder, rows)
        self._on_dropped(rows)
        self._leave_queue(rows)

    def _leave_queue(self, rows: int) -> None:
        with self._changed:
            self._queued -= rows

    def _write(self, part: GrowingPart) -> None:
        self._parts += 1
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        name = f"{self._labels['release']}-{stamp}-{os.getpid()}-{self._parts:06d}.parquet"
        partial = self._folder / f".{name}.part"
        try:
            write_part(partial, part)
            partial.replace(self._folder / name)
        except BaseException:
            with suppress(OSError):  # of a full disk, which a rest of each part would keep full
                partial.unlink()
            raise
        self._kept.add(self._folder / name)


class KeptParts:
    """The parts in a folder, of which the oldest go when all together are too large.

    To list thousands of parts takes longer than to write one. So the folder is listed when a 64th
    of the limit has been written since, and in between what other servers write is not known. One
    that they have deleted is taken for as much as they have written. Where a 64th is missing, the
    folder is listed, too: somebody may have emptied it.

    Args:
        folder: Of the parts.
        limit: Bytes that they may have; the newest one stays, whatever its size.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._oldest_first: deque[Part] = deque()
        self._size = 0
        self._until_look = 0

    def add(self, path: Path) -> None:
        """Make room for a part that has been written."""
        try:
            size = path.stat().st_size
            self._until_look -= size
            if self._until_look < 0:
                self._look()
            else:
                self._oldest_first.append(Part(name=path.name, size=size, written=0))
                self._size += size
            self._delete_surplus()
        except OSError:
            self._tell_failure()

    def look_and_make_room(self) -> None:
        """Make room where no part could be written: the limit may be less than it was before."""
        try:
            self._look()
            self._delete_surplus()
        except OSError:
            self._tell_failure()

    def _tell_failure(self) -> None:
        _LOGGER.exception("payload log %s: cannot delete old parts", self._folder)

    def _look(self) -> None:
        parts = sorted(_parts(self._folder), key=lambda part: (part.written, part.name))
        self._oldest_first = deque(parts)
        self._size = sum(part.size for part in parts)
        self._until_look = self._limit // _LOOKS

    def _delete_surplus(self) -> None:
        while self._size > self._limit and len(self._oldest_first) > 1:
            oldest = self._oldest_first.popleft()
            try:
                (self._folder / oldest.name).unlink()
            except FileNotFoundError:  # another server may have deleted it
                self._until_look -= oldest.size
                if self._until_look < 0:
                    self._look()
            else:
                self._size -= oldest.size


def forget_partial_parts(folder: Path, release: str, process: int) -> None:
    """Delete what a server process that died had not written to its end."""
    for partial in folder.glob(f".{glob.escape(release)}-*-{process}-*.part"):
        partial.unlink(missing_ok=True)


def _parts(folder: Path) -> Iterator[Part]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".parquet"):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    yield Part(name=entry.name, size=status.st_size, written=status.st_mtime_ns)
