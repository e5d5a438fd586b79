"""The promise: no request, whatever it costs, keeps a server from answering others."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack

import psutil
import pytest

from attacks.attacked_server import MEGABYTE, PATH, address, watched
from modelyard.serving.http.bodies import MAX_BYTES
from modelyard.serving.tensor import MAX_ROWS
from serving.running import Running, request, until

COSTLY: dict[str, Callable[[], bytes]] = {
    "empty lists": lambda: b'{"inputs":[' + b"[]," * (5 * MEGABYTE - 10) + b"[]]}",
    "lists of one": lambda: b'{"inputs":[' + b"[0]," * (4 * MEGABYTE - 10) + b"[0]]}",
    "objects": lambda: b'{"inputs":[' + b"{}," * (5 * MEGABYTE - 10) + b"{}]}",
    "keys": lambda: b"{" + b",".join(b'"%x":0' % n for n in range(1_200_000)) + b"}",
    "whole numbers": lambda: b'{"inputs":[' + b"0," * (8 * MEGABYTE - 10) + b"0]}",
    "fractions": lambda: b'{"inputs":[' + b"1.1," * (4 * MEGABYTE - 10) + b"1]}",
    "deep": lambda: b"[" * (15 * MEGABYTE),
    "deep objects": lambda: b'{"a":' * (3 * MEGABYTE),
    "digits": lambda: b'{"inputs":[' + b"9" * (15 * MEGABYTE) + b"]}",
    "digits behind the point": lambda: b'{"inputs":[0.' + b"9" * (15 * MEGABYTE) + b"]}",
    "digits of an exponent": lambda: b'{"inputs":[1e' + b"9" * (15 * MEGABYTE) + b"]}",
    "text": lambda: b'{"inputs":["' + b"a" * (15 * MEGABYTE) + b'"]}',
    "escapes": lambda: b'{"inputs":["' + b"\\u0041" * (15 * MEGABYTE // 6) + b'"]}',
    "a long name": lambda: b'{"inputs":[{"name":"' + b"a-" * (7 * MEGABYTE) + b'"}]}',
    "a long id": lambda: b'{"id":"' + b"a" * (15 * MEGABYTE) + b'","inputs":[]}',
    "many names": lambda: (
        b'{"inputs":[' + b",".join(b'{"name":"%x"}' % n for n in range(100_000)) + b"]}"
    ),
    "outputs": lambda: b'{"outputs":[' + b'"minutes",' * 100_000 + b'"minutes"],"inputs":[]}',
    "a long shape": lambda: (
        b'{"inputs":[{"name":"temp","datatype":"FP64","data":[1],"shape":['
        + b"1," * 200_000
        + b"1]}]}"
    ),
    "spaces": lambda: b'{"inputs":[' + b" " * (15 * MEGABYTE) + b"]}",
    "zeros": lambda: b"\0" * (15 * MEGABYTE),
    "too much": lambda: b" " * (MAX_BYTES + 1),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("what", COSTLY)
def test_readiness_answers_within_a_second_whatever_is_sent(server: Running, what: str):
    memory = psutil.Process(server.process.pid).memory_info().rss

    content = COSTLY[what]()
    with watched(server) as took:
        answers = [server.infer(content=content) for _ in range(2)]

    assert {answer.status_code for answer in answers} <= {400, 413}
    assert all(len(answer.content) < 1000 for answer in answers)
    assert max(took) < 1
    assert psutil.Process(server.process.pid).memory_info().rss - memory < 250 * MEGABYTE


def test_the_largest_good_request_is_answered_and_delays_nobody(server: Running):
    document = request(rows=MAX_ROWS)

    with watched(server) as took:
        answer = server.infer(document)

    assert len(answer.json()["outputs"][0]["data"]) == MAX_ROWS
    assert max(took) < 1


def test_a_good_request_with_many_other_inputs_is_answered(server: Running):
    document = request(rows=MAX_ROWS)
    extra = [{**document["inputs"][1], "name": f"other{n}"} for n in range(15)]

    assert server.infer({"inputs": [*document["inputs"], *extra]}).status_code == 200


def test_bodies_held_at_one_time_have_a_limit_that_spares_small_ones(server: Running):
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {MAX_BYTES}\r\n\r\n"
    with ExitStack() as stack:

        def open_one_more() -> int:
            slow = stack.enter_context(socket.create_connection(address(server)))
            slow.sendall(head.encode())
            return server.infer(content=b" " * MEGABYTE).status_code

        until(lambda: open_one_more() == 429)
        assert server.infer(request()).status_code == 200
    until(lambda: server.infer(content=b" " * MEGABYTE).status_code == 400)


@pytest.mark.long
@pytest.mark.parametrize("content", [b" ", b"[],"], ids=["spaces", "lists"])
def test_a_packed_bomb_is_unpacked_no_further_than_any_body_may_go(server: Running, content: bytes):
    bomb = gzip.compress(content * (100 * MEGABYTE))
    memory = psutil.Process(server.process.pid).memory_info().rss

    answer = server.infer(content=bomb, headers={"content-encoding": "gzip"})

    assert (answer.status_code, answer.json()) == (
        413,
        {"error": f"request: expected at most {MAX_BYTES} bytes, found more"},
    )
    assert psutil.Process(server.process.pid).memory_info().rss - memory < 100 * MEGABYTE


def test_a_packed_body_is_read_like_any_other_or_refused(server: Running):
    body, packed = json.dumps(request()).encode(), {"content-encoding": "gzip"}
    whole = gzip.compress(body)

    answer = server.infer(content=whole, headers=packed)

    assert answer.json()["outputs"] == server.infer(content=body).json()["outputs"]
    for broken in (b"", body, whole[:-1], whole + b"x", whole + whole, whole[:20]):
        assert server.infer(content=broken, headers=packed).status_code == 400
    for other in ("br", "deflate", "x-compress", "gzip, gzip", "xgzip"):
        assert server.infer(content=whole, headers={"content-encoding": other}).status_code == 415


@pytest.mark.parametrize("name", ["x-gzip", "X-GZip", "GZIP"])
def test_gzip_is_read_under_its_old_name_and_in_any_case(server: Running, name: str):
    body = json.dumps(request()).encode()

    answer = server.infer(content=gzip.compress(body), headers={"content-encoding": name})

    assert answer.json()["outputs"] == server.infer(content=body).json()["outputs"]
    # Not packed, although the header says so.
    assert server.infer(content=body, headers={"content-encoding": name}).status_code == 400
