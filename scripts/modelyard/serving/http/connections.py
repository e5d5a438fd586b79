"""The limits of a connection that uvicorn lacks: on heads, and on what a client owes an answer."""

from __future__ import annotations

import asyncio
import resource
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

HEAD_SECONDS = 30.0
"""For the head of a request to arrive, however slowly its bytes come."""

MAX_HEAD_BYTES = 2**16

ANSWER_SECONDS = 30.0
"""For a client to take an answer that the machine's buffers do not hold, or to send the rest of a
body that was answered before its end."""

LINGER_SECONDS = 0.5
"""Before an idle connection is closed: its client may have sent a request in this very moment."""

_TURN_SECONDS = 0.01
"""For the loop to read what has come."""


class StoppingState(ServerState):
    """What the connections of a server share: also whether it is stopping."""

    is_stopping = False


class _Parser(httptools.HttpRequestParser):
    """Tells its protocol where the request goes on that asked for another protocol."""

    def __init__(self, protocol: LimitedProtocol) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def feed_data(self, data: Any) -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as found:
            if not self._protocol.wants_upgrade:
                raise
            self._protocol.leave_out_upgrade(data[found.args[0] :])


class LimitedProtocol(HttpToolsProtocol):
    """HTTP whose connections are dropped when their client does not do its part in time.

    A head that does not arrive, or has no end; an answer that is not taken; a body that goes on
    after its answer; and an idle connection, whatever the bytes were that came last.
    """

    _timer: asyncio.TimerHandle | None = None
    _answer_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0
    _head_until = 0.0
    _first_line = _left = b""
    wants_upgrade = False
    """Whether the request asks for another protocol, which a server may leave out."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.parser = _Parser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._begin_head()
        if self._is_stopping:
            # Accepted in the moment of the stop, and not yet among those that were told of it.
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, which would keep the connection in memory until they ring."""
        super().connection_lost(exc)
        self._in_head = False
        for timer in (self._timer, self._answer_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read on, and drop a connection whose head is too long."""
        was_in_head = self._in_head
        super().data_received(data)
        while self._left:
            left, self._left = self._left, b""
            super().data_received(left)
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.abort()
        self._wait_for_next()

    def on_message_begin(self) -> None:
        """Start the clock at the first byte of a head."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """Stop the clock at the last."""
        self._in_head = False
        method = self.parser.get_method()
        self.wants_upgrade = self.parser.should_upgrade() and method != b"CONNECT"
        if self.wants_upgrade:
            version = self.parser.get_http_version().encode()
            self._first_line = b"%s %s HTTP/%s" % (method, self.url, version)
            return
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Stop the clock of a body that was answered before its end."""
        if self.wants_upgrade:
            return
        super().on_message_complete()
        # uvicorn leaves it as it is where the answer came first.
        self.cycle.more_body = False
        self._watch_answer()

    def leave_out_upgrade(self, rest: bytes) -> None:
        """Let the request be read again as if it asked for no other protocol.

        The parser takes all after such a head for the other protocol. Java's client asks for HTTP/2
        in its first request, which may have a body.

        Args:
            rest: What came behind the head.
        """
        lines = [b"%s: %s" % each for each in self.headers if each[0] != b"upgrade"]
        self.parser = _Parser(self)
        self._left = b"\r\n".join([self._first_line, *lines, b"", rest])

    def on_response_complete(self) -> None:
        """Start the clock if the client has to do something yet."""
        super().on_response_complete()
        self._watch_answer()

    def pause_writing(self) -> None:
        """Start the clock of an answer that is not taken."""
        super().pause_writing()
        self._watch_answer()

    def resume_writing(self) -> None:
        """Stop it."""
        super().resume_writing()
        self._watch_answer()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if its client never took the end of the last answer."""
        super().timeout_keep_alive_handler()
        self._watch_answer()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        super().send_400_response(msg)
        self._watch_answer()

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

    def _watch_answer(self) -> None:
        """Run the clock of an answer while the client owes something."""
        # There is none before the first request, whatever uvicorn's annotation says.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        is_body_left = cycle is not None and cycle.response_complete and cycle.more_body
        # One that is closing waits for its client to take what is left.
        if self.flow.write_paused or is_body_left or self.transport.is_closing():
            if self._answer_timer is None:
                later = self.loop.call_later
                self._answer_timer = later(ANSWER_SECONDS, self.transport.abort)
        elif self._answer_timer is not None:
            self._answer_timer.cancel()
            self._answer_timer = None

    def _wait_for_next(self) -> None:
        """Run the clock of an idle connection, which uvicorn stops at any byte."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        is_idle = cycle is not None and cycle.response_complete and not self._in_head
        if is_idle and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            later = self.loop.call_later
            self.timeout_keep_alive_task = later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

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
