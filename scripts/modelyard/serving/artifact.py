"""An artifact, a trained model in a folder: its digest, and the checks before it is opened."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from modelyard.artifact_digest import artifact_digest, artifact_files
from modelyard.errors import CannotAnswer, Refused

MODEL = "model"

CODE = "code"
"""Among the accepted formats it allows Python modules in the artifact."""

FORMATS = ("skops", "pickle", "cloudpickle", CODE)
"""All that `artifact.formats` of model.yaml may list."""

_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_SKLEARN = "mlflow.sklearn"
_PYTHON_MODEL = "mlflow.pyfunc.model"


@dataclass(frozen=True, kw_only=True)
class Description:
    """An artifact's metadata, read without opening the model.

    Args:
        format: How it is serialized: `skops`, `cloudpickle`, `pickle`, or the flavour's name.
        inputs: MLflow types (`double`, `long`, `string` ...) by column of the signature, in order.
        size: Bytes of all files.
        file: The serialized model, or None for flavours that keep it elsewhere.
        trusted_types: Types that its own metadata asks to trust.
        has_code: Whether it contains Python modules.
    """

    format: str
    inputs: dict[str, str]
    size: int
    file: Path | None = None
    trusted_types: tuple[str, ...] = ()
    has_code: bool = False


def verify_digest(folder: Path, digest: str) -> None:
    """Raise unless the folder holds exactly the pinned bytes; nothing in it is interpreted.

    Raises:
        CannotAnswer: There is no such folder.
        Refused: The digest is malformed, or the folder holds another artifact.
    """
    if not _DIGEST.match(digest):
        raise Refused(f"artifact {folder}: {digest!r} is not of the form sha256:<64 hex digits>")
    found = artifact_digest(folder)
    if found != digest:
        raise Refused(
            f"artifact {folder}: its files have the digest {found}, the pin is {digest}",
            hint="fetch the artifact again; if it still differs, its store was changed",
        )


def describe_artifact(folder: Path) -> Description:
    """The format, signature and size of an artifact, from its metadata alone.

    Raises:
        CannotAnswer: There is no model, or its metadata cannot be read.
        Refused: The metadata names a loader outside MLflow or a file outside the folder.
    """
    path = folder / MODEL / "MLmodel"
    flavors, signature = _metadata(path)
    pyfunc = _mapping(flavors.get("python_function"))
    loader = str(pyfunc.get("loader_module", ""))
    if not loader.startswith("mlflow."):
        raise Refused(f"{path}: loader_module is {loader!r}; only MLflow's own flavours are loaded")
    sklearn = _mapping(flavors.get("sklearn")) if loader == _SKLEARN else {}
    return Description(
        format=_format(loader, sklearn),
        inputs=_inputs(path, signature),
        size=sum(file.stat().st_size for _, file in artifact_files(folder)),
        file=_model_file(folder, pyfunc),
        trusted_types=tuple(str(name) for name in _list(sklearn.get("skops_trusted_types"))),
        has_code=bool(pyfunc.get("code") or sklearn.get("code")),
    )


def check_artifact(
    folder: Path, digest: str, trusted_types: Collection[str], formats: Collection[str]
) -> Description:
    """The artifact's description, once its bytes, format and types are accepted.

    Args:
        folder: The artifact.
        digest: The digest that the release pins.
        trusted_types: Types that a skops file may name besides the library's own list.
        formats: Accepted formats; `code` among them accepts Python modules in the artifact.

    Raises:
        CannotAnswer: A file is missing or cannot be read.
        Refused: The bytes, the format or a type is not accepted.
    """
    verify_digest(folder, digest)
    description = describe_artifact(folder)
    _refuse_format(folder, description, formats)
    if description.format == "skops":
        _refuse_types(folder, description, trusted_types)
    return description


def _metadata(path: Path) -> tuple[dict[str, object], dict[str, object]]:
    import yaml  # noqa: PLC0415 - computing a digest needs no parser

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506 - a safe loader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CannotAnswer(f"{path}: cannot be read: {error}") from error
    metadata = _mapping(document)
    return _mapping(metadata.get("flavors")), _mapping(metadata.get("signature"))


def _format(loader: str, sklearn: dict[str, object]) -> str:
    if loader == _SKLEARN:
        return str(sklearn.get("serialization_format", "pickle"))  # MLflow's own default
    return "cloudpickle" if loader == _PYTHON_MODEL else loader.removeprefix("mlflow.")


def _inputs(path: Path, signature: dict[str, object]) -> dict[str, str]:
    try:
        columns = [_mapping(column) for column in _list(json.loads(str(signature["inputs"])))]
        return {str(column["name"]): str(column["type"]) for column in columns}
    except (KeyError, ValueError) as error:
        raise CannotAnswer(
            f"{path}: has no signature with named columns",
            hint="log the model with an explicit ModelSignature",
        ) from error


def _model_file(folder: Path, pyfunc: dict[str, object]) -> Path | None:
    model = folder / MODEL
    file = model / str(pyfunc.get("data") or "") / str(pyfunc.get("model_path") or "")
    if not file.resolve().is_relative_to(model.resolve()):
        raise Refused(f"{model / 'MLmodel'}: names {file}, which is outside the artifact")
    return file if file.is_file() else None


def _refuse_format(folder: Path, description: Description, formats: Collection[str]) -> None:
    if description.format not in formats:
        raise Refused(
            f"artifact {folder}: its format is {description.format};"
            f" accepted: {', '.join(sorted(formats))}",
            hint=_format_hint(description.format),
        )
    if description.has_code and CODE not in formats:
        raise Refused(
            f"artifact {folder}: it contains Python modules",
            hint="save the model without code_paths, or list `code` under artifact.formats in"
            " model.yaml",
        )


def _format_hint(name: str) -> str:
    if name in FORMATS:
        return f"save the model as skops, or list `{name}` under artifact.formats in model.yaml"
    other = ", ".join(each for each in FORMATS if each not in {"skops", CODE})
    return f"save the model as skops, or as {other} and list that under artifact.formats"


def _refuse_types(folder: Path, description: Description, trusted: Collection[str]) -> None:
    import skops.io  # noqa: PLC0415 - imports scikit-learn: only when a model is opened

    if description.file is None:
        raise CannotAnswer(f"artifact {folder}: the model file that its metadata names is missing")
    try:
        named = {*skops.io.get_untrusted_types(file=description.file), *description.trusted_types}
    except Exception as error:  # a damaged archive raises whatever zipfile, json or skops raise
        raise CannotAnswer(f"{description.file}: is not a skops file: {error}") from error
    strangers = sorted(named - set(trusted))
    if strangers:
        raise Refused(
            f"artifact {folder}: it contains types that are not trusted: {', '.join(strangers)}",
            hint="list them under artifact.trusted_types in model.yaml if you trust them",
        )


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
