"""Whether a file is what its format says, by its bytes; nothing is opened that could run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

from modelyard.artifact_digest import artifact_files
from modelyard.domain.artifact_formats import CODE_FORMATS
from modelyard.errors import CannotAnswer, Refused
from modelyard.serving.formats.metadata import FILE
from modelyard.serving.formats.onnx_file import external_files

_ZIP = b"PK\x03\x04"
_LARGEST_TEXT = 100_000_000
_TEXT = frozenset({".csv", ".json", ".md", ".txt", ".yaml", ".yml"})
"""Files that a trainer may leave beside the model: no loader opens them."""

_KERAS_MEMBERS = frozenset({"config.json", "metadata.json", "model.weights.h5"})
# They run Python of the file, unpickle, or load a TensorFlow program.
_KERAS_PLACES = frozenset({"", "builtins", "keras"})
_KERAS_PARTS = frozenset(
    f"keras.{part}"
    for part in (
        *("activations", "constraints", "dtype_policies", "initializers", "layers", "losses"),
        *("metrics", "models", "optimizers", "quantizers", "regularizers"),
    )
)
"""Where a model's own parts are; `keras.utils` and `keras.config` have functions that act."""
_KERAS_CODE = frozenset(
    {"Lambda", "__lambda__", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}
)


def check_contents(model: Path, format_: str, file: Path | None) -> None:
    """Raise unless the model's folder holds data of the format, and nothing that runs.

    A format that runs code is not looked into: there is nothing in it that could be trusted.

    Args:
        model: The model's folder.
        format_: The format that the loader would read.
        file: What it would open.

    Raises:
        CannotAnswer: The file is missing.
        Refused: Its bytes are of another format, or the folder holds something else.
    """
    if format_ in CODE_FORMATS or format_ not in _CHECKS:
        return
    if file is None or not file.is_file():
        raise CannotAnswer(f"{model}: the model file that its metadata names is missing")
    own = {file, *_CHECKS[format_](file)}
    for name, path in artifact_files(model):
        if path in own or name == FILE:
            continue
        if path.name == FILE or path.suffix not in _TEXT:
            raise Refused(
                f"{model}: holds {name}, which a model of the format {format_} does not need",
                hint="leave it out of the model's folder; other files must be text, such as .json",
            )


def _starts_with(file: Path, wanted: tuple[bytes, ...], what: str) -> frozenset[Path]:
    with file.open("rb") as opened:
        start = opened.read(64)
    if not start.startswith(wanted):
        raise Refused(f"{file}: its bytes are no {what}; it starts with {start[:8]!r}")
    return frozenset()


def _skops(file: Path) -> frozenset[Path]:
    # A zip file may come after other bytes, such as a pickle, and is found from its end.
    _starts_with(file, (_ZIP,), "skops file")
    with suppress(zipfile.BadZipFile, NotImplementedError), zipfile.ZipFile(file) as archive:
        _refuse_unpacked(file, archive, "schema.json")  # what is no archive, skops names
    return frozenset()


def _refuse_unpacked(file: Path, archive: zipfile.ZipFile, name: str) -> None:
    """Refuse a member that is read whole, and is small only as long as it is packed."""
    for member in archive.infolist():
        if member.filename == name and member.file_size > _LARGEST_TEXT:
            raise Refused(
                f"{file}: its {name} has {member.file_size / 1e6:.0f} MB unpacked, the limit is "
                f"{_LARGEST_TEXT / 1e6:.0f} MB"
            )


def _xgboost(file: Path) -> frozenset[Path]:
    return _starts_with(file, (b"{",), "model of XGBoost in JSON or UBJSON")


def _lightgbm(file: Path) -> frozenset[Path]:
    return _starts_with(file, (b"tree\n", b"tree\r\n"), "text file of LightGBM")


def _catboost(file: Path) -> frozenset[Path]:
    return _starts_with(file, (b"CBM1", b"{"), "model of CatBoost in cbm or JSON")


def _onnx(file: Path) -> frozenset[Path]:
    _starts_with(file, (b"\x08",), "ONNX model")
    found = set()
    for location in external_files(file):
        path = file.parent / location
        plain = Path(location).name == location and location not in {"", ".", ".."}
        if not plain or not path.is_file() or path.name == FILE:
            raise Refused(
                f"{file}: keeps weights in {location!r}, which is no file beside it",
                hint="save the model with its weights inside, or all in files beside it",
            )
        found.add(path)
    return frozenset(found)


def _keras(file: Path) -> frozenset[Path]:
    _starts_with(file, (_ZIP,), "file of Keras 3")
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            strangers = sorted(set(names) - _KERAS_MEMBERS)
            if strangers or len(names) != len(set(names)):
                raise Refused(f"{file}: holds {strangers or names}, which no Keras model needs")
            _refuse_unpacked(file, archive, "config.json")
            config = json.loads(archive.read("config.json"))
        found, paths = list(_keras_classes(config)), sorted(set(_keras_paths(config)))
    except (zipfile.BadZipFile, KeyError, ValueError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"{file}: is no file of Keras 3: {error}") from error
    for class_name, module in found:
        own = module in _KERAS_PLACES or ".".join(module.split(".")[:2]) in _KERAS_PARTS
        # Functions have small letters: `keras.utils.get_file` would fetch and write a file.
        is_class = class_name[:1].isupper() or class_name in {"", "function"}
        if class_name in _KERAS_CODE or not (own and is_class):
            raise Refused(
                f"{file}: has {module or 'keras'}.{class_name}, which runs code when it is opened",
                hint="use Keras' own layers without Lambda, or save the model as ONNX",
            )
    if paths:
        raise Refused(
            f"{file}: reads a vocabulary from {paths[0]!r} when it is opened",
            hint="give the layer its vocabulary as a list, before the model is saved",
        )
    return frozenset()


def _keras_paths(value: object) -> Iterator[str]:
    """The files and addresses that layers of text would read their vocabulary from."""
    if isinstance(value, dict):
        found = value.get("vocabulary")
        yield from [found] if isinstance(found, str) else []
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        yield from _keras_paths(each)


def _keras_classes(value: object) -> Iterator[tuple[str, str]]:
    """Every class that Keras would look up, with its module."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield str(value["class_name"]), str(value.get("module") or "")
        elif value.get("module"):
            yield "", str(value["module"])
        for each in value.values():
            yield from _keras_classes(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keras_classes(each)


_CHECKS: dict[str, Callable[[Path], AbstractSet[Path]]] = {
    "catboost": _catboost,
    "keras": _keras,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "skops": _skops,
    "xgboost": _xgboost,
}
