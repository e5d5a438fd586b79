"""Opens the files of a feed on this disk: none of them is in memory as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelyard.adapters.isolation.removal import scratch_folder
from modelyard.adapters.tables.table_parts import TableFile
from modelyard.domain.checks.pins import file_path
from modelyard.domain.specs.model import DataContract
from modelyard.errors import CannotAnswer
from modelyard.operations.training.data_root import DataRoot


@contextmanager
def open_feed_file(
    uri: str, contract: DataContract, data: DataRoot
) -> Iterator[tuple[TableFile, str]]:
    """A file of a feed, and the SHA-256 of its bytes.

    Raises:
        CannotAnswer: It is out of reach, or was written to before the end.
    """
    here = _local_parquet(uri, data)
    if here is not None:
        with _unchanged(here, uri=uri):
            with here.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            yield TableFile(here, uri=uri, data=contract), digest
        return
    with scratch_folder("modelyard-feed-") as folder:
        digest = data.copy(uri, folder / "file")
        yield TableFile(folder / "file", uri=uri, data=contract), digest


@contextmanager
def open_feed_column(
    uri: str, name: str, contract: DataContract, data: DataRoot
) -> Iterator[TableFile]:
    """A file of a feed, of which one column is asked for.

    Raises:
        CannotAnswer: It is out of reach, no table, or was written to before the end.
    """
    here = _local_parquet(uri, data)
    if here is not None:
        with _unchanged(here, uri=uri):
            yield TableFile(here, uri=uri, data=contract, only=[name])
        return
    with scratch_folder("modelyard-feed-") as folder:
        path = folder / "file"
        # Only Parquet stores columns apart, so that one can be read alone.
        is_apart = uri.endswith(".parquet") and data.read_kept(uri) is None
        if not is_apart or not _copy_column(data.address(uri), name, path, uri=uri):
            data.copy(uri, path)
        yield TableFile(path, uri=uri, data=contract, only=[name])


@contextmanager
def _unchanged(path: Path, *, uri: str) -> Iterator[None]:
    """Refuse what was read of a file, which is opened anew for each part, if it is another now."""
    before = _identity(path)
    try:
        yield
    finally:
        # Also behind an error, which may be of two files that were read as one.
        if _identity(path) != before:
            raise CannotAnswer(
                f"{uri}: was changed or replaced while it was read",
                hint="run the command again once nobody writes the file",
            )


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _local_parquet(uri: str, data: DataRoot) -> Path | None:
    """The path of a Parquet file of this machine that Git does not keep."""
    address = data.address(uri)
    path = file_path(address) if "://" in address else address
    if path is None or not uri.endswith(".parquet") or data.read_kept(uri) is not None:
        return None
    return Path(path) if Path(path).is_file() else None


def _copy_column(address: str, name: str, target: Path, *, uri: str) -> bool:
    """Copy one column of a Parquet file to this disk; returns whether it has it, once."""
    import fsspec
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # With `pre_buffer` all bytes that were read would stay in memory until the end.
        with (
            fsspec.open(address, "rb") as stream,
            parquet.ParquetFile(stream, pre_buffer=False) as file,
        ):
            schema = file.schema_arrow
            if schema.names.count(name) != 1:
                return False
            with parquet.ParquetWriter(target, pa.schema([schema.field(name)])) as copy:
                for batch in file.iter_batches(columns=[name]):
                    copy.write_table(pa.Table.from_batches([batch]))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CannotAnswer(f"{uri}: not readable as a table: {error}") from error
    return True
