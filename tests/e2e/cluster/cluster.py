"""Bring the cluster of the end-to-end tests up, look at it, and take it down again."""

import argparse
import fcntl
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from e2e.cluster.layout import Layout, default_layout
from e2e.cluster.processes import start_again, stop
from e2e.cluster.progress import say
from e2e.cluster.provider import choose


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Two of these at once would end what the other one starts."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    with (layout.cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another one of these to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """One verb, and for `start` and `stop` the name of one program."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = ("up", "down", "status", "image", "start", "stop")
    parser.add_argument("verb", choices=verbs)
    parser.add_argument("program", nargs="?", help="for start and stop: as `status` names it")
    arguments = parser.parse_args()
    layout = default_layout()
    if arguments.verb in ("start", "stop"):
        if arguments.program is None:
            parser.error(f"{arguments.verb} needs the name of a program")
        (start_again if arguments.verb == "start" else stop)(layout, arguments.program)
        return
    with alone(layout):
        getattr(choose(layout), arguments.verb)()
    if arguments.verb == "up":
        say(f"addresses and credentials: {layout.description}")
        say(f"export KUBECONFIG={json.loads(layout.description.read_text())['kubeconfig']}")
        say("kubectl get pods --all-namespaces")


if __name__ == "__main__":
    main()
