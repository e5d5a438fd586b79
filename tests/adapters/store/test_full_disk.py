"""A store that a disk refuses says what to do about that disk, and keeps nothing half."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from adapters.small_disk import fill, mounted
from modelyard.adapters.file_systems import not_writable
from modelyard.adapters.store.artifacts import Store
from modelyard.errors import CannotAnswer, DiskFault, NoRoom


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_full_disk_is_named_as_one_and_the_same_write_succeeds_with_room(tmp_path: Path):
    with mounted(tmp_path / "disk", "size=8m") as disk:
        store = Store("store", disk)
        store.put_evidence(b"first")
        before = files(disk / "store")
        ballast = fill(disk)

        with pytest.raises(NoRoom, match="cannot be written: No space left") as found:
            store.put_evidence(b"second" * 4000)
        assert (found.value.hint or "").startswith("make room and run it again")
        assert files(disk / "store") == before

        ballast.unlink()
        assert store.read_evidence(store.put_evidence(b"second" * 4000)) == b"second" * 4000


def test_a_disk_that_may_only_be_read_is_not_told_to_make_room(tmp_path: Path):
    with mounted(tmp_path / "disk", "size=8m") as disk:
        store = Store("store", disk)
        store.put_evidence(b"first")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        with pytest.raises(DiskFault, match="Read-only file system") as found:
            store.put_evidence(b"second")
        assert "room" not in (found.value.hint or "")


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (errno.EDQUOT, NoRoom, "make room and run it again"),
        (errno.EFBIG, DiskFault, "ulimit -f"),
        (errno.EIO, DiskFault, "dmesg"),
        (errno.EACCES, DiskFault, "let this user read and write there"),
        (errno.ENAMETOOLONG, CannotAnswer, "make room on this disk"),
    ],
)
def test_each_refusal_has_its_own_way_out(code: int, kind: type[CannotAnswer], said: str):
    error = not_writable(Path("a"), OSError(code, "no"))
    assert type(error) is kind
    assert error.message == "a: cannot be written: no"
    assert said in (error.hint or "")
