"""Tables: reads files, applies the label rule and spans of days, stores scores as Parquet."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from modelyard.domain.gate.gate import Scores
from modelyard.domain.specs.interval import Interval
from modelyard.domain.specs.model import MissingLabels, Model, Task
from modelyard.errors import CannotAnswer, Refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

LABEL = "label"
CLUSTER = "cluster"


def read_frame(content: bytes, *, uri: str) -> pd.DataFrame:
    """The rows of a Parquet or CSV file (`.csv`, `.csv.gz`), by the end of its address.

    Raises:
        CannotAnswer: Another kind of file, or a damaged one.
    """
    import pandas as pd

    try:
        if uri.endswith(".parquet"):
            return pd.read_parquet(io.BytesIO(content))
        if uri.endswith((".csv", ".csv.gz")):
            packed: Literal["gzip"] | None = "gzip" if uri.endswith(".gz") else None
            return pd.read_csv(io.BytesIO(content), compression=packed)
    except (OSError, ValueError) as error:
        raise CannotAnswer(f"{uri}: not readable as a table: {error}") from error
    raise CannotAnswer(f"{uri}: not a table; expected .parquet, .csv or .csv.gz")


def to_parquet(frame: pd.DataFrame) -> bytes:
    """The rows as Parquet bytes; the same rows give the same bytes."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def columns_of(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """The columns as plain arrays, as the domain reads tables."""
    return {str(name): frame[name].to_numpy() for name in frame.columns}


def rows_within(frame: pd.DataFrame, *, timestamp: str, spans: Iterable[Interval]) -> pd.DataFrame:
    """The rows whose day lies in one of the spans, in order."""
    import numpy as np
    import pandas as pd

    # Days of the timestamp's own clock: intervals are whole days without a zone.
    days = pd.to_datetime(frame[timestamp]).dt.date.to_numpy()
    keep = np.zeros(len(frame), dtype=bool)
    for span in spans:
        keep |= (days >= span.since) & (days < span.until)
    return frame.loc[keep].reset_index(drop=True)


def with_labels(frame: pd.DataFrame, model: Model) -> tuple[pd.DataFrame, int]:
    """The rows with a `label` column in place of the target, and how many were left out.

    The rule is model.yaml's: `above` and `positive_class` make 0 and 1; a missing target is left
    out or negative.
    """
    target = model.target
    if target.column not in frame.columns:
        raise Refused(f"{model.name}: target column {target.column!r} is not in the data")
    raw = frame[target.column]
    present = raw.notna()
    if target.missing is MissingLabels.EXCLUDE:
        frame, raw = frame.loc[present], raw.loc[present]
    inputs = frame.drop(columns=[target.column])
    out = inputs.assign(**{LABEL: _labels(raw, model)}).reset_index(drop=True)
    return out, int((~present).sum()) if target.missing is MissingLabels.EXCLUDE else 0


def _labels(raw: pd.Series[Any], model: Model) -> Any:
    target = model.target
    if model.task is Task.BINARY and target.above is not None:
        return (raw > target.above).astype("int64")
    if model.task is Task.BINARY:
        wanted = target.positive_class
        positive = _as_text(raw) == wanted if wanted is not None else raw.fillna(0) == 1
        return positive.astype("int64")
    return _as_text(raw) if model.task is Task.MULTICLASS else raw.astype("float64")


def _as_text(raw: pd.Series[Any]) -> Any:
    """The levels as text; whole numbers that a missing value turned into floats stay whole."""
    import pandas as pd

    known = raw.dropna()
    if pd.api.types.is_float_dtype(raw) and bool((known % 1 == 0).all()):
        return raw.astype("Int64").astype(str)
    return raw.astype(str)


def clusters_of(frame: pd.DataFrame, cluster: str) -> NDArray[Any]:
    """The name of each row's cluster; `row` makes every row its own."""
    import numpy as np

    if cluster == "row":
        return np.arange(len(frame)).astype(str)
    if cluster not in frame.columns:
        raise Refused(f"cluster column {cluster!r} is not in the held-out data")
    names: NDArray[Any] = frame[cluster].astype(str).to_numpy()
    return names


def scores_to_parquet(labels: Any, clusters: Any, scores: NDArray[np.float64]) -> bytes:
    """Per-row scores as evidence: `label`, `cluster`, and `score` or `score_0`, `score_1` ..."""
    import pandas as pd

    columns: dict[str, Any] = {LABEL: labels, CLUSTER: clusters}
    if scores.ndim == 1:
        columns["score"] = scores
    else:
        columns |= {f"score_{number}": scores[:, number] for number in range(scores.shape[1])}
    return to_parquet(pd.DataFrame(columns))


def scores_from_parquet(content: bytes, *, digest: str) -> Scores:
    """Per-row scores read back, with `digest`, the identity of the held-out rows.

    Raises:
        CannotAnswer: The bytes are no per-row scores.
    """
    import numpy as np

    frame = read_frame(content, uri="scores.parquet")
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
    )
