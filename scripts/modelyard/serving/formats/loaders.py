"""What each loader of MLflow opens: the file, and its format.

Read in MLflow 3.17.2, whose loaders read their settings from MLmodel, some of them as names of
modules and classes to import. So a loader is accepted only with settings whose effect is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.artifact_formats import FORMATS
from modelyard.errors import Refused
from modelyard.serving.formats.metadata import Mapping, Metadata


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What opening the model reads.

    Args:
        format: The format's name, as `artifact.formats` lists it; a loader without one gives its
            own name, which nothing accepts.
        file: The file; None where a loader opens a folder.
        trusted_types: Types that its own metadata asks to trust.
        predict: The method that MLflow calls of a model of scikit-learn; None for other models.
    """

    format: str
    file: Path | None = None
    trusted_types: tuple[str, ...] = ()
    predict: str | None = None


XGBOOST_CLASSES = frozenset(
    {"xgboost.core.Booster"}
    | {
        f"xgboost.sklearn.XGB{kind}"
        for kind in ("Model", "Classifier", "Regressor", "Ranker", "RFClassifier", "RFRegressor")
    }
)
"""mlflow.xgboost imports and calls whatever `model_class` names."""

_LIGHTGBM_BOOSTER = "lightgbm.basic.Booster"
_CATBOOST_FORMATS = frozenset({"cbm", "json"})
_SKLEARN_FORMATS = frozenset({"skops", "pickle", "cloudpickle"})
# MLflow calls the model's method of this name.
_PREDICT = frozenset({"predict", "predict_proba", "predict_log_proba"})


def find_opening(metadata: Metadata) -> Opening:
    """What MLflow would open, without opening it.

    Raises:
        Refused: The loader is not MLflow's own, or has a setting of which nobody knows the effect.
    """
    loader = metadata.loader
    if not loader.startswith("mlflow."):
        raise Refused(
            f"{metadata.path}: loader_module is {loader!r}; only MLflow's own flavours are loaded"
        )
    pyfunc = metadata.flavors["python_function"]
    if str(pyfunc.get("predict_fn", "predict")) not in _PREDICT:
        raise Refused(
            f"{metadata.path}: predict_fn is {pyfunc['predict_fn']!r}; known:"
            f" {', '.join(sorted(_PREDICT))}"
        )
    name = loader.removeprefix("mlflow.")
    find = _LOADERS.get(name)
    if find is None:
        # `mlflow.pickle` would have the name of a format.
        return Opening(format=f"flavour {name}" if name in FORMATS else name)
    return find(metadata, pyfunc, metadata.flavors.get(name, {}))


def has_code(metadata: Metadata) -> bool:
    """Whether MLmodel asks for Python modules beside the model."""
    keys = ("code", "model_code_path", "loader_module_path")
    return any(conf.get(key) for conf in metadata.flavors.values() for key in keys)


def _sklearn(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    # With `data`, MLflow reads its settings from another MLmodel, or takes the file for a pickle.
    _refuse_key(metadata, pyfunc, "data")
    predict = str(pyfunc.get("predict_fn", "predict"))
    name = pyfunc.get("model_path")
    return _of_sklearn(metadata, name, own, default="pickle", predict=predict)


def _of_sklearn(
    metadata: Metadata, name: object, own: Mapping, *, default: str, predict: str | None = None
) -> Opening:
    types = own.get("skops_trusted_types")
    kind = str(own.get("serialization_format") or default)
    return Opening(
        # MLflow knows no other; the name of another format would be accepted where that one is.
        format=kind if kind in _SKLEARN_FORMATS else f"sklearn {kind}",
        file=metadata.folder / metadata.plain_name(name),
        trusted_types=tuple(map(str, types)) if isinstance(types, list) else (),
        predict=predict,
    )


def _xgboost(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    file = _same_file(metadata, pyfunc, own)
    named = str(own.get("model_class", "xgboost.core.Booster"))
    if named not in XGBOOST_CLASSES:
        raise Refused(
            f"{metadata.path}: model_class is {named!r}, which MLflow would import and call; known:"
            f" {', '.join(sorted(XGBOOST_CLASSES))}"
        )
    return Opening(format="xgboost", file=file)


def _lightgbm(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    file = _same_file(metadata, pyfunc, own)
    # A wrapper in the style of scikit-learn is no text file: MLflow saves it as scikit-learn's.
    if str(own.get("model_class", _LIGHTGBM_BOOSTER)) != _LIGHTGBM_BOOSTER:
        return _of_sklearn(metadata, file.name, own, default="cloudpickle")
    return Opening(format="lightgbm", file=file)


def _catboost(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    file = metadata.folder / metadata.plain_name(pyfunc.get("data"))
    kind = str(own.get("save_format"))
    if kind not in _CATBOOST_FORMATS:
        raise Refused(f"{metadata.path}: save_format is {kind!r}; known: cbm, json")
    return Opening(format="catboost", file=file)


def _onnx(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    file = metadata.folder / metadata.plain_name(pyfunc.get("data"))
    # Options of a provider and entries of a session may name libraries, which would be loaded.
    providers = own.get("providers")
    options = own.get("onnx_session_options")
    extra = options.get("extra_session_config") if isinstance(options, dict) else None
    are_names = isinstance(providers, list) and all(isinstance(each, str) for each in providers)
    if extra or not (providers is None or isinstance(providers, str) or are_names):
        raise Refused(
            f"{metadata.path}: its onnx settings have options of providers or of the session, which"
            " may load libraries",
            hint="save the model with names of providers only",
        )
    return Opening(format="onnx", file=file)


def _keras(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    data = metadata.plain_name(pyfunc.get("data", "data"))
    if own.get("save_exported_model") or str(own.get("data", data)) != data:
        raise Refused(
            f"{metadata.path}: it is no `.keras` file but an exported model",
            hint="save it without save_exported_model, or as ONNX",
        )
    return Opening(format="keras", file=metadata.folder / data / "model.keras")


def _pickled(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    del own
    return Opening(format="pickle", file=_inside(metadata, pyfunc.get("data")))


def _python_model(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    del own
    return Opening(format="cloudpickle", file=_inside(metadata, pyfunc.get("python_model")))


def _torch(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Opening:
    del own
    return Opening(format="torch", file=_inside(metadata, pyfunc.get("data")))


_LOADERS: dict[str, Callable[[Metadata, Mapping, Mapping], Opening]] = {
    "catboost": _catboost,
    "keras": _keras,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "pyfunc.model": _python_model,
    "pytorch": _torch,
    "sklearn": _sklearn,
    "statsmodels": _pickled,
    "xgboost": _xgboost,
}


def _same_file(metadata: Metadata, pyfunc: Mapping, own: Mapping) -> Path:
    """The one file that both the flavour and pyfunc name.

    The loader reads MLmodel beside the file that pyfunc names, and opens what the flavour names.
    """
    name = metadata.plain_name(own.get("data"))
    if str(pyfunc.get("data", name)) != name:
        raise Refused(
            f"{metadata.path}: python_function names {pyfunc['data']!r}, its flavour names {name!r}"
        )
    return metadata.folder / name


def _inside(metadata: Metadata, name: object) -> Path | None:
    file = metadata.folder / str(name or "")
    if not file.resolve().is_relative_to(metadata.folder.resolve()):
        raise Refused(f"{metadata.path}: names {file}, which is outside the artifact")
    return file if file.is_file() else None


def _refuse_key(metadata: Metadata, settings: Mapping, key: str) -> None:
    if settings.get(key):
        raise Refused(
            f"{metadata.path}: python_function has {key}: {settings[key]!r}, with which MLflow"
            " would open another file than the flavour names"
        )
