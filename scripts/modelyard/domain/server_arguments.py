"""The command line of a model server, the same in `verify`, on this machine and in a pod."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.domain.specs.model import DEFAULT_QUEUE, STUCK_SECONDS

RELEASE_HEADER = "x-modelyard-release"
"""The header in which a server names the release that it was started for."""

GRPC_PORT = 9000
"""The port of gRPC, of pods and of Services, where a model asks for it."""

GRPC_VARIABLE = "MODELYARD_SERVE_GRPC_PORT"
"""The variable of `--grpc-port`."""


def server_variables(
    *,
    workers: int,
    stuck_after: float,
    shadow: float,
    shadow_to: Iterable[str],
    grpc_port: int | None = None,
) -> dict[str, str]:
    """The variables of a pod that say the rest: the image of a release may be an older one.

    It ends with "no such option" for an option that it does not know, and ignores a variable. So
    only what a server can do without goes this way, and each option of `modelyard serve` that is
    newer than version 0.1 does: a default is no variable, as below.
    """
    found = {"WORKERS": str(workers)} if workers != 1 else {}
    if stuck_after != STUCK_SECONDS:
        found["STUCK_AFTER"] = f"{stuck_after:g}"
    if shadow:
        found |= {"SHADOW_SHARE": f"{shadow:g}", "SHADOW_TO": " ".join(shadow_to)}
    found = {f"MODELYARD_SERVE_{name}": value for name, value in found.items()}
    return found if grpc_port is None else found | grpc_variables(grpc_port)


def grpc_variables(port: int) -> dict[str, str]:
    """The variables that ask for gRPC, of a pod or on this machine: a server can do without.

    A release that was made before its model asked for it may have a runtime without grpcio. It goes
    on answering HTTP; `--grpc-port` would end it.
    """
    return {GRPC_VARIABLE: str(port)}


def server_arguments(
    *,
    model: str,
    version: str,
    release: str,
    artifact: str,
    folder: str,
    formats: Iterable[str],
    trusted_types: Iterable[str],
    queue: int = DEFAULT_QUEUE,
    shadow: float = 0.0,
    shadow_to: Iterable[str] = (),
    workers: int = 1,
    stuck_after: float = STUCK_SECONDS,
    **where: str,
) -> list[str]:
    """The arguments of `modelyard` that serve an artifact.

    Args:
        model: The model's name.
        version: The version's name.
        release: Identity of the release.
        artifact: The artifact's digest.
        folder: Where the artifact is.
        formats: The formats that the model's policy accepts.
        trusted_types: The types that it trusts.
        queue: Requests that may wait; the default is no argument, so that manifests without one
            stay as they are.
        shadow: The share of requests that it copies; no argument for none, as above.
        shadow_to: Where canaries answer the copies.
        workers: Processes that serve; as with the queue.
        stuck_after: Seconds after which a call is taken for one that never returns; as above.
        where: Further options of `modelyard serve`, such as `port`.
    """
    options = {
        "model": model,
        "version": version,
        "release": release,
        "artifact": artifact,
        "folder": folder,
        **{name.replace("_", "-"): value for name, value in where.items()},
    }
    if queue != DEFAULT_QUEUE:
        options["queue"] = str(queue)
    if workers != 1:
        options["workers"] = str(workers)
    if stuck_after != STUCK_SECONDS:
        options["stuck-after"] = f"{stuck_after:g}"
    return [
        "serve",
        *(f"--{name}={value}" for name, value in options.items()),
        *(f"--format={name}" for name in formats),
        *(f"--trusted-type={name}" for name in trusted_types),
        *([f"--shadow-share={shadow:g}"] if shadow else []),
        *(f"--shadow-to={address}" for address in (shadow_to if shadow else ())),
    ]
