"""Whether this runtime can answer gRPC: only a model that asks for it has the libraries."""

from __future__ import annotations

from importlib.util import find_spec

from modelyard.domain.specs.paths import model_file
from modelyard.errors import CannotAnswer


def missing_grpc(model: str) -> CannotAnswer | None:
    """What is wrong where a model is to be served over gRPC; None if nothing is."""
    if find_spec("grpc") is not None:
        return None
    return CannotAnswer(
        f"{model_file(model)}: server.grpc, or --grpc-port, asks for gRPC, and the runtime of this"
        " server has no grpcio",
        hint=f"modelyard runtime lock {model}; then a version that pins its lock: modelyard version"
        f" new {model}",
    )
