"""The data of a new model: the file itself, or the rows of it that train and those held out."""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.adapters.tables.column_facts import TableFacts
from modelyard.adapters.tables.csv_files.rows import split_rows
from modelyard.adapters.tables.data_files import sha256_of
from modelyard.domain.specs.paths import model_folder
from modelyard.domain.specs.version import DataFile
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.training.data_root import DataRoot

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_COPY = 50_000_000
"""Bytes of a file that is copied into the repository, where every clone has it for ever."""

_ENDS = (".csv.gz", ".csv", ".parquet")
_WANTED = "give the path of a .csv, .csv.gz or .parquet file, or its URI"


@dataclass(frozen=True, kw_only=True)
class Given:
    """A data file that a person names.

    Args:
        content: Its bytes.
        name: Its own name, without folders.
        uri: Its address as a pin has it; None for a file of this machine alone.
    """

    content: bytes
    name: str
    uri: str | None


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where the rows of a new model are.

    Args:
        files: The bytes of files to write, by their paths from the repository's root.
        training: The address of the training rows.
        held_out: The pin of the held-out rows.
    """

    files: dict[str, bytes]
    training: str
    held_out: DataFile


def read_given(file: str, data: DataRoot, *, here: Path) -> Given:
    """The file at a path of this machine, or at a data address.

    Raises:
        CannotAnswer: There is none.
    """
    path = here / file
    name = _plain_file_name(posixpath.basename(file))
    if "://" not in file and path.is_file():
        return Given(content=path.read_bytes(), name=name, uri=_uri_of(path, data))
    if "://" not in file and path.is_dir():
        raise CannotAnswer(f"{file} is a folder", hint=_WANTED)
    try:
        return Given(content=data.read(file), name=name, uri=file)
    except CannotAnswer as error:
        raise CannotAnswer(
            f"{file}: there is no such file here, and none at {data.address(file)}", hint=_WANTED
        ) from error
    except Refused as error:
        if "://" in file:
            raise
        # No data address, such as ../rows.csv: what was meant is a file of this machine.
        raise CannotAnswer(f"{file}: there is no such file in {here}", hint=_WANTED) from error


def place_whole(given: Given, data: DataRoot, *, model: str) -> Placed:
    """The file as it is: copied into the model's folder, or pinned where it is.

    Raises:
        Refused: It is of this machine alone, and cannot be copied.
    """
    if given.uri is not None and data.path_in_repository(given.uri) is None:
        pin = DataFile(uri=given.uri, sha256=sha256_of(given.content))
        return Placed(files={}, training=given.uri, held_out=pin)
    path = f"{_data_folder(data, model=model)}{given.name}"
    _refuse_large(given, len(given.content))
    pin = DataFile(uri=path, sha256=sha256_of(given.content))
    return Placed(files={path: given.content}, training=path, held_out=pin)


def place_split(
    given: Given, facts: TableFacts, held_out: Sequence[bool], data: DataRoot, *, model: str
) -> Placed:
    """Two files in the model's folder: the rows that train, and those that are held out.

    Raises:
        Refused: They cannot be in the repository.
    """
    folder = _data_folder(data, model=model)
    _refuse_large(given, len(facts.content))
    if facts.is_text:
        end, parts = ".csv", _split_text(facts.content, held_out, given.name)
    else:
        end, parts = ".parquet", _split_table(facts.table, held_out)
    training, held = f"{folder}train{end}", f"{folder}heldout{end}"
    return Placed(
        files={training: parts[0], held: parts[1]},
        training=training,
        held_out=DataFile(uri=held, sha256=sha256_of(parts[1])),
    )


def _split_text(content: bytes, held_out: Sequence[bool], name: str) -> tuple[bytes, bytes]:
    header, rows = split_rows(content)
    if len(rows) != len(held_out):
        raise CannotAnswer(f"{name}: its rows cannot be told apart", hint="save it as .parquet")
    pairs = list(zip(rows, held_out, strict=True))
    training = b"".join([header, *(row for row, held in pairs if not held)])
    return training, b"".join([header, *(row for row, held in pairs if held)])


def _split_table(table: pa.Table, held_out: Sequence[bool]) -> tuple[bytes, bytes]:
    import pyarrow as pa

    held = pa.array(held_out, pa.bool_())
    import pyarrow.compute as pc

    return _parquet(table.filter(pc.invert(held))), _parquet(table.filter(held))


def _parquet(table: pa.Table) -> bytes:
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _data_folder(data: DataRoot, *, model: str) -> str:
    """The folder of a model's own data as a data address, which begins at the root."""
    if posixpath.normpath(data.base) != ".":
        raise Refused(
            f"data of this repository is at {data.base!r} (modelyard.yaml), so none is copied into "
            f"the model's folder",
            hint=f"put the file there and give its address; rows without a time need two files, "
            f"one for `modelyard version held-out {model}`",
        )
    return f"{model_folder(model)}data/"


def _refuse_large(given: Given, size: int) -> None:
    if size > LARGEST_COPY:
        raise Refused(
            f"{given.name} has {size / 1e6:,.0f} MB; at most {LARGEST_COPY / 1e6:.0f} MB are "
            f"copied into the repository",
            hint="put it where `data` or `data_roots` of modelyard.yaml allow, and give its URI",
        )


def _uri_of(path: Path, data: DataRoot) -> str | None:
    """The data address of a file of this machine, if it is below `data`."""
    if "://" in data.base:
        return None
    base = (data.root / data.base).resolve()
    real = path.resolve()
    return real.relative_to(base).as_posix() if real.is_relative_to(base) else None


def _plain_file_name(name: str) -> str:
    """The name without what an address may not have."""
    end = next((each for each in _ENDS if name.lower().endswith(each)), "")
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name[: len(name) - len(end)]).strip("-") or "data"
    return f"{stem}{end}"
