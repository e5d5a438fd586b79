"""Deliveries of labels: the rows that labels were joined to, one file a delivery."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.adapters.replaced_file import write_whole
from modelyard.adapters.tables.frames import LABEL
from modelyard.errors import CannotAnswer
from modelyard.operations.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

REQUEST, ROW = "request", "row"
"""Columns of a file of labels: the id that the answer had, and the row's place in its request."""

LOGGED = (REQUEST, ROW, "release", "version", "at", "prediction")
"""What is kept of a logged row, beside its label."""


def read_deliveries(
    workspace: Workspace,
    name: str,
    *,
    since: datetime | None = None,
    among: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """The labelled rows that were kept, with the number of their `delivery`.

    Args:
        workspace: What to work with.
        name: The model's name.
        since: Only rows that were predicted from then on.
        among: By column, values of which a row has one: `release` or `version`.

    Raises:
        CannotAnswer: A delivery cannot be read.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pc.scalar(True)
    for column, values in (among or {}).items():
        wanted &= pc.field(column).isin(list(values))
    if since is not None:
        wanted &= pc.field("at") >= since
    parts = sorted(_folder_of(workspace, name).glob("*.parquet"))
    alike: dict[str, list[pa.Table]] = {}  # labels are numbers or text, as the task was
    for part in parts:
        table = _read_delivery(part, wanted)
        if table.num_rows:
            alike.setdefault(str(table.schema.field(LABEL).type), []).append(table)
    none = pd.DataFrame(columns=[*LOGGED, LABEL, "delivery"])
    frames: list[pd.DataFrame] = [pa.concat_tables(each).to_pandas() for each in alike.values()]
    return pd.concat(frames, ignore_index=True) if frames else none


def _read_delivery(part: Path, wanted: pc.Expression) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {
        REQUEST: pa.string(),
        ROW: pa.int64(),
        "release": pa.string(),
        "version": pa.string(),
        "at": pa.timestamp("us", tz="UTC"),
        "prediction": pa.list_(pa.float64()),
    }
    try:
        number = int(part.stem)
        with pq.ParquetFile(part) as file:
            table = file.read([*types, LABEL])
        kinds = pa.schema([*types.items(), table.schema.field(LABEL)])
        table = table.select(kinds.names).cast(kinds).filter(wanted).replace_schema_metadata()
    except (OSError, ValueError, LookupError, pa.ArrowException) as error:
        raise CannotAnswer(
            f"{part}: no delivery of labels that can be read: {error}",
            hint="move it away, and give its labels to `modelyard feedback` again",
        ) from error
    return table.append_column("delivery", pa.repeat(number, table.num_rows))


@contextmanager
def delivering(workspace: Workspace, name: str) -> Iterator[Path]:
    """The folder of a model's deliveries, while nobody else adds one."""
    # Two deliveries at once would both take a label for new.
    folder = _folder_of(workspace, name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield folder


def write_delivery(folder: Path, joined: pd.DataFrame) -> None:
    """Keep a delivery, whole or not at all."""
    number = max((int(part.stem) for part in folder.glob("*.parquet")), default=0) + 1
    write_whole(folder / f"{number:08d}.parquet", joined.to_parquet(index=False))


def _folder_of(workspace: Workspace, name: str) -> Path:
    services = workspace.services
    return services.root / services.repository.state / "feedback" / name
