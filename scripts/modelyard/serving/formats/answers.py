"""The call that makes scores of a model, where MLflow's own gives labels or cannot read a frame."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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


class MissingColumns(Exception):  # noqa: N818 - a frame's fault, not the program's
    """A frame lacks columns of the signature."""


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
    if loader == "mlflow.sklearn":
        return _in_order(model.predict, _raw(model), task, classes)
    own = {
        "mlflow.xgboost": _xgboost,
        "mlflow.lightgbm": _lightgbm,
        "mlflow.catboost": _catboost,
        "mlflow.onnx": _onnx,
    }.get(loader)
    if own is None:
        return model.predict
    schema = model.metadata.get_input_schema()  # type: ignore[no-untyped-call]
    names = schema.input_names() if schema is not None else []
    return _required(names, own(_raw(model), task, classes))


def find_skops_answer(
    raw: Any, predict: str, *, columns: Collection[str], task: Task, classes: Sequence[str]
) -> Answer:
    """The same for an object of scikit-learn that was opened without MLflow.

    Args:
        raw: The object.
        predict: Its method that MLflow would call.
        columns: The signature's.
        task: What it is for.
        classes: Its classes, for a multiclass task.

    Raises:
        Refused: The model cannot answer on frames, whatever is in them.
        AttributeError: It has no such method.
    """
    return _required(columns, _in_order(getattr(raw, predict), raw, task, classes))


def _raw(model: PyFuncModel) -> Any:
    """The library's own object, where a flavour has one: a model in Python (pyfunc) has none."""
    return model.get_raw_model()  # type: ignore[no-untyped-call]


def _required(names: Collection[str], answer: Answer) -> Answer:
    """The same, with an error for a frame that lacks a column."""

    def checked(frame: pd.DataFrame) -> Any:
        missing = [name for name in names if name not in frame]
        if missing:
            raise MissingColumns(f"Model is missing inputs {missing}.")
        return answer(frame)

    return checked


def _method(raw: Any, task: Task) -> Answer:
    """`predict_proba` where a class has it and the task asks for it, else `predict`."""
    name = "predict" if task is Task.REGRESSION else "predict_proba"
    method: Answer = getattr(raw, name, raw.predict)
    return method


def _in_order(predict: Answer, raw: Any, task: Task, classes: Sequence[str]) -> Answer:
    """The same, with the columns of named classes in the order of the output's.

    A library sorts the names that it was trained on; the output's classes have an order of their
    own. Classes that are numbers are places in that order, unless they are its names.

    Raises:
        Refused: The model has names of other classes.
    """
    known = list(getattr(raw, "classes_", ()))
    names = [str(each) for each in known]
    if task is not Task.MULTICLASS or not classes:
        return predict
    if sorted(names) != sorted(classes):
        if any(isinstance(each, str) for each in known):
            raise Refused(
                f"the model tells {', '.join(names)} apart, the output's classes are "
                f"{', '.join(classes)}",
                hint="train on rows of every class that model.yaml lists, and of no other",
            )
        return predict
    order = [names.index(each) for each in classes]
    if order == sorted(order):
        return predict

    def answer(frame: pd.DataFrame) -> Any:
        import numpy as np  # noqa: PLC0415 - loaded with the model

        scores = np.asarray(predict(frame))
        # Labels in place of probabilities are refused by their shape.
        return scores[:, order] if scores.ndim == _MATRIX else scores

    return answer


def _lightgbm(raw: Any, task: Task, classes: Sequence[str]) -> Answer:
    predict = _in_order(_method(raw, task), raw, task, classes)
    return lambda frame: predict(_with_categories(frame))


def _xgboost(raw: Any, task: Task, classes: Sequence[str]) -> Answer:
    import xgboost  # noqa: PLC0415 - of the model's own runtime

    is_booster = isinstance(raw, xgboost.Booster)
    knows_names = tuple(map(int, xgboost.__version__.split(".")[:2])) >= _CATEGORIES_IN_MODEL
    known = _xgboost_levels(raw if is_booster else raw.get_booster()) if knows_names else {}

    def prepared(frame: pd.DataFrame) -> pd.DataFrame:
        texts = _texts(frame)
        if texts and not knows_names:
            raise Refused(
                f"XGBoost {xgboost.__version__} numbers the categories of each request anew",
                hint="require xgboost >= 3.1, or encode categories as numbers in the contract",
            )
        if strange := [name for name in texts if name not in known]:
            raise Refused(
                f"the XGBoost model keeps no categories of {', '.join(strange)}",
                hint="train on a frame with pandas categories, with xgboost >= 3.1",
            )
        return _with_levels(frame, {name: known[name] for name in texts})

    if is_booster:
        return lambda frame: raw.predict(xgboost.DMatrix(prepared(frame), enable_categorical=True))
    predict = _in_order(_method(raw, task), raw, task, classes)
    return lambda frame: predict(prepared(frame))


def _xgboost_levels(booster: Any) -> dict[str, list[Any]]:
    """The categories by column; XGBoost raises for a row with another one."""
    categories = booster.get_categories(export_to_arrow=True).to_arrow() or ()
    return {name: levels.to_pylist() for name, levels in categories if levels is not None}


def _with_levels(frame: pd.DataFrame, levels: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """The frame with columns as categories of these levels; any other text is missing."""
    import pandas as pd  # noqa: PLC0415 - the frame's maker has imported it

    kinds = {name: pd.CategoricalDtype(list(known)) for name, known in levels.items()}
    return frame.astype(kinds) if kinds else frame


def _catboost(raw: Any, task: Task, classes: Sequence[str]) -> Answer:
    predict = _in_order(_method(raw, task), raw, task, classes)

    def answer(frame: pd.DataFrame) -> Any:
        texts = {name: frame[name].fillna("") for name in _texts(frame)}
        return predict(frame.assign(**texts))

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
    # Of a null the session would make the text "None".
    known = values.fillna("") if wanted.type == "tensor(string)" else values
    found = known.to_numpy(dtype=_ONNX_TYPES[wanted.type])
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
