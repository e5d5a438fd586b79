"""An artifact, a trained model in a folder: its digest, and the checks before it is opened."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from modelyard.artifact_digest import artifact_digest, artifact_files
from modelyard.domain.artifact_formats import CODE, DATA_FORMATS, FORMATS
from modelyard.domain.specs.contract import Column
from modelyard.errors import CannotAnswer, Refused
from modelyard.serving.documents import read_serving
from modelyard.serving.formats.contents import check_contents
from modelyard.serving.formats.loaders import find_opening, has_code
from modelyard.serving.formats.metadata import read_metadata
from modelyard.serving.formats.skops_file import import_skops

MODEL = "model"

_DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_PYTHON = frozenset({".py", ".pyc", ".pyd", ".so"})

CONTRACT_TYPES = {
    "number": "double",
    "integer": "long",
    "boolean": "boolean",
    "category": "string",
    "timestamp": "string",
}
"""MLflow's type of each type of the contract, for a model without a signature."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """An artifact's metadata, read without opening the model.

    Args:
        format: How it is serialized, one of `domain.artifact_formats`, or the flavour's name.
        inputs: MLflow types (`double`, `long`, `string` ...) by column, in the order of the
            signature, or of the contract for a model without one.
        size: Bytes of all files.
        file: The serialized model, or None for flavours that keep it elsewhere.
        trusted_types: Types that its own metadata asks to trust.
        predict: The method that scores, of a model of scikit-learn; None for other models.
        has_code: Whether it contains Python modules.
    """

    format: str
    inputs: dict[str, str]
    size: int
    file: Path | None = None
    trusted_types: tuple[str, ...] = ()
    predict: str | None = None
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


def describe_artifact(folder: Path, columns: Iterable[Column] = ()) -> Description:
    """The format, signature and size of an artifact, without opening the model.

    Args:
        folder: The artifact.
        columns: The inputs of a model without a signature; by default those of `serving.json`,
            which is there once the artifact is sealed.

    Raises:
        CannotAnswer: There is no model, or its metadata cannot be read.
        Refused: The metadata names a loader outside MLflow, a setting with an unknown effect or a
            file outside the folder.
    """
    metadata = read_metadata(folder / MODEL)
    opening = find_opening(metadata)
    files = list(artifact_files(folder))
    types = metadata.types()
    if types is None:
        types = _types_of(tuple(columns) or read_serving(folder).inputs)
    return Description(
        format=opening.format,
        inputs=types,
        size=sum(file.stat().st_size for _, file in files),
        file=opening.file,
        trusted_types=opening.trusted_types,
        predict=opening.predict,
        has_code=has_code(metadata) or any(file.suffix in _PYTHON for _, file in files),
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
    check_contents(folder / MODEL, description.format, description.file)
    if description.format == "skops":
        _refuse_types(folder, description, trusted_types)
    return description


def _types_of(columns: Iterable[Column]) -> dict[str, str]:
    found = {}
    for column in columns:
        can_be_null = column.nullable and column.default is None
        is_text = column.type in {"category", "timestamp"}
        found[column.name] = (
            "double" if can_be_null and not is_text else CONTRACT_TYPES[column.type]
        )
    return found


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
            " model.yaml and give the reason under artifact.trusted",
        )


def _format_hint(name: str) -> str:
    if name in DATA_FORMATS:
        return f"list `{name}` under artifact.formats in model.yaml"
    data = f"save the model as data ({', '.join(DATA_FORMATS)})"
    if name in FORMATS:
        return (
            f"{data}; or list `{name}` under artifact.formats in model.yaml and give the reason why"
            " its code is trusted under artifact.trusted"
        )
    return f"{data}; this flavour has no format that may be listed"


def _refuse_types(folder: Path, description: Description, trusted: Collection[str]) -> None:
    if description.file is None:
        raise CannotAnswer(f"artifact {folder}: the model file that its metadata names is missing")
    skops = import_skops()
    try:
        named = {*skops.get_untrusted_types(file=description.file), *description.trusted_types}
    except Exception as error:  # a damaged archive raises whatever zipfile, json or skops raise
        raise CannotAnswer(f"{description.file}: is not a skops file: {error}") from error
    strangers = sorted(named - set(trusted))
    if strangers:
        raise Refused(
            f"artifact {folder}: it contains types that are not trusted: {', '.join(strangers)}",
            hint="list them under artifact.trusted_types in model.yaml if you trust them",
        )
