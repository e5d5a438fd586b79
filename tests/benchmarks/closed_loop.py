"""A client that keeps some connections busy with one request each, and measures their latency."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Load:
    """What a load on a server showed.

    Args:
        seconds: How long it lasted.
        latencies: Of each answer, in seconds.
        refused: Answers that were not 200.
        health: Latency of each health check meanwhile, in seconds.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    health: list[float] = field(default_factory=list)


def send_load(
    port: int, request: bytes, *, connections: int, seconds: float, health: bytes | None = None
) -> Load:
    """Send one request after the other on each connection; every 50 ms a health check beside them.

    Args:
        port: Where the server listens on this machine.
        request: A whole HTTP request, head and body.
        connections: How many connections are busy.
        seconds: For how long.
        health: A whole request for the health check; None for none.
    """
    return asyncio.run(_send_load(port, request, connections, seconds, health))


async def _send_load(
    port: int, request: bytes, connections: int, seconds: float, health: bytes | None
) -> Load:
    load = Load()
    begin = time.perf_counter()
    end = begin + seconds
    tasks = [_ask(port, request, end, load) for _ in range(connections)]
    if health is not None:
        tasks.append(_check(port, health, end, load))
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - begin
    return load


async def _ask(port: int, request: bytes, end: float, load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        before = time.perf_counter()
        writer.write(request)
        status = await read_status(reader)
        load.latencies.append(time.perf_counter() - before)
        load.refused += status != 200
    writer.close()


async def _check(port: int, health: bytes, end: float, load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < end:
        before = time.perf_counter()
        writer.write(health)
        await read_status(reader)
        load.health.append(time.perf_counter() - before)
        await asyncio.sleep(0.05)
    writer.close()


async def read_status(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, once its body has been read."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.find(b"content-length:")
    if at < 0:
        while (size := int(await reader.readline(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        await reader.readexactly(int(head[at + 15 : head.index(b"\r", at)]))
    return int(head[9:12])
