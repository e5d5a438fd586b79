"""The identity of a state folder, so that facts can say whose servers were seen."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.adapters.replaced_file import write_whole
from modelyard.domain.sites import Site
from modelyard.errors import CannotAnswer

FILE = "site.json"


def read_site(state: Path) -> Site | None:
    """The site of a state folder; None if it has none yet.

    A copy of a folder is another site: the one it was copied from runs the servers. A folder that
    was moved is the same.
    """
    found = _read(state)
    if found is None:
        return None
    identity, place = found
    is_copy = place != state and (_read(place) or ("", place))[0] == identity
    return None if is_copy else _site(identity, state)


def found_site(state: Path) -> Site:
    """The site of a state folder, made and written down if there is none; `CannotAnswer`."""
    return _written_here(state) or _make_site(state)


def _make_site(state: Path) -> Site:
    try:
        state.mkdir(parents=True, exist_ok=True)
        with _alone_in(state):
            if (made_by_another := _written_here(state)) is not None:
                return made_by_another
            moved = read_site(state)
            site = moved or _site(uuid.uuid4().hex, state)
            document = {"id": site.id, "place": str(state)}
            write_whole(state / FILE, json.dumps(document).encode())
            return site
    except OSError as error:
        raise CannotAnswer(f"{state / FILE}: {error.strerror}") from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes that make this folder's identity out."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _written_here(state: Path) -> Site | None:
    """The site of a folder whose file names this folder as its place; None otherwise."""
    found = _read(state)
    return _site(found[0], state) if found is not None and found[1] == state else None


def _site(identity: str, state: Path) -> Site:
    return Site(id=identity, name=f"{socket.gethostname()}:{state}")


def _read(state: Path) -> tuple[str, Path] | None:
    """The identity and the place it was written for; None for a file that says neither."""
    try:
        document = json.loads((state / FILE).read_bytes())
        identity, place = document["id"], document["place"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return (identity, Path(place)) if isinstance(identity, str) and identity else None
