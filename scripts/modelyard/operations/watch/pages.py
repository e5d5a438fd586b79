"""Serves the pages of the site while the watcher runs; nobody changes anything there."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from modelyard.adapters.bounded_http import BoundedServer
from modelyard.adapters.site.templates import content_policy
from modelyard.errors import YardError
from modelyard.operations.site.pages import SiteWritten, write_site
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

FOLDER = "site"
"""The folder of the pages, in that of the state."""

PAUSE_SECONDS = 30.0
"""After pages that could not be written, before the next try."""

JUDGED_SECONDS = 60.0
"""Between two writings while a release is judged: its counts grow, and no ref moves."""


class LivePages:
    """The site, written again whenever something moved, in a thread of its own.

    Args:
        workspace: What to read from; no other thread works with it.
        host: The address to listen on.
        port: The port; 0 for any that is free.

    Raises:
        CannotAnswer: Nothing can listen there.
    """

    def __init__(self, workspace: Workspace, host: str, port: int) -> None:
        services = workspace.services
        self._workspace = workspace
        self._refs: Mapping[str, str] | None = None
        self._moved = threading.Event()
        self.folder = services.root / services.repository.state / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self.server = BoundedServer(host, port, _app(self.folder, host))
        self.server.start()
        threading.Thread(target=self._write_forever, name="pages", daemon=True).start()

    def refresh(self, refs: Mapping[str, str]) -> None:
        """Have the pages of what moved written; a watcher neither waits for them nor needs them.

        Args:
            refs: The forge's refs: nothing moved if they are the same as before.
        """
        if refs != self._refs:
            self._refs = dict(refs)
            self._moved.set()

    def _write_forever(self) -> None:
        pause: float | None = None
        while True:
            self._moved.wait(pause)
            self._moved.clear()  # before the reading: what moves during it is written next
            written = self._write()
            if written is None:
                self._moved.set()
                time.sleep(PAUSE_SECONDS)
            else:
                pause = JUDGED_SECONDS if written.is_judging else None

    def _write(self) -> SiteWritten | None:
        """Write the pages; None if they have to be tried again."""
        try:
            return write_site(self._workspace, self.folder)
        except YardError as error:
            logger.warning("the pages stay as they are: %s", error.message)
        except Exception:
            logger.exception("the pages stay as they are")
        return None


def _app(folder: Path, host: str) -> ASGIApp:
    pages = Starlette(routes=[Mount("/", StaticFiles(directory=folder, html=True))])
    return _with_headers(_for_own_names(pages, host))


def _for_own_names(app: ASGIApp, host: str) -> ASGIApp:
    """The same answers, for a browser that was not sent here by a name of somebody else.

    A site on the internet may say that its name has an address of this machine or network, and
    would read the pages in a browser here. No site can say so of an address, or of these names.
    """
    own = {name.lower() for name in (host, "localhost", socket.gethostname())}

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked_host(Headers(scope=scope).get("host", ""))
        answer = app
        if asked not in own and not _is_address(asked):
            text = "Not a name of this server: ask by its address, or run it with --pages NAME:PORT"
            answer = PlainTextResponse(f"{text}\n", 400)
        await answer(scope, receive, send)

    return answering


def _asked_host(header: str) -> str:
    """The host of a Host header without its port; empty if there is none."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _with_headers(app: ASGIApp) -> ASGIApp:
    """The same answers, with what a page cannot say of itself."""
    policy = f"{content_policy()}; frame-ancestors 'none'"
    own = [
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    ]

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        await app(scope, receive, sending)

    return answering
