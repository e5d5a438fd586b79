"""The limits of a connection that uvicorn lacks: on the time and the size of a request's head."""

from __future__ import annotations

import asyncio
import resource
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

HEAD_SECONDS = 30.0
"""For the head of a request to arrive, however slowly its bytes come."""

MAX_HEAD_BYTES = 2**16

LINGER_SECONDS = 0.5
"""Before an idle connection is closed: its client may have sent a request in this very moment."""

_TURN_SECONDS = 0.01
"""For the loop to read what has come."""


class StoppingState(ServerState):
    """What the connections of a server share: also whether it is stopping."""

    is_stopping = False


class LimitedProtocol(HttpToolsProtocol):
    """HTTP whose connections are dropped when a head does not arrive in time, or has no end."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0
    _head_until = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._begin_head()
        if self._is_stopping:
            # Accepted in the moment of the stop, and not yet among those that were told of it.
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer, which would keep the connection in memory until it rings."""
        super().connection_lost(exc)
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on, and drop a connection whose head is too long."""
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Start the clock at the first byte of a head."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """Stop the clock at the last."""
        self._in_head = False
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Answer what is on its way, and close the connection."""
        # There is none before the first request, whatever uvicorn's annotation says.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or cycle.response_complete:
            self.loop.call_later(LINGER_SECONDS, self._close_idle)
        else:
            super().shutdown()

    @property
    def _is_stopping(self) -> bool:
        return isinstance(self.server_state, StoppingState) and self.server_state.is_stopping

    def _close_idle(self) -> None:
        if self._in_head and self._head_bytes:
            return  # its answer ends the connection, or its clock does
        # Not now: a loop that was busy may ring its timers before it reads what has come.
        self.loop.call_later(_TURN_SECONDS, super().shutdown)

    def _begin_head(self) -> None:
        self._head_bytes = 0
        if not self._in_head:
            self._in_head = True
            self._head_until = self.loop.time() + HEAD_SECONDS
        # One timer for all heads of 30 s: to set and cancel it for each costs more.
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._look_at_head)

    def _look_at_head(self) -> None:
        self._timer = None
        if not self._in_head:
            return
        left = self._head_until - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._look_at_head)
        else:
            self.transport.abort()


def allow_many_connections() -> None:
    """Raise this process's limit of open files to what the machine allows.

    Else idle connections would soon leave none for a probe.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
