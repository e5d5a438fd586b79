from __future__ import annotations

import os
import threading
import time

import pytest

from modelyard.adapters.git.process import end_git
from modelyard.adapters.processes import silence_limit
from modelyard.adapters.processes.silence_limit import (
    Patience,
    TooSilent,
    run_with_silence_limit,
)


def run(script, folder, *, seconds=1.0, silences=8):
    patience = Patience(seconds, silences, lambda: None)
    words = ["sh", "-c", script]
    return run_with_silence_limit(words, folder, dict(os.environ), patience=patience, end=end_git)


def test_a_process_that_tells_no_more_and_does_not_end_is_ended(tmp_path):
    before = time.monotonic()

    with pytest.raises(TooSilent, match="silent for 1 s"):
        run("exec 2>&-; exec sleep 20", tmp_path)

    assert time.monotonic() - before < 10


def test_a_process_may_end_a_while_after_it_told_its_last(tmp_path):
    done = run("echo bye >&2; exec 2>&-; sleep 0.3; exit 3", tmp_path)

    assert (done.returncode, done.stderr) == (3, b"bye")


def test_a_row_without_an_end_is_kept_by_its_beginning_alone():
    out, into = os.pipe()

    def tell():
        with os.fdopen(into, "wb") as stream:
            stream.write(b"Counting objects: " + b"x" * 3_000_000 + b"\nfatal: " + b"y" * 3_000_000)

    thread = threading.Thread(target=tell)
    thread.start()
    rows = silence_limit._read_rows(out, Patience(5.0, 8, lambda: None))
    thread.join()
    os.close(out)

    (row,) = rows
    assert row.startswith(b"fatal: yyy")
    assert len(row) < 100_000
