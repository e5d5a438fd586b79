"""The file MLmodel of an artifact, read as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from modelyard.errors import CannotAnswer, Refused

Mapping = dict[str, object]

FILE = "MLmodel"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What MLmodel says.

    Args:
        path: The file.
        flavors: Settings by flavour; each is what one loader of MLflow reads.
        signature: The signature, as it is written there; empty if there is none.
    """

    path: Path
    flavors: dict[str, Mapping]
    signature: Mapping

    @property
    def folder(self) -> Path:
        """The model's folder, which a loader gets."""
        return self.path.parent

    @property
    def loader(self) -> str:
        """The module that MLflow imports to open the model."""
        return str(self.flavors.get("python_function", {}).get("loader_module", ""))

    def plain_name(self, value: object) -> str:
        """A setting that names a file of the model's folder, and nothing outside or deeper.

        Raises:
            Refused: It names something else.
        """
        name = str(value or "")
        if name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
            raise Refused(
                f"{self.path}: names {name!r}, which is outside the artifact or deeper in it;"
                " the loader would read another file than the one that is checked"
            )
        return name

    def types(self) -> dict[str, str] | None:
        """MLflow types by column of the signature, in order; None without a signature.

        Raises:
            CannotAnswer: The signature has no named columns.
        """
        if not self.signature.get("inputs"):
            return None
        try:
            columns = [
                mapping(column) for column in _list(json.loads(str(self.signature["inputs"])))
            ]
            return {str(column["name"]): str(column["type"]) for column in columns}
        except (KeyError, ValueError) as error:
            raise CannotAnswer(
                f"{self.path}: its signature has no named columns",
                hint="log the model with a ModelSignature of ColSpec, or without a signature",
            ) from error


def read_metadata(folder: Path) -> Metadata:
    """MLmodel of a model's folder.

    Raises:
        CannotAnswer: It cannot be read.
    """
    import yaml  # noqa: PLC0415 - computing a digest needs no parser

    path = folder / FILE
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document = yaml.load(path.read_bytes(), Loader=loader)  # noqa: S506 - a safe loader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CannotAnswer(f"{path}: cannot be read: {error}") from error
    found = mapping(document)
    flavors = {str(name): mapping(conf) for name, conf in mapping(found.get("flavors")).items()}
    return Metadata(path=path, flavors=flavors, signature=mapping(found.get("signature")))


def mapping(value: object) -> Mapping:
    """The value if it is a mapping, else an empty one."""
    return cast("Mapping", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
