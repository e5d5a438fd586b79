"""One model that answers requests, ready only if its golden rows match."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import threadpoolctl

from modelyard.domain.specs.model import DEFAULT_QUEUE, STUCK_SECONDS, OutputKind
from modelyard.serving.batches import Batches, ModelThread, StuckError, score_together
from modelyard.serving.documents import Golden
from modelyard.serving.inputs import InferenceRequest, request_of_rows
from modelyard.serving.outliers import OutlierError, find_outliers
from modelyard.serving.predictor import Predictor, UnfitColumn, model_fault
from modelyard.serving.tensor import DATATYPES

if TYPE_CHECKING:
    from modelyard.serving.predictor import Scores


class ServedModel:
    """One predictor, its queue, and its answers in the Open Inference Protocol.

    Predictions run on one thread with one OpenMP thread: on shared cores small requests would
    otherwise spend their time on threads that wait for a core.

    Args:
        name: The model's name.
        version: The version's name, for the answers.
        predictor: The loaded model.
        golden: Rows whose scores are known; the model is ready only if its scores match.
        queue: Requests that may wait while the model is busy.
        stuck_after: Seconds after which a call is taken for one that never returns.

    `alone_because` says why each request is scored in a call of its own; None if those that wait
    are scored together, which the golden rows decide: one by one they must get the same scores.

    Raises:
        VersionFault: The model fails on its golden rows.
        CannotAnswer: This machine lacks something that it needs for them.
    """

    def __init__(
        self,
        name: str,
        version: str,
        predictor: Predictor,
        golden: Golden,
        *,
        queue: int = DEFAULT_QUEUE,
        stuck_after: float = STUCK_SECONDS,
    ) -> None:
        self.name, self.predictor = name, predictor
        self._version, self._stuck_after = version, stuck_after
        self._thread = ModelThread(_one_openmp_thread)
        self._batches = Batches(self._score, self._thread, queue=queue)
        self.alone_because: str | None = None
        self._gives_both_classes = False
        self.golden_problem = self._compare_golden(golden)
        self.is_stopping = False

    def stop(self) -> None:
        """Be ready no longer; what is asked until the server has stopped is answered."""
        self.is_stopping = True

    @property
    def is_ready(self) -> bool:
        """Whether its golden rows match, and it is neither stuck nor being stopped."""
        return self.golden_problem is None and not self.is_stuck and not self.is_stopping

    @property
    def busy_seconds(self) -> float:
        """How long the model has been at its present call; 0 if it is idle."""
        return self._batches.busy_seconds

    @property
    def is_stuck(self) -> bool:
        """Whether the model has not returned from a call for longer than any should take."""
        return self.busy_seconds > self._stuck_after

    @property
    def not_ready_because(self) -> str:
        """Why the model is not ready."""
        if self.golden_problem is None and self.is_stuck:
            return self._stuck_because
        return self.golden_problem or "stopping"

    def give_up_if_stuck(self) -> int:
        """Fail all requests that it has not answered if it is stuck; how many there were.

        A process that is killed for it takes its counters along: they have to show it before.
        """
        return self._batches.give_up(StuckError(self._stuck_because)) if self.is_stuck else 0

    @property
    def _stuck_because(self) -> str:
        return f"it has not returned from a call for {self.busy_seconds:.0f} s"

    async def scores(self, request: InferenceRequest, *, only_if_idle: bool = False) -> Scores:
        """The model's scores for one request; whatever it raises for it is raised here.

        Raises:
            OverloadedError: Too many requests wait already, or any is scored and it must be idle.
            StuckError: The model does not return from a call.
        """
        return await self._batches.scores(request, only_if_idle=only_if_idle)

    def document(self, request: InferenceRequest, scores: Scores) -> dict[str, Any]:
        """The answer as the protocol's document."""
        return {
            "model_name": self.name,
            "model_version": self._version,
            "id": request.identifier,
            "outputs": self._outputs(scores),
        }

    def predictions(self, scores: Scores) -> list[Any]:
        """The scores as MLflow's server writes them: for both classes, if the model gives both."""
        import numpy as np  # noqa: PLC0415 - the model has imported it

        if self._gives_both_classes:
            scores = np.stack([1 - scores, scores], axis=1)
        found: list[Any] = scores.tolist()
        return found

    def input_types(self) -> list[dict[str, Any]]:
        """Name, datatype and shape of each input, from the contract."""
        return [
            {"name": column.name, "datatype": DATATYPES[column.type], "shape": [-1]}
            for column in self.predictor.serving.inputs
        ]

    def output_types(self) -> list[dict[str, Any]]:
        """Name, datatype and shape of each output; for classes the scores, then the class names."""
        output = self.predictor.serving.output
        if output.kind is not OutputKind.CLASS:
            return [{"name": output.name, "datatype": "FP64", "shape": [-1]}]
        return [
            {"name": output.name, "datatype": "FP64", "shape": [-1, len(output.classes)]},
            {"name": f"{output.name}_class", "datatype": "BYTES", "shape": [-1]},
        ]

    def _outputs(self, scores: Scores) -> list[dict[str, Any]]:
        output = self.predictor.serving.output
        data: list[Any] = [scores.ravel().tolist()]
        if output.kind is OutputKind.CLASS:
            data.append([output.classes[best] for best in scores.argmax(axis=1)])
        return [
            {**kind, "shape": [len(scores), *kind["shape"][1:]], "data": values}
            for kind, values in zip(self.output_types(), data, strict=True)
        ]

    def _score(self, requests: Sequence[InferenceRequest]) -> list[Scores | Exception]:
        """The outcome of each request that waits; called on the prediction thread."""
        if self.alone_because is None:
            return score_together(self._scores, requests)
        return [outcome for each in requests for outcome in score_together(self._scores, [each])]

    def _scores(self, requests: Sequence[InferenceRequest]) -> list[Scores]:
        """The scores of each, by one call; if one alone fails on outliers, `OutlierError`."""
        self._batches.restart_clock()
        if len(requests) == 1:
            return [self._scores_of_one(requests[0])]
        import numpy as np  # noqa: PLC0415 - the model has imported it

        read = [self.predictor.conform(each.columns, each.nulls) for each in requests]
        columns = {name: np.concatenate([each[name] for each in read]) for name in read[0]}
        rows = [each.rows for each in requests]
        scores = self.predictor.scores_of(columns, sum(rows))
        return np.split(scores, np.cumsum(rows[:-1]))

    def _scores_of_one(self, request: InferenceRequest) -> Scores:
        """The scores; `OutlierError` if the model fails only on rows unlike those of training."""
        try:
            columns = self.predictor.conform(request.columns, request.nulls)
            return self.predictor.scores_of(columns, request.rows)
        except UnfitColumn as error:
            raise OutlierError(error.message) from error
        except Exception as error:
            outliers = find_outliers(request.frame, self.predictor.serving)
            if outliers is None:
                raise
            usual = request.frame[~outliers.rows]
            if len(usual):
                self._batches.restart_clock()
                self.predictor.scores(usual)  # if it fails on these too, the outliers do not matter
            raise OutlierError(
                f"{outliers.worst}: the model has no score for it ({type(error).__name__})"
            ) from error

    def _compare_golden(self, golden: Golden) -> str | None:
        import numpy as np  # noqa: PLC0415 - the model has imported it

        # On the prediction thread, under the same OpenMP limit.
        try:
            found, alone = self._thread.call(partial(self._golden_scores, golden))
        except Exception as error:  # whatever the model raises
            raise model_fault(f"model {self.name}: its golden rows fail", error) from error
        expected = np.asarray(golden.scores, dtype=np.float64)
        if found.shape != expected.shape:
            return f"golden scores have the shape {expected.shape}, the model's {found.shape}"
        worst = float(np.abs(found - expected).max())
        if worst > golden.tolerance:
            return f"golden scores differ by up to {worst:.3g}, allowed {golden.tolerance:.3g}"
        self.alone_because = _why_alone(found, alone, golden.tolerance)
        return None

    def _golden_scores(self, golden: Golden) -> tuple[Scores, list[Scores | Exception]]:
        """The scores of all golden rows at once, and of each alone."""
        inputs = self.predictor.serving.inputs
        self._gives_both_classes = self.predictor.gives_both_classes(golden.rows)
        (together,) = self._scores([request_of_rows(inputs, golden.rows)])
        each = [request_of_rows(inputs, [row]) for row in golden.rows]
        return together, [
            outcome for one in each for outcome in score_together(self._scores, [one])
        ]


def _why_alone(
    together: Scores, alone: Sequence[Scores | Exception], tolerance: float
) -> str | None:
    """Why rows may not be scored together with those of other requests; None if they may."""
    import numpy as np  # noqa: PLC0415 - as above

    if len(alone) == 1:
        return "one golden row does not show whether the scores of rows depend on each other"
    worst = 0.0
    for row, outcome in enumerate(alone):
        if isinstance(outcome, Exception):
            return f"golden row {row} alone fails: {type(outcome).__name__}"
        worst = max(worst, float(np.abs(outcome[0] - together[row]).max()))
    if worst <= tolerance:
        return None
    return (
        f"its rows are not independent: a golden row alone gets a score that differs by {worst:.3g}"
        f" from its score among the others, allowed {tolerance:.3g}"
    )


def _one_openmp_thread() -> None:
    threadpoolctl.threadpool_limits(limits=1)
