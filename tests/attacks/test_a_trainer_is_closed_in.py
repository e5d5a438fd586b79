"""A trainer is code that nobody need trust: what it tries on the platform and on its inputs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from tests.operations.training_job import job_of, model_of

from modelyard.adapters.cluster import local_servers
from modelyard.adapters.isolation.confinement import Reach, find_means
from modelyard.adapters.processes.environment import bare_environment
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.domain.isolation import Isolation
from modelyard.domain.specs.contract import Column
from modelyard.domain.specs.model import DataContract, Target, Task, TrainerLimits
from modelyard.errors import Refused
from modelyard.operations.training import trainer as trainers
from modelyard.operations.training.job import Job
from modelyard.operations.training.trainer import check_trained, order_of, run_trainer

SECRET = "a-token-of-the-forge"
RUNTIME = Runtime(lock="0" * 64, lock_file=Path("lock"), python=Path(sys.executable))
WAYS = {
    "both": ("namespaces", "landlock"),
    "landlock": ("landlock",),
    "namespaces": ("namespaces",),
}
TRIES = """
import os, socket, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
data = Path(sys.argv[sys.argv.index("--data") + 1])
def leave_model():
    (out / "model").mkdir()
    (out / "model" / "MLmodel").write_text("a model")
def attempt(name, act):
    try:
        print(name, "DONE", act(), flush=True)
    except (OSError, ImportError) as error:
        print(name, "refused", type(error).__name__, flush=True)
"""


@dataclass(frozen=True)
class Play:
    """Where a trainer runs: its job, its folder, and what it printed."""

    job: Job
    folder: Path
    root: Path

    def run(self, code: str, *, way: str = "both", **limits: int) -> str:
        """Run a trainer of this code; what it printed."""
        write_trainer(self.folder, code)
        trainer = replace(self.job.model.trainer, timeout_seconds=60)
        if limits:
            trainer = replace(trainer, limits=replace(TrainerLimits(), **limits))
        set_trainer(self.job, trainer)
        train(self.job, self.folder, WAYS[way])
        return self.log

    @property
    def log(self) -> str:
        return self.job.read_file("trainer.log").decode()

    @property
    def record(self) -> dict[str, object]:
        return self.job.read_document("outcome.json")


def train(job: Job, folder: Path, ways: tuple[str, ...] = WAYS["both"]) -> None:
    trained = run_trainer(order_of(job, folder), folder, folder, RUNTIME, ways=ways)
    check_trained(job, trained, folder)


def write_trainer(folder: Path, code: str) -> None:
    (folder / "trainer").mkdir(parents=True, exist_ok=True)
    (folder / "trainer" / "train.py").write_text(TRIES + textwrap.dedent(code))


def set_trainer(job: Job, trainer: object) -> None:
    catalog = job.catalog
    model = replace(catalog.models["m"], trainer=trainer)
    vars(job)["catalog"] = replace(catalog, models={"m": model})


def make_play(folder: Path) -> Play:
    root = folder / "checkout"
    (root / ".modelyard").mkdir(parents=True)
    (root / ".modelyard" / "state").write_text("facts")
    columns = (Column(name="x", type="number", description=""),)
    model = model_of(DataContract(columns=columns), Target(column="y"), Task.REGRESSION)
    job = job_of(root, "0" * 40, model, [])
    inputs = folder / "inputs"
    (inputs / "data").mkdir(parents=True)
    (inputs / "data" / "train.parquet").write_text("rows")
    (inputs / "params.json").write_text("{}")
    return Play(job=job, folder=inputs, root=root)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    return make_play(tmp_path)


@pytest.fixture(params=["both", "landlock", "namespaces"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    means = find_means(Reach(readable=(), writable=()), tmp_path, WAYS[request.param])
    if means.isolation is Isolation.NONE:
        pytest.skip(f"this machine offers no {request.param}")
    return str(request.param)


@pytest.fixture
def platform() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the platform that has a secret in its environment."""
    command = [sys.executable, "-c", "input()"]
    environment = {**os.environ, "GITHUB_TOKEN": SECRET}
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) as process:
        yield process
        assert process.poll() is None, "a trainer ended a process of the platform"
        process.kill()


def find_running(mark: str) -> list[int]:
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if mark in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def wait_until_gone(mark: str) -> None:
    deadline = time.monotonic() + 20
    while (left := find_running(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


@pytest.mark.sample(1)
def test_it_reads_no_secret_writes_nowhere_else_and_signals_nobody(
    play: Play, way: str, platform: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("of others")
    state = play.root / ".modelyard" / "state"
    log = play.run(
        f"""
        import ctypes, shutil
        def environments():
            found = []
            for each in os.listdir("/proc"):
                if each.isdigit() and int(each) != os.getpid():
                    try:
                        found.append({SECRET!r} in open(f"/proc/{{each}}/environ").read())
                    except OSError:
                        pass
            if not any(found):
                raise PermissionError
        attempt("environ", lambda: open("/proc/{platform.pid}/environ").read())
        attempt("environ of the parent", lambda: open(f"/proc/{{os.getppid()}}/environ").read())
        attempt("any environ", environments)
        attempt("memory", lambda: open("/proc/{platform.pid}/mem", "rb").read(1))
        attempt("descriptor", lambda: os.readlink("/proc/{platform.pid}/fd/1"))
        attempt("root of another", lambda: os.listdir("/proc/{platform.pid}/root/"))
        attempt("own variable", lambda: {{}}[os.environ["GITHUB_TOKEN"]]
                if "GITHUB_TOKEN" in os.environ else open("/missing"))
        attempt("read", lambda: open({str(outside)!r}).read())
        attempt("write", lambda: open({str(outside)!r}, "w"))
        attempt("truncate", lambda: os.truncate({str(outside)!r}, 0))
        attempt("unlink", lambda: os.unlink({str(outside)!r}))
        attempt("rename", lambda: os.rename({str(outside)!r}, out / "taken"))
        attempt("link", lambda: os.link({str(outside)!r}, out / "linked"))
        attempt("through a link", lambda: (os.symlink({str(outside)!r}, out / "a"),
                                           open(out / "a").read()))
        attempt("state", lambda: open({str(state)!r}, "a").write("held"))
        attempt("new in the checkout", lambda: os.mkdir({str(play.root / ".git/hooks")!r}))
        attempt("remove the state", lambda: os.listdir({str(state.parent)!r}))
        attempt("beside its folders", lambda: (out.parent / "supervisor" / "x").write_text("x"))
        attempt("its own log", lambda: open(out.parent / "trainer.log", "w"))
        attempt("home", lambda: os.listdir("/root" if os.getuid() == 0 else "/home"))
        attempt("passwords", lambda: open("/etc/shadow").read())
        attempt("signal", lambda: os.kill({platform.pid}, 9))
        attempt("stop", lambda: os.kill({platform.pid}, 19))
        libc = ctypes.CDLL(None, use_errno=True)
        def attach():
            if libc.ptrace(16, {platform.pid}, 0, 0):
                raise OSError(ctypes.get_errno(), "ptrace")
        attempt("trace", attach)
        def mount():
            if libc.mount(b"tmpfs", b"/usr", b"tmpfs", 0, 0):
                raise OSError(ctypes.get_errno(), "mount")
        attempt("mount", mount)
        leave_model()
        """,
        way=way,
    )
    lines = dict(line.split(" refused ") for line in log.splitlines() if " refused " in line)
    done = [line for line in log.splitlines() if " DONE " in line]
    # A home that holds the interpreter is a folder in the new root, with nothing else in it.
    assert [line for line in done if not line.startswith("home DONE")] == []
    assert SECRET not in log
    assert {"environ", "any environ", "state", "signal", "trace", "mount"} <= lines.keys()
    assert (outside.read_text(), state.read_text()) == ("of others", "facts")
    assert [each.name for each in state.parent.iterdir()] == ["state"]
    expected = Isolation.NAMESPACES if way == "namespaces" else Isolation.LANDLOCK
    assert play.job.read_document("trainer.json")["isolation"] == expected


@pytest.mark.long
def test_it_cannot_change_its_inputs(play: Play, way: str) -> None:
    log = play.run(
        """
        rows, parameters = data / "train.parquet", out.parent / "params.json"
        attempt("write", lambda: rows.write_text("other"))
        attempt("append", lambda: open(rows, "a").write("other"))
        attempt("truncate", lambda: os.truncate(rows, 0))
        attempt("open to truncate", lambda: os.open(rows, os.O_RDONLY | os.O_TRUNC))
        attempt("parameters", lambda: parameters.write_text("other"))
        attempt("unlink", lambda: rows.unlink())
        attempt("replace", lambda: os.replace(sys.argv[0], rows))
        attempt("move the folder", lambda: data.rename(out / "data"))
        attempt("add", lambda: (data / "more.parquet").write_text("other"))
        print(rows.read_text(), parameters.read_text())
        leave_model()
        """,
        way=way,
    )
    assert [line for line in log.splitlines() if " refused " not in line] == ["rows {}"]
    assert [each.name for each in (play.folder / "data").iterdir()] == ["train.parquet"]


@pytest.mark.sample(1)
def test_it_talks_to_no_network(play: Play, way: str, tmp_path: Path) -> None:
    local = str(tmp_path / "socket")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        unix.bind(local)
        unix.listen()
        abstract.bind("\0modelyard-test-of-abstract-sockets")
        abstract.listen()
        log = play.run(
            f"""
            port = {server.getsockname()[1]}
            attempt("tcp", lambda: socket.create_connection(("127.0.0.1", port), timeout=5))
            attempt("tcp to another machine",
                    lambda: socket.create_connection(("192.0.2.1", 443), timeout=5))
            attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)))
            attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    .sendto(b"x", ("127.0.0.1", port)))
            attempt("udp6", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                    .sendto(b"x", ("::1", port)))
            attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
            attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
            attempt("vsock", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
            attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect({local!r}))
            attempt("abstract", lambda: socket.socket(socket.AF_UNIX)
                    .connect("\\0modelyard-test-of-abstract-sockets"))
            attempt("name", lambda: socket.getaddrinfo("example.org", 443))
            one, other = socket.socketpair()
            one.send(b"with itself")
            print(other.recv(100).decode())
            leave_model()
            """,
            way=way,
        )
    found = [line for line in log.splitlines() if " refused " not in line]
    assert found == ["with itself"]


def test_it_connects_to_a_listed_port_and_no_other(play: Play) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listed,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        ports = [each.getsockname()[1] for each in (listed, other)]
        trainer = replace(play.job.model.trainer, egress=(f"localhost:{ports[0]}", "unix"))
        set_trainer(play.job, trainer)
        log = play.run(
            f"""
            for port in {ports}:
                attempt(str(port), lambda: socket.create_connection(("127.0.0.1", port)).close())
            attempt("unix", lambda: socket.socket(socket.AF_UNIX).close())
            multipath, fast_open = 262, 0x20000000
            attempt("multipath", lambda: socket.socket(
                socket.AF_INET, socket.SOCK_STREAM, multipath).connect(("127.0.0.1", {ports[1]})))
            attempt("fast open", lambda: socket.socket().sendto(
                b"x", fast_open, ("127.0.0.1", {ports[1]})))
            leave_model()
            """,
            way="landlock",
        )
    assert [line for line in log.splitlines() if line[0] in "mf"] == [
        "multipath refused PermissionError",
        "fast open refused PermissionError",
    ]
    assert [line for line in log.splitlines() if line[0] not in "mf"] == [
        f"{ports[0]} DONE None",
        f"{ports[1]} refused PermissionError",
        "unix DONE None",
    ]


@pytest.mark.parametrize(
    "leave",
    [
        "subprocess.Popen(['sleep', MARK])",
        "subprocess.Popen(['setsid', 'sleep', MARK])",
        "subprocess.Popen(['sh', '-c', f'setsid setsid nohup sleep {MARK} & exec true'])",
        "daemon()",
        "daemon(ignore=True)",
        "daemon(); os._exit(3)",
        "daemon(); os.kill(os.getpid(), 11)",
    ],
)
@pytest.mark.sample(1)
def test_nothing_that_it_started_outlives_it(play: Play, way: str, leave: str) -> None:
    mark = f"{os.getpid()}{time.monotonic_ns() % 10**6}"
    code = f"""
        import signal, subprocess
        MARK = {mark!r}
        def daemon(ignore=False):
            if os.fork() == 0:
                os.setsid()
                if ignore:
                    for number in range(1, 32):
                        if number not in (9, 19):
                            signal.signal(number, signal.SIG_IGN)
                if os.fork() == 0:
                    os.execvp("sleep", ["sleep", MARK])
                os._exit(0)
            os.wait()
        {leave}
        time.sleep(0.05)
        leave_model()
        """
    if "os._exit" in leave or "kill" in leave:
        with pytest.raises(Refused, match=r"the trainer ended with exit code (3|139)"):
            play.run(code, way=way)
    else:
        play.run(code, way=way)
    assert find_running(f"sleep {mark}") == []


@pytest.mark.long
def test_what_forks_away_quicker_than_one_can_look_ends_too(play: Play, way: str) -> None:
    """Each process starts the next and ends: one that is found is gone already."""
    play.run(
        """
        if os.fork() == 0:
            os.setsid()
            end = time.monotonic() + 20  # the bound of the test itself
            while time.monotonic() < end:
                if os.fork():
                    os._exit(0)
            (out / "escaped").write_text("x")
            os._exit(0)
        leave_model()
        """,
        way=way,
    )
    assert find_running(str(play.folder)) == []


@pytest.mark.parametrize(
    "bomb",
    [
        "os.fork()",
        "os.fork() or os.setsid()",
        "threading.Thread(target=time.sleep, args=(20,), daemon=True).start()",
    ],
)
@pytest.mark.sample(1)
def test_a_fork_bomb_is_ended_with_the_figure_and_the_key(play: Play, way: str, bomb: str) -> None:
    with pytest.raises(Refused, match="had more than 32 processes and threads; raise trainer"):
        play.run(
            f"""
            import threading
            end = time.monotonic() + 10
            count = open(out / "count", "ab", buffering=0)
            # The bound of the test itself: 400 processes in all, and 10 seconds.
            while os.fstat(count.fileno()).st_size < 400 and time.monotonic() < end:
                count.write(b"x")
                try:
                    {bomb}
                except (OSError, RuntimeError):
                    pass
            time.sleep(10)
            """,
            way=way,
            processes=32,
        )
    assert find_running(str(play.folder)) == []
    assert play.record["verdict"]["outcome"] == "fail"  # type: ignore[index]


@pytest.mark.parametrize(
    "fill",
    [
        "(out / str(n)).write_bytes(bytes(1 << 20))",
        "(out.parent / 'tmp' / str(n)).write_bytes(bytes(1 << 20))",
        "file.write(bytes(1 << 20))",
        "os.unlink(out / 'file') if n == 1 else file.write(bytes(1 << 20)) and file.flush()",
        "[(out / f'{n}-{m}').touch() for m in range(200)]",
    ],
)
@pytest.mark.sample(1)
def test_one_that_fills_its_folder_is_ended(
    play: Play, monkeypatch: pytest.MonkeyPatch, fill: str
) -> None:
    monkeypatch.setattr(trainers, "STORAGE", 8 << 20)
    with pytest.raises(Refused, match=r"wrote more than 8 MiB of files; raise|File too large"):
        play.run(
            f"""
            file = open(out / "file", "wb")
            for n in range(64):  # the bound of the test itself
                {fill}
                time.sleep(0.03)
            time.sleep(3)
            """
        )
    assert sum(each.stat().st_size for each in play.folder.rglob("*") if each.is_file()) < 64 << 20


@pytest.mark.long
def test_shared_memory_by_name_is_limited_as_its_memory_is(play: Play, way: str) -> None:
    if way == "landlock":
        pytest.skip("the machine's own is not limited, as `gaps` says")
    log = play.run(
        """
        found = os.statvfs("/dev/shm")
        print(found.f_blocks * found.f_frsize)
        leave_model()
        """,
        way=way,
    )
    assert int(log) == trainers.MEMORY


def test_one_that_prints_without_end_is_ended(play: Play) -> None:
    with pytest.raises(
        Refused, match=r"printed more than 1 MB; raise trainer\.limits\.log_megabytes"
    ):
        play.run(
            """
            for _ in range(400):
                print("x" * 100_000, flush=True)
                time.sleep(0.01)
            """,
            log_megabytes=1,
        )
    assert len(play.log) <= 1_000_000


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "take",
    ["kept.append(bytearray(4 << 20))", "os.fork() or time.sleep(20)"],
)
def test_out_of_memory_is_said_with_the_figure_and_the_key(
    play: Play, monkeypatch: pytest.MonkeyPatch, take: str
) -> None:
    monkeypatch.setattr(trainers, "MEMORY", 96 << 20)
    with pytest.raises(Refused, match="ran out of memory: it used more than 96 MiB; raise trainer"):
        play.run(
            f"""
            kept = [bytearray(os.urandom(1 << 20)) for _ in range(40)] if "fork" in {take!r} else []
            for n in range(100):
                {take}
                kept[-1][0] = n
                time.sleep(0.02)
                if "fork" in {take!r} and n > 3:
                    kept.append(bytearray(os.urandom(4 << 20)))
            time.sleep(5)
            """
        )
    assert "ran out of memory" in play.record["verdict"]["reason"]  # type: ignore[index]


@pytest.mark.long
def test_memory_that_processes_share_counts_once(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainers, "MEMORY", 160 << 20)
    play.run(
        """
        kept = os.urandom(60 << 20)
        for _ in range(5):
            if os.fork() == 0:
                time.sleep(0.5)
                os._exit(0)
        for _ in range(5):
            os.wait()
        leave_model()
        """
    )


def test_one_that_ignores_sigterm_is_stopped_after_its_time(play: Play) -> None:
    write_trainer(
        play.folder,
        """
        import signal
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
        time.sleep(60)
        """,
    )
    set_trainer(play.job, replace(play.job.model.trainer, timeout_seconds=1))
    began = time.monotonic()
    with pytest.raises(Refused, match="was stopped after its limit of 1 s"):
        train(play.job, play.folder)
    assert time.monotonic() - began < 30
    assert find_running(str(play.folder)) == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_step_that_is_killed_leaves_no_trainer(tmp_path: Path, number: int) -> None:
    code = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        from tests.attacks.test_a_trainer_is_closed_in import make_play, train, write_trainer
        play = make_play(Path({str(tmp_path)!r}))
        write_trainer(play.folder, '''
        if os.fork() == 0:
            os.setsid()
            os.fork()
        (out / "runs").touch()
        time.sleep(60)
        ''')
        train(play.job, play.folder)
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as step:
        deadline = time.monotonic() + 60
        while not (tmp_path / "inputs/out/runs").exists():
            assert time.monotonic() < deadline
            assert step.poll() is None
            time.sleep(0.02)
        step.send_signal(number)
        step.wait(30)
    wait_until_gone(str(tmp_path / "inputs"))


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "leave",
    [
        "os.symlink({target!r}, out / 'model')",
        "(leave_model(), os.unlink(out / 'model/MLmodel'), "
        "os.symlink({target!r}, out / 'model/MLmodel'))",
        "(leave_model(), os.mkfifo(out / 'model/weights'))",
    ],
)
def test_a_link_to_what_it_may_not_read_is_never_followed(
    play: Play, tmp_path: Path, leave: str
) -> None:
    target = tmp_path / "secret"
    target.write_text(SECRET)
    with pytest.raises(Refused, match="link") as refused:
        play.run(leave.format(target=str(target)))
    assert SECRET not in str(refused.value)


def test_a_refusal_by_the_walls_says_what_is_inside_of_them(play: Play) -> None:
    with pytest.raises(Refused, match="the trainer is closed in: it reaches its inputs, --out"):
        play.run("socket.create_connection(('192.0.2.1', 443))", way="landlock")


def test_a_machine_without_means_is_said_so_and_still_ends_everything(play: Play) -> None:
    write_trainer(
        play.folder,
        """
        if os.fork() == 0:
            os.setsid()
            time.sleep(60)
        leave_model()
        """,
    )
    train(play.job, play.folder, ())
    assert play.job.read_document("trainer.json")["isolation"] == "none"
    assert play.job.blank_record(None).isolation is Isolation.NONE  # type: ignore[arg-type]
    assert find_running(str(play.folder)) == []


@pytest.mark.long
def test_the_libraries_that_trainers_use_run_closed_in(play: Play, way: str) -> None:
    log = play.run(
        """
        import multiprocessing, ssl, tempfile, zoneinfo
        import numpy
        with multiprocessing.Pool(2) as pool:
            print(pool.map(abs, [-1, 2]))
        print(numpy.linalg.norm(numpy.ones((50, 50)) @ numpy.ones((50, 50))))
        print(zoneinfo.ZoneInfo("Europe/Berlin"), bool(ssl.create_default_context()))
        with tempfile.NamedTemporaryFile() as file:
            print(os.path.dirname(file.name) == os.environ["TMPDIR"])
        (Path.home() / ".cache").mkdir()
        Path("scratch").write_text("in its working folder")
        print(os.cpu_count() > 0, os.getcwd() != "/", os.getuid())
        leave_model()
        """,
        way=way,
    )
    assert log.splitlines() == [
        "[1, 2]", "2500.0", "Europe/Berlin True", "True", f"True True {os.getuid()}",
    ]  # fmt: skip


def environ_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


def test_what_opens_models_has_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("GITHUB_TOKEN", "MODELYARD_APP_KEY", "MODELYARD_FORGE_TOKEN", "SSH_AUTH_SOCK",
               "AWS_SECRET_ACCESS_KEY", "MODELYARD_NOTIFY", "DATABASE_URL")  # fmt: skip
    for name in secrets:
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    kept = bare_environment()
    assert SECRET not in kept.values()
    assert (kept["OMP_NUM_THREADS"], kept["PATH"]) == ("2", os.environ["PATH"])


@pytest.mark.parametrize(
    "name",
    ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX",
     "PYTHONINSPECT", "PYTHONPLATLIBDIR", "PYTHON_PRESITE", "LD_PRELOAD", "LD_AUDIT"],
)  # fmt: skip
def test_no_variable_brings_code_to_what_opens_a_model(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/opt/other")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/cuda/lib")
    kept = bare_environment()
    assert name not in kept
    assert (kept["PYTHONUNBUFFERED"], kept["LD_LIBRARY_PATH"]) == ("1", "/opt/cuda/lib")


def test_what_forks_trainers_forgets_the_credentials_it_was_started_with(tmp_path: Path) -> None:
    """A fork has the memory of the process that it came from."""
    command = [sys.executable, "-P", "-m", "modelyard", "preload", "--socket", str(tmp_path / "s")]
    environment = {**os.environ, "GITHUB_TOKEN": SECRET}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment
    ) as process:
        deadline = time.monotonic() + 60
        while SECRET in (found := environ_of(process.pid)) or "PATH=" not in found:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()


def test_a_server_is_started_without_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    started: list[object] = []
    monkeypatch.setattr(
        local_servers, "start_modelyard", lambda *_, environment, **__: started.append(environment)
    )
    servers = local_servers.LocalServers(tmp_path / "servers", model="m", payloads=tmp_path)
    monkeypatch.setattr(servers, "_arguments", lambda *_: ["serve"])
    servers.start_server(SimpleNamespace(release="r", grpc_port=None), tmp_path, None)  # type: ignore[arg-type]
    assert len(started) == 1
    assert SECRET not in str(started)
