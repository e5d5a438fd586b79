"""Files that would trip the step that seals a model, which nothing closes in."""

from __future__ import annotations

import time

import pytest
from tests.attacks.test_a_trainer_is_closed_in import Play, play

from modelyard.errors import Refused
from modelyard.operations.training import trainer as trainers

__all__ = ["play"]

LEAVES = {
    "a file of 4 GB without bytes": (
        "os.truncate(out / 'model' / 'MLmodel', 4 << 30)",
        r"the artifact has 4295\.0 MB, the limit is 200 MB \(raise artifact\.max_megabytes in",
    ),
    "many that are large together": (
        "[os.truncate(os.open(out / 'model' / str(n), os.O_CREAT | os.O_WRONLY), 1 << 28)"
        " for n in range(500)]",
        r"the artifact has 134217\.7 MB, the limit is 200 MB",
    ),
    "many files": (
        "[(out / 'model' / f'{n}.txt').touch() for n in range(10_000)]",
        "it has more than 10,000 files",
    ),
    "a name of two lines": ("(out / 'model' / 'a\\nb').touch()", "is not a printable name"),
    "a name that is no text": (
        "open(os.fsencode(out / 'model') + b'/\\xff', 'w')", "is not a printable name"
    ),
    "a device of nobody": ("os.mkfifo(out / 'model' / 'x')", "is not a regular file"),
    "a socket": (
        "socket.socketpair()[0].close() or os.symlink('/proc/self/fd/0', out / 'model' / 's')",
        "is not a regular file",
    ),
    "a link to its own folder": ("os.symlink('.', out / 'model' / 'again')", "not a regular file"),
}  # fmt: skip


@pytest.mark.sample(3)
@pytest.mark.parametrize(("leave", "said"), LEAVES.values(), ids=list(LEAVES))
def test_it_is_refused_with_the_figure_before_anything_is_opened(
    play: Play, leave: str, said: str
) -> None:
    started = time.monotonic()
    with pytest.raises(Refused, match=said) as refused:
        play.run(f"leave_model()\n{leave}")
    assert str(play.folder) not in str(refused.value)
    assert play.record["verdict"]["outcome"] == "fail"  # type: ignore[index]
    assert time.monotonic() - started < 30


def test_a_file_that_nobody_may_read_is_the_trainers_fault(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root reads every file.
    monkeypatch.setattr(trainers.os, "access", lambda path, _: path.stat().st_mode & 0o400)
    with pytest.raises(Refused, match="weights cannot be read by who trains"):
        play.run("leave_model()\n(out / 'model' / 'weights').touch(mode=0)")
