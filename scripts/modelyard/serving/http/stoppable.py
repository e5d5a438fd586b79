"""uvicorn as a server that tells when it is stopped, and that it is not stuck."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Literal, Protocol

import uvicorn

from modelyard.serving.http.connections import LimitedProtocol, StoppingState
from modelyard.serving.workers.group import cannot_listen

if TYPE_CHECKING:
    from starlette.types import ASGIApp

Loop = Literal["auto", "asyncio"]


class Beside(Protocol):
    """Another protocol's server, in the same event loop."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self) -> None:
        """Answer what is in flight, and listen no more."""


GRACE_SECONDS = 30
"""For requests in flight; with that of the log less than a pod has: see render/pod.py."""

KEEP_ALIVE_SECONDS = 65
"""For an idle connection: more than proxies keep one."""


class Server(uvicorn.Server):
    """uvicorn with the limits of `LimitedProtocol`.

    Args:
        app: The application.
        host: The address to listen on.
        port: The port.
        loop: Its event loop.
        on_stop: Called when it is told to stop.
        on_tick: Called ten times a second, unless the event loop is stuck.
        beside: Starts before it, and stops with it; None for nothing.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        loop: Loop,
        on_stop: Callable[[], None],
        on_tick: Callable[[], None],
        beside: Beside | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                loop=loop,
                http=LimitedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._on_stop, self._on_tick, self._beside = on_stop, on_tick, beside
        self.server_state = self._state = StoppingState()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; uvicorn would end the process by the exit code of a refusal if it cannot."""
        if self._beside is not None:
            await self._beside.start()
        try:
            await super().startup(sockets)
        except (OSError, SystemExit) as error:
            why = error.__context__ if isinstance(error, SystemExit) else error
            raise cannot_listen(self.config.host, self.config.port, why) from error

    async def on_tick(self, counter: int) -> bool:
        """Tell that the event loop goes on."""
        self._on_tick()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is in flight; also on connections that are only just accepted."""
        self._state.is_stopping = True
        if self._beside is None:
            await super().shutdown(sockets)
        else:
            await asyncio.gather(super().shutdown(sockets), self._beside.stop())

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; uvicorn would end the process by the signal afterwards."""
        stopping = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in stopping}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Be no longer ready, answer what is in flight, and end."""
        self._on_stop()
        super().handle_exit(sig, frame)
