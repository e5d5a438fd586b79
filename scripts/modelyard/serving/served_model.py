"""One model behind kserve's data plane, ready only if its golden rows match."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kserve
import threadpoolctl

from modelyard.domain.specs.model import OutputKind
from modelyard.serving.documents import Golden
from modelyard.serving.inputs import InferenceRequest, frame_of_rows
from modelyard.serving.outliers import OutlierError, find_outliers
from modelyard.serving.predictor import Predictor, UnfitColumn, model_fault
from modelyard.serving.tensor import DATATYPES

if TYPE_CHECKING:
    import pandas as pd

    from modelyard.serving.predictor import Scores


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The scores of one request."""

    request: InferenceRequest
    scores: Scores


class ServedModel(kserve.Model):  # type: ignore[misc]  # kserve ships no types
    """One predictor behind kserve's data plane.

    Predictions run on one thread with one OpenMP thread: on shared cores small requests would
    otherwise spend their time on threads that wait for a core.

    Args:
        name: The model's name.
        version: The version's name, for the answers.
        predictor: The loaded model.
        golden: Rows whose scores are known; the model is ready only if its scores match.

    Raises:
        VersionFault: The model fails on its golden rows.
        CannotAnswer: This machine lacks something that it needs for them.
    """

    def __init__(self, name: str, version: str, predictor: Predictor, golden: Golden) -> None:
        super().__init__(name)
        self.predictor = predictor
        self._version = version
        self._executor = ThreadPoolExecutor(1, "predict", initializer=_one_openmp_thread)
        self.golden_problem = self._compare_golden(golden)
        self.ready = self.golden_problem is None

    def load(self) -> bool:
        """Whether it is ready: it is loaded before it is registered, and only once."""
        return bool(self.ready)

    def validate(self, payload: object) -> object:
        """The payload itself: reading the request has checked the contract."""
        return payload

    async def preprocess(
        self, body: InferenceRequest, headers: Mapping[str, str] | None = None
    ) -> InferenceRequest:
        """The request itself: the contract is all that the model needs."""
        del headers
        return body

    async def predict(
        self, payload: InferenceRequest, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The model's scores for one request."""
        del headers
        loop = asyncio.get_running_loop()
        scores = await loop.run_in_executor(self._executor, self._scores, payload.frame)
        return Answer(request=payload, scores=scores)

    async def postprocess(
        self, result: Answer, headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], Answer]:
        """The answer as the protocol's document, and the answer itself."""
        del headers
        document = {
            "model_name": self.name,
            "model_version": self._version,
            "id": result.request.identifier or uuid.uuid4().hex,
            "outputs": self._outputs(result.scores),
        }
        return document, result

    def get_input_types(self) -> list[dict[str, Any]]:
        """Name, datatype and shape of each input, from the contract."""
        return [
            {"name": column.name, "datatype": DATATYPES[column.type], "shape": [-1]}
            for column in self.predictor.serving.inputs
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
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
            for kind, values in zip(self.get_output_types(), data, strict=True)
        ]

    def _scores(self, frame: pd.DataFrame) -> Scores:
        """The scores; `OutlierError` if the model fails only on rows unlike those of training."""
        try:
            return self.predictor.scores(frame)
        except UnfitColumn as error:
            raise OutlierError(error.message) from error
        except Exception as error:
            outliers = find_outliers(frame, self.predictor.serving)
            if outliers is None:
                raise
            usual = frame[~outliers.rows]
            if len(usual):
                self.predictor.scores(usual)  # if it fails on these too, the outliers do not matter
            raise OutlierError(
                f"{outliers.worst}: the model has no score for it ({type(error).__name__})"
            ) from error

    def _compare_golden(self, golden: Golden) -> str | None:
        import numpy as np  # noqa: PLC0415 - the model has imported it

        frame = frame_of_rows(self.predictor.serving.inputs, golden.rows)
        # On the prediction thread, under the same OpenMP limit.
        try:
            found = self._executor.submit(self.predictor.scores, frame).result()
        except Exception as error:  # whatever the model raises
            raise model_fault(f"model {self.name}: its golden rows fail", error) from error
        expected = np.asarray(golden.scores, dtype=np.float64)
        if found.shape != expected.shape:
            return f"golden scores have the shape {expected.shape}, the model's {found.shape}"
        worst = float(np.abs(found - expected).max())
        if worst <= golden.tolerance:
            return None
        return f"golden scores differ by up to {worst:.3g}, allowed {golden.tolerance:.3g}"


def _one_openmp_thread() -> None:
    threadpoolctl.threadpool_limits(limits=1)
