"""The file MLmodel of an artifact, read as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modelyard.errors import CannotAnswer, Refused

Mapping = dict[str, object]

FILE = "MLmodel"
LARGEST = 4_000_000
"""Bytes of the file: 40,000 columns of a signature, and more than any library writes besides."""

_MOST_VALUES, _DEEPEST = 20_000, 60


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
            names = [_text(column["name"]) for column in columns]
            return dict(zip(names, (str(each["type"]) for each in columns), strict=True))
        except (KeyError, ValueError, RecursionError) as error:
            raise CannotAnswer(
                f"{self.path}: its signature has no named columns",
                hint="log the model with a ModelSignature of ColSpec, or without a signature",
            ) from error


def read_metadata(folder: Path) -> Metadata:
    """MLmodel of a model's folder.

    It comes with the model and is read by processes that nothing closes in.

    Raises:
        CannotAnswer: It cannot be read.
        Refused: It is larger, or nested deeper, than anything that MLflow writes.
    """
    import yaml  # noqa: PLC0415 - computing a digest needs no parser

    path = folder / FILE
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise Refused(f"{path}: has more than {LARGEST / 1e6:.0f} MB")
        _refuse_growth(yaml.parse(content, Loader=loader), path)
        document = yaml.load(content, Loader=loader)  # noqa: S506 - a safe loader
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CannotAnswer(f"{path}: cannot be read: {error}") from error
    except (LookupError, AttributeError, TypeError) as error:  # of a tag whose value is none
        raise CannotAnswer(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
    found = mapping(document)
    flavors = {str(name): mapping(conf) for name, conf in mapping(found.get("flavors")).items()}
    return Metadata(path=path, flavors=flavors, signature=mapping(found.get("signature")))


def _refuse_growth(events: Any, path: Path) -> None:
    """Refuse a document that is small as a file and large as values, before values are made of it.

    An alias stands for all that its anchor holds, which may hold aliases. The parser of events
    keeps to the file, and what makes values calls itself for each level.
    """
    total, sizes, opened = 0, dict[str, int](), list[tuple[str, int]]()
    for event in events:
        kind, anchor = type(event).__name__, str(getattr(event, "anchor", None) or "")
        if kind == "AliasEvent":
            # What holds an alias of itself has no end, and no size yet.
            total += sizes.get(anchor, _MOST_VALUES if any(a == anchor for a, _ in opened) else 0)
        elif kind in {"ScalarEvent", "SequenceStartEvent", "MappingStartEvent"}:
            total += 1
            if kind != "ScalarEvent":
                opened.append((anchor, total - 1))
            elif anchor:
                sizes[anchor] = 1
        elif kind in {"SequenceEndEvent", "MappingEndEvent"}:
            name, before = opened.pop()
            if name:
                sizes[name] = total - before
        if total > _MOST_VALUES or len(opened) > _DEEPEST:
            raise Refused(
                f"{path}: has more than {_MOST_VALUES:,} values, or more than {_DEEPEST} levels",
                hint="leave what the model does not need out of its metadata",
            )


def _text(value: object) -> str:
    """A name that a file can hold; a contract may have one with a line break or a no-break space.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no name")  # noqa: TRY004 - as below
    value.encode()
    return value


def mapping(value: object) -> Mapping:
    """The value if it is a mapping, else an empty one."""
    return cast("Mapping", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
