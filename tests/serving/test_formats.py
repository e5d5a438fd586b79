"""What opening a model does is found from its bytes, before anything is opened."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.artifact_digest import artifact_digest
from modelyard.errors import CannotAnswer, Refused
from modelyard.serving.artifact import check_artifact, describe_artifact

SIGNATURE = {"inputs": json.dumps([{"name": "a", "type": "double", "required": True}])}
OPENED = Path("/tmp") / "modelyard-test-opened-a-pickle"


class Attack:
    """Pickled, it leaves a file where somebody opens it."""

    def __reduce__(self) -> Any:
        return (Path.touch, (OPENED,))


PICKLE = pickle.dumps(Attack())
OTHERS = {
    "xgboost": {"loader_module": "mlflow.xgboost", "data": "model.xgb"},
    "lightgbm": {"loader_module": "mlflow.lightgbm", "data": "model.lgb"},
    "catboost": {"loader_module": "mlflow.catboost", "data": "model.cb"},
    "onnx": {"loader_module": "mlflow.onnx", "data": "model.onnx"},
    "sklearn": {"loader_module": "mlflow.sklearn", "model_path": "model.skops"},
    "keras": {"loader_module": "mlflow.keras", "data": "data"},
}
OWN: dict[str, dict[str, Any]] = {
    "xgboost": {"data": "model.xgb", "model_class": "xgboost.core.Booster"},
    "lightgbm": {"data": "model.lgb", "model_class": "lightgbm.basic.Booster"},
    "catboost": {"data": "model.cb", "save_format": "cbm", "model_type": "CatBoost"},
    "onnx": {"data": "model.onnx", "providers": ["CPUExecutionProvider"]},
    "sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"},
    "keras": {"data": "data"},
}
FORMAT = {"sklearn": "skops"}


def zipped(**members: str | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def keras(*layers: dict[str, Any], **more: str) -> bytes:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [*layers]}}
    members = {"config__json": json.dumps(config), "metadata__json": "{}", "model__weights__h5": ""}
    return zipped(**members, **more)


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}}


def field(number: int, content: bytes) -> bytes:
    """One field of a protobuf message."""
    size, rest = b"", len(content)
    while rest > 127:
        size, rest = size + bytes([rest & 127 | 128]), rest >> 7
    tag = number << 3 | 2
    start = bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])
    return start + size + bytes([rest]) + content


def onnx(location: str | None = None, *, deep: int = 0) -> bytes:
    """A model with one weight: in the file, or at a location, below `deep` sub-graphs."""
    entry = field(1, b"location") + field(2, (location or "").encode())
    tensor = field(8, b"w") + (field(13, entry) if location is not None else b"")
    graph = field(5, tensor)
    for _ in range(deep):  # a graph, in an attribute, of a node, of a graph
        graph = field(1, field(5, field(6, graph)))
    return b"\x08\x09" + field(7, graph)


GOOD = {
    "xgboost": b'{"learner": {}}',
    "lightgbm": b"tree\nversion=v4\n",
    "catboost": b"CBM1\0\0\0\0",
    "onnx": onnx(),
    "sklearn": zipped(schema__json="{}"),
    "keras": keras(DENSE),
}
NAMES = {"keras": "data/model.keras"}


def make(
    folder: Path, flavour: str, content: bytes | None = None, *, pyfunc: Any = (), own: Any = ()
) -> Path:
    model = folder / "artifact" / "model"
    name = NAMES.get(flavour) or OWN[flavour].get("data") or OWN[flavour]["pickled_model"]
    (model / name).parent.mkdir(parents=True)
    (model / name).write_bytes(GOOD[flavour] if content is None else content)
    flavors = {
        "python_function": {**OTHERS[flavour], **dict(pyfunc)},
        flavour: {**OWN[flavour], **dict(own)},
    }
    document = {"flavors": flavors, "signature": SIGNATURE}
    (model / "MLmodel").write_text(yaml.safe_dump(document))
    (model / "requirements.txt").write_text("mlflow\n")
    return folder / "artifact"


def check(folder: Path, *formats: str) -> None:
    check_artifact(folder, artifact_digest(folder), (), formats)


@pytest.fixture(autouse=True)
def _nothing_is_opened():
    OPENED.unlink(missing_ok=True)
    yield
    assert not OPENED.exists()


@pytest.mark.parametrize("flavour", sorted(GOOD))
def test_data_of_a_listed_format_is_accepted_and_of_another_is_not(flavour: str, tmp_path: Path):
    folder, name = make(tmp_path, flavour), FORMAT.get(flavour, flavour)
    assert describe_artifact(folder).format == name
    if flavour != "sklearn":  # skops itself looks into the file
        check(folder, name)
    other = "onnx" if flavour != "onnx" else "skops"
    with pytest.raises(Refused, match=f"its format is {name}; accepted: {other}"):
        check(folder, other)


@pytest.mark.parametrize("flavour", sorted(GOOD))
def test_a_pickle_under_the_name_of_data_is_refused(flavour: str, tmp_path: Path):
    folder = make(tmp_path, flavour, PICKLE)
    with pytest.raises(Refused, match="its bytes are no"):
        check(folder, FORMAT.get(flavour, flavour))


@pytest.mark.parametrize("flavour", ["sklearn", "keras"])
def test_a_zip_file_behind_a_pickle_is_refused(flavour: str, tmp_path: Path):
    folder = make(tmp_path, flavour, PICKLE + GOOD[flavour])
    with pytest.raises(Refused, match="its bytes are no"):
        check(folder, FORMAT.get(flavour, flavour))


@pytest.mark.parametrize(
    ("flavour", "pyfunc", "own", "complaint"),
    [
        ("xgboost", {}, {"model_class": "os.abort"}, "which MLflow would import and call"),
        ("xgboost", {"data": "other"}, {}, "its flavour names 'model.xgb'"),
        ("xgboost", {"data": "sub/model.xgb"}, {"data": "sub/model.xgb"}, "or deeper in it"),
        ("lightgbm", {}, {"data": "../../x"}, "which is outside the artifact"),
        ("sklearn", {"data": "model.skops"}, {}, "would open another file"),
        ("sklearn", {"data": "sub"}, {}, "would open another file"),
        ("sklearn", {"model_path": "../x.skops"}, {}, "which is outside the artifact"),
        ("sklearn", {"predict_fn": "__reduce__"}, {}, "predict_fn is '__reduce__'"),
        ("sklearn", {}, {"serialization_format": "onnx"}, "its format is sklearn onnx"),
        ("catboost", {}, {"save_format": "python"}, "save_format is 'python'"),
        ("onnx", {}, {"providers": [["X", {"lib": "x.so"}]]}, "may load libraries"),
        ("onnx", {}, {"onnx_session_options": {"extra_session_config": {"a": "b"}}}, "may load"),
        ("keras", {}, {"save_exported_model": True}, "is no `.keras` file"),
        ("keras", {"data": ".."}, {}, "which is outside the artifact"),
        ("onnx", {"loader_module": "antigravity"}, {}, "only MLflow's own flavours are loaded"),
        ("onnx", {"loader_module": "mlflow.pyfunc.loaders.code_model"}, {}, "its format is pyfunc"),
        ("onnx", {"loader_module": "mlflow.pickle"}, {}, "its format is flavour pickle"),
        ("onnx", {"code": "code"}, {}, "contains Python modules"),
        ("onnx", {}, {"code": "code"}, "contains Python modules"),
    ],
)
def test_settings_that_lead_elsewhere_are_refused(
    flavour: str, pyfunc: Any, own: Any, complaint: str, tmp_path: Path
):
    folder = make(tmp_path, flavour, pyfunc=pyfunc, own=own)
    with pytest.raises(Refused, match=complaint):
        check(folder, FORMAT.get(flavour, flavour))


def test_a_class_of_lightgbm_is_the_pickle_that_mlflow_makes_of_it(tmp_path: Path):
    own = {"model_class": "lightgbm.sklearn.LGBMClassifier"}
    folder = make(tmp_path, "lightgbm", PICKLE, own=own)
    with pytest.raises(Refused, match="its format is cloudpickle; accepted: lightgbm"):
        check(folder, "lightgbm")


@pytest.mark.parametrize(
    ("loader", "expected"),
    [("statsmodels", "pickle"), ("pyfunc.model", "cloudpickle"), ("pytorch", "torch")],
)
def test_flavours_that_unpickle_say_so(loader: str, expected: str, tmp_path: Path):
    folder = make(tmp_path, "onnx", PICKLE, pyfunc={"loader_module": f"mlflow.{loader}"})
    assert describe_artifact(folder).format == expected
    with pytest.raises(Refused, match=f"its format is {expected}") as caught:
        check(folder, "onnx", "skops")
    assert "artifact.trusted" in str(caught.value.hint)
    check(folder, expected)  # trusted: the file is not looked into


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("code/later.py", "contains Python modules"),
        ("helper.so", "contains Python modules"),
        ("sub/MLmodel", "holds sub/MLmodel"),
        ("weights.pkl", r"holds weights\.pkl"),
        ("custom_objects.cloudpickle", "holds custom_objects"),
    ],
)
def test_what_is_beside_the_model_is_text_or_refused(name: str, complaint: str, tmp_path: Path):
    folder = make(tmp_path, "onnx")
    (folder / "model" / "notes.md").write_text("How it was made.")
    check(folder, "onnx")
    (folder / "model" / name).parent.mkdir(exist_ok=True)
    (folder / "model" / name).write_bytes(PICKLE)
    with pytest.raises(Refused, match=complaint):
        check(folder, "onnx")


@pytest.mark.parametrize("deep", [0, 3])
@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "sub/w.bin", "", "MLmodel", "no"])
def test_weights_of_an_onnx_model_are_beside_it(location: str, deep: int, tmp_path: Path):
    folder = make(tmp_path, "onnx", onnx(location, deep=deep))
    with pytest.raises(Refused, match="which is no file beside it"):
        check(folder, "onnx")


def test_weights_in_a_file_beside_an_onnx_model_are_a_part_of_it(tmp_path: Path):
    folder = make(tmp_path, "onnx", onnx("weights.bin", deep=2))
    (folder / "model" / "weights.bin").write_bytes(b"\0" * 8)
    check(folder, "onnx")


def test_an_onnx_model_without_end_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match="nested deeper than any ONNX model"):
        check(make(tmp_path, "onnx", onnx("x", deep=40)), "onnx")
    with pytest.raises(Refused, match="is no ONNX model"):
        check(make(tmp_path / "cut", "onnx", onnx("x")[:-3]), "onnx")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (keras(DENSE, {"class_name": "Lambda", "module": "keras.layers"}), "keras.layers.Lambda"),
        (keras(DENSE, {"config": {"f": {"class_name": "__lambda__"}}}), "__lambda__"),
        (keras({"class_name": "system", "module": "os"}), "os.system"),
        (keras({"class_name": "X", "module": "kerasx"}), "kerasx.X"),
        (keras({"class_name": "get_file", "module": "keras.utils"}), "keras.utils.get_file"),
        (keras({"class_name": "deserialize", "module": "keras.layers"}), "deserialize"),
        (keras({"class_name": "TorchModuleWrapper", "module": "keras.layers"}), "TorchModule"),
        (keras(DENSE, evil__pkl="x"), "which no Keras model needs"),
        (zipped(config__json="{"), "is no file of Keras 3"),
        (zipped(metadata__json="{}"), "is no file of Keras 3"),
    ],
    ids=[
        "lambda",
        "function",
        "os",
        "like",
        "utility",
        "call",
        "torch",
        "member",
        "json",
        "no-config",
    ],
)
def test_a_keras_model_that_would_run_code_is_refused(
    content: bytes, complaint: str, tmp_path: Path
):
    with pytest.raises(Refused, match=complaint):
        check(make(tmp_path, "keras", content), "keras")


@pytest.mark.parametrize("path", ["/etc/passwd", "gs://bucket/words", "words.txt", ""])
def test_a_keras_model_that_would_read_a_file_is_refused(path: str, tmp_path: Path):
    words = {"class_name": "StringLookup", "module": "keras.layers"}
    listed = {**words, "config": {"vocabulary": ["a", "b"]}}
    check(make(tmp_path / "listed", "keras", keras(DENSE, listed)), "keras")
    model = keras(DENSE, {**words, "config": {"vocabulary": path}})
    with pytest.raises(Refused, match=f"reads a vocabulary from '{path}' when it is opened"):
        check(make(tmp_path / "path", "keras", model), "keras")


@pytest.mark.parametrize("levels", [700, 900, 980, 2_000, 100_000])
def test_a_keras_model_of_many_levels_is_read_or_refused(levels: int, tmp_path: Path):
    text = '{"a": ' * levels + '{"class_name": "Lambda"}' + "}" * levels
    model = zipped(config__json=text, metadata__json="{}", model__weights__h5="")
    with pytest.raises(Refused, match=r"is no file of Keras 3|keras\.Lambda"):
        check(make(tmp_path, "keras", model), "keras")


@pytest.mark.parametrize(
    ("flavour", "name"), [("keras", "config.json"), ("sklearn", "schema.json")]
)
def test_a_text_that_is_small_as_long_as_it_is_packed_is_refused(
    flavour: str, name: str, tmp_path: Path
):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(name, "w", force_zip64=True) as member:
            for _ in range(101):
                member.write(b" " * 1_000_000)
        for other in ("metadata.json", "model.weights.h5") if flavour == "keras" else ():
            archive.writestr(other, "{}")
    assert len(file.getvalue()) < 200_000
    with pytest.raises(Refused, match=rf"its {name} has 101 MB unpacked, the limit is 100 MB"):
        check(make(tmp_path, flavour, file.getvalue()), FORMAT.get(flavour, flavour))


def test_a_missing_model_file_cannot_be_answered_for(tmp_path: Path):
    folder = make(tmp_path, "xgboost")
    (folder / "model" / "model.xgb").unlink()
    with pytest.raises(CannotAnswer, match="is missing"):
        check(folder, "xgboost")


@pytest.mark.parametrize(
    ("flavour", "own", "name", "predict"),
    [
        ("sklearn", {}, "skops", "predict"),
        ("sklearn", {"serialization_format": "pickle"}, "pickle", "predict"),
        # MLflow's wrapper of LightGBM answers it, which is not scikit-learn's.
        (
            "lightgbm",
            {"model_class": "lightgbm.sklearn.LGBMClassifier", "serialization_format": "skops"},
            "skops",
            None,
        ),
        ("lightgbm", {}, "lightgbm", None),
    ],
)
def test_only_a_model_of_scikit_learn_is_asked_by_its_own_method(
    tmp_path: Path, flavour: str, own: dict[str, Any], name: str, predict: str | None
):
    found = describe_artifact(make(tmp_path, flavour, own=own))
    assert (found.format, found.predict) == (name, predict)
