"""The command line of a model server, the same in `verify`, on this machine and in a pod."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.domain.specs.model import DEFAULT_QUEUE


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
    return [
        "serve",
        *(f"--{name}={value}" for name, value in options.items()),
        *(f"--format={name}" for name in formats),
        *(f"--trusted-type={name}" for name in trusted_types),
    ]
