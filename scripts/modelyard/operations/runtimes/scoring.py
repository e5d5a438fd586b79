"""Has rows scored by models in their own runtimes; this process opens no model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard.adapters.processes.environment import bare_environment
from modelyard.adapters.processes.start import run_command
from modelyard.adapters.runtimes.environments import Runtime
from modelyard.domain.specs.model import ArtifactPolicy
from modelyard.errors import CannotAnswer, Refused
from modelyard.runtime_measure import Measured
from modelyard.serving.scoring import RESULT, Failure, ModelFile, Order, scores_file

if TYPE_CHECKING:
    from modelyard.serving.predictor import Scores

_LAST_LINES = 3
_MOST_SECONDS = 3600
"""For all tables: a model that never answers must not hold a step for ever."""


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
    tables: Sequence[bytes | list[dict[str, object]]],
    policy: ArtifactPolicy,
) -> Scored:
    """Score every table with every artifact, in a process of the runtime.

    Args:
        runtime: The runtime that the artifacts' versions pin.
        artifacts: The artifacts.
        tables: Rows, as Parquet, or as a request has them.
        policy: What the artifacts may be made of.

    Raises:
        Refused: Another runtime runs than the pinned one.
        CannotAnswer: The process did not come to its end.
    """
    with tempfile.TemporaryDirectory(prefix="modelyard-score-") as name:
        folder = Path(name)
        order = Order(
            lock=runtime.lock,
            lock_file=str(runtime.lock_file),
            models=tuple(
                ModelFile(
                    folder=str(each.folder),
                    digest=each.digest,
                    trusted_types=tuple(policy.trusted_types),
                    formats=policy.accepted_formats,
                )
                for each in artifacts
            ),
            tables=tuple(_write_table(folder, n, rows) for n, rows in enumerate(tables)),
            out=name,
        )
        (folder / "order.json").write_text(json.dumps(asdict(order)))
        try:
            code = run_command(
                ["modelyard", "runtime", "score", str(folder / "order.json")],
                cwd=folder,
                environment=bare_environment(),
                output=folder / "log",
                timeout=_MOST_SECONDS,
                python=runtime.other_python,
            )
        except TimeoutError as error:
            raise Refused(f"the model did not score its rows in {_MOST_SECONDS} s") from error
        return _read_result(folder, code, len(artifacts), len(tables))


def _write_table(folder: Path, number: int, rows: bytes | list[dict[str, object]]) -> str:
    path = folder / f"table-{number}.{'parquet' if isinstance(rows, bytes) else 'json'}"
    path.write_bytes(rows if isinstance(rows, bytes) else json.dumps(rows).encode())
    return str(path)


def _read_result(folder: Path, code: int, artifacts: int, tables: int) -> Scored:
    import numpy as np

    result = folder / RESULT
    if code or not result.exists():
        lines = (folder / "log").read_text(errors="replace").strip().splitlines()
        said = " | ".join(lines[-_LAST_LINES:]) or "it said nothing"
        raise CannotAnswer(f"scoring ended with exit code {code}: {said}")
    document = json.loads(result.read_bytes())
    if document["runtime"] is None:
        raise Failure(**document["failure"]).to_error("the runtime")
    answers: dict[tuple[int, int], Scores | Failure] = {}
    for one in range(artifacts):
        for other in range(tables):
            failure = document["failures"].get(f"{one}-{other}")
            path = scores_file(folder, one, other)
            answers[one, other] = Failure(**failure) if failure else np.load(path)
    return Scored(measured=Measured(**document["runtime"]), answers=answers)
