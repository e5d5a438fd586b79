"""Answers one inference request: reads it, asks the model, counts and logs the rows."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from modelyard.serving.batches import OverloadedError, StuckError
from modelyard.serving.http.bodies import BodyReader, RequestError
from modelyard.serving.http.dialects import OPEN_INFERENCE
from modelyard.serving.outliers import OutlierError
from modelyard.serving.payload_parts import Payload
from modelyard.serving.predictor import is_schema_error
from modelyard.serving.shadow.copies import Limits as CopyLimits
from modelyard.serving.shadow.copies import copy_contract

if TYPE_CHECKING:
    from starlette.requests import Request

    from modelyard.serving.counters import Counters, Outcome
    from modelyard.serving.http.dialects import Dialect
    from modelyard.serving.inputs import InferenceRequest
    from modelyard.serving.payload_log import PayloadLog
    from modelyard.serving.predictor import Scores
    from modelyard.serving.served_model import ServedModel
    from modelyard.serving.shadow.copies import Shadow

_LOGGER = logging.getLogger(__name__)


class Inference:
    """Inference of one model.

    Args:
        model: The model.
        counters: Counts the rows.
        log: Logs them; None for no log.
        shadow: Copies some of them to a canary; None for none.
    """

    def __init__(
        self,
        model: ServedModel,
        counters: Counters,
        log: PayloadLog | None,
        shadow: Shadow | None = None,
    ) -> None:
        self._model, self._counters, self._log = model, counters, log
        self._shadow = shadow
        self._bodies = BodyReader(model.predictor.serving)
        self._contract = copy_contract(model.predictor.serving)
        self._copies_from = 0.0  # monotonic seconds; until then the model rests from copies

    async def answer(
        self, request: Request, outcome: Outcome, dialect: Dialect
    ) -> tuple[int, Mapping[str, Any]]:
        """The status and the document that answer a request.

        Args:
            request: The request, unread.
            outcome: Is told of the id that the request was given if it had none, and of a failure
                before that is written or logged, so that whatever goes wrong there does not change
                whose fault the request counts as.
            dialect: The protocol that it is written in.
        """
        try:
            parsed, scores = await self.score(self._bodies.read(request, dialect), outcome)
        except RequestError as failure:
            return failure.status, dialect.error(failure.status, str(failure))
        return 200, dialect.answer(self._model, parsed, scores)

    async def score(
        self, reading: Awaitable[InferenceRequest], outcome: Outcome
    ) -> tuple[InferenceRequest, Scores]:
        """What a client asked, and its scores, which are counted, logged and offered to the shadow.

        Every protocol goes this way once its request is read.

        Args:
            reading: Reads the request.
            outcome: As in `answer`.

        Raises:
            RequestError: There are no scores; it is told to the outcome, and logged.
        """
        parsed: InferenceRequest | None = None
        try:
            parsed = await self._read(reading)
            if not parsed.identifier:  # labels find its logged rows by it
                outcome.given_id = uuid.uuid4().hex
                parsed = replace(parsed, identifier=outcome.given_id)
            scores = await self._scores(parsed)
        except RequestError as failure:
            outcome.status, outcome.is_overloaded = failure.status, failure.is_overloaded
            self._log_payload(parsed, failure.status, error=str(failure))
            raise
        self._counters.count_answer(parsed, scores)
        self._log_payload(parsed, 200, scores=scores)
        if self._shadow is not None:
            self._shadow.offer(parsed, scores)
        return parsed, scores

    async def answer_copy(
        self, request: Request, labels: Mapping[str, str]
    ) -> tuple[int, Mapping[str, Any]]:
        """The status and the document that answer a copy of another release's request.

        It is no request of this release: its rows are neither counted nor logged, and it is only
        scored while the model has nothing else to do, for a tenth of the time at most.

        Args:
            request: The copy, unread.
            labels: `release` and `digest` of this server.
        """
        who = {**{name: labels[name] for name in ("release", "digest")}, **self._contract}
        try:
            parsed = await self._read(self._bodies.read(request, OPEN_INFERENCE))
            scores = await self._copy_scores(parsed)
        except RequestError as failure:
            self._counters.count_copy(failure.status)
            return failure.status, {**who, "error": str(failure)}
        self._counters.count_copy(200)
        return 200, {**who, "scores": scores.tolist()}

    def not_ready_reason(self) -> str:
        """Why the model is not ready."""
        return f"model {self._model.name} is not ready: {self._model.not_ready_because}"

    async def _read(self, reading: Awaitable[InferenceRequest]) -> InferenceRequest:
        parsed = await reading
        if self._model.golden_problem or self._model.is_stuck:
            raise RequestError(503, self.not_ready_reason())
        return parsed

    async def _copy_scores(self, parsed: InferenceRequest) -> Scores:
        # Each of stable's processes rests too, but knows nothing of the others.
        if time.monotonic() < self._copies_from:
            raise RequestError(503, f"model {self._model.name} rests from copies: send it later")
        started = time.monotonic()
        try:
            return await self._scores(parsed, only_if_idle=True)
        finally:
            ended = time.monotonic()
            self._copies_from = ended + CopyLimits.rest_times * (ended - started)

    async def _scores(self, parsed: InferenceRequest, *, only_if_idle: bool = False) -> Scores:
        try:
            return await self._model.scores(parsed, only_if_idle=only_if_idle)
        except OutlierError as refusal:
            raise RequestError(422, refusal.message) from refusal
        except OverloadedError as error:
            busy = f"model {self._model.name} is busy: too many requests wait; send it again later"
            raise RequestError(503, busy, is_overloaded=True) from error
        except StuckError as error:
            raise RequestError(500, f"model {self._model.name} failed: {error}") from error
        except Exception as error:
            if is_schema_error(error):
                raise RequestError(400, str(error)) from error
            _LOGGER.exception("model %s failed", self._model.name)
            what = f"model {self._model.name} failed: {type(error).__name__}"
            raise RequestError(500, what) from error

    def _log_payload(
        self,
        parsed: InferenceRequest | None,
        status: int,
        *,
        scores: Scores | None = None,
        error: str | None = None,
    ) -> None:
        if self._log is not None:
            at = datetime.now(UTC)
            self._log.put(Payload(at=at, inputs=parsed, status=status, scores=scores, error=error))
