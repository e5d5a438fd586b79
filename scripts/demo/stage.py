"""The stage of the demo: a yard, its forge, its servers, and the commands that people type."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.rule import Rule

from demo.watcher import Watcher, WatcherError
from modelyard.adapters.processes.fork_client import PRELOADED
from modelyard.adapters.processes.start import run_command
from modelyard.operations.content.new_yard import write_yard, yard_files
from modelyard.operations.content.toolkit_lock import read_wheel

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL_FOLDER = "models/flight-delay"
PEOPLE = ("ada", "grace")
STARTED_WITHIN = 120
LONGEST_COMMAND = 300


class SceneFailedError(Exception):
    """A scene did not succeed."""


@dataclass
class Scene:
    """A scene, as the table at the end shows it."""

    number: int
    title: str
    seconds: float = 0.0
    result: str = ""
    failed: str | None = None


@dataclass
class Stage:
    """Where the demo is played.

    Args:
        folder: Holds `forge.git`, `yard` (the checkout) and the files that scenes write.
        console: Shows commands and their output.
    """

    folder: Path
    console: Console
    scenes: list[Scene] = field(default_factory=list)
    _preloaded: subprocess.Popen[bytes] | None = None
    _sockets: Path | None = None
    _watcher: Watcher | None = None

    @property
    def yard(self) -> Path:
        """The checkout that people and the tool work in."""
        return self.folder / "yard"

    @property
    def forge(self) -> Path:
        """The bare repository that stands for the forge."""
        return self.folder / "forge.git"

    def __enter__(self) -> Self:
        """Create the yard, its forge, and the process that commands are forked from."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._preload()
        self._set_up()
        return self

    def __exit__(self, *_: object) -> None:
        """End the watcher and every server; files stay, to be explored."""
        try:
            # First, for it would start servers again.
            if self._watcher is not None:
                self._watcher.stop()
        finally:
            # Also after a failed scene; there may be no server.
            self.modelyard("servers", "stop", quiet=True, expected=None)
        if self._preloaded is not None and self._preloaded.stdin is not None:
            self._preloaded.stdin.close()
            self._preloaded.wait(timeout=20)
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def title(self, number: int, title: str) -> Scene:
        """Begin a scene."""
        scene = Scene(number=number, title=title)
        self.scenes.append(scene)
        self.console.print()
        self.console.print(Rule(f"[bold]{number}. {title}", align="left"))
        return scene

    def note(self, text: str) -> None:
        """Print a note."""
        self.console.print(f"[dim]{text}[/]")

    def modelyard(
        self,
        *arguments: str,
        expected: int | Sequence[int] | None = 0,
        quiet: bool = False,
        user: str = PEOPLE[0],
    ) -> str:
        """Run one modelyard command in the checkout, show it, and return what it printed.

        Args:
            arguments: Its arguments.
            expected: The exit codes to accept; None accepts any.
            quiet: Show neither the command nor its output.
            user: The person who runs it.
        """
        if not quiet:
            self.console.print(f"[bold cyan]{user}$[/] modelyard {shlex.join(arguments)}")
        code, output = self._run(["modelyard", *arguments], user)
        if output.strip() and not quiet:
            self.console.print(output.rstrip(), highlight=False, markup=False)
        wanted = (expected,) if isinstance(expected, int) else expected
        if wanted is not None and code not in wanted:
            if quiet:
                self.console.print(output, highlight=False, markup=False)
            raise SceneFailedError(f"modelyard {arguments[0]} exited with {code}, not {wanted}")
        return output

    def start_watcher(self) -> None:
        """Start the watcher that goes on until the end, as a person does in a second terminal."""
        self.console.print("[bold cyan]watcher$[/] modelyard watch")
        self._watcher = Watcher(
            self.yard, self.folder / "watch.log", _environment("watcher"), self._show_watcher
        )

    def watcher_says(self, wanted: str) -> str:
        """Wait until the watcher prints a line that matches this pattern; return it."""
        try:
            return self._running_watcher().wait_for(wanted)
        except WatcherError as error:
            raise SceneFailedError(str(error)) from None

    def watcher_says_each(self, *wanted: str) -> None:
        """Wait until the watcher printed lines that match these patterns, in any order."""
        try:
            self._running_watcher().wait_for_each(*wanted)
        except WatcherError as error:
            raise SceneFailedError(str(error)) from None

    def watcher_said(self, wanted: str, *, within: float) -> bool:
        """Whether the watcher prints a line that matches this pattern within so many seconds."""
        try:
            return self._running_watcher().hear(wanted, within=within) is not None
        except WatcherError as error:
            raise SceneFailedError(str(error)) from None

    def _running_watcher(self) -> Watcher:
        if self._watcher is None:
            raise SceneFailedError("the watcher was not started")
        return self._watcher

    def _show_watcher(self, line: str) -> None:
        self.console.print(f"  watcher: {line}", style="green", highlight=False, markup=False)

    def read_json(self, *arguments: str) -> Any:
        """Return the JSON output of a command, without showing it."""
        output = self.modelyard(*arguments, "--output", "json", quiet=True)
        return json.loads(output[output.index("{") :])  # warnings may come before it

    def git(self, *arguments: str, user: str = PEOPLE[0], quiet: bool = False) -> str:
        """Run one git command in the checkout."""
        if not quiet:
            self.console.print(f"[bold cyan]{user}$[/] git {shlex.join(arguments)}")
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.yard,
            env=_environment(user),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SceneFailedError(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.stdout

    def check(self, holds: object, what: str) -> None:
        """End the scene unless this holds."""
        if not holds:
            raise SceneFailedError(f"not true: {what}")

    def _run(self, command: list[str], user: str) -> tuple[int, str]:
        log = self.folder / ".output"
        log.unlink(missing_ok=True)
        environment = _environment(user)
        try:
            code = run_command(
                command, cwd=self.yard, environment=environment, output=log, timeout=LONGEST_COMMAND
            )
        except TimeoutError:
            code = -1
        return code, log.read_text(errors="replace") if log.exists() else ""

    def _preload(self) -> None:
        """Start the process that commands and servers are forked from, its libraries imported."""
        # In a temporary folder: the path of a Unix socket has about 100 bytes at most.
        self._sockets = Path(tempfile.mkdtemp(prefix="modelyard-demo-"))
        socket = self._sockets / "preloaded"
        self._preloaded = subprocess.Popen(
            [sys.executable, "-m", "modelyard", "preload", "--socket", str(socket)],
            env=_environment(PEOPLE[0]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        os.environ[PRELOADED] = str(socket)

    def wait_for_preloaded(self) -> float:
        """Wait until the preloaded process is ready; return the seconds."""
        before = time.monotonic()
        if self._preloaded is None or self._preloaded.stdout is None:
            raise SceneFailedError("the preloaded process was not started")
        if self._preloaded.stdout.readline().strip() != b"ready":
            raise SceneFailedError("the preloaded process did not become ready")
        return time.monotonic() - before

    def _set_up(self) -> None:
        """Do what a team does first: a new yard with one model, and push it."""
        # Also files that are not committed yet: the demo plays the working tree.
        write_yard(self.yard, yard_files(read_wheel(None)))
        shutil.copytree(
            REPOSITORY / MODEL_FOLDER,
            self.yard / MODEL_FOLDER,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(self.forge)],
            check=True,
        )
        self.git("init", "--quiet", "--initial-branch=main", quiet=True)
        self.git("add", "--all", quiet=True)
        self.git("commit", "--quiet", "-m", "A yard of our own", quiet=True)
        self.git("remote", "add", "origin", str(self.forge), quiet=True)
        self.git("push", "--quiet", "--set-upstream", "origin", "main", quiet=True)


def _environment(user: str) -> dict[str, str]:
    return {
        **os.environ,
        "GIT_AUTHOR_NAME": user,
        "GIT_AUTHOR_EMAIL": f"{user}@example.com",
        "GIT_COMMITTER_NAME": user,
        "GIT_COMMITTER_EMAIL": f"{user}@example.com",
        "COLUMNS": "120",
        # An interpreter reads these only at its start, so a command must ask for the values that
        # the preloaded process has, or it cannot be forked from it.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
