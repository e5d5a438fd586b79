"""A private Gitea: one process on a port of its own, with everything it keeps in one folder."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import httpx

from e2e.forge.programs import GITEA, program

READY_SECONDS = 60
STOP_SECONDS = 20
_SETTINGS = Template("""\
APP_NAME = yard
RUN_MODE = prod
RUN_USER = $user
WORK_PATH = $folder
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = $is_root
[server]
HTTP_ADDR = $address
HTTP_PORT = $port
ROOT_URL = http://$address:$port/
STATIC_ROOT_PATH = $static
DISABLE_SSH = true
OFFLINE_MODE = true
LFS_START_SERVER = false
[database]
DB_TYPE = sqlite3
PATH = $folder/gitea.db
SQLITE_JOURNAL_MODE = WAL
[repository]
ROOT = $folder/repositories
DEFAULT_BRANCH = main
ALLOW_ADOPTION_OF_UNADOPTED_REPOSITORIES = true
[security]
INSTALL_LOCK = true
SECRET_KEY = of-a-test
INTERNAL_TOKEN = of-a-test
PASSWORD_HASH_ALGO = pbkdf2_v1
[oauth2]
ENABLED = false
[service]
DISABLE_REGISTRATION = true
ENABLE_NOTIFY_MAIL = false
[webhook]
ALLOWED_HOST_LIST = loopback,private
[actions]
ENABLED = true
DEFAULT_ACTIONS_URL = self
[indexer]
ISSUE_INDEXER_TYPE = db
[cron]
ENABLED = false
[log]
LEVEL = Warn
""")


@dataclass(kw_only=True)
class Gitea:
    """Where a Gitea is, and the process that serves it.

    Args:
        folder: Its settings, database, repositories and log.
        address: Where it listens.
        port: The same; 0 until `install` finds a free one.
        client: For requests to it, as long as it runs.
    """

    folder: Path
    address: str = "127.0.0.1"
    port: int = 0
    client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=60))
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def repositories(self) -> Path:
        """The folder of the bare repositories: `<owner>/<name>.git`."""
        return self.folder / "repositories"

    @property
    def log(self) -> Path:
        return self.folder / "gitea.log"

    @property
    def argv(self) -> list[str]:
        """What serves it, once it is installed."""
        return [str(program(GITEA)), "--config", str(self._settings), "web"]

    @property
    def environment(self) -> dict[str, str]:
        """No settings of the tests' Git, and none of the user's."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        return kept | {"HOME": str(self.folder), "USER": getpass.getuser()}

    def install(self) -> None:
        """Write the settings, with a free port unless one was given, and make the database."""
        self.port = self.port or free_port(self.address)
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {
            "user": getpass.getuser(),
            "folder": self.folder,
            "is_root": str(os.geteuid() == 0).lower(),
            "address": self.address,
            "port": self.port,
            "static": program(GITEA).with_name("static"),
        }
        self.client.base_url = self.url
        self._settings.write_text(_SETTINGS.substitute(values))
        self.command("migrate")

    def command(self, *arguments: str) -> str:
        """Run one of Gitea's own commands, and return what it says."""
        result = subprocess.run(
            [program(GITEA), "--config", self._settings, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise AssertionError(f"gitea {arguments[0]} failed: {result.stdout}{result.stderr}")
        return result.stdout

    def start(self) -> None:
        """Serve, and return once the API answers."""
        # The kernel ends it with the tests, even if these are killed.
        bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*bound, *self.argv],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"Gitea does not serve: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the process that `start` started."""
        self.client.close()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def answers(self) -> bool:
        """Whether its API does."""
        try:
            return self.client.get(f"{self.url}/api/v1/version").is_success
        except httpx.TransportError:
            return False

    @property
    def _settings(self) -> Path:
        return self.folder / "app.ini"


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        return listener.getsockname()[1]
