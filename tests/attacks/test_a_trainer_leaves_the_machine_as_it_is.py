"""What no rule about files covers: settings of the kernel, modes, limits, and memory by name."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest
from tests.attacks.test_a_trainer_is_closed_in import Play, platform, play, way

__all__ = ["platform", "play", "way"]

CALLS = """
import ctypes, platform, struct
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": dict(shmget=29, semget=64, msgget=68, mq_open=240, userfaultfd=323, bpf=321,
                   clone=56, unshare=272),
    "aarch64": dict(shmget=194, semget=190, msgget=186, mq_open=180, userfaultfd=282, bpf=280,
                    clone=220, unshare=97),
}[platform.machine()]
def call(name, *values):
    number = {"clone3": 435}.get(name) or NUMBERS[name]
    values = [ctypes.c_long(each) if isinstance(each, int) else each for each in values]
    found = libc.syscall(ctypes.c_long(number), *values)
    if found == 0 and name.startswith("clone"):
        os._exit(0)
    if found == -1:
        raise OSError(ctypes.get_errno(), name)
    return found
"""


def done_in(log: str) -> list[str]:
    return [line for line in log.splitlines() if " refused " not in line]


def test_it_opens_no_setting_of_the_kernel_to_write_it(play: Play, way: str) -> None:
    log = play.run(
        """
        opened, asked = [], 0
        for folder, _, names in os.walk("/proc/sys"):
            for name in names:
                asked += 1
                try:
                    os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
                    opened.append(os.path.join(folder, name))
                except OSError:
                    pass
        for name in ("self/oom_score_adj", "self/uid_map", "sysrq-trigger", "irq/0/smp_affinity"):
            attempt(name, lambda: os.open(f"/proc/{name}", os.O_WRONLY))
        print("asked refused ", asked > 100)
        print("opened", opened)
        leave_model()
        """,
        way=way,
    )
    assert "asked refused  True" in log
    assert done_in(log) == ["opened []"]


def test_modes_times_and_attributes_of_others_files_stay(
    play: Play, way: str, tmp_path: Path
) -> None:
    outside, inputs = tmp_path / "outside", play.folder / "data" / "train.parquet"
    outside.write_text("of others")
    kept = [(path.stat().st_mode, path.stat().st_mtime_ns) for path in (outside, inputs)]
    log = play.run(
        f"""
        import shutil
        def leave(act):
            try:
                act()
            except OSError:
                pass
        for path in ({str(outside)!r}, str(data / "train.parquet")):
            leave(lambda: os.chmod(path, 0o777))
            leave(lambda: os.utime(path, (1, 1)))
            leave(lambda: os.setxattr(path, "user.x", b"1"))
            leave(lambda: os.fchmod(os.open(path, os.O_RDONLY), 0o777))
        shutil.copytree(data, out / "copied")
        shutil.copy2(data / "train.parquet", out / "again")
        print((out / "copied" / "train.parquet").read_text(), (out / "again").read_text())
        leave_model()
        """,
        way=way,
    )
    assert log.split() == ["rows", "rows"]
    found = [(path.stat().st_mode, path.stat().st_mtime_ns) for path in (outside, inputs)]
    assert found == kept


def test_it_changes_no_limit_of_another_process(
    play: Play, way: str, platform: subprocess.Popen[bytes]
) -> None:
    kept = resource.prlimit(platform.pid, resource.RLIMIT_NOFILE)
    log = play.run(
        f"""
        import resource
        for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU):
            attempt("limit", lambda: resource.prlimit({platform.pid}, kind, (5, 5)))
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        print("own", resource.getrlimit(resource.RLIMIT_CPU))
        leave_model()
        """,
        way=way,
    )
    assert done_in(log) == ["own (30, 30)"]
    assert resource.prlimit(platform.pid, resource.RLIMIT_NOFILE) == kept


@pytest.mark.sample(2)
def test_it_becomes_no_user_of_its_own_and_keeps_no_memory_by_name(play: Play, way: str) -> None:
    log = play.run(
        f"""
        {CALLS.replace(chr(10), chr(10) + " " * 8)}
        new_user = 0x10000000
        attempt("unshare", lambda: call("unshare", new_user))
        attempt("unshare more", lambda: call("unshare", new_user | 0x20000 | 0x40000000))
        attempt("clone", lambda: call("clone", new_user | 17, 0, 0, 0, 0))
        arguments = struct.pack("11Q", new_user, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
        attempt("clone3", lambda: call("clone3", arguments, len(arguments)))
        attempt("memory", lambda: call("shmget", 0x7777, 1 << 20, 0o1600))
        attempt("memory without a key", lambda: call("shmget", 0, 1 << 20, 0o1600))
        attempt("semaphores", lambda: call("semget", 0x7777, 1, 0o1600))
        attempt("messages", lambda: call("msgget", 0x7777, 0o1600))
        attempt("a queue", lambda: call("mq_open", b"left", 0o102, 0o600, None))
        attempt("faults", lambda: call("userfaultfd", 1))
        attempt("a program", lambda: call("bpf", 0, bytes(120), 116))
        import subprocess, threading
        thread = threading.Thread(target=print, args=("a thread",))
        thread.start(), thread.join()
        print(subprocess.run(["true"]).returncode)
        leave_model()
        """,
        way=way,
    )
    assert done_in(log) == ["a thread", "0"]
