"""The two protocols of a server: how each writes requests, answers and errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from modelyard.serving.http.invocations import JSON, invocation_error, read_invocation
from modelyard.serving.inputs import InferenceRequest, read_request
from modelyard.serving.served_model import ServedModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.domain.specs.contract import Column
    from modelyard.serving.predictor import Scores


class Read(Protocol):
    """Reads a parsed body by the contract, or refuses it."""

    def __call__(
        self, document: object, columns: Sequence[Column], *, output: str | None = None
    ) -> InferenceRequest:
        """The request."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One protocol.

    Args:
        read: Reads a request.
        answer: Writes an answer.
        error: Writes an error, of a status and a message.
        has_binary: Whether binary tensors may follow the JSON.
        needs_json: Whether another content type than JSON is refused: the protocol has others.
    """

    read: Read
    answer: Callable[[ServedModel, InferenceRequest, Scores], Mapping[str, Any]]
    error: Callable[[int, str], Mapping[str, Any]]
    has_binary: bool
    needs_json: bool

    def reads(self, content_type: str) -> bool:
        """Whether a body of this type can be read; a client that names none sends JSON."""
        return not self.needs_json or content_type in {"", JSON}


OPEN_INFERENCE = Dialect(
    read=read_request,
    answer=ServedModel.document,
    error=lambda _, message: {"error": message},
    has_binary=True,
    needs_json=False,
)
MLFLOW = Dialect(
    read=read_invocation,
    answer=lambda model, _, scores: {"predictions": model.predictions(scores)},
    error=invocation_error,
    has_binary=False,
    needs_json=True,
)
