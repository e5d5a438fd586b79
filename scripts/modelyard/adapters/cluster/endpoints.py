"""The file that says where a model's requests go on this machine: addresses and shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelyard.adapters.replaced_file import Write, write_if_changed, write_whole
from modelyard.adapters.specs.json_documents import dump_json, parse_json


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One server that takes traffic.

    Args:
        url: Its address, without a path.
        release: Identity of the release it runs.
        version: The version it runs.
        share: Its part of the model's requests, 0 to 1; the parts of a model add up to 1.
    """

    url: str
    release: str
    version: str
    share: float


_REST = "; then `modelyard watch --once` writes it again from what Git pins"


def hint_of_state(path: Path) -> str:
    """What to do about a file of this machine that cannot be read."""
    return f"rm {path}{_REST}"


def endpoints_path(state: Path, *, environment: str, model: str) -> Path:
    """The file that lists the endpoints of one model in one environment."""
    return state / "cluster" / "endpoints" / environment / f"{model}.json"


def read_endpoints(state: Path, *, environment: str, model: str) -> tuple[Endpoint, ...]:
    """The model's endpoints, largest share first; empty when no server takes its requests.

    Raises:
        CannotAnswer: The file is not of the form this version writes.
    """
    path = endpoints_path(state, environment=environment, model=model)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ()
    return parse_json(text, tuple[Endpoint, ...], str(path), hint=hint_of_state(path))


def write_endpoints(
    state: Path,
    endpoints: Sequence[Endpoint],
    *,
    environment: str,
    model: str,
    write: Write = write_whole,
) -> None:
    """Replace the model's endpoints in one step; an empty list removes the file."""
    path = endpoints_path(state, environment=environment, model=model)
    if not endpoints:
        path.unlink(missing_ok=True)
        return
    ordered = tuple(sorted(endpoints, key=lambda endpoint: (-endpoint.share, endpoint.release)))
    write_if_changed(path, dump_json(ordered, tuple[Endpoint, ...]), write)


def with_known(
    mine: Sequence[Endpoint], known: Iterable[Endpoint], *, own_share: float | None
) -> tuple[Endpoint, ...]:
    """One environment's endpoints beside those of others, where the others' state is unreadable.

    Args:
        mine: This environment's endpoints; their shares add up to 1.
        known: The others', as they were last written.
        own_share: Its part of all requests; None for what the others leave.
    """
    others = [each for each in known if each.share > 0]
    rest = sum(each.share for each in others)
    if own_share is None:
        own_share = 1.0 - rest
    own = own_share if others else 1.0
    left = 1.0 - own if mine else 1.0
    return (
        *(replace(each, share=each.share * own) for each in mine),
        *(replace(each, share=each.share / rest * left) for each in others),
    )
