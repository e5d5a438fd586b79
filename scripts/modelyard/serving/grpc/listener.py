"""The gRPC server of a process: in the event loop of HTTP's, with limits of its connections."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from modelyard.errors import CannotAnswer
from modelyard.serving.http.bodies import MAX_BYTES
from modelyard.serving.http.stoppable import GRACE_SECONDS, KEEP_ALIVE_SECONDS
from modelyard.serving.workers.group import cannot_listen

if TYPE_CHECKING:
    from modelyard.serving.grpc.service import Service

_LOGGER = logging.getLogger(__name__)

AGE_SECONDS = 3
"""Of a connection, after which its client is asked to make another one. Clients of gRPC have one
for all their calls, and a Service of Kubernetes chooses a pod for each connection. So a canary gets
its share, and a pod that is about to stop has no client left: it is out of the Service for
`PRE_STOP_SECONDS` before that, and gRPC cancels what comes in the moment of the stop."""

_MOST_STREAMS = 256  # of a connection; further calls wait in their client
_HANDSHAKE_SECONDS = 30
_LOOK_SECONDS = 0.1


class Listener:
    """Serves the calls of a service on a port, until it is stopped.

    Args:
        service: The calls.
        host: The address to listen on.
        port: The port.
        is_shared: Whether other workers listen on the same port.
    """

    def __init__(self, service: Service, *, host: str, port: int, is_shared: bool) -> None:
        self._service, self._host, self._port, self._is_shared = service, host, port, is_shared
        self._server: grpc.aio.Server | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ended: list[asyncio.Future[None]] = []

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotAnswer: The address is taken, or none of this machine.
        """
        self._server = await self._listen()
        self._watch = asyncio.ensure_future(self._watch_over())

    async def stop(self) -> None:
        """Take no further calls, and answer those that have come."""
        until = asyncio.get_running_loop().time() + GRACE_SECONDS
        if self._watch is not None:
            self._watch.cancel()
        running = [] if self._server is None else [self._server.stop(GRACE_SECONDS)]
        await asyncio.gather(*running, *self._ended)
        await self._service.finish(max(1.0, until - asyncio.get_running_loop().time()))

    async def _listen(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=self._options())
        server.add_generic_rpc_handlers((self._service.handler(),))
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            bound = server.add_insecure_port(f"{host}:{self._port}")
        except RuntimeError as error:
            raise cannot_listen(self._host, self._port, error, option="--grpc-port") from error
        if bound != self._port:
            raise cannot_listen(self._host, self._port, None, option="--grpc-port")
        await server.start()
        return server

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_receive_message_length", MAX_BYTES),
            ("grpc.max_concurrent_streams", _MOST_STREAMS),
            ("grpc.max_connection_idle_ms", 1000 * KEEP_ALIVE_SECONDS),
            ("grpc.max_connection_age_ms", 1000 * AGE_SECONDS),
            # What a client does not take by then is dropped with its connection.
            ("grpc.max_connection_age_grace_ms", 1000 * GRACE_SECONDS),
            ("grpc.server_handshake_timeout_ms", 1000 * _HANDSHAKE_SECONDS),
            # Else a second server would quietly get a part of this one's connections.
            ("grpc.so_reuseport", int(self._is_shared)),
        ]

    async def _watch_over(self) -> None:
        """Listen again where gRPC's own loop has ended.

        A path that is no UTF-8 ends it, for all clients (seen in grpcio 1.85). Then it takes no
        connections, and does not tell.
        """
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._server is not None:
                # What `grpc.aio.Server` asks itself when it is deleted.
                if self._server._server.is_running():  # noqa: SLF001
                    continue
                _LOGGER.error("the gRPC server ended by itself: it is started again")
                self._ended.append(asyncio.ensure_future(self._server.stop(GRACE_SECONDS)))
                self._server = None
            try:
                self._server = await self._listen()
            except CannotAnswer as error:
                _LOGGER.error("%s; it is tried again", error.message)  # noqa: TRY400 - it is known
