"""Describes what came out of `modelyard try`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelyard.operations.models.trial import Trial


def describe_trial(trial: Trial) -> Iterator[str]:
    """Yield the rows, the artifact, the metrics, and what the gate would say, a line each."""
    from modelyard.operations.training.fetch import UNDECIDED

    data = trial.data
    left_out = f", {data['unlabelled']:,} without a label left out" if data["unlabelled"] else ""
    yield f"{data['training_rows']:,} rows train{left_out}"
    for name, held in data["held_out"].items():
        yield f"{name}: {held['rows']:,} rows held out, {held['clusters']:,} clusters"
        for each in held[UNDECIDED]:
            yield f"the gate cannot decide: {each}"
    if trial.artifact is None or trial.evaluation is None or trial.server is None:
        return
    yield (
        f"artifact: {trial.artifact['format']}, {trial.artifact['size'] / 1e6:.1f} MB, "
        f"{len(trial.artifact['inputs'])} inputs; the server answers within "
        f"{trial.server['p95_ms']:.0f} ms (p95)"
    )
    champion = trial.evaluation["champion"]
    against = f"the champion {champion['version']}" if champion else "the baseline: no champion yet"
    for result in trial.evaluation["held_out"]:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in result["metrics"].items())
        yield f"{result['name']}: {metrics}"
    verdict = trial.evaluation["verdict"]
    yield f"against {against}, the gate would say {verdict['outcome']}: {verdict['reason']}"
    yield "nothing was recorded; a choice made by these numbers is a look at the held-out rows too"
