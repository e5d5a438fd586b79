"""Tables: reads files, applies the label rule and spans of days, stores scores as Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from modelyard.domain.gate.gate import Scores
from modelyard.domain.specs.contract import Breach, find_breaches
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import DataContract, MissingLabels, Model, Task
from modelyard.errors import CannotAnswer, Refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

WHOLE_COLUMN = frozenset({"missing", "unexpected-name"})
"""Rules about whole columns: joined files would hide that one of them breaks these."""

LABEL = "label"
CLUSTER = "cluster"
SLICE = "slice: "


def read_frame(content: bytes, *, name: str) -> pd.DataFrame:
    """The rows of a Parquet file that a step wrote; for people's files see `table_files`.

    Raises:
        CannotAnswer: It is damaged.
    """
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise CannotAnswer(f"{name}: not readable as a table: {error}") from error


def to_parquet(frame: pd.DataFrame) -> bytes:
    """The rows as Parquet bytes; the same rows give the same bytes."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def columns_of(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """The columns as plain arrays, as the domain reads tables."""
    return {str(name): _plain_array(frame[name]) for name in frame.columns}


def _plain_array(column: pd.Series[Any]) -> NDArray[Any]:
    import numpy as np
    import pandas as pd

    if not isinstance(column.dtype, pd.Int64Dtype):
        plain: NDArray[Any] = column.to_numpy()
        return plain
    # The domain judges shares and ranges, for which a float is near enough.
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def file_breaches(frame: pd.DataFrame, data: DataContract) -> tuple[Breach, ...]:
    """The breaches of one file that its rows must not be joined with others for, or cut by days.

    They are those of columns that are missing or misspelt, and those of times: rows have no day
    where a time cannot be read.
    """
    found = find_breaches(data.columns, columns_of(frame))
    return tuple(
        b
        for b in found
        if b.rule in WHOLE_COLUMN or (b.column == data.timestamp and b.rule == "type")
    )


def rows_within(frame: pd.DataFrame, *, timestamp: str, spans: Iterable[Interval]) -> pd.DataFrame:
    """The rows whose day lies in one of the spans, in order; one without a day lies in none."""
    import pandas as pd

    keep = is_within(frame, timestamp=timestamp, spans=spans)
    if keep.all() and frame.index.equals(pd.RangeIndex(len(frame))):
        return frame  # which need not be copied
    return frame.loc[keep].reset_index(drop=True)


def is_within(
    frame: pd.DataFrame, *, timestamp: str, spans: Iterable[Interval]
) -> NDArray[np.bool_]:
    """Whether the day of each row lies in one of the spans."""
    import numpy as np

    days = frame[timestamp].to_numpy().astype("datetime64[D]")
    keep = np.zeros(len(frame), dtype=bool)
    for span in spans:
        keep |= (days >= np.datetime64(span.since)) & (days < np.datetime64(span.until))
    return keep


def rows_by_day(frame: pd.DataFrame, timestamp: str) -> dict[date, int]:
    """The number of rows of each day, on the clock of the model's zone."""
    import numpy as np

    days = frame[timestamp].to_numpy().astype("datetime64[D]")
    found, rows = np.unique(days[~np.isnat(days)], return_counts=True)
    return dict(zip(found.tolist(), rows.tolist(), strict=True))


def with_labels(
    frame: pd.DataFrame, model: Model, *, are_whole: bool | None = None
) -> tuple[pd.DataFrame, int]:
    """The rows with a `label` column in place of the target, and how many were left out.

    The rule is model.yaml's: `above` and `positive_class` make 0 and 1; a missing target is left
    out or negative.

    Args:
        frame: The rows, or a part of them.
        model: The model.
        are_whole: Of a part, whether `has_whole_targets` holds for all rows; None for all rows.
    """
    target = model.target
    if target.column not in frame.columns:
        raise Refused(f"{model.name}: target column {target.column!r} is not in the data")
    raw = frame[target.column]
    present = raw.notna()
    if target.missing is MissingLabels.EXCLUDE:
        frame, raw = frame.loc[present], raw.loc[present]
    inputs = frame.drop(columns=[target.column])
    out = inputs.assign(**{LABEL: _labels(raw, model, are_whole=are_whole)}).reset_index(drop=True)
    return out, int((~present).sum()) if target.missing is MissingLabels.EXCLUDE else 0


def has_whole_targets(frame: pd.DataFrame, model: Model) -> bool:
    """Whether all numbers of the target are whole: as levels they have no fraction then."""
    return _is_whole(frame[model.target.column].dropna())


def _is_whole(known: pd.Series[Any]) -> bool:
    import pandas as pd

    return not pd.api.types.is_float_dtype(known) or bool((known % 1 == 0).all())


def _labels(raw: pd.Series[Any], model: Model, *, are_whole: bool | None) -> Any:
    import pandas as pd

    if model.task is Task.MULTICLASS:
        return _as_text(raw, are_whole=are_whole)
    if model.task is Task.REGRESSION:
        return raw.astype("float64")
    target, positive = model.target, pd.Series(data=False, index=raw.index)
    known = raw.dropna()
    if target.above is not None:
        positive[known.index] = (known > target.above).astype(bool)
    elif target.positive_class is not None:
        positive[known.index] = _as_text(known, are_whole=are_whole) == target.positive_class
    else:
        positive[known.index] = known == 1
    return positive.astype("int64")


def _as_text(raw: pd.Series[Any], *, are_whole: bool | None) -> Any:
    """The levels as text; whole numbers that a missing value turned into floats stay whole."""
    import pandas as pd

    whole = _is_whole(raw.dropna()) if are_whole is None else are_whole
    if pd.api.types.is_float_dtype(raw) and whole:
        return raw.astype("Int64").astype(str)
    return raw.astype(str)


def clusters_of(
    frame: pd.DataFrame, cluster: str, *, first: int = 0, finest: np.datetime64 | None = None
) -> NDArray[Any]:
    """The name of each row's cluster; `row` makes every row its own.

    Args:
        frame: The rows, or a part of them.
        cluster: The column, or `row`.
        first: Of a part, the number of rows before it.
        finest: Of a part, the `finest_time` of all rows: it has a say in how each is written.
    """
    import numpy as np
    import pandas as pd

    if cluster == "row":
        return np.arange(first, first + len(frame)).astype(str)
    if cluster not in frame.columns:
        raise Refused(f"cluster column {cluster!r} is not in the held-out data")
    column = frame[cluster]
    if finest is not None:
        column = pd.concat([column, pd.Series([finest], dtype=column.dtype)])
    names: NDArray[Any] = column.astype(str).to_numpy()
    return names[: len(frame)]


def finest_time(times: NDArray[Any]) -> np.datetime64 | None:
    """The time that takes the most digits to write; None without one."""
    import numpy as np

    known = times[~np.isnat(times)]
    units = ("D", "s", "ms")
    digits = sum((known != known.astype(f"datetime64[{unit}]")).astype(int) for unit in units)
    return known[int(np.argmax(digits))] if len(known) else None


def scores_to_parquet(
    labels: Any,
    clusters: Any,
    scores: NDArray[np.float64],
    *,
    slices: Mapping[str, NDArray[Any]] | None = None,
) -> bytes:
    """Per-row scores as evidence: `label`, `cluster`, and `score` or `score_0`, `score_1` ...

    The name of each row's slice is in a column `slice: TITLE`.
    """
    import pandas as pd

    columns: dict[str, Any] = {LABEL: labels, CLUSTER: clusters}
    if scores.ndim == 1:
        columns["score"] = scores
    else:
        columns |= {f"score_{number}": scores[:, number] for number in range(scores.shape[1])}
    columns |= {f"{SLICE}{title}": names for title, names in (slices or {}).items()}
    return to_parquet(pd.DataFrame(columns))


def scores_from_parquet(content: bytes, *, digest: str) -> Scores:
    """Per-row scores read back, with `digest`, the identity of the held-out rows.

    Raises:
        CannotAnswer: The bytes are no per-row scores.
    """
    import numpy as np

    frame = read_frame(content, name="scores.parquet")
    names = [str(name) for name in frame.columns if str(name).startswith("score")]
    if not names or not {LABEL, CLUSTER} <= set(frame.columns):
        found = ", ".join(str(name) for name in frame.columns)
        raise CannotAnswer(
            f"evidence of {digest} is no table of scores: it has columns {found or 'none'}; "
            f"expected {LABEL}, {CLUSTER} and score"
        )
    values = frame[names].to_numpy(dtype=np.float64)
    return Scores(
        digest=digest,
        labels=frame[LABEL].to_numpy(),
        clusters=frame[CLUSTER].to_numpy(),
        scores=values[:, 0] if names == ["score"] else values,
        slices={
            name.removeprefix(SLICE): frame[name].to_numpy()
            for name in map(str, frame.columns)
            if name.startswith(SLICE)
        },
    )
