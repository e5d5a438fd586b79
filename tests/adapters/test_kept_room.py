"""What takes a release out of traffic is written on a full disk, and on no other terms."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from adapters.small_disk import fill, mounted, use_up_inodes
from modelyard.adapters import kept_room
from modelyard.adapters.kept_room import BYTES, FILES, KeptRoom
from modelyard.adapters.replaced_file import overwrite_file, write_whole

SIZE = "size=48m"


def kept(state: Path) -> int:
    return sum(file.stat().st_size for file in (state / kept_room.FOLDER).glob("*"))


def refused(path: Path) -> int:
    """Why the disk does not take an ordinary write."""
    with pytest.raises(OSError, match="No space left") as found:
        write_whole(path, b"other" * 200)
    assert found.value.filename == str(path)
    return found.value.errno or 0


@pytest.mark.parametrize("exhaust", [fill, use_up_inodes])
def test_a_full_disk_takes_what_room_was_kept_for(tmp_path: Path, exhaust):
    with mounted(tmp_path / "disk", f"{SIZE},nr_inodes=3000") as disk:
        room, file = KeptRoom(disk), disk / "state.json"
        write_whole(file, b"old")
        room.keep()
        assert kept(disk) == FILES * BYTES
        exhaust(disk)
        assert refused(file) == errno.ENOSPC

        room.write_whole(file, b"new" * 1000)

        assert file.read_bytes() == b"new" * 1000
        assert kept(disk) == 0
        # There is more of it, for Git: a file for each object.
        for number in range(FILES // 2):
            (disk / str(number)).write_bytes(b"x" * 100)


@pytest.mark.parametrize("exhaust", [fill, use_up_inodes])
@pytest.mark.parametrize("new", [b"{}", b"[1, 2, 3]", b"[%s]" % (b"1," * 1500 + b"1")])
def test_without_any_room_the_file_is_written_over_in_place(tmp_path: Path, exhaust, new):
    with mounted(tmp_path / "disk", f"{SIZE},nr_inodes=3000") as disk:
        file = disk / "state.json"
        write_whole(file, b"[1, 2]")
        exhaust(disk)

        KeptRoom(disk).write_whole(file, new)

        assert file.read_bytes().rstrip(b"\n") == new


def test_what_does_not_even_fit_in_place_leaves_the_old_content(tmp_path: Path):
    with mounted(tmp_path / "disk", SIZE) as disk:
        file = disk / "state.json"
        write_whole(file, b"[1, 2]")
        fill(disk)

        with pytest.raises(OSError, match="No space left"):
            KeptRoom(disk).write_whole(file, b"x" * 10_000)
        assert file.read_bytes() == b"[1, 2]"
        with pytest.raises(FileNotFoundError):
            KeptRoom(disk).write_whole(disk / "other.json", b"x")


def test_a_disk_that_may_only_be_read_loses_neither_the_file_nor_the_room(tmp_path: Path):
    with mounted(tmp_path / "disk", SIZE) as disk:
        room, file = KeptRoom(disk), disk / "state.json"
        write_whole(file, b"old")
        room.keep()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        with pytest.raises(OSError, match="Read-only") as found:
            room.write_whole(file, b"new")
        room.keep()
        assert (found.value.errno, file.read_bytes()) == (errno.EROFS, b"old")
        assert kept(disk) == FILES * BYTES


def test_a_limit_on_the_size_of_files_takes_no_room_away(tmp_path: Path):
    room, file = KeptRoom(tmp_path), tmp_path / "state.json"
    write_whole(file, b"old")
    room.keep()
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            room.write_whole(file, bytes(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert (file.read_bytes(), kept(tmp_path)) == (b"old", FILES * BYTES)


def test_a_quota_that_is_used_up_is_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    room, file = KeptRoom(tmp_path), tmp_path / "state.json"
    write_whole(file, b"old")
    room.keep()

    def write(path: Path, content: bytes) -> None:
        if kept(tmp_path):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        write_whole(path, content)

    monkeypatch.setattr(kept_room, "write_whole", write)
    room.write_whole(file, b"new")

    assert (file.read_bytes(), kept(tmp_path)) == (b"new", 0)


@pytest.mark.parametrize("options", ["size=20m", "size=64m,nr_inodes=600"])
def test_room_is_kept_only_of_a_disk_that_can_spare_it(tmp_path: Path, options: str):
    with mounted(tmp_path / "disk", options) as disk:
        KeptRoom(disk).keep()
        assert kept(disk) == 0


def test_room_that_was_given_back_is_kept_again_once_there_is_some(tmp_path: Path):
    with mounted(tmp_path / "disk", "size=80m") as disk:
        room = KeptRoom(disk)
        room.keep()
        ballast = fill(disk)
        room.write_whole(disk / "state.json", b"new")
        room.keep()
        assert kept(disk) == 0

        ballast.unlink()
        room.keep()
        room.keep()
        assert kept(disk) == FILES * BYTES


def test_room_that_another_process_takes_away_at_once_is_no_error(tmp_path: Path):
    room = KeptRoom(tmp_path)
    room.keep()
    shutil.rmtree(tmp_path / kept_room.FOLDER)
    assert not room.give_back()


def test_a_file_written_over_in_place_ends_with_what_means_nothing(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"123456")
    overwrite_file(tmp_path / "a", b"12")
    assert (tmp_path / "a").read_bytes() == b"12\n\n\n\n"
    overwrite_file(tmp_path / "a", b"12345678")
    assert (tmp_path / "a").read_bytes() == b"12345678"
