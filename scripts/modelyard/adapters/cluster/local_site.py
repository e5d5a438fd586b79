"""The identity of a state folder, so that facts can say whose servers were seen."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

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
    known = read_site(state)
    found = _read(state)
    if known is not None and found is not None and found[1] == state:
        return known
    identity = known.id if known is not None else uuid.uuid4().hex
    try:
        _write(state, identity, is_new=found is None)
    except OSError as error:
        raise CannotAnswer(f"{state / FILE}: {error.strerror}") from error
    # Another process may have been first.
    return read_site(state) or _site(identity, state)


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


def _write(state: Path, identity: str, *, is_new: bool) -> None:
    state.mkdir(parents=True, exist_ok=True)
    document = {"id": identity, "place": str(state)}
    with tempfile.NamedTemporaryFile("w", dir=state, prefix=".site-", delete=False) as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        if is_new:
            with suppress(FileExistsError):
                os.link(file.name, state / FILE)
            if _read(state) is not None:  # the first of two processes decides
                return
        os.replace(file.name, state / FILE)  # noqa: PTH105 - the pair of os.link
    finally:
        Path(file.name).unlink(missing_ok=True)
