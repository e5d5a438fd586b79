from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from adapters.processes.preloading import preloaded_process
from modelyard.adapters.processes import process_table
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.processes.process_table import Started
from modelyard.adapters.processes.start import (
    Running,
    TerminatedError,
    holding_signals,
    is_process_alive,
    run_command,
    start_command,
    start_modelyard,
    stop_process,
    unwinding_on_signals,
)

PROBE = """\
import json, os, random, sys, threading
import {modules}
print(json.dumps({{
    "argv": sys.argv[1:],
    "cwd": os.getcwd(),
    "seen": os.environ.get("SEEN"),
    "own_session": os.getsid(0) == os.getpid(),
    "random": random.random(),
    "numpy": __import__("numpy").random.random(),
    "preloaded": os.getppid() == int(os.environ["PRELOADED_PID"]),
    "stdin": sys.stdin.read(),
    "descriptors": len(os.listdir("/proc/self/fd")),
}}))
print("to stderr", file=sys.stderr)
threading.Timer(0.05, lambda: print("a thread's last word")).start()
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def preloaded(tmp_path, monkeypatch):
    address = tmp_path / "socket"
    with preloaded_process(address, ["numpy.random"]) as process:
        assert process.stdout.readline() == b"ready\n"
        monkeypatch.setenv(PRELOADED, str(address))
        monkeypatch.setenv("PRELOADED_PID", str(process.pid))
        yield process


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.delenv(PRELOADED, raising=False)
    monkeypatch.setenv("PRELOADED_PID", "0")


@pytest.fixture(params=["plain", "preloaded"])
def way(request):
    request.getfixturevalue(request.param)
    return request.param


@pytest.fixture
def script(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "script.py"
        path.write_text(text)
        return str(path)

    return write


def launch(tmp_path: Path, *command: str, **extra: str) -> Running:
    return start_command(
        command,
        cwd=tmp_path,
        environment={**os.environ, **extra},
        output=tmp_path / "log",
    )


def modelyard(*arguments: str, cwd: Path, output: Path) -> int:
    return run_command(["modelyard", *arguments], cwd=cwd, environment=os.environ, output=output)


def eventually(condition, seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


def test_a_process_gets_its_arguments_folder_environment_files_and_session(way, tmp_path, script):
    probe = script(PROBE.format(modules="os"))
    code = launch(tmp_path, "python", probe, "7", "x y", SEEN="yes").wait(20)
    said, *rest = (tmp_path / "log").read_text().splitlines()
    if said == "to stderr":
        said, rest = rest[0], [said, *rest[1:]]
    document = json.loads(said)
    numbers = {document.pop("random"), document.pop("numpy")}
    assert len(numbers) == 2
    assert document.pop("descriptors") <= 6
    assert document == {
        "argv": ["7", "x y"],
        "cwd": str(tmp_path),
        "seen": "yes",
        "own_session": True,
        "preloaded": way == "preloaded",
        "stdin": "",
    }
    assert sorted(rest) == ["a thread's last word", "to stderr"]
    assert code == 7


def test_forked_processes_draw_different_random_numbers(preloaded, tmp_path, script):
    probe = script(PROBE.format(modules="os"))
    for _ in range(3):
        assert launch(tmp_path, "python", probe, "0").wait(20) == 0
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line[0] == "{"]
    documents = [json.loads(line) for line in lines]
    assert len({d["random"] for d in documents} | {d["numpy"] for d in documents}) == 6


def test_an_uncaught_error_is_exit_code_1_with_its_traceback(way, tmp_path, script):
    assert launch(tmp_path, "python", script("raise ValueError('so it is')")).wait(20) == 1
    assert "ValueError: so it is" in (tmp_path / "log").read_text()


def test_a_signal_is_128_plus_its_number(way, tmp_path, script):
    own = script("import os, signal; os.kill(os.getpid(), signal.SIGTERM); input()")
    assert launch(tmp_path, "python", own).wait(20) == 143


@pytest.mark.sample(1)
def test_a_running_process_has_no_exit_code_yet(way, tmp_path, script):
    running = launch(tmp_path, "python", script("import time; time.sleep(60)"))
    with pytest.raises(TimeoutError, match=r"did not end within 0\.1 s"):
        running.wait(0.1)
    assert running.poll() is None
    stop_process(running.started, grace_seconds=5)
    assert running.wait(30) == 143


def test_stop_kills_what_ignores_it_and_all_of_its_session(way, tmp_path, script):
    stubborn = script(
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import signal, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)'],"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    running = launch(tmp_path, "python", stubborn)
    log = tmp_path / "log"
    assert eventually(lambda: log.read_text().endswith("\n"))
    child = process_table.find_process(int(log.read_text()))
    assert is_process_alive(running.started)
    assert is_process_alive(child)
    stop_process(running.started, grace_seconds=0.2)
    assert not is_process_alive(running.started)
    assert eventually(lambda: not is_process_alive(child))
    assert running.wait(30) == 137


def test_stop_never_signals_a_number_that_is_another_process_now(plain, tmp_path):
    running = launch(tmp_path, "sleep", "60")
    before = Started(pid=running.started.pid, start_time=running.started.start_time - 1)
    assert not is_process_alive(before)
    stop_process(before, grace_seconds=0.1)
    assert is_process_alive(running.started)
    stop_process(running.started)
    assert running.wait(30) == 143


@pytest.mark.long
def test_a_dead_preloaded_process_is_warned_of_once_and_done_without(
    preloaded, tmp_path, script, caplog
):
    preloaded.kill()
    preloaded.wait(30)
    probe = script(PROBE.format(modules="os"))
    with caplog.at_level(logging.WARNING):
        codes = [launch(tmp_path, "python", probe, str(n)).wait(20) for n in (0, 5)]
    address = os.environ[PRELOADED]
    assert codes == [0, 5]
    assert [record.getMessage() for record in caplog.records] == [
        f"MODELYARD_PRELOADED names {address}, where nothing answers: starting plain processes"
    ]


def test_a_forked_process_is_followed_to_its_end_though_its_parent_is_killed(
    preloaded, tmp_path, script
):
    slow = script(
        "import sys, time\n"
        "from pathlib import Path\n"
        "print('on', flush=True)\n"
        "while not Path('may end').exists():\n"
        "    time.sleep(0.01)\n"
        "sys.exit(9)\n"
    )
    running = launch(tmp_path, "python", slow)
    assert eventually(lambda: (tmp_path / "log").read_text() == "on\n")
    preloaded.kill()
    preloaded.wait(30)
    (tmp_path / "may end").touch()
    assert running.wait(30) == 9


def test_a_followed_process_is_killed_with_the_one_that_asked_for_it(preloaded, tmp_path, script):
    asker = script(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from modelyard.adapters.processes.start import start_command\n"
        "out = Path(sys.argv[1])\n"
        "sleeper = out.with_name('sleeper.py')\n"
        "sleeper.write_text('import time; time.sleep(60)')\n"
        "one = start_command(['python', str(sleeper)], cwd=out.parent,"
        " environment=os.environ, output=out.with_name('inner'))\n"
        "print(one.started.pid, one.started.start_time, flush=True)\n"
        "time.sleep(60)\n"
    )
    running = launch(tmp_path, "python", asker, str(tmp_path / "log"))
    assert eventually(lambda: (tmp_path / "log").read_text().endswith("\n"))
    pid, start_time = (int(word) for word in (tmp_path / "log").read_text().split())
    sleeper = Started(pid=pid, start_time=start_time)
    assert is_process_alive(sleeper)
    os.kill(running.started.pid, signal.SIGKILL)
    assert running.wait(30) == 137
    assert eventually(lambda: not is_process_alive(sleeper))


@pytest.mark.long
def test_another_interpreter_environment_is_not_forked(preloaded, tmp_path, script):
    probe = script(PROBE.format(modules="os"))
    assert launch(tmp_path, "python", probe, "0", PYTHONHASHSEED="1").wait(20) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["preloaded"] for line in lines if line[0] == "{"] == [False]


def test_nonsense_on_the_socket_harms_no_other_client(preloaded, tmp_path, script):
    for nonsense in (b"", b"nonsense\n", b"{}\n"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.connect(os.environ[PRELOADED])
            asked.sendall(nonsense)
            asked.shutdown(socket.SHUT_WR)
            assert asked.recv(100) == b""
    assert launch(tmp_path, "python", script("print('still here')")).wait(20) == 0


def test_the_preloaded_process_ends_with_its_stdin_and_takes_its_socket_along(tmp_path):
    address = tmp_path / "socket"
    with preloaded_process(address, ["json"]) as process:
        assert process.stdout.readline() == b"ready\n"
        process.stdin.close()
        assert process.wait(30) == 0
        assert not address.exists()


def test_refuses_to_preload_what_starts_threads(tmp_path, monkeypatch):
    (tmp_path / "threaded.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(9,), name='worker', daemon=True).start()\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from pathlib import Path;"
            "from modelyard.adapters.processes.preloaded import serve_forks;"
            "serve_forks(Path('socket'), ['threaded'], prepare=list, ready=print)",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert "the preloaded modules started threads (" in done.stderr
    assert "worker" in done.stderr
    assert done.returncode == 1


def test_a_forked_process_that_nobody_waits_for_ends_like_any_other(preloaded, tmp_path, script):
    log = tmp_path / "log"
    started = start_modelyard(["--version"], cwd=tmp_path, log=log)
    assert eventually(lambda: not is_process_alive(started))
    assert re.fullmatch(r"modelyard \d+\.\d+\.\d+\n", log.read_text())
    assert launch(tmp_path, "python", script("import sys; sys.exit(4)")).wait(20) == 4
    assert preloaded.poll() is None
    assert Path(os.environ[PRELOADED]).exists()


@pytest.mark.long
def test_run_appends_to_its_log_and_start_survives_its_starter(plain, tmp_path):
    log = tmp_path / "logs" / "log"
    assert modelyard("--version", cwd=tmp_path, output=log) == 0
    assert modelyard("no-such-command", cwd=tmp_path, output=log) == 2
    assert "no-such-command" in log.read_text()
    started = start_modelyard(["--version"], cwd=tmp_path, log=log)
    assert eventually(lambda: not is_process_alive(started))


def waiting(tmp_path: Path, timeout: str) -> tuple[subprocess.Popen[bytes], Started]:
    """A process that runs `modelyard preload`, which serves until it is stopped."""
    code = (
        "import os; from pathlib import Path;"
        "from modelyard.adapters.processes.start import run_command;"
        "run_command(['modelyard', 'preload', '--socket', 'socket'], cwd=Path(),"
        " environment=os.environ, output=Path('log'),"
        f" timeout={timeout})"
    )
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE)
    children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children")
    assert eventually(lambda: children.read_text().split() or runner.poll() is not None)
    started = process_table.find_process(int(children.read_text().split()[0]))
    assert started is not None
    return runner, started


def test_run_ends_the_process_that_does_not_end_in_time(plain, tmp_path):
    runner, started = waiting(tmp_path, "0.5")
    _, errors = runner.communicate(timeout=30)
    assert b"TimeoutError: process " in errors
    assert not is_process_alive(started)


def test_a_terminated_run_ends_its_process_first(plain, tmp_path):
    runner, started = waiting(tmp_path, "None")
    runner.terminate()
    _, errors = runner.communicate(timeout=30)
    assert (runner.returncode, errors) == (-signal.SIGTERM, b"")
    assert not is_process_alive(started)


def own_children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


def signalled_while_launching(tmp_path: Path, number: int) -> Running:
    with unwinding_on_signals():
        with holding_signals():
            os.kill(os.getpid(), number)
            running = launch(tmp_path, "sleep", "60")
        try:
            running.wait(10)
        except BaseException:
            stop_process(running.started)
            running.release()
            raise
    return running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_process_is_started_is_raised_once_its_number_is_known(
    plain, tmp_path, number
):
    struck: list[int] = []
    earlier = own_children()
    before = signal.signal(signal.SIGTERM, lambda n, _: struck.append(n))
    try:
        with pytest.raises((TerminatedError, KeyboardInterrupt)):
            signalled_while_launching(tmp_path, number)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert struck == ([number] if number == signal.SIGTERM else [])
    assert own_children() <= earlier


def test_an_interpreter_exits_silently_while_its_children_run_on(plain, tmp_path):
    code = (
        "from pathlib import Path; from modelyard.adapters.processes.start import start_command;"
        "start_command(['sleep', '2'], cwd=Path(), environment={'PATH': '/bin:/usr/bin'},"
        " output=Path('log')).release()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.long
def test_the_command_itself_is_forked_and_prints_its_help(tmp_path, monkeypatch):
    address = tmp_path / "socket"
    command = [sys.executable, "-P", "-m", "modelyard", "preload", "--socket", str(address)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        monkeypatch.setenv(PRELOADED, str(address))
        forked = modelyard("--help", cwd=tmp_path, output=tmp_path / "forked")
        process.stdin.close()
        assert process.wait(30) == 0
    monkeypatch.delenv(PRELOADED)
    plain = modelyard("--help", cwd=tmp_path, output=tmp_path / "plain")
    assert (forked, plain) == (0, 0)
    assert (tmp_path / "forked").read_text() == (tmp_path / "plain").read_text()
