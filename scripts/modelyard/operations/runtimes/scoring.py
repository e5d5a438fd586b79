"""Has rows scored by models in their own runtimes; this process opens no model."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.adapters.isolation.confinement import WAYS
from modelyard.adapters.isolation.left_files import read_left_whole
from modelyard.adapters.isolation.removal import scratch_folder
from modelyard.adapters.isolation.run import ClosedCommand, run_closed_in
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.domain.artifact_formats import CODE_FORMATS
from modelyard.domain.harmless_text import last_lines
from modelyard.domain.isolation import Unisolated
from modelyard.domain.specs.model import Model, Task
from modelyard.errors import CannotAnswer, Refused
from modelyard.operations.runtimes.closed_in import (
    EXCEEDED,
    limits_of_model,
    model_environment,
    reach_of_model,
    refuse_unisolated_model,
)
from modelyard.runtime_measure import Measured
from modelyard.serving.scoring import RESULT, Failure, ModelFile, Order, scores_file

if TYPE_CHECKING:
    from modelyard.serving.predictor import Scores

_LAST_LINES = 3
_LARGEST = 16_000_000
"""Bytes of a result: the runtime's packages, and for each table a failure with what was said."""

_HEADER = 4096  # of an array's file, before its values
_MALFORMED = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(MemoryError, RecursionError),
)
_MOST_SECONDS = 3600
"""For all tables: a model that never answers must not hold a step for ever."""


Rows = Path | bytes | list[dict[str, object]]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact to score with: its folder and its digest."""

    folder: Path
    digest: str


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What came out of one runtime.

    Args:
        measured: The runtime, as the process in it found it.
        answers: By the places of artifact and table: the scores, or why there are none.
    """

    measured: Measured
    answers: Mapping[tuple[int, int], Scores | Failure]

    def scores(self, artifact: int, table: int, *, what: str) -> Scores:
        """The scores of one artifact for one table.

        Args:
            artifact: Its place.
            table: Its place.
            what: Says what the model cannot do, if it raised.

        Raises:
            YardError: There are none; see `Predictor.scores`.
        """
        answer = self.answers[artifact, table]
        if isinstance(answer, Failure):
            raise answer.to_error(what)
        return answer


def score_tables(
    runtime: Runtime,
    artifacts: Sequence[Artifact],
    tables: Sequence[Rows],
    model: Model,
    *,
    unisolated: Unisolated = Unisolated.REFUSED,
    ways: tuple[str, ...] = WAYS,
) -> Scored:
    """Score every table with every artifact, in a closed-in process of the runtime.

    Args:
        runtime: The runtime that the artifacts' versions pin.
        artifacts: The artifacts.
        tables: Rows, as Parquet in memory or in a file, or as a request has them.
        model: The model, which says what the artifacts may be made of and what they may use.
        unisolated: Whether a model that runs code may be opened in a pod that cannot close it in.
        ways: The ways of closing it in to try.

    Raises:
        Refused: Another runtime runs than the pinned one, or a model exceeded a limit.
        CannotAnswer: The process did not come to its end, or may not run in this pod.
    """
    with scratch_folder("modelyard-score-") as folder:
        refuse_unisolated_model(model, unisolated, folder, ways)
        out = folder / "out"
        out.mkdir()
        order = Order(
            lock=runtime.lock,
            lock_file=str(runtime.lock_file),
            models=tuple(
                ModelFile(
                    folder=str(each.folder),
                    digest=each.digest,
                    trusted_types=tuple(model.artifact.trusted_types),
                    formats=model.artifact.accepted_formats,
                )
                for each in artifacts
            ),
            tables=tuple(_write_table(folder, n, rows) for n, rows in enumerate(tables)),
            out=str(out),
        )
        (folder / "order.json").write_text(json.dumps(asdict(order)))
        files = (*(Path(each) for each in order.tables), folder / "order.json")
        command = ClosedCommand(
            command=["modelyard", "runtime", "score", str(folder / "order.json")],
            cwd=out,
            environment=model_environment(out),
            log=folder / "log",
            folder=folder / "supervisor",
            reach=reach_of_model(
                runtime, readable=(*files, *(each.folder for each in artifacts)), writable=out
            ),
            limits=limits_of_model(model, _MOST_SECONDS),
            python=runtime.other_python,
            ways=ways,
        )
        ended = run_closed_in(command)
        if ended.exceeded is not None:
            raise Refused(f"scoring {EXCEEDED[ended.exceeded](command.limits)}")
        shapes = [_shape(rows, model) for rows in tables]
        return _read_result(folder, ended.exit_code or 0, len(artifacts), shapes, model)


def measured_alone(
    runtime: Runtime, scored: Scored, model: Model, *, unisolated: Unisolated = Unisolated.REFUSED
) -> Measured:
    """The runtime that a model was scored in, as found by a process in which no model ran code.

    Raises:
        YardError: As `score_tables`.
    """
    if not set(CODE_FORMATS).intersection(model.artifact.accepted_formats):
        return scored.measured
    return score_tables(runtime, [], [], model, unisolated=unisolated).measured


def _shape(rows: Rows, model: Model) -> tuple[int, ...]:
    """The shape of a model's scores for these rows."""
    from pyarrow.parquet import read_metadata

    if isinstance(rows, list):
        count = len(rows)
    else:
        count = read_metadata(rows if isinstance(rows, Path) else io.BytesIO(rows)).num_rows
    return (count, len(model.primary.classes)) if model.task is Task.MULTICLASS else (count,)


def _write_table(folder: Path, number: int, rows: Rows) -> str:
    if isinstance(rows, Path):
        return str(rows)
    path = folder / f"table-{number}.{'parquet' if isinstance(rows, bytes) else 'json'}"
    path.write_bytes(rows if isinstance(rows, bytes) else json.dumps(rows).encode())
    return str(path)


def _read_result(
    folder: Path, code: int, artifacts: int, shapes: Sequence[tuple[int, ...]], model: Model
) -> Scored:
    out = folder / "out"
    if code:
        log = (folder / "log").read_text(errors="replace")
        said = last_lines(log, _LAST_LINES) or "it said nothing"
        raise CannotAnswer(f"scoring ended with exit code {code}: {said}")
    places = [(one, other) for one in range(artifacts) for other in range(len(shapes))]
    # What a model runs when it is opened can write here, so nothing is believed to be well-formed.
    try:
        document = json.loads(read_left_whole(out / RESULT, _LARGEST))
        if document["runtime"] is not None:
            failures = document["failures"]
            return Scored(
                measured=_read_measured(document["runtime"]),
                answers={
                    place: _read_failure(failures[key])
                    if (key := "{}-{}".format(*place)) in failures
                    else _read_scores(scores_file(out, *place), shapes[place[1]], model.task)
                    for place in places
                },
            )
        failure = _read_failure(document["failure"])
    except _MALFORMED as error:
        raise Refused(f"scoring left no answer: {error}") from error
    raise failure.to_error("the runtime")


def _read_measured(document: Mapping[str, Any]) -> Measured:
    found = Measured(**document)
    _refuse_others(str, found.lock, found.python, *found.distributions.values())
    return found


def _read_failure(document: Mapping[str, Any]) -> Failure:
    found = Failure(**document)
    _refuse_others(str, found.kind, found.message, found.hint or "")
    return found


def _refuse_others(kind: type, *values: object) -> None:
    if not all(isinstance(each, kind) for each in values):
        raise ValueError(f"not every value is of the type {kind.__name__}")


def _read_scores(path: Path, shape: tuple[int, ...], task: Task) -> Scores:
    import numpy as np

    largest = np.dtype(np.float64).itemsize * math.prod(shape) + _HEADER
    content = io.BytesIO(read_left_whole(path, largest))
    scores: Scores = np.lib.format.read_array(content, allow_pickle=False)
    if scores.dtype != np.float64 or scores.shape != shape:
        raise ValueError(f"scores are {scores.dtype} of {scores.shape}, not float64 of {shape}")
    least, most = (-np.inf, np.inf) if task is Task.REGRESSION else (0.0, 1.0)
    if not (np.isfinite(scores) & (scores >= least) & (scores <= most)).all():
        raise ValueError("scores are not finite, or no probabilities")
    return scores
