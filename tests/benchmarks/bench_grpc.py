"""The Open Inference Protocol by gRPC beside the same by HTTP, of the same server in turns.

CPU of the server a request, and requests a second; JSON over HTTP, and contents and raw tensors
over gRPC. And what a server costs that answers gRPC, too: its start and its memory.

Run it as a script; it prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import grpc
from bench_serving import Started, figures_of, median_of, started
from closed_loop import Load, send_load
from served_flights import Candidate, candidates, make_artifact

from modelyard.adapters.cluster.local_servers import free_port
from modelyard.serving.grpc.messages import SERVICE, message_class
from modelyard.serving.grpc.tensors import FIELDS
from modelyard.serving.http.binary import write_values

CELLS = ((1, 1), (8, 1), (1, 1000), (8, 1000))
"""Connections and rows a request."""

WAYS = ("http", "grpc", "grpc-raw")


def grpc_request(candidate: Candidate, rows: int, *, is_raw: bool) -> bytes:
    """The message of a request for so many rows; what JSON has as null is NaN or left out."""
    request = message_class("ModelInferRequest")(model_name="flight-delay")
    for each in candidate.documents[rows]["inputs"]:
        kind, values = each["datatype"], each["data"]
        if all(value is None for value in values):
            continue
        if kind == "FP64":
            values = [float("nan") if value is None else value for value in values]
        tensor = request.inputs.add(name=each["name"], datatype=kind, shape=each["shape"])
        if is_raw:
            request.raw_input_contents.append(write_values(kind, values))
        else:
            typed = [value.encode() for value in values] if kind == "BYTES" else values
            getattr(tensor.contents, FIELDS[kind]).extend(typed)
    content: bytes = request.SerializeToString()
    return content


def send_calls(port: int, message: bytes, *, connections: int, seconds: float) -> Load:
    """One call after the other on each of some connections."""
    return asyncio.run(_send_calls(port, message, connections, seconds))


async def _send_calls(port: int, message: bytes, connections: int, seconds: float) -> Load:
    load, begin = Load(), time.perf_counter()

    async def ask() -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=own) as channel:
            call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
            while time.perf_counter() < begin + seconds:
                before = time.perf_counter()
                await call(message)
                load.latencies.append(time.perf_counter() - before)

    await asyncio.gather(*(ask() for _ in range(connections)))
    load.seconds = time.perf_counter() - begin
    return load


def measure(
    server: Started, port: int, way: str, *, connections: int, rows: int, seconds: float
) -> dict[str, float]:
    """One cell of one round."""
    candidate, before = server.candidate, server.cpu_seconds
    if way == "http":
        request = candidate.request(rows)
        load = send_load(server.port, request, connections=connections, seconds=seconds)
    else:
        message = grpc_request(candidate, rows, is_raw=way == "grpc-raw")
        load = send_calls(port, message, connections=connections, seconds=seconds)
    return figures_of(load, name=way, cpu_seconds=server.cpu_seconds - before)


def main(arguments: Sequence[str]) -> None:
    """Measure, and print JSON."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = _options(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    artifact = make_artifact(options.cache)
    (plain,) = candidates(options.cache, artifact, ["modelyard"])
    port = free_port("bench grpc")
    both = replace(plain, name="both", command=[*plain.command, "--grpc-port", str(port)])
    starts: dict[str, list[dict[str, float]]] = {"http": [], "both": []}
    for _ in range(options.starts):
        for name, each in (("http", plain), ("both", both)):
            with started(each, options.cache) as server:
                found = {"cpu_seconds": server.start_cpu, "megabytes": server.megabytes}
                starts[name].append(found)
    rounds: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        server = stack.enter_context(started(both, options.cache))
        for _ in range(options.rounds):
            for connections, rows in CELLS:
                for way in WAYS:
                    found = measure(
                        server, port, way, connections=connections, rows=rows,
                        seconds=options.seconds,
                    )  # fmt: skip
                    rounds.setdefault(f"{way} {connections}x{rows}", []).append(found)
    document = {
        "start": {name: median_of(found) for name, found in starts.items()},
        "cells": {cell: median_of(found) for cell, found in rounds.items()},
        "ratios_to_http": {
            cell: {
                name: median(
                    mine[name] / https[name]
                    for mine, https in zip(found, rounds[_same_of_http(cell)], strict=True)
                )
                for name in found[0]
            }
            for cell, found in rounds.items()
            if not cell.startswith("http")
        },
    }
    json.dump(document, sys.stdout, indent=1)
    print()


def _same_of_http(cell: str) -> str:
    return f"http {cell.partition(' ')[2]}"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each cell in each round")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/modelyard-bench").expanduser())
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
