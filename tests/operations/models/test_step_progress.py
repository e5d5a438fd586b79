from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelyard.operations.models.step_progress import Output, telling


def told_of(output: Output, *, seconds: float, every: float) -> list[str]:
    said: list[str] = []
    with telling("train", said.append, output, every=every):
        time.sleep(seconds)
    return said


@pytest.mark.parametrize(
    ("printed", "last"),
    [
        (b"epoch 1\nepoch 2\n", "epoch 2"),
        (b"10 %\r20 %\r30 %", "30 %"),
        (b"x" * 9_000, "x" * 120),
        (b"half a sign \xf0\x9f\n\n  \n", "half a sign \ufffd"),
    ],
)
def test_a_step_that_takes_long_says_the_last_line_of_its_trainer(tmp_path, printed, last):
    output = Output()
    output.follow(tmp_path / "trainer.log")
    (tmp_path / "trainer.log").write_bytes(printed)
    said = told_of(output, seconds=0.3, every=0.1)
    assert said
    assert all(line == f"train: 0 s so far: {last}" for line in said)


@pytest.mark.parametrize("file", [None, Path("/nowhere/trainer.log")])
def test_a_step_without_output_says_how_long_it_has(file):
    said = told_of(Output(file=file), seconds=0.3, every=0.1)
    assert set(said) == {"train: 0 s so far"}


def test_a_short_step_says_nothing_and_nothing_is_said_after_its_end():
    assert told_of(Output(), seconds=0, every=0.1) == []
    said = told_of(Output(), seconds=0.15, every=0.1)
    count = len(said)
    time.sleep(0.3)
    assert len(said) == count


def test_a_step_that_fails_ends_its_teller_too():
    said: list[str] = []
    with pytest.raises(KeyError), telling("train", said.append, Output(), every=0.05):
        raise KeyError
    time.sleep(0.15)
    assert said == []
