"""Drives Chromium over its own pipe: no driver to install, and no port to find."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ANSWERED_WITHIN = 60.0
LONGEST_PICTURE = 4000
OPTIONS = (
    "--headless=new",
    "--no-first-run",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--window-size=1280,900",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """The program; None where there is none."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@dataclass
class Chromium:
    """One browser.

    Args:
        to: Commands go here, each followed by a NUL.
        back: Answers and events come from here.
        complaints: What the console and the log said since the last page was opened.
        requests: Every address that was asked for since then.
    """

    to: int
    back: int
    session: str = ""
    number: int = 0
    rest: bytes = b""
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, method: str, **parameters: Any) -> Any:
        """Send a command and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWERED_WITHIN
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._hear(answer)

    def wait_for(self, event: str) -> None:
        """Wait until an event was heard since the last page was opened."""
        deadline = time.monotonic() + ANSWERED_WITHIN
        while event not in [each["method"] for each in self.events]:
            self._hear(self._next(deadline))

    def open(self, address: str) -> None:
        """Open a page and wait until it is loaded."""
        self.complaints, self.requests, self.events = [], [], []
        self.ask("Page.navigate", url=address)
        self.wait_for("Page.loadEventFired")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        done = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                     windowsVirtualKeyCode=code, **(text if kind == "keyDown" else {}))  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """Prefer `light` or `dark` from now on."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def keep_picture(self, file: Path) -> None:
        """Keep a picture of the page, as far as a person would scroll."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "scale": 1, "width": size["width"]}
        clip["height"] = min(size["height"], LONGEST_PICTURE)
        taken = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def _next(self, deadline: float) -> Any:
        while b"\0" not in self.rest:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.back], [], [], max(left, 0))
            assert ready, "chromium does not answer"
            part = os.read(self.back, 1 << 20)
            assert part, "chromium ended"
            self.rest += part
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def _hear(self, event: dict[str, Any]) -> None:
        self.events.append({"method": event.get("method", "")})
        said = event.get("params", {})
        match event.get("method"):
            case "Log.entryAdded":
                self.complaints.append(said["entry"]["text"])
            case "Runtime.consoleAPICalled" if said["type"] in {"error", "warning", "assert"}:
                self.complaints.append(str(said["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(str(said["exceptionDetails"]))
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])


@contextmanager
def started(program: str, folder: Path) -> Iterator[Chromium]:
    """A browser with one empty page, ended afterwards."""
    read_here, write_there = os.pipe()
    read_there, write_here = os.pipe()
    # The pipe is on descriptors 3 and 4. Its sandbox needs rights that root of a container lacks.
    words = [program, *OPTIONS, f"--user-data-dir={folder}"]
    words += ["--no-sandbox"] if os.geteuid() == 0 else []
    script = f'exec "$@" 3<&{read_there} 4>&{write_there}'
    with subprocess.Popen(
        ["bash", "-c", script, "chromium", *words],
        pass_fds=(read_there, write_there),
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    ) as process:
        os.close(read_there)
        os.close(write_there)
        browser = Chromium(to=write_here, back=read_here)
        try:
            made = browser.ask("Target.createTarget", url="about:blank")
            target = made["targetId"]
            browser.session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)[
                "sessionId"
            ]
            for domain in ("Page", "Runtime", "Log", "Network"):
                browser.ask(f"{domain}.enable")
            yield browser
            browser.session = ""
            browser.ask("Browser.close")
        finally:
            os.close(write_here)
            os.close(read_here)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
