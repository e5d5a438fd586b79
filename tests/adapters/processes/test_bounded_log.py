"""What a process prints into a file stays small on disk, however much it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest

from modelyard.adapters.processes import bounded_log
from modelyard.adapters.processes.bounded_log import OUTPUT, cut_log
from modelyard.adapters.processes.start import run_command, start_modelyard, stop_process
from modelyard.adapters.workflows.local_runner import Walk
from modelyard.adapters.workflows.template import read_plan
from serving.running import until

LEFT_OUT = re.compile(r"\[modelyard: more than (\d+) bytes of output are left out here\]")
SMALL = 40_000
# Were it not cut, the kernel would end this at 50 MB.
ENDLESS = ("sh", "-c", "ulimit -f 100000; echo the first line; while :; do seq 1000; done")
LONG = ("sh", "-c", "echo the first line; seq 20000; echo the last line")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_log, "MOST_BYTES", SMALL)


def left_out(text: str) -> int:
    (found,) = LEFT_OUT.findall(text)
    return int(found)


def test_head_and_tail_stay_and_the_line_between_says_how_much_is_gone(tmp_path):
    log = tmp_path / "log"
    lines = "".join(f"line {number}\n" for number in range(1000))
    log.write_text(lines)

    cut_log(log, 4000)

    text = log.read_text()
    head, tail = LEFT_OUT.split(text)[::2]
    assert (lines.startswith(head[:-1]), lines.endswith(tail[1:])) == (True, True)
    assert tail.startswith("\nline ")
    assert len(head[:-1]) == 1000
    assert left_out(text) == len(lines) - len(head[:-1]) - len(tail[1:])


def test_a_second_cut_adds_to_the_first_and_keeps_the_head(tmp_path):
    log = tmp_path / "log"
    printed = 0
    for start in range(5):
        with log.open("a") as file:
            printed += file.write("".join(f"{start} {number}\n" for number in range(1000)))
        cut_log(log, 4000)
    text = log.read_text()
    kept = len(LEFT_OUT.sub("", text)) - 2
    assert text.startswith("0 0\n0 1\n")
    assert text.endswith("4 999\n")
    assert left_out(text) == printed - kept


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 4000])
def test_a_small_file_stays_as_it_is(tmp_path, content):
    log = tmp_path / "log"
    log.write_bytes(content)
    cut_log(log, 4000)
    assert log.read_bytes() == content


@pytest.mark.parametrize("content", [b"x" * 100_000, b"\xff\x00" * 50_000, b"\n" * 100_000])
def test_output_without_lines_or_text_is_cut_too(tmp_path, content):
    log = tmp_path / "log"
    log.write_bytes(content)
    cut_log(log, 4000)
    assert 1000 <= log.stat().st_size <= 2200
    assert b"bytes of output are left out here" in log.read_bytes()


def test_a_command_that_prints_much_ends_as_it_would_and_its_first_and_last_words_stay(tmp_path):
    log = tmp_path / "log"
    assert run_command(LONG, cwd=tmp_path, environment=os.environ, output=log) == 0
    text = log.read_text()
    assert log.stat().st_size <= SMALL
    assert text.startswith("the first line\n1\n2\n")
    assert text.endswith("20000\nthe last line\n")


def test_a_step_that_prints_without_end_fills_no_disk_and_goes_on_to_its_deadline(tmp_path):
    spec: dict[str, Any] = {
        "entrypoint": "main",
        "templates": [
            {"name": "main", "dag": {"tasks": [{"name": "talks", "template": "talks"}]}},
            {
                "name": "talks",
                "activeDeadlineSeconds": 2,
                "container": {"image": "i", "command": [*ENDLESS], "workingDir": "/work"},
            },
        ],
    }
    walk = Walk(read_plan(spec, {}), name="w", folder=tmp_path, root=tmp_path, report=lambda: None)
    walk.run()
    text = (tmp_path / "talks.log").read_text()
    assert walk.message == "talks: out of time after 2 s"
    assert len(text) <= SMALL
    assert text.startswith("the first line\n1\n2\n")
    assert left_out(text) > SMALL


def test_a_process_that_outlives_its_starter_keeps_its_own_output_small(tmp_path):
    log = tmp_path / "log"
    program = (
        "import time, modelyard.adapters.processes.bounded_log as bounded_log\n"
        f"bounded_log.MOST_BYTES = {SMALL}\n"
        "bounded_log.bound_own_output()\n"
        "print('the first line', flush=True)\n"
        "for _ in range(200): print('x' * 999, flush=True)\n"
        "time.sleep(60)\n"
    )
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=file, env={**os.environ, OUTPUT: str(log)}
        )
    try:
        until(lambda: "left out here" in log.read_text())
        assert log.stat().st_size <= SMALL
        assert log.read_text().startswith("the first line\n")
    finally:
        process.kill()
        process.wait()


def test_who_is_started_to_stay_is_told_of_its_log_and_passes_it_on_to_nobody(tmp_path):
    log = tmp_path / "log"
    started = start_modelyard(["--version"], cwd=tmp_path, log=log)
    until(lambda: log.exists() and "modelyard" in log.read_text())
    stop_process(started)
    assert OUTPUT not in os.environ
