"""Which kinds of sockets a closed-in process may make, by the means that close it in."""

from __future__ import annotations

import pytest

from modelyard.adapters.isolation.call_filter import INET, INET6, NETLINK, UNIX
from modelyard.adapters.isolation.confinement import Means, Reach, socket_families

NETWORK = [INET, INET6, NETLINK]


@pytest.mark.parametrize(
    ("ports", "means", "expected"),
    [
        # Its network is its own, with all names in it.
        ((), Means(namespaces=True, abi=0), [UNIX]),
        # A file of the machine's could be a socket.
        ((), Means(namespaces=False, abi=7), []),
        ((443,), Means(namespaces=True, abi=6), [*NETWORK, UNIX]),
        # Names without a file are of the machine's network.
        ((443,), Means(namespaces=True, abi=5), NETWORK),
        ((443,), Means(namespaces=True, abi=0), NETWORK),
        ((443,), Means(namespaces=False, abi=7), NETWORK),
    ],
)
def test_unix_sockets_are_made_only_where_they_reach_nobody_else(
    ports: tuple[int, ...], means: Means, expected: list[int]
):
    reach = Reach(readable=(), writable=(), ports=ports)
    assert socket_families(reach, means) == expected
    wished = Reach(readable=(), writable=(), ports=ports, local_sockets=True)
    assert UNIX in socket_families(wished, means)
