"""The call that makes scores of a model, where MLflow's own gives labels or cannot read a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from modelyard.domain.specs.model import Task
from modelyard.errors import Refused

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.pyfunc import PyFuncModel

Answer = Callable[["pd.DataFrame"], Any]

_CATEGORIES_IN_MODEL = (3, 1)
"""From this version on XGBoost keeps the categories it was trained on and finds them by name."""

_ONNX_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
}
_MATRIX = 2


def find_answer(model: PyFuncModel, *, task: Task, classes: Sequence[str]) -> Answer:
    """What scores a frame whose columns have the signature's order and types.

    Most flavours answer by `predict` of MLflow. Classes of gradient boosting in the style of
    scikit-learn give labels there, categories are no text for XGBoost and LightGBM, and the outputs
    of an ONNX model are a label beside probabilities.

    Args:
        model: The loaded model.
        task: What it is for.
        classes: Its classes, for a multiclass task.

    Raises:
        Refused: The model cannot answer on frames, whatever is in them.
    """
    loader = str(model.loader_module)
    raw = getattr(model, "get_raw_model", lambda: None)()
    if loader == "mlflow.xgboost":
        return _required(model, _xgboost(raw, task))
    if loader == "mlflow.lightgbm":
        predict = _method(raw, task)
        return _required(model, lambda frame: predict(_with_categories(frame)))
    if loader == "mlflow.catboost":
        return _required(model, _catboost(raw, task, classes))
    if loader == "mlflow.onnx":
        return _required(model, _onnx(raw, task, classes))
    return model.predict


def _required(model: PyFuncModel, answer: Answer) -> Answer:
    """The same, with the error of MLflow for a frame that lacks a column."""
    schema = model.metadata.get_input_schema()  # type: ignore[no-untyped-call]
    names = schema.input_names() if schema is not None else []

    def checked(frame: pd.DataFrame) -> Any:
        missing = [name for name in names if name not in frame]
        if missing:
            from mlflow.exceptions import MlflowException  # noqa: PLC0415 - loaded with the model

            raise MlflowException.invalid_parameter_value(f"Model is missing inputs {missing}.")
        return answer(frame)

    return checked


def _method(raw: Any, task: Task) -> Answer:
    """`predict_proba` where a class has it and the task asks for it, else `predict`."""
    name = "predict" if task is Task.REGRESSION else "predict_proba"
    method: Answer = getattr(raw, name, raw.predict)
    return method


def _xgboost(raw: Any, task: Task) -> Answer:
    import xgboost  # noqa: PLC0415 - of the model's own runtime

    knows_names = tuple(map(int, xgboost.__version__.split(".")[:2])) >= _CATEGORIES_IN_MODEL

    def prepared(frame: pd.DataFrame) -> pd.DataFrame:
        categories = _with_categories(frame)
        if categories is not frame and not knows_names:
            raise Refused(
                f"XGBoost {xgboost.__version__} numbers the categories of each request anew",
                hint="require xgboost >= 3.1, or encode categories as numbers in the contract",
            )
        return categories

    if isinstance(raw, xgboost.Booster):
        return lambda frame: raw.predict(xgboost.DMatrix(prepared(frame), enable_categorical=True))
    predict = _method(raw, task)
    return lambda frame: predict(prepared(frame))


def _catboost(raw: Any, task: Task, classes: Sequence[str]) -> Answer:
    predict = _method(raw, task)
    known = [str(each) for each in getattr(raw, "classes_", ())]
    # CatBoost sorts names; the output's classes have an order of their own.
    is_named = bool(classes) and sorted(known) == sorted(classes)
    order = [known.index(each) for each in classes] if is_named else None

    def answer(frame: pd.DataFrame) -> Any:
        texts = {name: frame[name].fillna("") for name in _texts(frame)}
        scores = predict(frame.assign(**texts))
        return scores if order is None or task is not Task.MULTICLASS else scores[:, order]

    return answer


def _onnx(session: Any, task: Task, classes: Sequence[str]) -> Answer:
    inputs = session.get_inputs()
    strange = sorted({each.type for each in inputs} - _ONNX_TYPES.keys())
    if strange:
        raise Refused(
            f"the ONNX model takes {', '.join(strange)}; known: {', '.join(sorted(_ONNX_TYPES))}"
        )

    def answer(frame: pd.DataFrame) -> Any:
        if len(inputs) == 1 and inputs[0].name not in frame:
            feeds = {inputs[0].name: frame.to_numpy(dtype=_ONNX_TYPES[inputs[0].type])}
        else:
            feeds = {each.name: _column(frame[each.name], each) for each in inputs}
        return _scores_among(session.run(None, feeds), task, classes)

    return answer


def _column(values: Any, wanted: Any) -> Any:
    found = values.to_numpy(dtype=_ONNX_TYPES[wanted.type])
    return found.reshape(-1, 1) if len(wanted.shape) == _MATRIX else found


def _scores_among(outputs: Sequence[Any], task: Task, classes: Sequence[str]) -> Any:
    """The scores among the outputs of an ONNX model; its label if there is nothing else."""
    import numpy as np  # noqa: PLC0415 - loaded with the model

    for output in outputs:
        if isinstance(output, list):  # a map from class to probability for each row
            rows = [{str(name): score for name, score in row.items()} for row in output]
            names = classes if classes and set(classes) <= set(rows[0]) else tuple(rows[0])
            return np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
        if task is Task.REGRESSION or output.dtype.kind == "f":
            return output
    return outputs[0]


def _with_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with text as categories, whose numbers the model knows; itself without text."""
    names = _texts(frame)
    return frame.astype(dict.fromkeys(names, "category")) if names else frame


def _texts(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if frame[name].dtype == object]
